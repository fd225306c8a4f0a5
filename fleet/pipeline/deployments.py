"""Deployments of the plan from the candidates that won: workers, predictions against the SLO, cost and power."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from math import ceil
from typing import Literal

from fleet.candidates.need import Candidate, Shape
from fleet.layout import Role
from fleet.perf.interface import Capacity, Estimate, Percentiles, PerformanceModel, Point, ServedPoint
from fleet.perf.replica import WorkerSpec
from fleet.perf.rounding import six
from fleet.perf.serving import served_at
from fleet.pipeline.lower import capacity_milli
from fleet.pipeline.resolved import ResolvedOffering, ResolvedWorkload
from fleet.plan.document import (
    BoundLine,
    Deployment,
    DeploymentMode,
    Engine,
    EstimateLine,
    LimitLine,
    ProvenanceLine,
    Quantiles,
    Served,
    Target,
    WorkerGroup,
)

LOAD_BYTES_PER_S = 1.0e9
"""Assumed rate at which a host reads weights at start-up: a 10 Gbit/s object store, stated in the review."""

PREFILL_TOKENS_PER_RANK = 16_384
MIXED_TOKENS_PER_RANK = 8_192
"""Token budgets of one step for each attention rank: chunked prefill beside decoding, or prefill alone."""

PREFILL_SEQUENCES_PER_RANK = 32
SECONDS_PER_HOUR = 3_600.0
_MAX_ID = 44  # leaves room for the suffixes of rendered names within Kubernetes' 63


@dataclass(frozen=True, slots=True)
class Chosen:
    """One option of the answer."""

    candidate: Candidate
    replicas: int
    share_ppm: int


def deployment_id(workload: str, offering: str) -> str:
    """Return the identity of the replicas of a workload on an offering: a DNS label that never changes with the solution.

    >>> deployment_id("chat", "h100-east")
    'chat-h100-east'
    """
    name = re.sub(r"[^a-z0-9-]+", "-", f"{workload}-{offering}")
    exact = f"{workload}/{offering}"
    if len(name) <= _MAX_ID and "." not in exact:
        return name
    return f"{name[: _MAX_ID - 7].rstrip('-')}-{sha256(exact.encode()).hexdigest()[:6]}"


def is_same_shape(candidate: Candidate, deployment: Deployment) -> bool:
    """Tell whether a deployment consists of replicas of this candidate."""
    shape = candidate.shape
    workers = tuple((worker.layout, count) for worker, count in shape.workers)
    return (
        any(s.workload == candidate.workload for s in deployment.served)
        and deployment.offering == shape.place.offering
        and workers == tuple((g.layout, g.workers_per_replica) for g in deployment.workers)
        and (shape.engine.id.value, shape.weights.precision, shape.kv)
        == (deployment.engine.id, deployment.weights, deployment.kv_cache)
    )


def lift_deployment(
    chosen: Chosen, workload: ResolvedWorkload, offering: ResolvedOffering, perf: PerformanceModel
) -> Deployment:
    """Return a deployment with its predicted percentiles at the rate that the plan sends to it."""
    candidate, replicas = chosen.candidate, chosen.replicas
    shape, capacity = candidate.shape, candidate.capacity
    rate = workload.planning_req_per_s * chosen.share_ppm / 1e6
    at_rate = served_at(perf, shape.replica, workload.load, rate / replicas)
    # Where a batch hardly depends on the rate, the last digit decides; the prediction at full capacity is then the safe one.
    served = at_rate if isinstance(at_rate, ServedPoint) else capacity.served
    workers = _workers(candidate, offering)
    usd = replicas * candidate.usd_per_hour
    million_output = rate * workload.output.mean * SECONDS_PER_HOUR / 1e6
    return Deployment(
        id=deployment_id(candidate.workload, offering.name),
        model=workload.model.name,
        offering=offering.name,
        mode=DeploymentMode.DISAGGREGATED if shape.is_disaggregated else DeploymentMode.AGGREGATED,
        target=_target(candidate, workers),
        engine=Engine(
            id=shape.engine.id.value,
            version=shape.engine.version,
            dynamo_version=shape.engine.dynamo_version if shape.is_disaggregated else None,
            image=shape.engine.images[offering.accelerator.cpu_arch],
            memory_fraction=shape.engine.kv_memory_fraction.value,
        ),
        weights=shape.weights.precision,
        checkpoint_uri=shape.weights.uri,
        kv_cache=shape.kv,
        max_model_len=workload.max_context,
        speculative=_speculative(workload),
        workers=workers,
        domains_per_replica=shape.whole_domains,
        replicas=replicas,
        gpus_per_replica=shape.gpus,
        gpus=replicas * shape.gpus,
        served=(_served(chosen, workload, served, rate),),
        utilisation=six(served.utilisation),
        mean_batch_per_replica=six(served.mean_batch),
        decode=BoundLine(
            bound=capacity.decode.decode_bound.value, shares=_shares(capacity.decode.decode_shares)
        ),
        prefill=BoundLine(
            bound=capacity.prefill.prefill_bound.value, shares=_shares(capacity.prefill.prefill_shares)
        ),
        prefill_time_share=six(_prefill_share(candidate, rate / replicas)),
        provenance=_provenance(capacity.decode),
        prefill_provenance=_provenance(capacity.prefill) if shape.is_disaggregated else None,
        estimate=_estimate(shape, workload, perf),
        usd_per_hour=round(usd, 6),
        usd_per_million_output_tokens=six(usd / million_output),
        usd_per_million_useful_tokens=six(usd / (million_output * workload.useful_share)),
        power_kw=round(replicas * shape.gpus * offering.accelerator.all_in_w.value / 1000, 6),
        kv_link=_kv_link(shape),
        kv_transfer_ms_mean=six(_kv_transfer_ms(candidate, workload)),
        weight_load_s=six(
            max(w.weight_bytes_per_gpu * w.gpus_per_host_used for w in workers) / LOAD_BYTES_PER_S
        ),
    )


def _workers(candidate: Candidate, offering: ResolvedOffering) -> tuple[WorkerGroup, ...]:
    shape = candidate.shape
    if shape.replica.mixed is not None:
        return (_group(Role.MIXED, shape.replica.mixed, 1, candidate, offering),)
    prefill, decode = shape.workers
    return (
        _group(Role.PREFILL, *prefill, candidate, offering),
        _group(Role.DECODE, *decode, candidate, offering),
    )


def _group(
    role: Role, worker: WorkerSpec, count: int, candidate: Candidate, offering: ResolvedOffering
) -> WorkerGroup:
    layout, host = worker.layout, offering.accelerator.gpus_per_host
    estimate = candidate.capacity.prefill if role is Role.PREFILL else candidate.capacity.decode
    hosts = max(ceil(layout.gpus / host), 1)
    sequences = (
        PREFILL_SEQUENCES_PER_RANK * layout.dp if role is Role.PREFILL else candidate.capacity.batch_limit
    )
    tokens = (
        MIXED_TOKENS_PER_RANK
        if role is Role.MIXED
        else PREFILL_TOKENS_PER_RANK
        if role is Role.PREFILL
        else 2_048
    )
    return WorkerGroup(
        role=role,
        layout=layout,
        workers_per_replica=count,
        gpus_per_worker=layout.gpus,
        hosts_per_worker=hosts,
        gpus_per_host_used=layout.gpus // hosts,
        max_num_seqs=sequences,
        max_num_batched_tokens=max(tokens * layout.dp, sequences),
        weight_bytes_per_gpu=six(estimate.weight_bytes_per_gpu),
        kv_capacity_tokens=six(estimate.kv_capacity_tokens),
    )


def _target(candidate: Candidate, workers: tuple[WorkerGroup, ...]) -> Target:
    if candidate.shape.is_disaggregated:
        return Target.DYNAMO
    return Target.LEADER_WORKER_SET if workers[0].hosts_per_worker > 1 else Target.DEPLOYMENT


def _served(chosen: Chosen, workload: ResolvedWorkload, served: ServedPoint, rate: float) -> Served:
    errors = _errors(chosen.candidate.capacity, served)
    quantiles = {"ttft": served.ttft, "tpot": served.tpot, "e2e": served.e2e}
    limits = []
    for target in workload.targets:
        predicted, error = quantiles[target.metric].at(target.quantile), errors[target.metric]
        limits.append(
            LimitLine(
                metric=target.metric,
                quantile=target.quantile,
                limit_ms=target.limit_ms,
                predicted_ms=six(predicted),
                error_low_ms=six(predicted / (1 + error)),
                error_high_ms=six(predicted * (1 + error)),
                margin=six((target.limit_ms - six(predicted)) / target.limit_ms),
            )
        )
    return Served(
        workload=workload.name,
        share=chosen.share_ppm,
        rate_req_per_s=round(rate, 6),
        capacity_req_per_s=round(chosen.replicas * capacity_milli(chosen.candidate) / 1000, 6),
        limits=tuple(limits),
        ttft_ms=_quantiles(served.ttft),
        tpot_ms=_quantiles(served.tpot),
        e2e_ms=_quantiles(served.e2e),
        binding=chosen.candidate.capacity.binding,
    )


def _errors(capacity: Capacity, served: ServedPoint) -> dict[str, float]:
    """Relative 90 % errors by metric; end to end has TTFT's and TPOT's in proportion to their shares of its mean."""
    ttft, tpot = capacity.prefill.ttft_relative_error_p90, capacity.decode.relative_error_p90
    waiting = min(served.ttft.mean / served.e2e.mean, 1.0)
    return {"ttft": ttft, "tpot": tpot, "e2e": waiting * ttft + (1.0 - waiting) * tpot}


def _kv_transfer_ms(candidate: Candidate, workload: ResolvedWorkload) -> float:
    """Mean time to move one prompt's KV cache to the decode worker, milliseconds; 0 when nothing moves."""
    replica = candidate.shape.replica
    if replica.mixed is not None:
        return 0.0
    return (
        workload.input.mean
        * candidate.capacity.prefill.kv_bytes_per_token
        / replica.kv_link_bytes_per_s
        * 1e3
    )


def _prefill_share(candidate: Candidate, rate_req_per_s: float) -> float:
    """Share of a replica's GPU time that prefill takes at a rate: of its prefill workers, or of its one mixed worker."""
    shape, busy = candidate.shape, rate_req_per_s * candidate.capacity.prefill.prefill_ms / 1e3
    if not shape.is_disaggregated:
        return min(busy, 1.0)
    (prefill, count), _ = shape.workers
    return min(busy / count, 1.0) * count * prefill.layout.gpus / shape.gpus


def _kv_link(shape: Shape) -> Literal["none", "nvlink", "network"]:
    if not shape.is_disaggregated:
        return "none"
    return "nvlink" if shape.kv_over_nvlink else "network"


def _speculative(workload: ResolvedWorkload) -> dict[str, str | int | float] | None:
    wish, draft = workload.model.spec.speculative, workload.model.draft
    if wish is None or draft is None:
        return None
    told: dict[str, str | int | float] = {
        "method": wish.method,
        "draft_tokens": draft.tokens,
        "acceptance_length": draft.acceptance_length,
    }
    return told | ({"draft_model": wish.draft_model} if wish.draft_model else {})


def _quantiles(p: Percentiles) -> Quantiles:
    return Quantiles(mean=six(p.mean), p50=six(p.p50), p90=six(p.p90), p95=six(p.p95), p99=six(p.p99))


def _provenance(estimate: Estimate) -> ProvenanceLine:
    origin = estimate.provenance
    return ProvenanceLine(
        backend=origin.backend,
        version=origin.version,
        basis=origin.basis.value,
        relative_error_p90=six(estimate.relative_error_p90),
        ttft_relative_error_p90=six(estimate.ttft_relative_error_p90),
        note=origin.note,
    )


def reference_points(shape: Shape, workload: ResolvedWorkload) -> list[Point]:
    """Return the points of a shape by which plans are compared: one request and 64 decoding, one prompt; mean lengths."""
    decode, prefill = (Role.DECODE, Role.PREFILL) if shape.is_disaggregated else (Role.MIXED, Role.MIXED)
    isl, osl = workload.input.mean, workload.output.mean
    cached = workload.load.cached_prefix_fraction * isl
    return [
        shape.replica.decoder.point(decode, batch=1.0, isl=isl, osl=osl, cached_prefix=cached),
        shape.replica.decoder.point(decode, batch=64.0, isl=isl, osl=osl, cached_prefix=cached),
        shape.replica.prefiller.point(prefill, batch=1.0, isl=isl, osl=osl, cached_prefix=cached),
    ]


def _estimate(shape: Shape, workload: ResolvedWorkload, perf: PerformanceModel) -> EstimateLine:
    found = [e for e in perf.estimate(reference_points(shape, workload)) if isinstance(e, Estimate)]
    assert len(found) == 3, "mean lengths are supported where the candidate was priced"
    alone, of_64, fill = found
    return EstimateLine(
        decode_step_ms_alone=six(alone.decode_step_ms),
        decode_step_ms_of_64=six(of_64.decode_step_ms),
        prefill_ms=six(fill.prefill_ms),
        prefill_latency_ms=six(fill.prefill_latency_ms),
        constant_ms=six(fill.constant_ms),
    )


def _shares(shares: dict[str, float]) -> dict[str, float]:
    return {name: round(share, 4) for name, share in sorted(shares.items()) if round(share, 4) > 0}
