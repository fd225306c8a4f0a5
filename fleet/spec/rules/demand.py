"""Rules about request rates, and about demand that a plan must not absorb in silence."""

from __future__ import annotations

from collections.abc import Iterator

from fleet.diagnostics import Diagnostic, Severity, at, check, enumerated
from fleet.spec.model import FleetFile, RateSpec
from fleet.units import format_requests_per_s, format_share

_NOTABLE_RETRIES = 0.05


@check()
def demand_without_rate(file: FleetFile) -> Iterator[Diagnostic]:
    """No request rate is given.

    What: A demand has no `rate` and no `trace`, or a `rate` without any figure.
    Why: The fleet is sized for a rate; none is assumed.
    Fix: Add a rate, for example `rate: {mean: 8 req/s, peak: 24 req/s}`, or a trace.
    """
    for name, workload in file.spec.workloads.items():
        rate, path = workload.demand.rate, ("spec", "workloads", name, "demand")
        message = f"workload '{name}' has no request rate"
        if rate is None and workload.demand.trace is None:
            yield demand_without_rate.report(message, at(*path, text="needs `rate` or `trace`", on_key=True))
        elif isinstance(rate, RateSpec) and not _ways(rate):
            yield demand_without_rate.report(message, at(*path, "rate", text="has no figure"))


@check()
def rate_ambiguous(file: FleetFile) -> Iterator[Diagnostic]:
    """A request rate is given in more than one way.

    What: A `rate` has more than one of: a constant, mean and peak, hourly values, a trace.
    Why: They may disagree, and which one counts would be a guess.
    Fix: Keep one way.
    """
    for name, workload in file.spec.workloads.items():
        rate = workload.demand.rate
        ways = _ways(rate) if isinstance(rate, RateSpec) else []
        if len(ways) > 1:
            path = ("spec", "workloads", name, "demand", "rate")
            labels = [at(*path, way, text="one way" if way == ways[0] else "another") for way in ways]
            yield rate_ambiguous.report(f"workload '{name}' gives its rate as {enumerated(ways)}", *labels)


@check()
def peak_below_mean(file: FleetFile) -> Iterator[Diagnostic]:
    """The peak is lower than the mean.

    What: `rate.peak` is below `rate.mean`.
    Why: The fleet is sized for the peak, and would not even carry the mean.
    Fix: Exchange the two, or correct the one that is wrong.
    """
    for name, workload in file.spec.workloads.items():
        rate = workload.demand.rate
        if isinstance(rate, RateSpec) and rate.peak is not None and rate.peak < (rate.mean or 0.0):
            path = ("spec", "workloads", name, "demand", "rate")
            yield peak_below_mean.report(
                f"workload '{name}' has a peak below its mean",
                at(*path, "peak", text=f"{format_requests_per_s(rate.peak)} at the peak"),
                at(*path, "mean", text=f"{format_requests_per_s(rate.mean or 0.0)} in the mean"),
            )


@check()
def demand_is_zero(file: FleetFile) -> Iterator[Diagnostic]:
    """A workload asks for nothing.

    What: The highest request rate of a workload is 0.
    Why: Nothing can be sized for it, and its cost per token has no meaning.
    Fix: Give the rate at the peak, or remove the workload.
    """
    for name, workload in file.spec.workloads.items():
        rate = workload.demand.rate
        if isinstance(rate, RateSpec):
            figures = [
                x for x in (rate.constant, rate.mean, rate.peak, *(rate.hourly or ())) if x is not None
            ]
        else:
            figures = [] if rate is None else [rate]
        if figures and max(figures) == 0:
            label = at("spec", "workloads", name, "demand", "rate", text="0 at all times")
            yield demand_is_zero.report(f"workload '{name}' asks for nothing", label)


@check()
def demand_all_cancelled(file: FleetFile) -> Iterator[Diagnostic]:
    """Every request of a workload is cancelled.

    What: `cancellation` is 100 %.
    Why: No token is useful then, and the cost of a useful one has no meaning.
    Fix: Give the share of requests that are cancelled, below 100 %.
    """
    for name, workload in file.spec.workloads.items():
        if workload.demand.cancellation >= 1:
            label = at("spec", "workloads", name, "demand", "cancellation", text="nothing is left to serve")
            yield demand_all_cancelled.report(f"every request of workload '{name}' is cancelled", label)


@check(Severity.WARNING)
def rate_without_peak(file: FleetFile) -> Iterator[Diagnostic]:
    """Only the mean of a request rate is given.

    What: `rate` has a mean and no peak.
    Why: The fleet is then sized for the mean, and misses its SLOs whenever demand is above it.
    Fix: Add `peak`: the rate in the busiest minutes.
    """
    for name, workload in file.spec.workloads.items():
        rate = workload.demand.rate
        if isinstance(rate, RateSpec) and rate.mean is not None and rate.peak is None:
            label = at(
                "spec", "workloads", name, "demand", "rate", "mean", text="planned as if it were the peak"
            )
            yield rate_without_peak.report(f"workload '{name}' has no peak rate", label)


@check(Severity.WARNING)
def guessed_demand(file: FleetFile) -> Iterator[Diagnostic]:
    """A demand is a guess.

    What: A demand's `basis` is guessed.
    Why: Every figure of the plan is as good as the demand it is made for.
    Fix: Measure the demand, and set basis: measured.
    """
    for name, workload in file.spec.workloads.items():
        if workload.demand.basis == "guessed":
            label = at("spec", "workloads", name, "demand", "basis", text="nobody has measured it")
            yield guessed_demand.report(f"the demand of workload '{name}' is a guess", label)


@check(Severity.INFO)
def forecast_demand(file: FleetFile) -> Iterator[Diagnostic]:
    """A demand is a forecast.

    What: A demand's `basis` is forecast.
    Why: The plan should be looked at again when the demand has been measured.
    Fix: Compare it with what is measured once the workload runs.
    """
    for name, workload in file.spec.workloads.items():
        if workload.demand.basis == "forecast":
            label = at("spec", "workloads", name, "demand", "basis")
            yield forecast_demand.report(f"the demand of workload '{name}' is a forecast", label)


@check(Severity.WARNING)
def retries_multiply_load(file: FleetFile) -> Iterator[Diagnostic]:
    """Retries add a notable part of the load.

    What: A workload has more than 5 % retries, or the gateway retries failed requests.
    Why: Retries come when the fleet is slow already, and make it slower; they are paid for and yield nothing.
    Fix: Find out why requests are retried, and lower gateway.retries.attempts.
    """
    attempts = file.spec.gateway.retries.attempts
    for name, workload in file.spec.workloads.items():
        retries = workload.demand.retries
        if retries > _NOTABLE_RETRIES:
            path = ("spec", "workloads", name, "demand", "retries")
            notes = (f"each of them may be tried {attempts + 1} times by the gateway",) if attempts else ()
            yield retries_multiply_load.report(
                f"retries add {format_share(retries)} to the load of workload '{name}'",
                at(*path, text="counted in the planned rate"),
                notes=notes,
            )
    if attempts:
        yield retries_multiply_load.report(
            f"the gateway may send a failing request {attempts + 1} times",
            at(
                "spec",
                "gateway",
                "retries",
                "attempts",
                text=f"up to {attempts + 1} times the load in a failure",
            ),
        )


def _ways(rate: RateSpec) -> list[str]:
    """Return the fields that give the rate, one for each way."""
    ways = ("constant", "peak" if rate.peak is not None else "mean", "hourly", "trace")
    return [way for way in ways if getattr(rate, way) is not None]


CHECKS = (
    demand_without_rate,
    rate_ambiguous,
    peak_below_mean,
    demand_is_zero,
    demand_all_cancelled,
    rate_without_peak,
    guessed_demand,
    forecast_demand,
    retries_multiply_load,
)
