"""How wrong an estimate may be: quantiles of cross-validated residuals, and what widens them.

    bar = exp(w) - 1                          90 % of measurements lie within a factor 1 + bar of the estimate, either way
    w²  = s² [ (near + (far - near)₊ h / (h + n))² + d² q ]    n  rows of the cell, 0 when unseen

near, far: 90 % quantiles of |log(prediction / measurement)| of the class with lengths, and with whole groups left out.
s: product of what applies of: batch, context, width beyond the cell's data, coefficients borrowed from a sibling.
d² q: drift of engine versions, q quarters newer than the cell's data (a random walk: variances add up).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import expm1, hypot, log1p
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleet.layout import Role
from fleet.perf.interface import Point
from fleet.perf.levels import UNDATED

MOST_QUARTERS = 8


@dataclass(frozen=True, slots=True)
class Known:
    """What an error bar knows of an estimate beforehand."""

    class_name: str
    rows: int  # of data in its cell
    is_borrowed: bool = False  # coefficients of an older sibling
    quarters: int = 0  # by which the engine version is newer than the cell's data
    beyond_batch: bool = False
    beyond_context: bool = False
    beyond_width: bool = False


@dataclass(frozen=True, slots=True)
class ErrorBars:
    """Error bars of one metric. `interpolation` and `unseen` are relative errors by class (see `class_of`)."""

    interpolation: Mapping[str, float]
    unseen: Mapping[str, float]
    thin_cell_rows: float  # rows at which a cell is half-way between unseen and interpolation
    beyond_batch: float  # factors on the log error
    beyond_context: float
    beyond_width: float
    borrowed: float
    drift: float  # log error that one quarter adds, in quadrature

    def at(self, known: Known) -> float:
        """Return the relative error that 90 % of estimates like this one stay within."""
        widest = max(self.unseen.values())
        near = log1p(self.interpolation.get(known.class_name, widest))
        far = log1p(self.unseen.get(known.class_name, widest))
        share = self.thin_cell_rows / (self.thin_cell_rows + known.rows)
        width = hypot(near + max(far - near, 0.0) * share, self.drift * known.quarters**0.5)
        return expm1(width * self.factor(known))

    def factor(self, known: Known) -> float:
        """Return the factor on the log error of what the cell's data does not cover."""
        factor = self.borrowed if known.is_borrowed else 1.0
        factor *= self.beyond_width if known.beyond_width else 1.0
        factor *= self.beyond_batch if known.beyond_batch else 1.0
        return factor * (self.beyond_context if known.beyond_context else 1.0)


def widened(error: NDArray[np.float64], factor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return relative errors with a factor on their logs."""
    return np.asarray(np.expm1(np.log1p(error) * factor))


def class_of(point: Point) -> str:
    """Return the class that errors are kept for: the engine, and dense or MoE, or workers apart."""
    kind = "apart" if point.role is not Role.MIXED else "moe" if point.model.is_moe else "dense"
    return f"{point.engine.id.value}|{kind}"


def quarters_between(older: str, newer: str) -> int:
    """Return how many quarters (as 2026Q3) lie between two, none where the first is no older or one is undated.

    >>> quarters_between("2025Q4", "2026Q2"), quarters_between("2026Q2", "2025Q4"), quarters_between("undated", "2026Q1")
    (2, 0, 0)
    """
    if UNDATED in (older, newer):
        return 0
    count = [4 * int(q[:4]) + int(q[5:]) for q in (older, newer)]
    return min(max(count[1] - count[0], 0), MOST_QUARTERS)


def parse_bars(written: Mapping[str, Any]) -> ErrorBars:
    """Return the error bars of one metric from the data file."""
    return ErrorBars(**written)
