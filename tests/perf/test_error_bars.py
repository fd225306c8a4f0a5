"""Error bars: never narrower with less data, further out, borrowed or older; the shipped ones likewise."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.perf.calibrated import Calibrated
from fleet.perf.coefficients import committed
from fleet.perf.error_bars import ErrorBars, Known, quarters_between
from fleet.perf.interface import Estimate

from .parts import point

BARS = ErrorBars(
    interpolation={"vllm|dense": 0.1},
    unseen={"vllm|dense": 0.5, "sglang|moe": 0.7},
    thin_cell_rows=3.0,
    beyond_batch=1.2,
    beyond_context=1.1,
    beyond_width=1.5,
    borrowed=1.3,
    drift=0.1,
)
KNOWN = st.builds(
    Known,
    class_name=st.sampled_from(["vllm|dense", "sglang|moe", "no such class"]),
    rows=st.integers(0, 500),
    is_borrowed=st.booleans(),
    quarters=st.integers(0, 8),
    beyond_batch=st.booleans(),
    beyond_context=st.booleans(),
    beyond_width=st.booleans(),
)


@given(KNOWN, st.sampled_from([BARS, committed().tpot_error, committed().ttft_error]))
def test_less_known_is_never_a_narrower_bar(known: Known, bars: ErrorBars) -> None:
    bar = bars.at(known)
    assert bar > 0
    assert bars.at(replace(known, rows=known.rows + 1)) <= bar * (1 + 1e-12)
    assert bars.at(replace(known, quarters=known.quarters + 1)) >= bar
    for flag in ("is_borrowed", "beyond_batch", "beyond_context", "beyond_width"):
        assert bars.at(replace(known, **{flag: True})) >= bar


@pytest.mark.parametrize(
    ("known", "bar"),
    [
        pytest.param(Known("vllm|dense", rows=10**9), 0.1, id="a thick cell has the bar of interpolation"),
        pytest.param(Known("vllm|dense", rows=0), 0.5, id="a cell without data has that of an unseen group"),
        pytest.param(Known("no such class", rows=10**9), 0.7, id="a class without data has the widest"),
    ],
)
def test_the_ends_of_the_scale(known: Known, bar: float) -> None:
    assert BARS.at(known) == pytest.approx(bar, rel=1e-6)


@pytest.mark.parametrize(
    ("older", "newer", "quarters"),
    [("2025Q4", "2026Q2", 2), ("2026Q2", "2025Q4", 0), ("undated", "2026Q1", 0), ("2001Q1", "2026Q1", 8)],
)
def test_quarters_between(older: str, newer: str, quarters: int) -> None:
    assert quarters_between(older, newer) == quarters


def test_a_newer_engine_version_has_a_wider_bar_and_an_older_one_has_not() -> None:
    asked = point()
    bars = []
    for released in (date(2025, 1, 1), date(2027, 1, 1), date(2028, 1, 1)):
        engine = asked.engine.model_copy(update={"released": released})
        answer = Calibrated().estimate([replace(asked, engine=engine)])[0]
        assert isinstance(answer, Estimate)
        bars.append(answer.relative_error_p90)
    assert bars[0] <= bars[1] <= bars[2]
    assert bars[0] < bars[2] or committed().tpot_error.drift == 0.0


def test_a_batch_beyond_the_data_is_noted_and_widens_the_bar_by_its_factor() -> None:
    near, far = Calibrated().estimate([point(batch=8), point(batch=2000)])
    assert isinstance(near, Estimate)
    assert isinstance(far, Estimate)
    assert "beyond this cell's data" in far.provenance.note
    factor = committed().tpot_error.beyond_batch
    assert 1.0 + far.relative_error_p90 == pytest.approx((1.0 + near.relative_error_p90) ** factor, rel=1e-4)
