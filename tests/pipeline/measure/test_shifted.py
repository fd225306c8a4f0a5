"""Outcomes of a run: cells move as a whole, errors narrow, and nothing becomes faster than physics."""

from __future__ import annotations

from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.layout import Precision, Role
from fleet.perf.calibrated import Calibrated
from fleet.perf.error_bars import class_of
from fleet.perf.interface import Estimate, Point, Unsupported
from fleet.perf.roofline import Roofline
from fleet.pipeline.measure.narrowing import after_runs, spread
from fleet.pipeline.measure.shifted import Shifted
from tests.perf.parts import point

UNSEEN = {"model": "deepseek-r1", "gpu": "b200-hgx", "weights": Precision.NVFP4, "dp": 8, "ep": 8}
PERF = Calibrated()
AFTER = after_runs()


def one(perf: object, p: Point) -> Estimate:
    [found] = perf.estimate([p])  # type: ignore[attr-defined]
    assert isinstance(found, Estimate)
    return found


def test_the_middle_outcome_moves_no_time_and_narrows_the_error() -> None:
    before, after = one(PERF, point(**UNSEEN)), one(Shifted(PERF, 0.0, AFTER), point(**UNSEEN))  # type: ignore[arg-type]
    assert before.provenance.basis.value == "extrapolated"
    assert after.decode_step_ms == before.decode_step_ms
    assert after.prefill_latency_ms == before.prefill_latency_ms
    left = AFTER.tpot[class_of(point(**UNSEEN))][0]  # type: ignore[arg-type]
    assert left < before.relative_error_p90
    assert after.relative_error_p90 == pytest.approx(left, rel=1e-3)


def test_a_slow_outcome_is_so_many_deviations_of_what_the_run_can_show() -> None:
    before, after = one(PERF, point(**UNSEEN)), one(Shifted(PERF, 1.5, AFTER), point(**UNSEEN))  # type: ignore[arg-type]
    expected = 1.5 * spread(before.relative_error_p90, after.relative_error_p90)
    assert log(after.decode_step_ms / before.decode_step_ms) == pytest.approx(expected, rel=1e-4)
    assert expected > 0


@given(
    score=st.floats(-4.0, 0.0),
    batch=st.sampled_from([1, 8, 64, 512]),
    role=st.sampled_from([Role.MIXED, Role.PREFILL, Role.DECODE]),
    gpu=st.sampled_from(["h100-sxm", "b200-hgx", "gb200-nvl72"]),
)
def test_no_outcome_is_faster_than_the_physical_floor(score: float, batch: int, role: Role, gpu: str) -> None:
    p = point(role, batch=batch, gpu=gpu, tp=4)
    found, floor = one(Shifted(PERF, score, AFTER), p), one(Roofline(), p)
    assert found.decode_step_ms >= floor.decode_step_ms
    assert found.prefill_ms >= floor.prefill_ms
    assert found.prefill_latency_ms >= found.prefill_ms
    assert found.decode_step_ms <= one(PERF, p).decode_step_ms


def test_every_batch_of_a_cell_moves_by_the_same_factor() -> None:
    points = [point(batch=b, gpu="h200-sxm", tp=2) for b in (1, 16, 256, 1024)]
    before, after = PERF.estimate(points), Shifted(PERF, 1.0, AFTER).estimate(points)
    pairs = [
        (b, a)
        for b, a in zip(before, after, strict=True)
        if isinstance(a, Estimate) and isinstance(b, Estimate)
    ]
    assert len(pairs) == 4
    ratios = [a.decode_step_ms / b.decode_step_ms for b, a in pairs]
    assert max(ratios) == pytest.approx(min(ratios), rel=1e-4)


def test_what_has_no_estimate_keeps_its_place_and_reason() -> None:
    points = [point(tp=2), point(gpu="h100-sxm", weights=Precision.NVFP4, tp=2), point(tp=4)]
    found = Shifted(PERF, -1.0, AFTER).estimate(points)
    assert isinstance(found[1], Unsupported)
    assert found[1] == PERF.estimate(points)[1]
    assert isinstance(found[0], Estimate)
    assert isinstance(found[2], Estimate)
