"""All layouts of a workload's model on an offering: every parallelism, precision, engine and serving mode that could be."""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd

from fleet.candidates.need import Drop, Limits, Need, Place, Shape, Weights
from fleet.catalog.records import DomainKind, EngineRelease, ModelCard
from fleet.layout import ParallelismLayout, Precision
from fleet.perf.memory import fits
from fleet.perf.replica import ReplicaSpec, WorkerSpec

_TENSOR_WIDTHS = (1, 2, 4, 8, 16, 32, 64)
_EXPERT_WIDTHS = (2, 4, 8, 12, 16, 24, 32, 36, 48, 56, 64)
_MOST_WORKERS_OF_A_ROLE = 4
_MOST_PREFILL_LAYOUTS = 3
_MOST_DECODE_LAYOUTS = 8


def enumerate_shapes(need: Need, place: Place) -> tuple[list[Shape], list[Drop]]:
    """Return every shape that fits memory, topology and the engine, and the drops with their reason."""
    shapes: list[Shape] = []
    drops: list[Drop] = []
    for engine in need.engines:
        if problem := _engine_problem(engine, need.card):
            drops.append(
                Drop("engine-cannot-serve", f"{engine.name} {engine.version} on {place.offering}: {problem}")
            )
            continue
        for weights in need.weights:
            if problem := _precision_problem(engine, weights, place):
                drops.append(
                    Drop("no-hardware-precision", f"{weights.precision} on {place.offering}: {problem}")
                )
                continue
            for kv in need.kv_precisions:
                if kv not in engine.kv_precisions:
                    drops.append(
                        Drop("engine-cannot-serve", f"{engine.name} {engine.version} has no {kv} KV cache")
                    )
                    continue
                _of_one_form(need, place, engine, weights, kv, shapes, drops)
    return shapes, drops


def _of_one_form(
    need: Need,
    place: Place,
    engine: EngineRelease,
    weights: Weights,
    kv: Precision,
    shapes: list[Shape],
    drops: list[Drop],
) -> None:
    """Add the shapes of one engine, checkpoint and KV format."""
    workers = []
    for layout in layouts(need.card, place, engine, need.limits):
        formats = (weights.precision, weights.dense_precision, kv)
        refusal = fits(need.card, place.accelerator, engine, layout, *formats, float(need.max_model_len))
        if refusal is None:
            workers.append(WorkerSpec(need.card, place.accelerator, engine, layout, *formats, need.draft))
        else:
            drops.append(
                Drop(
                    refusal.reason,
                    f"{weights.precision} as {layout.label} on {place.offering}: {refusal.detail}",
                )
            )
    if need.limits.allow_aggregated and "kubernetes" in engine.targets:
        shapes += [_aggregated(place, engine, weights, kv, worker) for worker in workers]
    if need.limits.allow_disaggregated and engine.supports_disaggregation and "dynamo" in engine.targets:
        shapes += _disaggregated(need, place, engine, weights, kv, workers)


def layouts(
    card: ModelCard, place: Place, engine: EngineRelease, limits: Limits
) -> Iterator[ParallelismLayout]:
    """Every layout of one worker inside one NVLink domain of the place."""
    for layout in _raw_layouts(card, engine, limits):
        gpus = layout.gpus
        if gpus > min(place.usable_domain_gpus, limits.max_gpus_per_replica) or layout.tp > limits.max_tp:
            continue
        host = place.accelerator.gpus_per_host
        if gpus > host and gpus % host:
            continue
        if gpus <= host and host % gpus:
            continue
        yield layout


def _raw_layouts(card: ModelCard, engine: EngineRelease, limits: Limits) -> Iterator[ParallelismLayout]:
    for tp in (t for t in _TENSOR_WIDTHS if card.heads % t == 0):
        yield ParallelismLayout(tp=tp)
        if engine.supports_pipeline_parallel and limits.allow_pipeline:
            for pp in (p for p in (2, 4) if card.layers >= 2 * p):
                yield ParallelismLayout(tp=tp, pp=pp)
    if not (card.is_moe and engine.supports_expert_parallel):
        return
    for ep in (e for e in _EXPERT_WIDTHS if card.experts % e == 0):
        if card.heads % ep == 0:
            yield ParallelismLayout(tp=ep, ep=ep)
        if engine.supports_attention_dp:
            yield ParallelismLayout(dp=ep, ep=ep)
            if ep % 2 == 0 and ep >= 4:
                yield ParallelismLayout(tp=2, dp=ep // 2, ep=ep)


def _aggregated(
    place: Place, engine: EngineRelease, weights: Weights, kv: Precision, worker: WorkerSpec
) -> Shape:
    replica = ReplicaSpec(
        mixed=worker, prefill=None, prefill_workers=0, decode=None, decode_workers=0, kv_link_bytes_per_s=0.0
    )
    return Shape(place, engine, weights, kv, replica, worker.layout.gpus, 0)


def _disaggregated(
    need: Need,
    place: Place,
    engine: EngineRelease,
    weights: Weights,
    kv: Precision,
    workers: list[WorkerSpec],
) -> Iterator[Shape]:
    """Pair prefill and decode layouts in small whole-number ratios.

    Prefill is compute-bound, so only the narrowest layouts that fit are tried for it. In a rack both roles share the
    NVLink domain and KV moves over NVLink. On hosts a replica either stays inside one host, or each worker fills a host
    and KV moves over the network.
    """
    plain = [w for w in workers if w.layout.pp == 1]
    narrowest = sorted(plain, key=lambda w: (w.layout.gpus, w.layout.tp))[:_MOST_PREFILL_LAYOUTS]
    for prefill in narrowest:
        for decode in plain[:_MOST_DECODE_LAYOUTS] if not need.card.is_moe else plain:
            for np in range(1, _MOST_WORKERS_OF_A_ROLE + 1):
                for nd in range(1, _MOST_WORKERS_OF_A_ROLE + 1):
                    if gcd(np, nd) == 1 and (
                        shape := _pair(need, place, engine, weights, kv, prefill, np, decode, nd)
                    ):
                        yield shape


def _pair(
    need: Need,
    place: Place,
    engine: EngineRelease,
    weights: Weights,
    kv: Precision,
    prefill: WorkerSpec,
    np: int,
    decode: WorkerSpec,
    nd: int,
) -> Shape | None:
    host = place.accelerator.gpus_per_host
    parts = [prefill.layout.gpus] * np + [decode.layout.gpus] * nd
    total = sum(parts)
    if total > need.limits.max_gpus_per_replica:
        return None
    reserved = total if total <= host and host % total == 0 else -(-total // host) * host
    in_one_domain = reserved <= place.usable_domain_gpus and all(g <= host or g % host == 0 for g in parts)
    if place.accelerator.domain is DomainKind.RACK or in_one_domain:
        if not in_one_domain or reserved != total:
            return None
        link, whole = place.accelerator.nvlink_bytes_per_s.value * prefill.layout.gpus, 0
    else:
        if any(g != place.usable_domain_gpus for g in parts) or len(parts) > place.available_domains:
            return None
        link, whole = place.nic_bytes_per_s * prefill.layout.gpus, len(parts)
    replica = ReplicaSpec(
        mixed=None,
        prefill=prefill,
        prefill_workers=np,
        decode=decode,
        decode_workers=nd,
        kv_link_bytes_per_s=link,
    )
    return Shape(place, engine, weights, kv, replica, total, whole)


def _engine_problem(engine: EngineRelease, card: ModelCard) -> str | None:
    if not engine.targets:
        return "this version of fleetc does not render it yet"
    if card.architecture not in engine.architectures:
        return f"it is not known to run {card.architecture}"
    return None


def _precision_problem(engine: EngineRelease, weights: Weights, place: Place) -> str | None:
    if weights.precision not in engine.weight_precisions:
        return f"{engine.name} {engine.version} does not run it"
    if weights.precision not in place.accelerator.dense_flops and weights.precision is not Precision.MXFP4:
        return f"{place.accelerator.name} has no {weights.precision} in hardware"
    return None
