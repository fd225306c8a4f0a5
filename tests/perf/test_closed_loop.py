"""Closed loops: batch, waiting for memory, workers apart."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from fleet.perf.calibrated import Calibrated
from fleet.perf.closed_loop import Loop, LoopResult, closed_loop, closed_loops
from fleet.perf.interface import ServedPoint, Unsupported
from fleet.perf.replica import ReplicaSpec

from .event_simulation import LinearWorker
from .parts import worker

PERF = LinearWorker(10.0, 0.1, 0.05, wait_steps=0.0)
MIXED = Loop(ReplicaSpec(mixed=worker("llama-3.1-8b")), isl=1000.0, osl=200.0, concurrency=33.0)
APART = ReplicaSpec(
    prefill=worker("llama-3.1-8b"),
    prefill_workers=1,
    decode=worker("llama-3.1-8b"),
    decode_workers=2,
    kv_link_bytes_per_s=inf,
)


def run(perf: LinearWorker, loop: Loop) -> LoopResult:
    answer = closed_loops(perf, [loop])[0]  # type: ignore[arg-type]
    assert isinstance(answer, LoopResult), answer
    return answer


def test_every_other_request_s_prefill_is_spread_over_the_answer() -> None:
    result = run(PERF, MIXED)
    assert result.batch == 33.0
    assert result.tpot_ms == pytest.approx(13.3 + 32 * 50.0 / 200)
    assert result.ttft_ms == pytest.approx(50.0)
    assert result.rate_req_per_s == pytest.approx(33e3 / (result.ttft_ms + 200 * result.tpot_ms))


def test_what_the_cache_does_not_hold_waits_for_it() -> None:
    """Ten requests fit of thirty-three: the others wait (C / B - 1) lives."""
    small = replace(PERF, kv_capacity_tokens=11_200.0)
    result = run(small, MIXED)
    assert result.batch == pytest.approx(10.0)
    assert result.ttft_ms == pytest.approx(50.0 + 2.3 * 200 * result.tpot_ms)
    assert result.kv_utilisation == pytest.approx(1.0)


def test_a_batch_limit_acts_like_a_full_cache() -> None:
    limited = run(PERF, replace(MIXED, batch_limit=10.0))
    assert limited.batch == 10.0
    assert limited.ttft_ms == pytest.approx(50.0 + 2.3 * 200 * limited.tpot_ms)


def test_workers_apart_do_not_disturb_each_other_and_queue_for_prefill() -> None:
    loop = replace(MIXED, replica=APART, concurrency=400.0)
    result = run(PERF, loop)
    assert result.tpot_ms == pytest.approx(10.0 + 0.1 * result.batch)
    assert result.rate_req_per_s == pytest.approx(1e3 / 50.0, rel=0.05), "one prefill worker limits the loop"
    more = run(PERF, replace(loop, replica=replace(APART, prefill_workers=4)))
    assert more.ttft_ms < 0.5 * result.ttft_ms
    assert 2 * more.batch <= 400.0


def test_a_cache_too_small_for_one_request_is_refused() -> None:
    answer = closed_loops(replace(PERF, kv_capacity_tokens=500.0), [MIXED])[0]  # type: ignore[arg-type]
    assert isinstance(answer, Unsupported)
    assert answer.reason == "does-not-fit"


def test_one_loop_as_a_served_point() -> None:
    served = closed_loop(Calibrated(), ReplicaSpec(mixed=worker(tp=4)), isl=2000, osl=500, concurrency=32)
    assert isinstance(served, ServedPoint)
    assert served.tpot.mean == served.tpot.p95 > 0
    assert served.e2e.mean == pytest.approx(served.ttft.mean + 499 * served.tpot.mean, rel=1e-4)


def test_kv_capacity_decides_70b_on_one_h100() -> None:
    """Published: 742 total tokens/s on one GPU, 4,247 on two; the cache of one holds few requests."""
    one, two = (
        closed_loop(Calibrated(), ReplicaSpec(mixed=worker(tp=tp)), isl=2000, osl=500, concurrency=128)
        for tp in (1, 2)
    )
    assert isinstance(one, ServedPoint)
    assert isinstance(two, ServedPoint)
    assert two.rate_req_per_s > 3 * one.rate_req_per_s
