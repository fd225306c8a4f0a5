"""Pooled non-negative regression on log error.

    y_i ≈ Σ_k exp(β_k + Σ_l u_{l, level of i in l, k}) x_ik

    min  Σ_i w_i huber_δ(log ŷ_i - log y_i) + λ₀/2 Σ_k (β_k - β⁰_k)² + Σ_lk λ_l s_lk/2 Σ u_lk²

Coefficients are positive by construction, effects of thin levels shrink towards what their neighbours share. s_lk is the
stiffness of a term at a level: how much less its coefficient differs from value to value. Where the error is wide and
the mean relative error is what counts, the loss is huber_δ(ŷ_i / y_i - 1) instead: its minimiser is the median under
weights 1 / y, which lies below the plain one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.optimize import minimize

Array = NDArray[np.float64]
CLIP = 12.0
STEEPEST = 3.0


@dataclass(frozen=True)
class Shrinkage:
    """How the regression is penalised: β⁰ by term, λ by level, s, λ₀, and the δ of the Huber loss."""

    start: dict[str, float]
    level: dict[str, float]
    base: float = 0.02
    delta: float = 0.15
    is_relative: bool = False  # the loss is of ŷ / y - 1, not of log ŷ / y
    fixed: frozenset[str] = frozenset()  # terms that keep their start
    stiffness: dict[str, float] = field(default_factory=dict)  # of terms, 1 where one is not named
    own: dict[str, dict[str, float]] = field(default_factory=dict)  # by level: the stiffness there instead

    def at(self, level: str, term: str) -> float:
        """Return the penalty of a term's effects at a level."""
        return self.level[level] * self.own.get(level, self.stiffness).get(term, 1.0)


@dataclass(frozen=True)
class Effects:
    """A fit: log coefficients, shape (K,), and their effects by level and value, each of shape (K,)."""

    terms: tuple[str, ...]
    base: Array
    levels: dict[str, dict[str, Array]]

    def log_coefficients(self, levels: dict[str, list[str]], rows: int) -> Array:
        """Return log coefficients, shape (N, K); values that were not fitted contribute nothing."""
        total = np.tile(self.base, (rows, 1))
        nothing = np.zeros(len(self.terms))
        for name, effects in self.levels.items():
            total += np.array([effects.get(value, nothing) for value in levels[name]])
        return total

    def coefficients(self, levels: dict[str, list[str]], rows: int) -> Array:
        """Return coefficients, shape (N, K)."""
        return np.asarray(np.exp(np.clip(self.log_coefficients(levels, rows), -CLIP, CLIP)))


def _membership(levels: dict[str, list[str]]) -> tuple[sparse.csr_matrix, list[tuple[str, str]]]:
    """Return which effects apply to which row, shape (N, P), and the level and value of every effect."""
    pairs = [(name, value) for name, column in levels.items() for value in sorted(set(column))]
    place = {pair: i for i, pair in enumerate(pairs)}
    columns = np.array([[place[name, value] for value in column] for name, column in levels.items()]).T
    of_row = np.repeat(np.arange(len(columns)), len(levels))
    members = (np.ones(columns.size), (of_row, columns.ravel()))
    return sparse.csr_matrix(members, shape=(len(columns), len(pairs))), pairs


def _workers(levels: dict[str, list[str]]) -> tuple[dict[str, list[str]], NDArray[np.intp]]:
    """Return the distinct combinations of levels (U of them), and which one every row has, shape (N,)."""
    of_row = list(zip(*levels.values(), strict=True))
    distinct = sorted(set(of_row))
    place = {values: i for i, values in enumerate(distinct)}
    columns = {name: [values[i] for values in distinct] for i, name in enumerate(levels)}
    return columns, np.array([place[values] for values in of_row], dtype=np.intp)


def _residual(log_ratio: Array, is_relative: bool) -> tuple[Array, Array]:
    """Return residuals and their slopes in the log of the ratio; relative ones are linear beyond a factor e³."""
    if not is_relative:
        return log_ratio, np.ones_like(log_ratio)
    slope = np.exp(np.minimum(log_ratio, STEEPEST))
    return slope * (1.0 + np.maximum(log_ratio - STEEPEST, 0.0)) - 1.0, slope


def fit(
    terms: tuple[str, ...],
    x: Array,
    y: Array,
    levels: dict[str, list[str]],
    shrinkage: Shrinkage,
    *,
    weights: Array | None = None,
    steps: int = 1500,
) -> Effects:
    """Fit the regression, its parameters in units of their prior deviations.

    Args:
        x: Terms, shape (N, K), none negative.
        y: Measurements, shape (N,), all positive.
        levels: For each level the value of every row.
        weights: Of the rows, shape (N,); all 1 when not given.
    """
    rows, width = x.shape
    distinct, worker = _workers(levels)
    member, pairs = _membership(distinct)
    member_t = member.T.tocsr()
    gather = sparse.csr_matrix((np.ones(rows), (worker, np.arange(rows))), shape=(member.shape[0], rows))
    start = np.log([shrinkage.start.get(term, 1.0) for term in terms])
    log_y, delta = np.log(y), shrinkage.delta
    weight = np.ones(rows) if weights is None else weights
    free = np.array([term not in shrinkage.fixed for term in terms], dtype=float)
    of_base = free / np.sqrt(shrinkage.base)
    of_effect = free / np.sqrt([[shrinkage.at(name, term) for term in terms] for name, _ in pairs])

    def loss(parameters: Array) -> tuple[float, Array]:
        base = start + parameters[:width] * of_base
        effects = parameters[width:].reshape(of_effect.shape) * of_effect
        parts = np.exp(np.clip(base + member @ effects, -CLIP, CLIP))[worker] * x
        predicted = parts.sum(axis=1)
        residual, steepness = _residual(np.log(predicted) - log_y, shrinkage.is_relative)
        size = np.abs(residual)
        huber = np.where(size < delta, 0.5 * residual**2, delta * (size - 0.5 * delta))
        slope = weight * np.clip(residual, -delta, delta) * steepness / predicted
        by_worker = gather @ (parts * slope[:, None])
        gradient = [by_worker.sum(axis=0) * of_base, ((member_t @ by_worker) * of_effect).ravel()]
        value = float((weight * huber).sum() + 0.5 * (parameters**2).sum())
        return value, np.concatenate(gradient) + parameters

    first: Array = np.zeros(width + of_effect.size)
    found = minimize(
        loss,
        first,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": steps, "maxfun": 2 * steps, "ftol": 1e-7},
    ).x
    effects = found[width:].reshape(of_effect.shape) * of_effect
    by_level: dict[str, dict[str, Array]] = {name: {} for name in levels}
    for (name, value), effect in zip(pairs, effects, strict=True):
        by_level[name][value] = effect
    return Effects(terms, start + found[:width] * of_base, by_level)


def grafted(
    shared: Effects,
    own: Effects,
    levels: dict[str, list[str]],
    bases: dict[str, tuple[str, ...]],
) -> Effects:
    """Return a fit that has the coefficients of `own` for the values it knows and those of `shared` for all others.

        effect of value v at level l  =  own_l(v) + Σ_{m in bases of l} (own_m - shared_m)     for l in `bases`

    A value of l fixes the values of its bases, which every other level belongs to once; the global coefficients count
    as a base of the first.

    Args:
        levels: For each level the value of every row that was fitted.
    """
    effects = dict(shared.levels)
    global_difference = own.base - shared.base
    for level, below in bases.items():
        effects[level] = {}
        for row, value in enumerate(levels[level]):
            if value not in effects[level]:
                differences = [
                    own.levels[m][levels[m][row]] - shared.levels[m][levels[m][row]] for m in below
                ]
                effects[level][value] = (
                    own.levels[level][value] + global_difference + np.sum(differences, axis=0)
                )
        global_difference = np.zeros_like(global_difference)
    return Effects(shared.terms, shared.base, effects)
