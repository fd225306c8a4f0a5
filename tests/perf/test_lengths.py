"""Condensed lengths keep their means and nearly their tails."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.perf.interface import Lengths
from fleet.perf.lengths import MOST_ATOMS, condense


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 2000), st.integers(0, 5))
def test_few_atoms_with_the_same_means(size: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    isl, osl = random.lognormal(7, 1, size) + 1, random.lognormal(5, 1, size) + 1
    weight = random.random(size) + 1e-3
    atoms = condense(Lengths(tuple(isl), tuple(osl), tuple(weight)))
    assert atoms.isl.size <= max(MOST_ATOMS, 1)
    assert atoms.weight.sum() == pytest.approx(1.0)
    assert atoms.mean(atoms.isl) == pytest.approx(weight @ isl / weight.sum())
    assert atoms.mean(atoms.osl) == pytest.approx(weight @ osl / weight.sum())


def test_the_tail_of_prompts_survives() -> None:
    isl = np.random.default_rng(0).lognormal(7, 1, 4000)
    atoms = condense(Lengths(tuple(isl), tuple(np.full(4000, 100.0)), tuple(np.full(4000, 1.0))))
    order = np.argsort(atoms.isl)
    for q in (0.5, 0.9, 0.95):
        at = atoms.isl[order][np.searchsorted(np.cumsum(atoms.weight[order]), q)]
        assert at == pytest.approx(np.quantile(isl, q), rel=0.2)


def test_long_answers_are_seen_more_often_among_the_running() -> None:
    atoms = condense(Lengths((10.0, 10.0), (11.0, 101.0), (0.5, 0.5)))
    assert atoms.running_mean(atoms.osl) == pytest.approx((10 * 11 + 100 * 101) / 110)
