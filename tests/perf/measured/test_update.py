"""What a few measurements do to the predictions of their cell."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from math import log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.catalog.load import load_catalog
from fleet.layout import Role
from fleet.perf.calibrated import Calibrated
from fleet.perf.closed_loop import Loop
from fleet.perf.coefficients import Coefficients, Vector, committed
from fleet.perf.interface import Basis, Estimate
from fleet.perf.measured import few_shot
from fleet.perf.measured.calibration import fit
from fleet.perf.measured.measurement import Measurement
from fleet.perf.measured.update import Moved, update
from fleet.perf.roofline import Roofline
from fleet.perf.rows import read_row
from tests.perf.measured.runs import apart, measured, mixed, predicted
from tests.perf.parts import TABLE, WITHOUT_TABLE

ROLES: list[tuple[str, Callable[[float], Loop]]] = [("mixed", mixed), ("apart", apart)]


@pytest.mark.parametrize(("role", "loop"), ROLES, ids=[role for role, _ in ROLES])
@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_one_measurement_moves_its_cell_most_of_the_way(
    role: str, loop: Callable[[float], Loop], factor: float
) -> None:
    model = fit([measured(loop(64.0), factor, factor)]).model()
    here, elsewhere = predicted(loop(64.0), model), predicted(loop(16.0), model)
    for now, was in ((here, predicted(loop(64.0))), (elsewhere, predicted(loop(16.0)))):
        moved = log(now.tpot_ms / was.tpot_ms) / log(factor)
        assert (0.5 if role == "mixed" else 0.3) < moved < 1.05
    assert 0.0 < log(here.ttft_ms / predicted(loop(64.0)).ttft_ms) / log(factor) < 1.6


@pytest.mark.parametrize(("role", "loop"), ROLES, ids=[role for role, _ in ROLES])
def test_measurements_that_agree_with_the_prediction_change_nothing_but_the_error(
    role: str, loop: Callable[[float], Loop]
) -> None:
    runs = [measured(loop(c)) for c in (8.0, 32.0, 128.0)]
    model = fit(runs).model()
    for run in runs:
        before, after = predicted(run.loop), predicted(run.loop, model)
        assert after.tpot_ms == pytest.approx(before.tpot_ms, rel=1e-3)
        assert after.ttft_ms == pytest.approx(before.ttft_ms, rel=1e-3)
        assert after.decode.relative_error_p90 <= before.decode.relative_error_p90
        assert after.decode.provenance.basis is Basis.MEASURED
        assert after.decode.provenance.backend == "measured"
        assert after.decode.provenance.version == model.calibration_sha256[:12]


@given(st.lists(st.floats(0.9, 1.8), min_size=1, max_size=3), st.floats(0.9, 1.8))
@settings(max_examples=8, deadline=None)
def test_the_coefficients_say_what_the_moved_estimates_say(tpot: list[float], ttft: float) -> None:
    """The fit works on estimates whose parts are moved, plans on coefficients: above the floor both agree."""
    runs = [measured(mixed(8.0 * 4**i), factor, ttft) for i, factor in enumerate(tpot)]
    calibration = fit(runs)
    [cell] = calibration.cells.values()
    moved = Moved(Calibrated())
    moved.step, moved.first_token = cell.effects.step, cell.effects.first_token
    for concurrency in (4.0, 40.0):
        point = runs[0].loop.replica.decoder.point(Role.MIXED, batch=concurrency, isl=2000, osl=300)
        [by_parts], [by_terms] = moved.estimate([point]), calibration.model().estimate([point])
        assert isinstance(by_parts, Estimate)
        assert isinstance(by_terms, Estimate)
        for name in ("decode_step_ms", "interference_ms", "constant_ms", "burst_ms", "prefill_wait_steps"):
            assert getattr(by_parts, name) == pytest.approx(getattr(by_terms, name), rel=2e-4), name


def test_the_order_of_measurements_does_not_matter_and_a_run_given_twice_counts_once() -> None:
    runs = [measured(mixed(c), f) for c, f in ((8.0, 1.3), (32.0, 1.2), (128.0, 1.1))]
    assert fit(runs).text() == fit([*reversed(runs), runs[1]]).text()


def test_one_outlier_among_many_does_not_decide() -> None:
    sound = [measured(mixed(float(c)), 1.2) for c in (8, 12, 16, 24, 32)]
    spoilt = [*sound, measured(mixed(48.0), 4.0)]
    clean, robust = (predicted(mixed(20.0), fit(runs).model()).tpot_ms for runs in (sound, spoilt))
    assert robust == pytest.approx(clean, rel=0.15)


def test_other_cells_stay_as_they_are() -> None:
    model = fit([measured(mixed(16.0), 1.5, 1.5)]).model()
    other = apart(256.0)
    assert predicted(other, model).tpot_ms == predicted(other).tpot_ms
    assert predicted(other, model).decode.provenance.backend != "measured"


def test_no_measurement_makes_a_prediction_faster_than_the_hardware() -> None:
    model = fit([measured(mixed(16.0), 0.01, 0.01)]).model()
    point = mixed(16.0).replica.decoder.point(Role.MIXED, batch=16, isl=2000, osl=300)
    [fast], [floor] = model.estimate([point]), Roofline().estimate([point])
    assert isinstance(fast, Estimate)
    assert isinstance(floor, Estimate)
    assert fast.decode_step_ms >= floor.decode_step_ms * (1 - 1e-6)


def test_a_run_without_ttft_moves_tpot_alone() -> None:
    run = replace(measured(mixed(16.0), 1.4, 9.0), ttft_ms=None)
    effects = update(Calibrated(), [run], few_shot.committed().priors["mixed"])
    assert max(map(abs, effects.first_token)) == 0.0
    assert min(effects.step) > 0.1


def test_errors_fall_with_every_measurement() -> None:
    figures = few_shot.committed()
    for table in (figures.tpot_error_p90, figures.ttft_error_p90):
        for role in ("mixed", "apart"):
            errors = [table[role][k] for k in sorted(table[role])]
            # Other rows are left to score at each count: a tenth and a half is within what that changes.
            assert all(later <= earlier * 1.15 for earlier, later in pairwise(errors))
    assert figures.tpot_left("mixed", 5) == figures.tpot_left("mixed", 3) < figures.tpot_left("mixed", 1) < 1
    assert figures.ttft_left("apart", 99) == figures.ttft_left("apart", 6) <= 1


def test_decoding_workers_between_two_batches_are_priced_as_the_model_prices_them() -> None:
    decoder = apart(256.0).replica.decoder
    points = [
        decoder.point(Role.DECODE, batch=b, isl=8000, osl=1000) for b in (1.0, 7.7, 90.0, 333.3, 1900.0)
    ]
    for by_lines, exact in zip(
        Moved(Calibrated()).estimate(points), Calibrated().estimate(points), strict=True
    ):
        assert isinstance(by_lines, Estimate)
        assert isinstance(exact, Estimate)
        assert by_lines.decode_step_ms == pytest.approx(exact.decode_step_ms, rel=2e-3)


def unseen(coefficients: Coefficients, model: str, cell: str) -> Coefficients:
    """The coefficients as they would look up a cell that is not in their data."""

    def without(effects: dict[str, dict[str, Vector]]) -> dict[str, dict[str, Vector]]:
        return {
            level: {k: v for k, v in values.items() if not k.startswith((model, cell))}
            for level, values in effects.items()
        }

    return replace(
        coefficients,
        step=without(coefficients.step),
        first_token=without(coefficients.first_token),
        cells={k: v for k, v in coefficients.cells.items() if not k.startswith(cell)},
        versions={k: v for k, v in coefficients.versions.items() if not k.startswith(cell)},
    )


@pytest.mark.skipif(not TABLE.exists(), reason=WITHOUT_TABLE)
def test_three_runs_of_a_cell_that_the_fit_has_not_seen_take_most_of_its_error() -> None:
    with TABLE.open(newline="") as file:
        table = [r for r in csv.DictReader(file) if r["mode"] == "agg" and r["engine"] == "trtllm"]
    rows = [
        read_row(r, load_catalog()) for r in table if "H200" in r["gpu"] and "Llama-3.1-70B" in r["model"]
    ]
    runs = [
        Measurement(
            Loop(r.replica, r.isl, r.osl, r.concurrency), r.tpot_ms, r.ttft_ms, "own.csv", f"{i:064x}"
        )
        for i, r in enumerate(rows)
    ]
    base = unseen(committed(), "dense-80x8192-h64", runs[0].cell.removesuffix("|mixed"))
    before, after = [], []
    for first in range(0, 20, 4):
        chosen = range(first, len(runs), 25)
        given, rest = [runs[i] for i in chosen], [run for i, run in enumerate(runs) if i not in chosen]
        assert (len(given), len(rest) > 50) == (3, True)
        before.append(mean_error(Calibrated(base), rest))
        after.append(mean_error(fit(given, base).model(base), rest))
    assert sum(after) < 0.5 * sum(before)


def mean_error(model: Calibrated, runs: list[Measurement]) -> float:
    """Mean absolute error of TPOT."""
    errors = [abs(predicted(run.loop, model).tpot_ms / run.tpot_ms - 1) for run in runs if run.tpot_ms]
    return sum(errors) / len(errors)
