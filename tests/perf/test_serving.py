"""The serving equations: against an event simulation, and what must hold whatever the service times are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.perf.calibrated import Calibrated
from fleet.perf.interface import Capacity, Lengths, Percentiles, ServedPoint, Target, Unsupported
from fleet.perf.replica import Load, ReplicaSpec
from fleet.perf.serving import batch_limit, capacities, served_at

from .event_simulation import LinearWorker, Seen, draw, run_apart, run_mixed
from .parts import worker

W = worker("llama-3.1-8b")
LINK_BYTES_PER_S = 50e9
MIXED = ReplicaSpec(mixed=W)
APART = ReplicaSpec(
    prefill=W, prefill_workers=2, decode=W, decode_workers=1, kv_link_bytes_per_s=LINK_BYTES_PER_S
)


def spread_lengths() -> Lengths:
    random = np.random.default_rng(3)
    isl = random.lognormal(6.8, 0.9, 60).clip(20, 12000).round()
    osl = random.lognormal(5.0, 0.8, 60).clip(4, 2000).round()
    return Lengths(tuple(isl.tolist()), tuple(osl.tolist()), tuple([1 / 60] * 60))


FIXED = Lengths((1000.0,), (200.0,), (1.0,))
SPREAD = spread_lengths()
SLOW, FAST = LinearWorker(10.0, 0.15, 0.05), LinearWorker(15.0, 0.05, 0.02)


def capacity(perf: LinearWorker, replica: ReplicaSpec, load: Load) -> Capacity:
    answer = capacities(perf, [replica], load)[0]  # type: ignore[arg-type]
    assert isinstance(answer, Capacity), answer
    return answer


def point(perf: LinearWorker, replica: ReplicaSpec, load: Load, rate: float) -> ServedPoint:
    answer = served_at(perf, replica, load, rate)  # type: ignore[arg-type]
    assert isinstance(answer, ServedPoint), answer
    return answer


@pytest.mark.parametrize("share", [0.5, 0.8])
@pytest.mark.parametrize("scv", [1.0, 4.0])
@pytest.mark.parametrize(("perf", "lengths"), [(SLOW, SPREAD), (FAST, SPREAD), (FAST, FIXED)])
def test_mixed_percentiles_agree_with_simulation(
    perf: LinearWorker, lengths: Lengths, scv: float, share: float
) -> None:
    """Stated tolerance at p50 and p95: TPOT within 20 % (25 % where arrivals are bursty), TTFT within 35 %."""
    load = Load(lengths, burstiness_scv=scv, max_batch=512)
    rate = share * capacity(perf, MIXED, load).served.rate_req_per_s
    seen = run_mixed(perf, draw(lengths, rate, scv, 5000, seed=1))
    agree(point(perf, MIXED, load, rate), seen, tpot=0.20 if scv == 1.0 else 0.25, ttft=0.35)


@pytest.mark.parametrize("share", [0.5, 0.8])
@pytest.mark.parametrize("scv", [1.0, 4.0])
@pytest.mark.parametrize(("perf", "lengths"), [(SLOW, SPREAD), (FAST, FIXED)])
def test_percentiles_of_workers_apart_agree_with_simulation(
    perf: LinearWorker, lengths: Lengths, scv: float, share: float
) -> None:
    """Stated tolerance at p50 and p95: TPOT within 10 %, TTFT within 15 %; 25 % and 40 % where arrivals are bursty."""
    load = Load(lengths, burstiness_scv=scv, max_batch=512)
    rate = share * capacity(perf, APART, load).served.rate_req_per_s
    moved = 1e5 / LINK_BYTES_PER_S * 1e3
    seen = run_apart(perf, draw(lengths, rate, scv, 5000, seed=1), servers=2, transfer_ms_per_token=moved)
    agree(
        point(perf, APART, load, rate),
        seen,
        tpot=0.10 if scv == 1.0 else 0.25,
        ttft=0.15 if scv == 1.0 else 0.40,
    )


def agree(served: ServedPoint, seen: Seen, *, tpot: float, ttft: float) -> None:
    for percent in (50, 95):
        assert served.tpot.at(percent) == pytest.approx(np.percentile(seen.tpot, percent), rel=tpot), percent
        assert served.ttft.at(percent) == pytest.approx(np.percentile(seen.ttft, percent), rel=ttft), percent


TARGETS = (Target("ttft", 95, 1500.0), Target("tpot", 95, 40.0), Target("e2e", 99, 60_000.0))
LOAD = Load(SPREAD, targets=TARGETS, max_batch=512)


@pytest.mark.parametrize("replica", [MIXED, APART], ids=["mixed", "apart"])
def test_at_capacity_every_target_holds_and_the_binding_one_is_met_exactly(replica: ReplicaSpec) -> None:
    found = capacity(SLOW, replica, LOAD)
    served = point(SLOW, replica, LOAD, found.served.rate_req_per_s)
    figures = {
        f"{t.metric}_p{t.quantile}": (getattr(served, t.metric).at(t.quantile), t.limit_ms) for t in TARGETS
    }
    assert all(figure <= limit * 1.001 for figure, limit in figures.values()), figures
    if found.binding in figures:
        figure, limit = figures[found.binding]
        assert figure == pytest.approx(limit, rel=0.01)
    else:
        assert found.binding in {"kv", "batch-limit", "stability"}


@pytest.mark.parametrize(
    ("change", "binding"),
    [
        pytest.param({"targets": (Target("tpot", 95, 20.0),)}, "tpot_p95", id="a tight TPOT binds"),
        pytest.param({"targets": (Target("ttft", 95, 300.0),)}, "ttft_p95", id="a tight TTFT binds"),
        pytest.param({"targets": (Target("e2e", 50, 4000.0),)}, "e2e_p50", id="a tight end to end binds"),
        pytest.param({"targets": (), "max_batch": 16}, "batch-limit", id="few slots bind"),
        pytest.param({"targets": (), "lengths": Lengths((8000.0,), (2.0,), (1.0,))}, "stability", id="long prompts fill the prefill"),
    ],
)  # fmt: skip
def test_what_binds_is_named(change: dict[str, object], binding: str) -> None:
    assert capacity(SLOW, MIXED, replace(LOAD, **change)).binding == binding  # type: ignore[arg-type]


def test_a_small_cache_binds_and_lowers_the_rate() -> None:
    load = replace(LOAD, targets=())
    small = replace(SLOW, kv_capacity_tokens=60_000.0)
    found = capacity(small, MIXED, load)
    assert found.binding == "kv"
    assert found.served.rate_req_per_s < capacity(SLOW, MIXED, load).served.rate_req_per_s
    assert found.context["kv_p99_utilisation"] == pytest.approx(1.0, abs=0.01)


@settings(max_examples=20, deadline=None)
@given(st.floats(15.0, 200.0), st.floats(1.0, 3.0), st.sampled_from([MIXED, APART]))
def test_looser_targets_never_serve_less(limit_ms: float, looser: float, replica: ReplicaSpec) -> None:
    tight = replace(LOAD, targets=(Target("tpot", 90, limit_ms), Target("ttft", 90, 20 * limit_ms)))
    loose = replace(LOAD, targets=tuple(replace(t, limit_ms=t.limit_ms * looser) for t in tight.targets))
    first, second = (capacities(SLOW, [replica], load)[0] for load in (tight, loose))  # type: ignore[arg-type]
    if isinstance(first, Capacity):
        assert isinstance(second, Capacity)
        assert second.served.rate_req_per_s >= first.served.rate_req_per_s * (1 - 1e-5)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.05, 0.95), st.sampled_from([MIXED, APART]), st.sampled_from([1.0, 3.0]))
def test_latencies_grow_with_the_rate_and_quantiles_are_ordered(
    share: float, replica: ReplicaSpec, scv: float
) -> None:
    load = replace(LOAD, targets=(), burstiness_scv=scv)
    most = capacity(SLOW, replica, load).served.rate_req_per_s
    low, high = point(SLOW, replica, load, share * most), point(SLOW, replica, load, most)
    for metric in ("ttft", "tpot", "e2e"):
        below, above = getattr(low, metric), getattr(high, metric)
        assert isinstance(below, Percentiles)
        assert below.p50 <= below.p90 <= below.p95 <= below.p99
        for percent in (50, 90, 95, 99):
            assert above.at(percent) >= below.at(percent) * (1 - 1e-4)
    assert high.mean_batch > low.mean_batch


def test_planning_on_a_worse_quantile_of_the_error_serves_less() -> None:
    rates = [
        capacity(SLOW, MIXED, replace(LOAD, error_quantile=q)).served.rate_req_per_s for q in (0.5, 0.8, 0.95)
    ]
    assert rates[0] > rates[1] > rates[2]
    exact = capacity(replace(SLOW, error_p90=0.0), MIXED, replace(LOAD, error_quantile=0.95))
    assert exact.served.rate_req_per_s == pytest.approx(rates[0], rel=1e-5)


def test_cached_prefixes_serve_more() -> None:
    cached = capacity(SLOW, MIXED, replace(LOAD, cached_prefix_fraction=0.5)).served.rate_req_per_s
    assert cached > 1.1 * capacity(SLOW, MIXED, LOAD).served.rate_req_per_s


def test_a_slow_link_delays_the_first_token() -> None:
    slow = replace(APART, kv_link_bytes_per_s=1e9)
    rate = 0.3 * capacity(SLOW, slow, replace(LOAD, targets=())).served.rate_req_per_s
    load = replace(LOAD, targets=())
    late, soon = point(SLOW, slow, load, rate).ttft.p50, point(SLOW, APART, load, rate).ttft.p50
    assert late > soon + 0.5 * 800 * 1e5 / 1e9 * 1e3


def test_more_prefill_workers_wait_less() -> None:
    load = replace(LOAD, targets=())
    rate = 0.8 * capacity(SLOW, APART, load).served.rate_req_per_s
    more = replace(APART, prefill_workers=4)
    assert point(SLOW, more, load, rate).ttft.p95 < point(SLOW, APART, load, rate).ttft.p95


def test_an_unreachable_target_says_the_best_figure_and_the_limit() -> None:
    answer = capacities(SLOW, [MIXED], replace(LOAD, targets=(Target("tpot", 95, 5.0),)))[0]  # type: ignore[arg-type]
    assert isinstance(answer, Unsupported)
    assert answer.reason == "slo-unreachable"
    assert "tpot_p95 is 10" in answer.detail
    assert "limit is 5 ms" in answer.detail


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf"), 1e6])
def test_impossible_rates_are_refused(rate: float) -> None:
    assert isinstance(served_at(SLOW, MIXED, LOAD, rate), Unsupported)  # type: ignore[arg-type]


def test_replicas_without_an_estimate_keep_their_place_and_reason() -> None:
    perf = Calibrated()
    good, bad = ReplicaSpec(mixed=worker(tp=4)), ReplicaSpec(mixed=worker(tp=3))
    load = Load(FIXED, targets=(Target("tpot", 95, 100.0),))
    answers = capacities(perf, [bad, good, bad], load)
    assert [isinstance(a, Capacity) for a in answers] == [False, True, False]
    assert answers[1] == capacities(perf, [good], load)[0]


def test_a_prompt_longer_than_the_context_is_refused() -> None:
    answer = capacities(
        Calibrated(), [ReplicaSpec(mixed=worker(tp=4))], Load(Lengths((500_000.0,), (10.0,), (1.0,)))
    )[0]
    assert isinstance(answer, Unsupported)
    assert answer.reason == "context-too-long"


@pytest.mark.parametrize(
    "lengths",
    [Lengths((), (), ()), Lengths((0.0,), (1.0,), (1.0,)), Lengths((1.0,), (1.0,), (0.0,)), Lengths((1.0, 2.0), (1.0,), (1.0,)), Lengths((float("nan"),), (1.0,), (1.0,))],
)  # fmt: skip
def test_impossible_lengths_are_a_caller_s_error(lengths: Lengths) -> None:
    with pytest.raises(ValueError, match="lengths"):
        capacities(SLOW, [MIXED], Load(lengths))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("p99", "ranks", "most", "limit"), [(0.4, 1, 512, 1), (5.1, 1, 512, 6), (37.2, 1, 512, 48), (129.0, 8, 4096, 192), (900.0, 1, 512, 512)]
)  # fmt: skip
def test_batch_limits_are_round_and_cover(p99: float, ranks: int, most: int, limit: int) -> None:
    assert batch_limit(p99, ranks, most) == limit


@pytest.mark.parametrize(
    ("p99", "ranks", "slots", "limit"),
    [
        pytest.param(520.0, 1, 551.0, 551, id="not rounded beyond the cache"),
        pytest.param(520.0, 1, 5000.0, 768, id="a large cache does not matter"),
        pytest.param(100.0, 8, 104.0, 104, id="of each rank"),
        pytest.param(7.9, 8, 8.0, 8, id="one for each rank"),
    ],
)
def test_batch_limits_never_exceed_what_the_cache_holds(
    p99: float, ranks: int, slots: float, limit: int
) -> None:
    assert batch_limit(p99, ranks, 1024, slots) == limit


@settings(max_examples=40, deadline=None)
@given(
    st.floats(3_000.0, 2_000_000.0), st.sampled_from([1, 4, 8]), st.booleans(), st.sampled_from([1.0, 4.0]),
    st.sampled_from([FIXED, SPREAD]),
)  # fmt: skip
def test_the_limit_fits_the_cache_at_the_mean_context_and_the_rate_fits_the_limit(
    capacity_tokens: float, ranks: int, is_apart: bool, scv: float, lengths: Lengths
) -> None:
    decoder = worker("deepseek-r1", "h200-sxm", dp=ranks, ep=ranks)
    apart = replace(APART, prefill=decoder, decode=decoder)
    replica = apart if is_apart else ReplicaSpec(mixed=decoder)
    load = Load(lengths, burstiness_scv=scv, max_batch=4096)
    perf = replace(SLOW, kv_capacity_tokens=capacity_tokens)
    found = capacities(perf, [replica], load)[0]  # type: ignore[arg-type]
    if isinstance(found, Unsupported):
        assert found.reason == "does-not-fit"
        return
    share = np.array(lengths.weight) * (np.array(lengths.output_tokens) - 1.0)
    held = (np.array(lengths.input_tokens) + np.array(lengths.output_tokens) / 2.0) @ share / share.sum()
    assert found.batch_limit // ranks * held <= capacity_tokens / ranks * 1.1 or found.batch_limit == ranks
    assert found.context["batch_p99_per_worker"] <= max(found.batch_limit, 2) * (1 + 1e-5)
    assert found.served.mean_batch <= found.batch_limit
    nearly = (
        0.99 * found.served.rate_req_per_s
    )  # at the end of a prefill's saturation batches grow without bound
    again = served_at(perf, replica, load, nearly)  # type: ignore[arg-type]
    assert isinstance(again, ServedPoint), again
