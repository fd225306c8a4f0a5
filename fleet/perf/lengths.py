"""A workload's lengths condensed to few atoms that keep its means and its tails, and their moments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fleet.perf.interface import Lengths

Array = NDArray[np.float64]

PROMPT_EDGES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.85, 0.93, 0.97, 0.99, 1.0)
ANSWER_EDGES = (0.0, 0.2, 0.5, 0.8, 0.92, 0.98, 1.0)
"""Quantiles between which requests are merged into one: finer towards the tails, where SLOs are decided."""

MOST_ATOMS = (len(PROMPT_EDGES) - 1) * (len(ANSWER_EDGES) - 1)


@dataclass(frozen=True, slots=True)
class Atoms:
    """Requests of few kinds: prompt tokens, answer tokens and weights, each of shape (K,); weights add up to 1."""

    isl: Array
    osl: Array
    weight: Array

    def mean(self, values: Array) -> float:
        """Mean over requests."""
        return float(self.weight @ values)

    @property
    def decoded(self) -> Array:
        """Tokens after the first of each kind; a request that answers one token decodes almost nothing."""
        return np.maximum(self.osl - 1.0, 1e-3)

    def running_mean(self, values: Array) -> float:
        """Mean over the requests that are running at a moment: long answers are seen more often."""
        share = self.weight * self.decoded
        return float(share @ values / share.sum())


def _merged(order: NDArray[np.intp], weight: Array, edges: Sequence[float]) -> list[NDArray[np.intp]]:
    """Cut rows in the given order into bins of cumulated weight."""
    middle = np.cumsum(weight[order]) - weight[order] / 2
    cut = np.searchsorted(np.asarray(edges[1:-1]) * weight[order].sum(), middle, side="right")
    return [order[cut == i] for i in range(len(edges) - 1) if np.any(cut == i)]


def condense(lengths: Lengths) -> Atoms:
    """Return at most 54 atoms with the same mean lengths; small distributions stay as they are.

    Raises:
        ValueError: lengths are empty, below one token, or weights are negative or add up to nothing.
    """
    isl, osl = np.asarray(lengths.input_tokens, dtype=float), np.asarray(lengths.output_tokens, dtype=float)
    weight = np.asarray(lengths.weight, dtype=float)
    if not isl.size or not isl.shape == osl.shape == weight.shape:
        raise ValueError("lengths need as many inputs as outputs and weights, and one of each at least")
    if not (np.all(isl >= 1) and np.all(osl >= 1) and np.all(weight >= 0) and 0 < weight.sum() < np.inf):
        raise ValueError(
            "lengths are one token or more, weights are not negative and add up to more than nothing"
        )
    weight = weight / weight.sum()
    keep = weight > 0
    isl, osl, weight = isl[keep], osl[keep], weight[keep]
    if isl.size <= MOST_ATOMS:
        return Atoms(isl, osl, weight)
    bins = [
        rows
        for column in _merged(np.lexsort((osl, isl)), weight, PROMPT_EDGES)
        for rows in _merged(column[np.lexsort((isl[column], osl[column]))], weight, ANSWER_EDGES)
    ]
    total = np.array([weight[rows].sum() for rows in bins])
    return Atoms(
        isl=np.array([weight[rows] @ isl[rows] for rows in bins]) / total,
        osl=np.array([weight[rows] @ osl[rows] for rows in bins]) / total,
        weight=total,
    )
