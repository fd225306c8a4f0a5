"""Error bars come from residuals with every group the same weight, and a group's own do not count for its coverage."""

from __future__ import annotations

import numpy as np
import pytest
from calibration.bars import Evidence, fit_bars, grouped_quantile, nested_coverage
from calibration.fitted import written_bars
from calibration.held_out import HeldOut, merged
from calibration.validate import NOT_SCORED

from fleet.perf.error_bars import Known, parse_bars

GROUPS, ROWS = 20, 60


def held_out(sigma: float, seed: int, known: Known, spread: float = 0.0) -> HeldOut:
    """Residuals of GROUPS groups, each with a level of its own (`spread`) and noise (`sigma`)."""
    random = np.random.default_rng(seed)
    level = np.repeat(random.normal(0.0, spread, GROUPS), ROWS)
    log = level + random.normal(0.0, sigma, GROUPS * ROWS)
    names = tuple(f"g{g:02d}|gpu|vllm" for g in range(GROUPS) for _ in range(ROWS))
    return HeldOut(np.arange(log.size), log, log, (known,) * log.size, names)


def evidence(**changes: HeldOut) -> Evidence:
    seen = Known("vllm|dense", rows=50)
    parts = {
        "lengths": held_out(0.05, 1, seen),
        "groups": held_out(0.05, 2, Known("vllm|dense", rows=0), spread=0.2),
        "layouts": held_out(0.1, 3, Known("vllm|dense", rows=50, beyond_width=True)),
        "loads": held_out(0.15, 4, Known("vllm|dense", rows=50, beyond_batch=True)),
        "ages": held_out(0.1, 5, Known("vllm|dense", rows=50, quarters=1)),
        "siblings": held_out(0.05, 6, Known("vllm|dense", rows=0, is_borrowed=True), spread=0.3),
    }
    return Evidence(**{**parts, **changes})


def test_a_group_with_many_rows_weighs_no_more_than_one_with_few() -> None:
    sizes = np.array([0.1] * 99 + [-0.5])
    assert grouped_quantile(sizes, ["many"] * 99 + ["one"]) == 0.5
    assert grouped_quantile(sizes, ["many"] * 100) == 0.1


def test_bars_cover_nine_tenths_of_normal_residuals() -> None:
    bars = fit_bars(evidence(), "tpot")
    near = np.log1p(bars.at(Known("vllm|dense", rows=50)))
    assert near == pytest.approx(1.645 * 0.05, rel=0.1)
    assert np.log1p(bars.unseen["vllm|dense"]) == pytest.approx(1.645 * np.hypot(0.05, 0.2), rel=0.3)


def test_what_the_data_does_not_cover_widens_by_what_it_showed() -> None:
    bars = fit_bars(evidence(), "ttft")
    assert bars.beyond_width == pytest.approx(2.0, rel=0.15)
    assert bars.beyond_batch == pytest.approx(3.0, rel=0.15)
    assert bars.beyond_context == 1.0
    assert 1.1 < bars.borrowed < 2.0
    near, aged = (np.log1p(bars.at(Known("vllm|dense", 50, quarters=q))) for q in (0, 1))
    assert aged / near == pytest.approx(2.0, rel=0.15)


def test_coverage_of_a_group_does_not_rest_on_its_own_residuals() -> None:
    lengths = evidence().lengths
    odd = np.array(lengths.groups) == "g00|gpu|vllm"
    wrong = HeldOut(
        lengths.rows, np.where(odd, 3.0, lengths.log_tpot), lengths.log_ttft, lengths.known, lengths.groups
    )
    found = {c.group: c.covered for c in nested_coverage(evidence(lengths=wrong), "lengths", "tpot")}
    assert found.pop("g00|gpu|vllm") == 0.0
    assert np.mean(list(found.values())) == pytest.approx(0.9, abs=0.06)


def test_written_bars_are_read_as_they_were_up_to_rounding() -> None:
    bars = fit_bars(evidence(), "tpot")
    read = parse_bars(written_bars(bars))
    known = Known("vllm|dense", rows=5, quarters=2, beyond_batch=True)
    assert read.at(known) == pytest.approx(bars.at(known), rel=0.02)


def test_merged_folds_keep_what_was_together_together() -> None:
    fold = np.array([0, 0, 1, 2, NOT_SCORED, 2, 3, 1], dtype=np.intp)
    few = merged(fold, 2)
    assert few[4] == NOT_SCORED
    assert len(set(few.tolist())) == 3
    assert few[0] == few[1]
    assert (few[2], few[3]) == (few[7], few[5])
