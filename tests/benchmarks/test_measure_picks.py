"""Three runs that the product's criterion picks beat three random ones, on decisions made of calibration rows."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fleet.catalog.load import load_catalog

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT.parent / "shared" / "bench" / "calibration.csv"
SAMPLE = "mla-"
"""Models with latent attention: two, of five groups; `bench/measure/bench_measure.py` has all."""

LIMITS_MS = (15.0, 40.0)
DRAWS = 2


def module(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def test_three_picked_runs_leave_less_regret_than_three_random_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    if not TABLE.is_file():
        pytest.skip(f"the calibration table is not beside the checkout ({TABLE.name})")
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    d = module("decisions_of_calibration_rows", ROOT / "bench" / "measure" / "decisions.py")
    from calibration.dataset import load

    data = load(TABLE, None, load_catalog())
    measured = d.measured_figures(data)
    groups = sorted({g for g in data.group if g.startswith(SAMPLE)})
    left_out = d.coefficients_without(data, groups)  # whole models: all of their groups are new
    predictor = d.Predictor(data, dict.fromkeys(groups, left_out))
    decisions = [
        x for x in d.decisions_of(data, measured) if x.name.startswith(SAMPLE) and x.limit_ms in LIMITS_MS
    ]
    random = np.random.default_rng(0)
    none, drawn, picked = (
        np.mean(
            [np.mean([d.regret(x, predictor, measured, runs(x)) for _ in range(draws)]) for x in decisions]
        )
        for draws, runs in (
            (1, lambda x: ()),
            (DRAWS, lambda x: d.random_runs(x, random)),
            (1, lambda x: d.picked(predictor, x)),
        )
    )
    assert len(decisions) >= 8
    assert picked < drawn, f"regret: none {none:.2%}, random {drawn:.2%}, picked {picked:.2%}"
    assert picked < none
