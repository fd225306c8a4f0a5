"""How far a benchmark run narrows an error bar, and how far a cell may turn out from its prediction.

    L(e)   = log(1 + e) / z_0.95                standard deviation of the log error whose 90 % bar is e
    spread = √( L(e before)² - L(e after)² )    of what the run can show: the rest is no level and stays unknown

Errors after a run are those that `fleetc calibrate` would state for the cell with one measurement more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import log1p, sqrt

from fleet.catalog.records import EngineId
from fleet.perf import coefficients
from fleet.perf.error_bars import Known, class_of
from fleet.perf.interface import Basis, Estimate, Point
from fleet.perf.measured import few_shot
from fleet.perf.rounding import six

Z_95 = 1.6449

KINDS = {"dense": "mixed", "moe": "mixed", "apart": "apart"}
"""Kinds of the classes of errors, and the role by which the errors after runs are known."""


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


@dataclass(frozen=True, slots=True)
class AfterRuns:
    """90 % bars of an unseen cell after 1 run and more, falling, by the class of its error (see `class_of`)."""

    tpot: Mapping[str, Sequence[float]]
    ttft: Mapping[str, Sequence[float]]


def after_runs() -> AfterRuns:
    """Return what the figures that ship with the package say, six digits; a lock keeps them beside its estimates."""
    bars, table = coefficients.committed(), few_shot.committed()
    tpot: dict[str, tuple[float, ...]] = {}
    ttft: dict[str, tuple[float, ...]] = {}
    for engine, (kind, role) in product(EngineId, KINDS.items()):
        name = f"{engine.value}|{kind}"
        unseen, counts = Known(name, rows=0), _counts(table, role)
        tpot[name] = tuple(six(bars.tpot_error.at(unseen) * table.tpot_left(role, k)) for k in counts)
        ttft[name] = tuple(six(bars.ttft_error.at(unseen) * table.ttft_left(role, k)) for k in counts)
    return AfterRuns(tpot, ttft)


def narrowing_of(point: Point, estimate: Estimate, after: AfterRuns) -> Narrowing:
    """Return what one run of a point's cell narrows."""
    name, is_measured = class_of(point), estimate.provenance.basis is Basis.MEASURED
    tpot, ttft = estimate.relative_error_p90, estimate.ttft_relative_error_p90
    return Narrowing(
        tpot,
        error_after_run(tpot, after.tpot[name], is_measured=is_measured),
        ttft,
        error_after_run(ttft, after.ttft[name], is_measured=is_measured),
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
