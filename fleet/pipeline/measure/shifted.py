"""A backend after one run of every cell, as if each had turned out so many standard deviations from its prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import exp

from fleet.layout import Role
from fleet.perf.coefficients import cell_and_role
from fleet.perf.interface import Estimate, PerformanceModel, Point, Unsupported
from fleet.perf.roofline import Roofline
from fleet.perf.rounding import six
from fleet.pipeline.measure.narrowing import AfterRuns, Narrowing, narrowing_of


class Shifted:
    """Estimates of another backend with each cell's level moved and its error narrowed, never below the physical floor.

    A cell moves as a whole: by its smallest error among the points of one call, that of its level; what lies
    beyond its data keeps what it is more uncertain by.
    """

    def __init__(self, base: PerformanceModel, standard_score: float, after: AfterRuns) -> None:
        self._base, self._score, self._after = base, standard_score, after

    @property
    def name(self) -> str:
        return f"{self._base.name}, {self._score:+.2f} standard deviations"

    @property
    def digest(self) -> str:
        """That of the estimates which are moved."""
        return self._base.digest

    def estimate(self, points: Sequence[Point]) -> list[Estimate | Unsupported]:
        """Return the moved estimates, in order."""
        answers = self._base.estimate(points)
        cells = _cells(points)
        narrowed: dict[str, Narrowing] = {}
        for point, cell, answer in zip(points, cells, answers, strict=True):
            if isinstance(answer, Estimate) and _is_nearer(answer, narrowed.get(cell)):
                narrowed[cell] = narrowing_of(point, answer, self._after)
        floors = Roofline().estimate(points) if self._score < 0 else [None] * len(points)
        return [
            _moved(answer, point, self._score, narrowed[cell], floor)
            if isinstance(answer, Estimate)
            else answer
            for answer, point, cell, floor in zip(answers, points, cells, floors, strict=True)
        ]


def factors(narrowing: Narrowing, standard_score: float) -> tuple[float, float]:
    """Return the factors on a cell's TPOT and TTFT times at so many standard deviations of what a run can show.

    One score moves both, each by its own spread: whichever binds a candidate then moves as far as it may. The two levels
    of a cell are hardly correlated (0.07 over 33 cells in cross-validation), which matters only where both bind at once.
    """
    return exp(standard_score * narrowing.tpot_spread), exp(standard_score * narrowing.ttft_spread)


def _is_nearer(estimate: Estimate, known: Narrowing | None) -> bool:
    return known is None or estimate.relative_error_p90 < known.tpot_before


def _moved(
    e: Estimate, point: Point, score: float, narrowing: Narrowing, floor: Estimate | Unsupported | None
) -> Estimate:
    step, first = factors(narrowing, score)
    tpot_left = narrowing.tpot_after / narrowing.tpot_before if narrowing.tpot_before else 1.0
    ttft_left = narrowing.ttft_after / narrowing.ttft_before if narrowing.ttft_before else 1.0
    occupied = first if point.role is Role.PREFILL else step
    least = floor if isinstance(floor, Estimate) else None
    prefill = max(e.prefill_ms * occupied, least.prefill_ms if least else 0.0)
    latency = max(e.prefill_latency_ms * first, prefill, least.prefill_latency_ms if least else 0.0)
    return replace(
        e,
        decode_step_ms=six(max(e.decode_step_ms * step, least.decode_step_ms if least else 0.0)),
        prefill_ms=six(prefill),
        prefill_latency_ms=six(latency),
        interference_ms=six(e.interference_ms * step),
        constant_ms=six(e.constant_ms * first),
        per_running_request_ms=six(e.per_running_request_ms * first),
        burst_ms=six(e.burst_ms * first),
        relative_error_p90=six(e.relative_error_p90 * tpot_left),
        ttft_relative_error_p90=six(e.ttft_relative_error_p90 * ttft_left),
    )


def _cells(points: Sequence[Point]) -> list[str]:
    """Name the cell of every point; points that refer to the same records are of one cell."""
    known: dict[tuple[int, int, int, str, bool], str] = {}
    names = []
    for p in points:
        key = (id(p.model), id(p.accelerator), id(p.engine), p.weights.value, p.role is Role.MIXED)
        if key not in known:
            known[key] = cell_and_role(p)
        names.append(known[key])
    return names
