"""Token lengths of a workload as knots of a quantile function, from what the plan says of them.

Between knots log(tokens) is linear in the normal score, as it was when the plan was made. The plan has p50, p90, p99
and the largest; below the median the line has the slope that gives the mean, a length being one token at least. Where
no slope does, what is missing is a factor on all lengths.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache
from math import exp, log
from statistics import NormalDist

from fleet.plan.document import LengthSummary

Knots = tuple[tuple[float, float], ...]
"""Pairs of normal score and tokens, both rising; tokens may be below one, which is read as one."""

_NORMAL = NormalDist()
_EXTREME = _NORMAL.inv_cdf(0.9999)
_SCORES = (*(_NORMAL.inv_cdf(q) for q in (0.5, 0.9, 0.99)), _EXTREME)
_STEEPEST = 6.0  # log(tokens) for each standard deviation
_SAMPLES = tuple(_NORMAL.inv_cdf((i + 0.5) / 500) for i in range(500))


@lru_cache(maxsize=256)
def length_knots(summary: LengthSummary) -> Knots:
    """Return the knots of lengths whose mean is the stated one."""
    known: list[float] = []
    for tokens in (summary.p50, summary.p90, summary.p99, summary.max):
        known.append(max(tokens, known[-1] if known else 1.0))
    low, high = 0.0, _STEEPEST
    for _ in range(40):  # the mean falls with the slope
        middle = (low + high) / 2.0
        low, high = (middle, high) if mean_of(_shaped(known, middle)) > summary.mean else (low, middle)
    found = _shaped(known, high)
    factor = summary.mean / mean_of(found)
    return tuple((round(score, 6), float(f"{tokens * factor:.6g}")) for score, tokens in found)


def _shaped(known: list[float], slope: float) -> Knots:
    return ((-_EXTREME, known[0] * exp(-slope * _EXTREME)), *zip(_SCORES, known, strict=True))


def mean_of(knots: Knots) -> float:
    """Return the mean length, tokens."""
    scores = [score for score, _ in knots]
    logs = [log(tokens) for _, tokens in knots]
    slopes = [(logs[i + 1] - logs[i]) / (scores[i + 1] - scores[i]) for i in range(len(knots) - 1)]
    total = 0.0
    for score in _SAMPLES:
        left = min(max(bisect_left(scores, score) - 1, 0), len(slopes) - 1)
        total += max(exp(logs[left] + slopes[left] * (score - scores[left])), 1.0)
    return total / len(_SAMPLES)
