"""Token lengths as written (mean, percentiles, histogram) turned into a discrete distribution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log, sqrt
from statistics import NormalDist

from fleet.perf.interface import Lengths
from fleet.spec.model import LengthSpec

# Probability cells of the marginal distribution, finer towards the tail that the SLOs look at.
_CELLS = (0.0, 0.10, 0.25, 0.45, 0.65, 0.80, 0.90, 0.95, 0.98, 0.995, 1.0)
_STEPS_PER_CELL = 8
_MOST_ATOMS = 64
_STEEPEST = 6.0  # slope of a tail: log(tokens) for each standard deviation
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Marginal:
    """A discrete distribution of one length: values ascending, weights add up to 1.

    >>> Marginal((1.0, 3.0), (0.5, 0.5)).mean
    2.0
    """

    values: tuple[float, ...]
    weights: tuple[float, ...]

    @property
    def mean(self) -> float:
        return sum(v * w for v, w in zip(self.values, self.weights, strict=True))

    def quantile(self, probability: float) -> float:
        """Smallest value whose cumulative weight reaches `probability`."""
        reached = 0.0
        for value, weight in zip(self.values, self.weights, strict=True):
            reached += weight
            if reached >= probability - 1e-12:
                return value
        return self.values[-1]


def fixed(tokens: float) -> Marginal:
    """Every request has the same length."""
    return Marginal((max(tokens, 1.0),), (1.0,))


def marginal(spec: LengthSpec | float) -> Marginal:
    """Return the distribution that a length specification describes.

    Percentiles are joined by straight lines of log(tokens) against the normal score; the tail below
    the lowest one has the slope that gives the stated mean; where none does, the tail above the highest one has to bend, and
    what is then missing is a factor on all values. A mean alone is read as a log-normal with a
    coefficient of variation of 1.
    """
    if not isinstance(spec, LengthSpec):
        return fixed(spec)
    if spec.histogram:
        return _from_histogram(spec.histogram)
    known = [
        (q, float(v)) for q, v in ((0.5, spec.p50), (0.9, spec.p90), (0.95, spec.p95), (0.99, spec.p99)) if v
    ]
    if not known:
        if spec.mean is None:
            return fixed(spec.max or 1.0)
        sigma = sqrt(log(2.0))  # of the logarithm, for a coefficient of variation of 1
        median = spec.mean / sqrt(2.0)
        known = [(0.5, median), (0.9, median * exp(_NORMAL.inv_cdf(0.9) * sigma))]
    return _from_quantiles(known, spec.mean, spec.max)


def _from_histogram(rows: Sequence[tuple[float, float]]) -> Marginal:
    """Each row is [up to, share]; a row's requests are spread evenly over its bin, the last of them at its upper end."""
    total = sum(share for _, share in rows)
    parts = max(1, min(_STEPS_PER_CELL, _MOST_ATOMS // len(rows)))
    values, weights, low = [], [], 0.0
    for upper, share in rows:
        for part in range(parts):
            values.append(max(low + (upper - low) * (part + 0.5) / parts, 1.0))
            weights.append(share / total / parts)
        low = upper
    return Marginal(tuple(values), tuple(weights))


def _from_quantiles(known: list[tuple[float, float]], mean: float | None, largest: float | None) -> Marginal:
    knots = [(_NORMAL.inv_cdf(q), _log(v)) for q, v in known]
    upper_slope = max(_slope(knots[-2], knots[-1]) if len(knots) > 1 else 0.8, 0.0)
    lower_slope = max(_slope(knots[0], knots[1]) if len(knots) > 1 else 0.8, 0.0)
    cap = largest if largest else float("inf")
    if mean is None:
        return _discretise(knots, lower_slope, upper_slope, cap)

    def shaped(lower: float, upper: float) -> Marginal:
        return _discretise(knots, lower, upper, cap)

    if shaped(_STEEPEST, upper_slope).mean > mean:  # even with a steep lower tail: the upper tail is lighter
        upper_slope = _slope_for(mean, lambda slope: shaped(_STEEPEST, slope).mean, rising=True)
        lower_slope = _STEEPEST
    elif shaped(0.0, upper_slope).mean < mean:  # even with a flat lower tail: the upper tail is heavier
        upper_slope = _slope_for(mean, lambda slope: shaped(0.0, slope).mean, rising=True)
        lower_slope = 0.0
    else:
        lower_slope = _slope_for(mean, lambda slope: shaped(slope, upper_slope).mean, rising=False)
    return _scaled_to(mean, shaped(lower_slope, upper_slope))


def _slope_for(mean: float, mean_at: Callable[[float], float], *, rising: bool) -> float:
    """Return the slope of a tail, 0 to the steepest, that comes nearest to the mean."""
    low, high = 0.0, _STEEPEST
    for _ in range(40):
        middle = (low + high) / 2
        if (mean_at(middle) < mean) == rising:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _scaled_to(mean: float, found: Marginal) -> Marginal:
    """Bring the mean to what is written where the lower tail alone could not, all values by the same few per cent."""
    factor = mean / found.mean
    return Marginal(tuple(max(v * factor, 1.0) for v in found.values), found.weights)


def _discretise(
    knots: list[tuple[float, float]], lower_slope: float, upper_slope: float, cap: float
) -> Marginal:
    values, weights = [], []
    for start, end in pairwise(_CELLS):
        width = end - start
        inside = [start + width * (k + 0.5) / _STEPS_PER_CELL for k in range(_STEPS_PER_CELL)]
        tokens = [min(_at(_NORMAL.inv_cdf(p), knots, lower_slope, upper_slope), cap) for p in inside]
        values.append(max(sum(tokens) / len(tokens), 1.0))
        weights.append(width)
    return Marginal(tuple(values), tuple(weights))


def _at(z: float, knots: list[tuple[float, float]], lower_slope: float, upper_slope: float) -> float:
    first, last = knots[0], knots[-1]
    if z <= first[0]:
        exponent = first[1] + lower_slope * (z - first[0])
    elif z >= last[0]:
        exponent = last[1] + upper_slope * (z - last[0])
    else:
        left, right = next((a, b) for a, b in pairwise(knots) if a[0] <= z <= b[0])
        exponent = left[1] + _slope(left, right) * (z - left[0])
    return exp(min(exponent, 30.0))


def _slope(a: tuple[float, float], b: tuple[float, float]) -> float:
    return (b[1] - a[1]) / (b[0] - a[0])


def _log(value: float) -> float:
    return log(max(value, 1.0))


def joint(inputs: Marginal, outputs: Marginal) -> Lengths:
    """Return the joint distribution of independent input and output lengths."""
    rows = [
        (round(i, 3), round(o, 3), wi * wo)
        for i, wi in zip(inputs.values, inputs.weights, strict=True)
        for o, wo in zip(outputs.values, outputs.weights, strict=True)
    ]
    return Lengths(tuple(r[0] for r in rows), tuple(r[1] for r in rows), tuple(r[2] for r in rows))
