"""Which candidates a benchmark run is about: those of the plan, those that lost, and those dropped that come back when faster.

A run shows the level of a cell (model x accelerator x engine x precision, workers mixed or apart). Every candidate has its
rate at each outcome of its own cell's run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt

from fleet.candidates.enumerate import space_of
from fleet.candidates.need import Candidate, Need, Place, Shape
from fleet.candidates.prune import identity
from fleet.candidates.rounding import rounded
from fleet.layout import Role
from fleet.perf.coefficients import cell_and_role
from fleet.perf.interface import PerformanceModel, Unsupported
from fleet.perf.serving import largest_rates
from fleet.pipeline.measure.narrowing import AfterRuns
from fleet.pipeline.measure.shifted import Shifted
from fleet.pipeline.needs import need_of, places_of
from fleet.pipeline.resolved import ResolvedFleet

FAST, MIDDLE, SLOW = 0, 1, 2
SCORES = (-sqrt(3.0), 0.0, sqrt(3.0))
PROBABILITIES = (1.0 / 6.0, 2.0 / 3.0, 1.0 / 6.0)
"""Outcomes of a run: the three-point Gauss-Hermite rule, exact for polynomials of a normal variable up to degree five."""

NOWHERE = (0.0, 0.0, 0.0)
MOST_RETURNING = 4
"""Dropped candidates of one workload in one cell that are considered: those that would be cheapest."""


@dataclass(frozen=True, slots=True)
class Near:
    """A candidate within reach. `rates`: requests/s of one replica at each outcome of its cell's run, 0 where it fails."""

    id: str
    workload: str
    shape: Shape
    cell: str
    rate_now: float  # as predicted; 0: dropped
    rates: tuple[float, float, float]
    candidate: Candidate | None  # None: dropped

    def usd_per_request_rate(self, rate: float) -> float:
        """USD per hour for each request per second at a rate of one replica."""
        usd = self.shape.reserved_gpus * self.shape.place.usd_per_usable_gpu_hour
        return usd / rate if rate else float("inf")


def cell_of_shape(shape: Shape) -> str:
    """Name the cell whose level decides how fast a shape is."""
    role = Role.DECODE if shape.is_disaggregated else Role.MIXED
    return cell_and_role(shape.replica.decoder.point(role, batch=1.0, isl=1.0, osl=1.0))


def within_reach(
    fleet: ResolvedFleet,
    candidates: Mapping[str, Sequence[Candidate]],
    perf: PerformanceModel,
    after: AfterRuns,
    *,
    plans_on_median: bool,
) -> list[Near]:
    """Return all candidates within reach, workload by workload.

    Only what was asked of `perf` before is asked again, so that a lock which answers a compile answers this too.

    Args:
        plans_on_median: No margin is planned for errors: then the middle outcome is what the plan was made with.
    """
    models = [Shifted(perf, score, after) for score in SCORES]
    found: list[Near] = []
    for name, workload in fleet.workloads.items():
        need = need_of(workload, fleet.file.spec.policy)
        kept = [
            Near(c.id, name, c.shape, cell_of_shape(c.shape), c.rate_req_per_s, NOWHERE, c)
            for c in candidates[name]
        ]
        middle = [n.rate_now for n in kept] if plans_on_median else _rates(models[MIDDLE], kept, need)
        fast, slow = (_rates(models[outcome], kept, need) for outcome in (FAST, SLOW))
        found += [
            replace(n, rates=rates)
            for n, rates in zip(kept, zip(fast, middle, slow, strict=True), strict=True)
        ]
        found += _returning(need, places_of(workload, fleet), kept, models[FAST])
    return found


def _rates(perf: PerformanceModel, rows: Sequence[Near], need: Need) -> list[float]:
    rates = largest_rates(perf, [n.shape.replica for n in rows], need.load)
    return [0.0 if isinstance(rate, Unsupported) else rate for rate in rates]


def _returning(
    need: Need, places: Iterable[Place], kept: Sequence[Near], faster: PerformanceModel
) -> list[Near]:
    """Return dropped candidates of mixed workers that serve when their cell is fast, the cheapest of each cell.

    Those dropped among workers apart are left out: the kept ones stand for their cells.
    """
    known = {n.id for n in kept}
    shapes = [s for place in places for s in space_of(need, place).mixed if identity(need, s) not in known]
    rows = [Near(identity(need, s), need.workload, s, cell_of_shape(s), 0.0, NOWHERE, None) for s in shapes]
    rates = _rates(faster, rows, need)
    back = [
        replace(n, rates=(rate, 0.0, 0.0)) for n, rate in zip(rows, rates, strict=True) if rate * 1000 >= 1
    ]
    chosen: list[Near] = []
    for cell in sorted({n.cell for n in back}):
        of_cell = [n for n in back if n.cell == cell]
        chosen += sorted(of_cell, key=lambda n: (n.usd_per_request_rate(rounded(n.rates[FAST])), n.id))[
            :MOST_RETURNING
        ]
    return chosen
