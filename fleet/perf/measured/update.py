"""The update: what a few measurements say of a cell, with the pooled fit as the prior.

    min  Σ_i [ ρ(log TPOT̂_i(θ) - log TPOT_i, σ) ] + (level / s)² / 2 + Σ_p (δ_p / q)² / 2            θ = (level, δ)

ρ is Huber's loss in units of the noise σ. TPOT comes first, by the parts of a step; TTFT follows with the step as it
then is, by the parts of the first token. Both predictions are of the closed loop that was measured. Gauss-Newton with
Levenberg's damping; the Jacobian by differences, for a closed loop has limits that bend it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import floor, log, log2

import numpy as np
from numpy.typing import NDArray

from fleet.layout import Role
from fleet.perf.closed_loop import LoopResult, closed_loops
from fleet.perf.interface import Estimate, PerformanceModel, Point, Unsupported
from fleet.perf.measured.measurement import Measurement
from fleet.perf.measured.parts import STEP_PARTS, between, moved, parts_of

Vector = NDArray[np.float64]
ROUNDS, DIFFERENCE, SMALL = 12, 1e-3, 1e-4
KNOTS = 8
HUBER = 2.0
"""Residuals beyond so many times the noise count linearly."""


@dataclass(frozen=True, slots=True)
class Prior:
    """Standard deviations of logs: of the level, of each part about it, and of one measurement."""

    level: float
    part: float
    noise: float


@dataclass(frozen=True, slots=True)
class Priors:
    """The prior of TPOT and that of TTFT."""

    tpot: Prior
    ttft: Prior


@dataclass(frozen=True, slots=True)
class Effects:
    """Effects on logs, by STEP_PARTS and by the parts of the first token; levels are within."""

    step: tuple[float, ...]
    first_token: tuple[float, ...]


class Moved:
    """A backend whose estimates have their parts moved; those of the backend beneath are kept.

    Workers that only decode are asked for at fixed batches, KNOTS to a doubling, and between them by straight lines: a
    closed loop tries many batches, and terms of a step are straight in the batch or nearly so.
    """

    def __init__(self, base: PerformanceModel) -> None:
        self._base = base
        self._known: dict[tuple[object, ...], Estimate | Unsupported] = {}
        self.step: Sequence[float] = (0.0,) * len(STEP_PARTS)
        self.first_token: Sequence[float] | None = None

    @property
    def name(self) -> str:
        return self._base.name

    @property
    def digest(self) -> str:
        return self._base.digest

    def estimate(self, points: Sequence[Point]) -> list[Estimate | Unsupported]:
        asked = [_knots(p) for p in points]
        missing = {_key(k): k for knots in asked for k in knots if _key(k) not in self._known}
        self._known |= zip(missing, self._base.estimate(list(missing.values())), strict=True)
        return [self._moved(p, knots) for p, knots in zip(points, asked, strict=True)]

    def _moved(self, point: Point, knots: Sequence[Point]) -> Estimate | Unsupported:
        known = [self._known[_key(k)] for k in knots]
        estimates = [e for e in known if isinstance(e, Estimate)]
        if len(estimates) < len(known):
            return next(e for e in known if isinstance(e, Unsupported))
        estimate = estimates[0]
        if len(estimates) == 2:
            low, high = (k.batch for k in knots)
            estimate = between(estimates[0], estimates[1], (point.batch - low) / (high - low))
        first = self.first_token or (0.0,) * len(parts_of(point.role))
        return moved(point, estimate, self.step, first)


def _knots(point: Point) -> tuple[Point, ...]:
    """Return the points that a point's estimate is made from: itself, or its two neighbours in batch."""
    if point.role is Role.PREFILL:
        return (replace(point, batch=1.0),)
    if point.role is Role.MIXED:
        return (point,)
    place = floor(log2(point.batch) * KNOTS)
    return tuple(replace(point, batch=2.0 ** (i / KNOTS)) for i in (place, place + 1))


def _key(p: Point) -> tuple[object, ...]:
    records = (id(p.model), id(p.accelerator), id(p.engine), id(p.layout), id(p.draft))
    return (*records, p.role, p.weights, p.dense_weights, p.kv, p.batch, p.isl, p.osl, p.cached_prefix)


def update(base: PerformanceModel, measured: Sequence[Measurement], priors: Priors) -> Effects:
    """Return the effects of one cell's measurements; cells whose loops cannot be priced are left as they are."""
    model = Moved(base)
    is_mixed = not measured[0].loop.replica.is_disaggregated
    parts = parts_of(Role.MIXED if is_mixed else Role.DECODE)

    def log_tpot(theta: Vector) -> Vector:
        model.step = effects_of(theta)
        return _logs(model, measured, lambda m: m.tpot_ms, lambda r: r.tpot_ms)

    def log_ttft(theta: Vector) -> Vector:
        model.first_token = effects_of(theta)
        return _logs(model, measured, lambda m: m.ttft_ms, lambda r: r.ttft_ms)

    step = effects_of(_fit(log_tpot, 1 + len(STEP_PARTS), priors.tpot))
    model.step = step
    first_token = effects_of(_fit(log_ttft, 1 + len(parts), priors.ttft))
    return Effects(step, first_token)


def effects_of(theta: Vector) -> tuple[float, ...]:
    """Return each part's whole effect: the level and its own."""
    return tuple((theta[0] + theta[1:]).tolist())


def _logs(
    model: PerformanceModel,
    measured: Sequence[Measurement],
    shown: Callable[[Measurement], float | None],
    predicted: Callable[[LoopResult], float],
) -> Vector:
    """Return log(predicted / measured) of every loop that has both."""
    loops = [m for m in measured if shown(m) is not None]
    results = closed_loops(model, [m.loop for m in loops])
    return np.array(
        [
            log(predicted(result) / value)
            for m, result in zip(loops, results, strict=True)
            if isinstance(result, LoopResult) and (value := shown(m)) is not None
        ]
    )


def _fit(residuals: Callable[[Vector], Vector], size: int, prior: Prior) -> Vector:
    """Return the mode of the posterior."""
    theta = np.zeros(size)
    precision = np.array([prior.level**-2] + [prior.part**-2] * (size - 1))
    r = residuals(theta)
    value, damping = _loss(r, theta, precision, prior.noise), 1e-3
    for _ in range(ROUNDS if r.size else 0):
        jacobian = np.stack(
            [(residuals(theta + DIFFERENCE * unit) - r) / DIFFERENCE for unit in np.eye(size)], axis=1
        )
        weight = np.minimum(1.0, HUBER * prior.noise / np.maximum(np.abs(r), 1e-12)) / prior.noise**2
        hessian = jacobian.T @ (weight[:, None] * jacobian) + np.diag(precision)
        gradient = jacobian.T @ (weight * r) + precision * theta
        while damping < 1e6:
            trial = theta - np.linalg.solve(hessian + damping * np.diag(np.diag(hessian)), gradient)
            moved_r = residuals(trial)
            found = _loss(moved_r, trial, precision, prior.noise)
            if found <= value:
                break
            damping *= 10.0
        else:
            return theta
        done = value - found < SMALL
        theta, r, value, damping = trial, moved_r, found, damping / 10.0
        if done:
            break
    return theta


def _loss(r: Vector, theta: Vector, precision: Vector, noise: float) -> float:
    size = np.abs(r) / noise
    huber = np.where(size < HUBER, 0.5 * size**2, HUBER * (size - 0.5 * HUBER)).sum()
    return float(huber + 0.5 * (precision * theta**2).sum())
