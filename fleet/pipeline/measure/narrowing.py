"""How far a benchmark run narrows an error bar, and how far a cell may turn out from its prediction.

    L(e)   = log(1 + e) / z_0.95                standard deviation of the log error whose 90 % bar is e
    spread = √( L(e before)² - L(e after)² )    of what the run can show: the rest is no level and stays unknown

Errors after a run are those that `fleetc calibrate` would state for the cell with one measurement more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log1p, sqrt

from fleet.layout import Role
from fleet.perf import coefficients
from fleet.perf.error_bars import Known, class_of
from fleet.perf.interface import Basis, Estimate, Point
from fleet.perf.measured import few_shot

Z_95 = 1.6449


@dataclass(frozen=True, slots=True)
class Narrowing:
    """90 % bars of a cell's TPOT and TTFT, before and after one run of it."""

    tpot_before: float
    tpot_after: float
    ttft_before: float
    ttft_after: float

    @property
    def tpot_spread(self) -> float:
        return spread(self.tpot_before, self.tpot_after)

    @property
    def ttft_spread(self) -> float:
        return spread(self.ttft_before, self.ttft_after)


def narrowing_of(point: Point, estimate: Estimate) -> Narrowing:
    """Return what one run of a point's cell narrows."""
    role = "mixed" if point.role is Role.MIXED else "apart"
    bars, table = coefficients.committed(), few_shot.committed()
    unseen = Known(class_of(point), rows=0)
    is_measured = estimate.provenance.basis is Basis.MEASURED
    tpot, ttft = estimate.relative_error_p90, estimate.ttft_relative_error_p90
    return Narrowing(
        tpot,
        error_after_run(
            tpot,
            [bars.tpot_error.at(unseen) * table.tpot_left(role, k) for k in _counts(table, role)],
            is_measured=is_measured,
        ),
        ttft,
        error_after_run(
            ttft,
            [bars.ttft_error.at(unseen) * table.ttft_left(role, k) for k in _counts(table, role)],
            is_measured=is_measured,
        ),
    )


def _counts(table: few_shot.FewShot, role: str) -> list[int]:
    """Numbers of measurements that the errors are known for, 1 and more."""
    return [k for k in sorted(table.tpot_error_p90[role]) if k >= 1]


def error_after_run(error_p90: float, after: Sequence[float], *, is_measured: bool) -> float:
    """Return the error of a cell with one measurement more.

    Args:
        after: Errors of an unseen cell after 1 measurement and more, falling.
        is_measured: The cell has measurements: its error is among them, and the next smaller one follows.

    >>> error_after_run(0.58, [0.33, 0.24], is_measured=False)
    0.33
    >>> error_after_run(0.33, [0.33, 0.24], is_measured=True)
    0.24
    """
    if not is_measured:
        return min(error_p90, after[0])
    return max((e for e in after if e < error_p90 * (1.0 - 1e-6)), default=error_p90)


def log_deviation(error_p90: float) -> float:
    """Return L of the module's head."""
    return log1p(error_p90) / Z_95


def spread(before_p90: float, after_p90: float) -> float:
    """Return the standard deviation, in logs, of the level that a run shows; 0 where it narrows nothing.

    >>> round(spread(0.58, 0.4), 3), spread(0.2, 0.2)
    (0.188, 0.0)
    """
    return sqrt(max(log_deviation(before_p90) ** 2 - log_deviation(after_p90) ** 2, 0.0))
