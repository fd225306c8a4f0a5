"""Pooled non-negative regression on log error.

    y_i ≈ Σ_k exp(β_k + Σ_l u_{l, level of i in l, k}) x_ik

    min  Σ_i huber_δ(log ŷ_i - log y_i) + λ₀/2 Σ_k (β_k - β⁰_k)² + Σ_l λ_l/2 Σ u_l²

Coefficients are positive by construction, effects of thin levels shrink towards what their neighbours share.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.optimize import minimize

Array = NDArray[np.float64]
CLIP = 12.0


@dataclass(frozen=True)
class Shrinkage:
    """How the regression is penalised: β⁰ by term, λ by level, λ₀, and the δ of the Huber loss."""

    start: dict[str, float]
    level: dict[str, float]
    base: float = 0.02
    delta: float = 0.15
    fixed: frozenset[str] = frozenset()  # terms that keep their start


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


def _membership(levels: dict[str, list[str]], rows: int) -> tuple[sparse.csr_matrix, list[tuple[str, str]]]:
    """Return which effects apply to which row, shape (N, P), and the level and value of every effect."""
    pairs = [(name, value) for name, column in levels.items() for value in sorted(set(column))]
    place = {pair: i for i, pair in enumerate(pairs)}
    columns = np.array([[place[name, value] for value in column] for name, column in levels.items()]).T
    of_row = np.repeat(np.arange(rows), len(levels))
    return sparse.csr_matrix(
        (np.ones(columns.size), (of_row, columns.ravel())), shape=(rows, len(pairs))
    ), pairs


def fit(
    terms: tuple[str, ...],
    x: Array,
    y: Array,
    levels: dict[str, list[str]],
    shrinkage: Shrinkage,
    *,
    steps: int = 400,
) -> Effects:
    """Fit the regression.

    Args:
        x: Terms, shape (N, K), none negative.
        y: Measurements, shape (N,), all positive.
        levels: For each level the value of every row.
    """
    rows, width = x.shape
    member, pairs = _membership(levels, rows)
    member_t = member.T.tocsr()
    penalty = np.array([shrinkage.level[name] for name, _ in pairs])[:, None]
    start = np.log([shrinkage.start.get(term, 1.0) for term in terms])
    log_y, delta = np.log(y), shrinkage.delta
    free = np.array([term not in shrinkage.fixed for term in terms], dtype=float)

    def loss(parameters: Array) -> tuple[float, Array]:
        base, effects = parameters[:width], parameters[width:].reshape(len(pairs), width)
        parts = np.exp(np.clip(base + member @ effects, -CLIP, CLIP)) * x
        predicted = parts.sum(axis=1)
        residual = np.log(predicted) - log_y
        size = np.abs(residual)
        huber = np.where(size < delta, 0.5 * residual**2, delta * (size - 0.5 * delta))
        slope = np.clip(residual, -delta, delta)
        off = base - start
        value = huber.sum() + 0.5 * shrinkage.base * (off**2).sum() + 0.5 * (penalty * effects**2).sum()
        by_row = parts / predicted[:, None] * slope[:, None]
        return float(value), np.concatenate(
            [
                (by_row.sum(axis=0) + shrinkage.base * off) * free,
                ((member_t @ by_row + penalty * effects) * free).ravel(),
            ]
        )

    first = np.concatenate([start, np.zeros(len(pairs) * width)])
    options = {"maxiter": steps, "maxfun": 2 * steps, "ftol": 1e-7}
    found = minimize(loss, first, jac=True, method="L-BFGS-B", options=options).x
    base, effects = found[:width], found[width:].reshape(len(pairs), width)
    by_level: dict[str, dict[str, Array]] = {name: {} for name in levels}
    for (name, value), effect in zip(pairs, effects, strict=True):
        by_level[name][value] = effect
    return Effects(terms, base, by_level)
