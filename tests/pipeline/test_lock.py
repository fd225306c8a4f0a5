"""The performance lock: what is written is read back exactly, and what was not recorded is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.layout import ParallelismLayout
from fleet.perf.calibrated import Calibrated
from fleet.perf.interface import Estimate, Point, Unsupported
from fleet.pipeline.estimates import Estimates
from fleet.pipeline.lock import Origin, lock_text, parse_lock
from fleet.pipeline.lock_columns import pack, unpack
from fleet.pipeline.measure.narrowing import after_runs
from fleet.pipeline.recording import NotInLock, Recording
from tests.perf.parts import point

ORIGIN = Origin(("calibrated",), None)
TOKENS = st.lists(st.sampled_from(["1", "2.5", "-", "1e-05", "nan"]), min_size=1, max_size=40)


@given(TOKENS)
def test_a_column_is_read_as_it_was_written(tokens: list[str]) -> None:
    assert unpack(pack(tokens), len(tokens)) == tokens


@pytest.mark.parametrize("column", ["1 2", "1 =5", "1 =x 2", "1 2 3 4"])
def test_a_column_of_another_length_is_refused(column: str) -> None:
    with pytest.raises(ValueError, match=r"values for 3 points|invalid literal"):
        unpack(column, 3)


def locked(points: list[Point]) -> tuple[Estimates, list[Estimate | Unsupported], str]:
    """The points asked of the calibrated model, and what a lock of them answers."""
    recording = Recording(Calibrated())
    answers = recording.estimate(points)
    text = lock_text(ORIGIN, (), recording, after_runs(), [])
    return parse_lock(text).estimates, answers, text


POINTS = [
    point(tp=4, batch=b, isl=isl, osl=osl)
    for b in (1, 1.5, 64)
    for isl in (1000, 1 / 3 + 800)
    for osl in (1, 500)
]


def plain(answer: Estimate | Unsupported) -> Estimate | Unsupported:
    """An answer without its shares: a lock keeps those of the points that a plan shows."""
    return replace(answer, decode_shares={}, prefill_shares={}) if isinstance(answer, Estimate) else answer


def test_every_figure_comes_back_exactly_and_a_refusal_as_it_was() -> None:
    odd = replace(POINTS[0], layout=ParallelismLayout(tp=3))
    estimates, answers, _ = locked([*POINTS, odd])
    assert isinstance(answers[-1], Unsupported)
    assert estimates.model.estimate([*POINTS, odd]) == [plain(a) for a in answers]
    assert estimates.model.digest == Calibrated().digest


def test_the_order_and_number_of_times_in_which_points_were_asked_change_no_byte() -> None:
    assert locked(POINTS)[2] == locked([*POINTS[::-1], *POINTS])[2]


def test_another_point_of_a_known_worker_is_named() -> None:
    estimates, _, _ = locked(POINTS)
    with pytest.raises(NotInLock) as caught:
        estimates.model.estimate([POINTS[0], replace(POINTS[0], batch=7.0)])
    assert "not batch 7, 1000 prompt, 1 answer and 0 cached tokens" in caught.value.missing[0]
    assert caught.value.changed == ()


def test_another_worker_is_named() -> None:
    estimates, _, _ = locked(POINTS)
    with pytest.raises(NotInLock) as caught:
        estimates.model.estimate([point(tp=8)])
    assert caught.value.missing[0].endswith("TP8 mixed: nothing")


def test_a_model_of_the_same_name_with_another_shape_is_another_model() -> None:
    """Two configs of one model in one fleet: each keeps its estimates, whichever came first."""
    other = replace(
        POINTS[0], model=POINTS[0].model.model_copy(update={"layers": POINTS[0].model.layers // 2})
    )
    for order in ([POINTS[0], other], [other, POINTS[0]]):
        estimates, answers, _ = locked(order)
        assert estimates.model.estimate(order) == [plain(a) for a in answers]
        assert answers[0] != answers[1]
    estimates, _, _ = locked([POINTS[0]])
    with pytest.raises(NotInLock) as caught:
        estimates.model.estimate([other])
    assert caught.value.changed == (POINTS[0].model.id,)
