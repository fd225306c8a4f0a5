"""A benchmark against the plan: whether it was the planned load, and whether the limits of the SLO hold.

A limit is judged by its own quantile where the result has it. Else a higher quantile within the limit shows that it
holds, and a lower one beyond it that it does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import isfinite, nan

from fleet.plan.document import FleetPlan, LimitLine, PlannedWorkload
from fleet.plan.file import plan_digest
from fleet.results.checks import requests_in_flight
from fleet.results.record import CACHED_LABEL, GPUS_LABEL, PLAN_LABEL, Latency
from fleet.review.bench_runs import Run

RATE_TOLERANCE, LENGTH_TOLERANCE, CONCURRENCY_TOLERANCE = 0.03, 0.05, 0.15
CACHED_TOLERANCE = 0.05
"""Of the prompt, not of the share."""
QUANTILES = (50, 90, 95, 99)


class Verdict(StrEnum):
    """What a benchmark says of one limit."""

    HOLDS = "holds"
    FASTER = "holds, below the predicted interval"
    SLOWER = "holds, above the predicted interval"
    FAILS = "does not hold"
    UNKNOWN = "not measured"

    @property
    def holds(self) -> bool:
        return self in (Verdict.HOLDS, Verdict.FASTER, Verdict.SLOWER)


@dataclass(frozen=True, slots=True)
class Judged:
    """A limit against what was measured; `quantile` is the one that was looked at."""

    line: LimitLine
    measured_ms: float | None
    quantile: int
    verdict: Verdict

    @property
    def over_limit(self) -> float | None:
        """Measured over the limit, as a share of the limit; negative where it holds."""
        return None if self.measured_ms is None else self.measured_ms / self.line.limit_ms - 1.0

    @property
    def over_prediction(self) -> float | None:
        """Measured over the prediction, as a share of it; None where another quantile was measured."""
        if self.measured_ms is None or self.quantile != self.line.quantile:
            return None
        return self.measured_ms / self.line.predicted_ms - 1.0


@dataclass(frozen=True, slots=True)
class LoadLine:
    """One figure of the load; `agrees` is None where the result does not say it."""

    name: str
    planned: float
    measured: float | None
    unit: str
    agrees: bool | None


@dataclass(frozen=True, slots=True)
class Mean:
    """A latency's mean against its prediction, for the record: no limit is on it."""

    metric: str
    predicted_ms: float
    measured_ms: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A run against the plan."""

    run: Run
    workload: PlannedWorkload
    load: tuple[LoadLine, ...]
    limits: tuple[Judged, ...]
    means: tuple[Mean, ...]
    in_flight: float | None  # requests, by Little's law or as held
    is_of_this_plan: bool | None  # None: the result does not say

    @property
    def is_planned_load(self) -> bool:
        """Whether every figure of the load that is known agrees, and rate or concurrency is known."""
        is_known = any(line.agrees for line in self.load if line.name in ("rate offered", "in flight"))
        return is_known and all(line.agrees is not False for line in self.load)

    @property
    def holds(self) -> bool:
        return all(judged.verdict.holds for judged in self.limits)

    @property
    def fails(self) -> bool:
        return any(judged.verdict is Verdict.FAILS for judged in self.limits)


def compare(plan: FleetPlan, run: Run) -> Comparison:
    """Return a run against the plan that its deployment belongs to."""
    workload = next(w for w in plan.workloads if w.name == run.served.workload)
    result, served = run.result, run.served
    said = result.labels.get(PLAN_LABEL)
    latencies = {"ttft": result.ttft, "tpot": result.tpot, "e2e": result.e2e}
    predicted = {"ttft": served.ttft_ms, "tpot": served.tpot_ms, "e2e": served.e2e_ms}
    return Comparison(
        run=run,
        workload=workload,
        load=_load(run, workload),
        limits=tuple(judge(line, latencies[line.metric]) for line in served.limits),
        means=tuple(Mean(name, predicted[name].mean, latencies[name].mean) for name in latencies),
        in_flight=result.concurrency or requests_in_flight(result),
        is_of_this_plan=None if said is None else said == plan_digest(plan),
    )


def judge(line: LimitLine, latency: Latency) -> Judged:
    """Return what a latency says of a limit."""
    measured = latency.at(line.quantile)
    if measured is not None:
        return Judged(line, measured, line.quantile, _verdict(line, measured))
    above = [(q, v) for q in QUANTILES if q > line.quantile and (v := latency.at(q)) is not None]
    if above and above[0][1] <= line.limit_ms:
        return Judged(line, above[0][1], above[0][0], Verdict.HOLDS)
    below = [(q, v) for q in QUANTILES if q < line.quantile and (v := latency.at(q)) is not None]
    if below and below[-1][1] > line.limit_ms:
        return Judged(line, below[-1][1], below[-1][0], Verdict.FAILS)
    return Judged(line, None, line.quantile, Verdict.UNKNOWN)


def _verdict(line: LimitLine, measured_ms: float) -> Verdict:
    if measured_ms > line.limit_ms:
        return Verdict.FAILS
    if measured_ms > line.error_high_ms:
        return Verdict.SLOWER
    return Verdict.FASTER if measured_ms < line.error_low_ms else Verdict.HOLDS


def _load(run: Run, workload: PlannedWorkload) -> tuple[LoadLine, ...]:
    result, demand, deployment = run.result, workload.demand, run.deployment
    rate = run.served.rate_req_per_s * run.replicas / deployment.replicas
    lines = [
        _line("prompt mean", demand.input_tokens.mean, result.isl, "tokens", LENGTH_TOLERANCE),
        _line("answer mean", demand.output_tokens.mean, result.osl, "tokens", LENGTH_TOLERANCE),
    ]
    if result.request_rate is not None or result.concurrency is None:
        lines.insert(0, _line("rate offered", rate, result.request_rate, "requests/s", RATE_TOLERANCE))
    else:
        in_flight = rate * run.served.e2e_ms.mean / 1e3
        lines.insert(0, _line("in flight", in_flight, result.concurrency, "requests", CONCURRENCY_TOLERANCE))
    cached = _number(result.labels.get(CACHED_LABEL))
    lines.append(
        LoadLine(
            "prompt shared",
            demand.cached_prefix_fraction,
            cached,
            "of the prompt",
            None if cached is None else abs(cached - demand.cached_prefix_fraction) <= CACHED_TOLERANCE,
        )
    )
    gpus = _number(result.labels.get(GPUS_LABEL))
    if gpus is not None and run.replicas_are_said:
        of_replica = gpus * len(run.sources) / run.replicas
        is_same = of_replica == deployment.gpus_per_replica
        lines.append(LoadLine("GPUs of a replica", deployment.gpus_per_replica, of_replica, "", is_same))
    return tuple(lines)


def _line(name: str, planned: float, measured: float | None, unit: str, tolerance: float) -> LoadLine:
    agrees = None if measured is None else abs(measured - planned) <= tolerance * planned
    return LoadLine(name, planned, measured, unit, agrees)


def _number(text: str | None) -> float | None:
    try:
        number = nan if text is None else float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None
