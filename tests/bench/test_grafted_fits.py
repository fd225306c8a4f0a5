"""A grafted fit has the coefficients of one fit where there are rows and those of the other everywhere else."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from calibration.pooled import Effects, Shrinkage, fit, grafted

TERMS = ("weights", "layer")
BASES = {"cell": ("engine",), "version": ("era",)}
LOOSE = Shrinkage({}, {"engine": 0.1, "era": 0.1, "cell": 0.1, "version": 0.1})
STIFF = replace(LOOSE, level=dict.fromkeys(LOOSE.level, 5.0))
LEVELS = {
    name: [row[i] for row in product("vs", "ab", "12") for _ in range(6)] for i, name in enumerate(("engine", "model", "era"))
}  # fmt: skip
ROWS = {
    "engine": LEVELS["engine"],
    "era": [e + q for e, q in zip(LEVELS["engine"], LEVELS["era"], strict=True)],
    "cell": [e + m for e, m in zip(LEVELS["engine"], LEVELS["model"], strict=True)],
    "version": [e + m + q for e, m, q in zip(LEVELS["engine"], LEVELS["model"], LEVELS["era"], strict=True)],
}


@pytest.fixture(scope="module")
def fits() -> tuple[Effects, Effects]:
    """The same 48 rows, every version with efficiencies of its own, under a stiff and under a loose prior."""
    random = np.random.default_rng(0)
    x = random.uniform(1.0, 10.0, (48, 2))
    own = np.repeat(random.normal(0.0, 0.5, (8, 2)), 6, axis=0)
    y = (np.exp(own) * x).sum(axis=1)
    shared, loose = (fit(TERMS, x, y, ROWS, how) for how in (STIFF, LOOSE))
    return shared, loose


def test_fitted_rows_have_their_own_coefficients(fits: tuple[Effects, Effects]) -> None:
    shared, own = fits
    both = grafted(shared, own, ROWS, BASES)
    assert both.coefficients(ROWS, 48) == pytest.approx(own.coefficients(ROWS, 48), rel=1e-9)
    assert np.abs(np.log(both.coefficients(ROWS, 48) / shared.coefficients(ROWS, 48))).max() > 0.1


@pytest.mark.parametrize("engine", ["v", "s", "unheard of"])
def test_an_unseen_cell_has_the_shared_coefficients(fits: tuple[Effects, Effects], engine: str) -> None:
    shared, own = fits
    unseen = {"engine": [engine], "era": [f"{engine}1"], "cell": ["unseen"], "version": ["unseen"]}
    both = grafted(shared, own, ROWS, BASES)
    assert both.coefficients(unseen, 1) == pytest.approx(shared.coefficients(unseen, 1), rel=1e-9)


def test_a_new_version_of_a_known_cell_has_the_coefficients_of_its_cell(
    fits: tuple[Effects, Effects],
) -> None:
    shared, own = fits
    new = {"engine": ["v"], "era": ["unseen"], "cell": ["va"], "version": ["unseen"]}
    both = grafted(shared, own, ROWS, BASES)
    assert both.coefficients(new, 1) == pytest.approx(own.coefficients(new, 1), rel=1e-9)
