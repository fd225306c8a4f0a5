"""The user's own results: into the calibration of a stack, and what that changes in its predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.diagnostics import Diagnostic, Rejected, Severity
from fleet.perf.closed_loop import LoopResult, closed_loops
from fleet.perf.interface import PerformanceModel
from fleet.perf.measured.calibration import Calibration, fit
from fleet.perf.measured.measurement import Measurement
from fleet.perf.rounding import six
from fleet.pipeline.estimates import estimates_of
from fleet.pipeline.resolved import ResolvedFleet
from fleet.pipeline.runs import Runs, contradictions
from fleet.plan.document import FleetPlan
from fleet.results.read import Read

NAME = "calibration.json"
"""Name of the calibration file where the fleet file names none."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a model says of one measured loop, with the 90 % errors; None where it has no estimate."""

    tpot_ms: float
    ttft_ms: float
    output_tok_per_s: float
    tpot_error_p90: float
    ttft_error_p90: float
    basis: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measurement beside its predictions before and after."""

    measurement: Measurement
    before: Predicted | None
    after: Predicted | None

    @property
    def output_tok_per_s(self) -> float | None:
        """Measured answer tokens/s of the replica by Little's law; None where a time is missing."""
        m = self.measurement
        if m.tpot_ms is None or m.ttft_ms is None:
            return None
        return six(1e3 * m.loop.concurrency * m.loop.osl / (m.ttft_ms + m.loop.osl * m.tpot_ms))


@dataclass(frozen=True, slots=True)
class Calibrating:
    """A calibration with new results in it, and what they change."""

    calibration: Calibration
    comparisons: tuple[Comparison, ...]  # of the results that were given, in their order
    warnings: tuple[Diagnostic, ...]
    replaced: int  # results that were in the file already


def calibrate(
    read: Read,
    fleet: ResolvedFleet,
    plan: FleetPlan | None,
    existing: Calibration | None,
    *,
    deployment: str | None = None,
) -> Calibrating:
    """Add results to a stack's calibration.

    Args:
        read: Results of the user's own.
        plan: The committed plan that labels refer to; None: only rows of tables can be placed.
        existing: What the calibration file holds so far; None: there is none.
        deployment: The deployment of the plan that all results without a row of their own are of.

    Raises:
        Rejected: a result cannot be used, or contradicts another one; carries every finding. Or a backend is missing.
    """
    earlier = existing.measurements if existing else ()
    runs = Runs(fleet, plan, deployment, held={m.sha256: m for m in earlier})
    try:
        measurements = runs.measurements(read.results)
        given = {m.sha256 for m in measurements}
        kept = [m for m in earlier if m.sha256 not in given]
        placed = [*((None, m) for m in kept), *zip(read.results, measurements, strict=True)]
        if found := contradictions(placed):
            raise Rejected(found)
    except Rejected as rejected:
        raise Rejected([*read.warnings, *rejected.diagnostics], read.sources) from None
    calibration = fit([*kept, *measurements])
    performance = fleet.file.spec.performance
    before = estimates_of(performance, existing.text() if existing else None).model
    after = estimates_of(performance, calibration.text()).model
    return Calibrating(
        calibration=calibration,
        comparisons=tuple(compared(measurements, before, after)),
        warnings=(*read.warnings, *(d for d in runs.found if d.severity is not Severity.ERROR)),
        replaced=len(earlier) - len(kept),
    )


def compared(
    measurements: Sequence[Measurement], before: PerformanceModel, after: PerformanceModel
) -> list[Comparison]:
    """Return every measurement beside what two models predict of it."""
    loops = [m.loop for m in measurements]
    pairs = zip(measurements, closed_loops(before, loops), closed_loops(after, loops), strict=True)
    return [Comparison(m, _predicted(m, was), _predicted(m, now)) for m, was, now in pairs]


def _predicted(measurement: Measurement, result: object) -> Predicted | None:
    if not isinstance(result, LoopResult):
        return None
    return Predicted(
        tpot_ms=six(result.tpot_ms),
        ttft_ms=six(result.ttft_ms),
        output_tok_per_s=six(result.output_tok_per_s(measurement.loop.osl)),
        tpot_error_p90=six(result.decode.relative_error_p90),
        ttft_error_p90=six(result.prefill.ttft_relative_error_p90),
        basis=result.decode.provenance.basis.value,
    )
