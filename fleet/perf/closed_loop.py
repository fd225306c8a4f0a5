"""Replicas under a closed loop, as benchmarks measure them: C requests always in flight. Means only.

mixed   B    = min(C, what the KV cache holds, batch limit)
        TPOT = step(B) + interference (B - 1) / osl
        TTFT = latency + constant + burst (B - 1) + steps TPOT + per_running C + (C / B - 1) osl TPOT
apart   R    = [ (S C - Z) + √((S C - Z)² + 4 S Z) ] / 2      S prefill service / prefill workers, Z = osl TPOT
        TPOT = step(B), B what is left of C / decode workers after the prefill, at most slots and cache
        TTFT = latency + (R - S) + transfer + constant + burst C / prefill workers + (C / slots - 1) (Z + R)
rate    = C / (TTFT + osl TPOT)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt

from fleet.layout import Role
from fleet.perf.interface import Estimate, Percentiles, PerformanceModel, ServedPoint, Unsupported
from fleet.perf.memory import WorkerMemory, held_tokens
from fleet.perf.replica import ReplicaSpec
from fleet.perf.rounding import six

ITERATIONS = 6
"""Of batch and step time for workers apart: each depends on the other, the map contracts."""


@dataclass(frozen=True, slots=True)
class Loop:
    """One replica under a closed loop. `batch_limit`: requests that one decode (or mixed) worker runs at most."""

    replica: ReplicaSpec
    isl: float
    osl: float
    concurrency: float
    cached_prefix: float = 0.0
    batch_limit: float = inf


@dataclass(frozen=True, slots=True)
class LoopResult:
    """What a loop shows: means in ms and requests/s, and the estimates at its operating point."""

    ttft_ms: float
    tpot_ms: float
    rate_req_per_s: float
    batch: float  # decoding together in one decode (or mixed) worker
    kv_utilisation: float
    decode: Estimate
    prefill: Estimate

    def output_tok_per_s(self, osl: float) -> float:
        return self.rate_req_per_s * osl


def closed_loops(perf: PerformanceModel, loops: Sequence[Loop]) -> list[LoopResult | Unsupported]:
    """Return the result of every loop, or why there is none, in order. Never raises for what a loop holds."""
    batches = [max(min(x.concurrency / _workers(x), x.batch_limit), 1.0) for x in loops]
    answers: list[LoopResult | Unsupported] = []
    for iteration in range(ITERATIONS):
        estimates = _estimates(perf, loops, batches)
        answers = [_result(x, b, e) for x, b, e in zip(loops, batches, estimates, strict=True)]
        if iteration + 1 < ITERATIONS:
            batches = [_next_batch(x, b, a) for x, b, a in zip(loops, batches, answers, strict=True)]
    return answers


def closed_loop(
    perf: PerformanceModel,
    replica: ReplicaSpec,
    isl: float,
    osl: float,
    concurrency: float,
    batch_limit: float = inf,
) -> ServedPoint | Unsupported:
    """Return one loop as a served point; its quantiles are not modelled and repeat the mean."""
    loop = Loop(replica, isl, osl, concurrency, batch_limit=batch_limit)
    result = closed_loops(perf, [loop])[0]
    if isinstance(result, Unsupported):
        return result
    e2e = result.ttft_ms + max(osl - 1.0, 0.0) * result.tpot_ms
    return ServedPoint(
        rate_req_per_s=six(result.rate_req_per_s),
        ttft=_same(result.ttft_ms),
        tpot=_same(result.tpot_ms),
        e2e=_same(e2e),
        utilisation=six(min(result.batch * _workers(loop) / concurrency, 1.0)),
        mean_batch=six(result.batch * _workers(loop)),
        kv_utilisation=six(result.kv_utilisation),
    )


def _same(value: float) -> Percentiles:
    return Percentiles(*(5 * (six(value),)))


def _workers(loop: Loop) -> int:
    return loop.replica.decode_workers if loop.replica.is_disaggregated else 1


def _estimates(
    perf: PerformanceModel, loops: Sequence[Loop], batches: Sequence[float]
) -> list[tuple[Estimate | Unsupported, Estimate | Unsupported]]:
    points = []
    for x, batch in zip(loops, batches, strict=True):
        decode, prefill = (
            (Role.DECODE, Role.PREFILL) if x.replica.is_disaggregated else (Role.MIXED, Role.MIXED)
        )
        lengths = {"isl": x.isl, "osl": x.osl, "cached_prefix": x.cached_prefix}
        points.append(x.replica.decoder.point(decode, batch=batch, **lengths))
        points.append(x.replica.prefiller.point(prefill, batch=batch, **lengths))
    answers = perf.estimate(points)
    return list(zip(answers[::2], answers[1::2], strict=True))


def _slots(loop: Loop, decode: Estimate) -> float:
    """Requests that one decode worker can run: its batch limit or what its KV cache holds."""
    held = held_tokens(loop.replica.decoder.engine.id, loop.isl, loop.osl)
    if decode.kv_bytes_per_token > 0:
        held += decode.kv_bytes_per_sequence / decode.kv_bytes_per_token
    return min(decode.kv_capacity_tokens / held, loop.batch_limit)


def _result(
    loop: Loop, batch: float, estimates: tuple[Estimate | Unsupported, Estimate | Unsupported]
) -> LoopResult | Unsupported:
    decode, prefill = estimates
    if isinstance(decode, Unsupported):
        return decode
    if isinstance(prefill, Unsupported):
        return prefill
    slots = _slots(loop, decode)
    if slots < 1.0:
        detail = f"the KV cache holds {slots:.2f} requests of {loop.isl:g} + {loop.osl:g} tokens"
        return Unsupported("does-not-fit", detail)
    result = _apart if loop.replica.is_disaggregated else _mixed
    ttft, tpot = result(loop, batch, slots, decode, prefill)
    rate = 1e3 * loop.concurrency / (ttft + loop.osl * tpot)
    return LoopResult(ttft, tpot, rate, batch, min(batch / slots, 1.0), decode, prefill)


def _mixed(
    loop: Loop, batch: float, slots: float, decode: Estimate, prefill: Estimate
) -> tuple[float, float]:
    others = max(batch - 1.0, 0.0)
    tpot = max(
        decode.decode_step_ms + decode.interference_ms * others / loop.osl,
        prefill.prefill_ms * others / loop.osl,
    )
    over = max(loop.concurrency / max(batch, 1.0) - 1.0, 0.0)
    ttft = prefill.prefill_latency_ms + prefill.constant_ms + prefill.burst_ms * others
    ttft += prefill.prefill_wait_steps * tpot + prefill.per_running_request_ms * loop.concurrency
    return ttft + over * loop.osl * tpot, tpot


def _apart(
    loop: Loop, batch: float, slots: float, decode: Estimate, prefill: Estimate
) -> tuple[float, float]:
    tpot, replica = decode.decode_step_ms, loop.replica
    served = min(loop.concurrency, slots * replica.decode_workers)
    service, decoding = prefill.prefill_ms / replica.prefill_workers, loop.osl * tpot
    excess = service * served - decoding
    response = (excess + sqrt(excess**2 + 4.0 * service * decoding)) / 2.0
    over = max(loop.concurrency / (slots * replica.decode_workers) - 1.0, 0.0)
    ttft = prefill.prefill_latency_ms + max(response - service, 0.0) + prefill.constant_ms
    ttft += transfer_ms(replica, loop.isl, decode)
    ttft += prefill.burst_ms * loop.concurrency / replica.prefill_workers
    return ttft + over * (decoding + response), tpot


def transfer_ms(replica: ReplicaSpec, isl: float, memory: Estimate | WorkerMemory) -> float:
    """Return what a prompt's KV cache takes from a prefill to a decode worker, 0 where nothing is sent."""
    sent = isl * memory.kv_bytes_per_token + memory.kv_bytes_per_sequence
    return 1e3 * sent / replica.kv_link_bytes_per_s if replica.kv_link_bytes_per_s > 0 else 0.0


def _next_batch(loop: Loop, batch: float, answer: LoopResult | Unsupported) -> float:
    """Return the batch that the last answer implies."""
    if isinstance(answer, Unsupported):
        return batch
    slots = _slots(loop, answer.decode)
    if not loop.replica.is_disaggregated:
        return max(min(loop.concurrency, slots), 1.0)
    decoding = loop.osl * answer.tpot_ms
    here = loop.concurrency * decoding / (answer.ttft_ms + decoding) / loop.replica.decode_workers
    return max(min(sqrt(here * batch), slots), 1.0)
