"""Why a benchmark is not what the plan says: rules over the result and the plan, each with its evidence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fleet.layout import Role
from fleet.plan.document import Target
from fleet.results.record import CACHED_LABEL
from fleet.review.bench import LENGTH_TOLERANCE, Comparison, Verdict
from fleet.review.format import latency
from fleet.units import format_share

NOTICEABLE = 0.15
"""A median that is off by less is as predicted."""
REACHED = 0.95
FEW_BEYOND = 10


@dataclass(frozen=True, slots=True)
class Cause:
    """What could be behind a difference, and what in the result or the plan says so."""

    kind: str
    sentence: str


def causes(found: Comparison) -> tuple[Cause, ...]:
    """Return what could explain a limit that does not hold or a latency outside its interval; empty where all is as predicted."""
    if found.is_planned_load and all(judged.verdict is Verdict.HOLDS for judged in found.limits):
        return ()
    rules = (_failures, _rate, _lengths, _prefix, _first_token, _steps, _limits, _engine, _prediction, _few)
    return tuple(cause for rule in rules for cause in rule(found))


def _failures(found: Comparison) -> Iterator[Cause]:
    failed = found.run.result.failed
    if failed:
        yield Cause(
            "failed-requests",
            f"{failed:,} requests failed: those that did not had more room than the plan gives",
        )


def _rate(found: Comparison) -> Iterator[Cause]:
    result = found.run.result
    rate, completed, reached = result.request_rate, result.completed, result.completed_req_per_s
    if not rate or not completed or not reached:
        return
    drain_s = (result.e2e.p99 or result.e2e.mean or 0.0) / 1e3
    expected = completed / (completed / rate + drain_s)
    if reached < REACHED * expected:
        yield Cause(
            "rate-not-reached",
            f"{reached:.3g} of {rate:.3g} requests/s offered were completed: the deployment is full, or the client is (its CPU)",
        )


def _lengths(found: Comparison) -> Iterator[Cause]:
    for line in found.load:
        if not line.name.endswith("mean") or line.measured is None:
            continue
        over = line.measured / line.planned - 1.0
        if abs(over) > LENGTH_TOLERANCE:
            what, more = line.name.removesuffix(" mean"), "longer" if over > 0 else "shorter"
            yield Cause(
                f"{more}-{what}s",
                f"{what}s are {format_share(abs(over))} {more} than planned: {line.measured:,.0f} tokens against {line.planned:,.0f}",
            )


def _prefix(found: Comparison) -> Iterator[Cause]:
    planned = found.workload.demand.cached_prefix_fraction
    line = next(line for line in found.load if line.name == "prompt shared")
    if not planned or line.agrees:
        return
    said = "does not say that" if CACHED_LABEL not in found.run.result.labels else "says otherwise than that"
    yield Cause(
        "other-prefix-hits",
        f"the plan counts on {format_share(planned)} of the prompt from the prefix cache, the result {said} its prompts share as much; "
        f"without hits prefill is {1.0 / (1.0 - min(planned, 0.99)):.2g} times as long",
    )


def _first_token(found: Comparison) -> Iterator[Cause]:
    ttft = _judged(found, "ttft")
    if Verdict.FAILS not in ttft and Verdict.SLOWER not in ttft:
        return
    median, predicted = found.run.result.ttft.p50, found.run.served.ttft_ms.p50
    tpot_is_fine = all(verdict in (Verdict.HOLDS, Verdict.FASTER) for verdict in _judged(found, "tpot"))
    if median is None:
        return
    seen = f"TTFT p50 {latency(median)} against {latency(predicted)} predicted"
    if median <= predicted * (1.0 + NOTICEABLE):
        yield Cause(
            "waiting-for-prefill",
            f"{seen}, so prefill itself is as fast as planned: the tail waits, behind bursts or long prompts",
        )
        if found.run.deployment.target is not Target.DYNAMO and found.run.replicas > 1:
            yield Cause(
                "uneven-replicas",
                "the benchmark's Service spreads connections at random, the endpoint picker by load: some replicas had more",
            )
    else:
        why = "while decode is as planned" if tpot_is_fine else "and decode is slow too"
        yield Cause(
            "slow-prefill",
            f"{seen}, {why}: cold caches and graphs in the first minutes, a smaller chunk of tokens a step, or slower kernels",
        )


def _steps(found: Comparison) -> Iterator[Cause]:
    tpot = _judged(found, "tpot")
    if Verdict.FAILS not in tpot and Verdict.SLOWER not in tpot:
        return
    median, predicted = found.run.result.tpot.p50, found.run.served.tpot_ms.p50
    if median is None:
        return
    seen = f"TPOT p50 {latency(median)} against {latency(predicted)} predicted"
    if median > predicted * (1.0 + NOTICEABLE):
        yield Cause(
            "slow-steps",
            f"{seen}: every step is slow; look at clocks and power caps, the kernels of this engine version, and the batch",
        )
    else:
        yield Cause(
            "prefill-between-steps",
            f"{seen}, only the tail is slow: prompts of others are computed between the steps",
        )


def _limits(found: Comparison) -> Iterator[Cause]:
    """Requests in flight against the batch limit and the KV cache of the replicas that shared the load."""
    decode = next(group for group in found.run.deployment.workers if group.role is not Role.PREFILL)
    workers = decode.workers_per_replica * found.run.replicas
    result = found.run.result
    if found.in_flight is None:
        return
    each = found.in_flight / workers
    if each > decode.max_num_seqs:
        yield Cause(
            "above-batch-limit",
            f"{each:.0f} requests in flight on each worker, which runs {decode.max_num_seqs:,} at once: the others wait",
        )
    if result.isl is None or result.osl is None:
        return
    tokens = each * (result.isl + result.osl / 2.0)
    if tokens > decode.kv_capacity_tokens:
        yield Cause(
            "kv-cache-full",
            f"{tokens:,.0f} tokens in flight on each worker, whose KV cache holds {decode.kv_capacity_tokens:,.0f}: requests wait or are preempted",
        )


def _engine(found: Comparison) -> Iterator[Cause]:
    measured, planned = found.run.result.engine_version, found.run.deployment.engine.version
    if measured and measured != planned:
        yield Cause("other-engine-version", f"measured with version {measured}, planned for {planned}")
    if found.run.deployment.speculative:
        yield Cause(
            "made-up-prompts",
            "drafts are accepted less often on the benchmark's random prompts than the plan states for real ones",
        )
    if found.is_of_this_plan is False:
        yield Cause(
            "another-plan",
            "the job was rendered from another plan: render again, or compare with the plan of that time",
        )


def _prediction(found: Comparison) -> Iterator[Cause]:
    provenance = found.run.deployment.provenance
    if provenance.basis in ("extrapolated", "floor") or provenance.note:
        note = f" ({provenance.note})" if provenance.note else ""
        yield Cause(
            "thin-data",
            f"the prediction is {provenance.basis}{note}: 90 % of its errors are below {format_share(provenance.relative_error_p90)}",
        )


def _few(found: Comparison) -> Iterator[Cause]:
    completed = found.run.result.completed
    highest = max((judged.line.quantile for judged in found.limits), default=0)
    if completed is not None and completed * (1.0 - highest / 100.0) < FEW_BEYOND:
        yield Cause(
            "few-requests",
            f"{completed:,} requests: p{highest} rests on {completed * (1.0 - highest / 100.0):.0f} of them",
        )


def _judged(found: Comparison, metric: str) -> tuple[Verdict, ...]:
    return tuple(judged.verdict for judged in found.limits if judged.line.metric == metric)
