"""The calibration document: written, read back, broken, and fitted again."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from fleet.catalog.load import load_catalog
from fleet.diagnostics import Rejected, render_text
from fleet.perf import coefficients
from fleet.perf.calibrated import Calibrated
from fleet.perf.measured import load_calibration
from fleet.perf.measured.calibration import fit
from tests.perf.measured.runs import apart, measured, mixed, predicted

RUNS = [measured(mixed(8.0), 1.3), measured(mixed(64.0, tp=2), 1.2), measured(apart(256.0), 0.9)]
FITTED = fit(RUNS)


def edited(**changes: Any) -> str:
    """The document of RUNS with values changed; keys are paths joined by __, numbers are indices."""
    data = json.loads(FITTED.text())
    for path, value in changes.items():
        *steps, last = [int(s) if s.isdigit() else s for s in path.split("__")]
        place = data
        for step in steps:
            place = place[step]
        place[last] = value
    return json.dumps(data, indent=2)


def test_what_is_written_is_read_back_and_written_alike() -> None:
    calibration = FITTED
    read = load_calibration(calibration.text())
    assert read == calibration
    assert read.text() == calibration.text()
    assert read.warnings() == []
    assert read.model().digest == calibration.model().digest
    assert read.model().digest != coefficients.committed().digest


def test_the_document_names_no_folder_and_keeps_the_cells() -> None:
    data = json.loads(FITTED.text())
    assert sorted(data["cells"]) == sorted({run.cell for run in RUNS})
    assert [row["source"] for row in data["rows"]] == ["run.json"] * 3
    assert data["kind"] == "Calibration"


def test_a_model_that_the_catalogue_lacks_is_carried_along() -> None:
    card = load_catalog().models["llama-3.1-8b"].model_copy(update={"id": "ours", "hidden": 4608})
    calibration = fit([measured(mixed(8.0, model=card), 1.3)])
    assert load_calibration(calibration.text()) == calibration
    assert list(json.loads(calibration.text())["models"]) == ["ours"]


def test_other_coefficients_fit_it_again_with_a_warning() -> None:
    base = coefficients.committed()
    other = replace(base, digest="0" * 64, step_base=base.step_base + 0.1)
    calibration = load_calibration(FITTED.text())
    assert [d.rule for d in calibration.warnings(other)] == ["calibration-refitted"]
    loop = RUNS[0].loop
    assert predicted(loop, calibration.model(other)).tpot_ms == pytest.approx(
        predicted(loop, calibration.model()).tpot_ms, rel=0.05
    )


def test_a_row_edited_by_hand_is_fitted_again_with_a_warning() -> None:
    text = edited(rows__0__tpot_ms=99.0)
    calibration = load_calibration(text)
    assert [d.rule for d in calibration.warnings()] == ["calibration-refitted"]
    assert calibration.refitted(coefficients.committed()).cells != calibration.cells


def test_effects_edited_by_hand_are_fitted_again_with_a_warning() -> None:
    calibration = load_calibration(edited(**{f"cells__{RUNS[0].cell}__step__weights": 3.0}))
    assert [d.rule for d in calibration.warnings()] == ["calibration-refitted"]
    assert calibration.refitted(coefficients.committed()).text() == FITTED.text()


def test_cells_without_measurements_are_priced_as_before_and_say_so() -> None:
    loop = mixed(8.0, model=load_catalog().models["qwen3-32b"])
    before, after = (predicted(loop, model) for model in (Calibrated(), FITTED.model()))
    assert (after.decode.provenance, after.tpot_ms) == (before.decode.provenance, before.tpot_ms)
    assert predicted(RUNS[0].loop, FITTED.model()).decode.provenance.backend == "measured"


BROKEN: list[tuple[str, str]] = [
    ("nothing", ""),
    ("a cut", FITTED.text()[:500]),
    ("a list", "[]"),
    ("another kind", edited(kind="FleetPlan")),
    ("another version", edited(format_version="2.0")),
    ("an unknown field", edited(rows__0__colour="red")),
    ("no rows", edited(rows=[])),
    ("a negative time", edited(rows__0__tpot_ms=-1.0)),
    ("text for a number", edited(rows__0__isl="long")),
    ("an unknown accelerator", edited(rows__0__accelerator="h900")),
    ("an unknown model", edited(rows__0__model="nobody")),
    ("a lonely prefill worker", edited(rows__0__workers=[{"role": "prefill", "layout": {}, "count": 1}])),
    ("an impossible layout", edited(rows__0__workers__0__layout={"tp": 0})),
    (
        "effects of other parts",
        edited(cells={RUNS[0].cell: {"measurements": 1, "step": {}, "first_token": {}}}),
    ),
]


@pytest.mark.parametrize(("what", "text"), BROKEN, ids=[what for what, _ in BROKEN])
def test_a_broken_document_gets_located_diagnostics(what: str, text: str) -> None:
    with pytest.raises(Rejected) as rejected:
        load_calibration(text, "stacks/prod/calibration.json")
    rendered = render_text(rejected.value.diagnostics, rejected.value.sources)
    assert "stacks/prod/calibration.json" in rendered, what
    assert {d.rule for d in rejected.value.diagnostics} == {"broken-calibration"}
    assert all(d.span for d in rejected.value.diagnostics)


def test_all_faults_are_reported_together() -> None:
    with pytest.raises(Rejected) as rejected:
        load_calibration(edited(rows__0__tpot_ms=-1.0, rows__1__isl=0))
    assert [d.rule for d in rejected.value.diagnostics] == ["broken-calibration"] * 2
