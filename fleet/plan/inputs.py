"""What moved in the inputs of two plans, as far as both plans tell: the reasons of a diff."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from fleet.plan.document import FleetPlan, PerformanceLine, PlannedOffering, PlannedWorkload, PriceLine
from fleet.plan.estimates import estimate_changes
from fleet.units import format_ms, format_requests_per_s, format_share, format_usd_per_hour

NOTICEABLE = 0.005
"""A relative change below this is rounding, no reason."""

UNSEEN_RULES = frozenset({"estimates-changed", "backend-changed", "catalog-changed", "compiler-changed"})
"""Inputs that change nothing by themselves: what they did shows elsewhere in the plan, or they did nothing."""


class Subject(StrEnum):
    """What an input belongs to."""

    WORKLOAD = "workload"
    OFFERING = "offering"
    FLEET = "fleet"


@dataclass(frozen=True, slots=True)
class InputChange:
    """One input that differs. `rule` is its kind in kebab-case, `sentence` names old and new value with units."""

    subject: Subject
    name: str
    rule: str
    sentence: str


def input_changes(old: FleetPlan, new: FleetPlan) -> tuple[InputChange, ...]:
    """Return every input that differs: workloads by name, then offerings by name, then what holds for the fleet."""
    before_loads, after_loads = ({w.name: w for w in plan.workloads} for plan in (old, new))
    before_offers, after_offers = ({o.name: o for o in plan.offerings} for plan in (old, new))
    predicted = estimate_changes(old, new)
    changes: list[InputChange] = []
    for name in sorted(before_loads | after_loads):
        found = _workload(before_loads.get(name), after_loads.get(name))
        changes.extend(InputChange(Subject.WORKLOAD, name, rule, text) for rule, text in found)
        changes.extend(
            InputChange(Subject.WORKLOAD, name, "estimate-moved", moved.sentence)
            for moved in predicted
            if name in moved.workloads
        )
    for name in sorted(before_offers | after_offers):
        found = _offering(before_offers.get(name), after_offers.get(name))
        changes.extend(InputChange(Subject.OFFERING, name, rule, text) for rule, text in found)
    changes.extend(InputChange(Subject.FLEET, new.fleet, rule, text) for rule, text in _fleet(old, new))
    return tuple(changes)


def _workload(old: PlannedWorkload | None, new: PlannedWorkload | None) -> Iterator[tuple[str, str]]:
    if old is None or new is None:
        if new is not None:
            yield "workload-added", f"workload '{new.name}' is new"
        elif old is not None:
            yield "workload-removed", f"workload '{old.name}' is gone"
        return
    if old.model != new.model:
        yield "model-changed", f"'{new.name}' asks for {new.model} instead of {old.model}"
    yield from _demand(old, new)
    yield from _limits(old, new)
    if old.priority != new.priority:
        yield "priority-changed", f"priority of '{new.name}' goes from {old.priority} to {new.priority}"


def _demand(old: PlannedWorkload, new: PlannedWorkload) -> Iterator[tuple[str, str]]:
    was, now = old.demand, new.demand
    if moved := _moved(was.planning_req_per_s, now.planning_req_per_s):
        rates = f"{format_requests_per_s(was.planning_req_per_s)} to {format_requests_per_s(now.planning_req_per_s)}"
        yield "demand-changed", f"demand of '{new.name}' at the planning peak is {moved} ({rates})"
    for what, a, b in (
        ("mean prompt", was.input_tokens, now.input_tokens),
        ("mean answer", was.output_tokens, now.output_tokens),
    ):
        if moved := _moved(a.mean, b.mean):
            yield (
                "lengths-changed",
                f"{what} of '{new.name}' is {moved} ({a.mean:,.0f} to {b.mean:,.0f} tokens)",
            )
        elif a != b:
            yield (
                "lengths-changed",
                f"{what} of '{new.name}' keeps its mean, its percentiles differ (p99 {a.p99:,.0f} to {b.p99:,.0f} tokens)",
            )
    for what, x, y in (
        ("prompt tokens found in the cache", was.cached_prefix_fraction, now.cached_prefix_fraction),
        ("cancelled requests", was.cancellation, now.cancellation),
        ("retries", was.retries, now.retries),
    ):
        if abs(x - y) >= NOTICEABLE:
            yield (
                "demand-shape-changed",
                f"{what} of '{new.name}' go from {format_share(x)} to {format_share(y)}",
            )
    if _moved(was.burstiness_cv, now.burstiness_cv):
        yield (
            "demand-shape-changed",
            f"burstiness of '{new.name}' goes from {was.burstiness_cv:g} to {now.burstiness_cv:g} (CV of arrivals)",
        )
    if was.basis != now.basis:
        yield "demand-basis-changed", f"demand of '{new.name}' is {now.basis}, it was {was.basis}"


def _limits(old: PlannedWorkload, new: PlannedWorkload) -> Iterator[tuple[str, str]]:
    before, after = ({(m, q): ms for m, q, ms in w.limits_as_written} for w in (old, new))
    for metric, quantile in sorted(before | after):
        was, now = before.get((metric, quantile)), after.get((metric, quantile))
        line = f"{metric} p{quantile} of '{new.name}'"
        if was is None and now is not None:
            yield "slo-limit-added", f"{line} is now limited to {format_ms(now)}"
        elif was is not None and now is None:
            yield "slo-limit-removed", f"{line} is no longer limited (was {format_ms(was)})"
        elif was is not None and now is not None and was != now:
            verb = "tightened" if now < was else "relaxed"
            yield "slo-limit-changed", f"{line} is {verb} from {format_ms(was)} to {format_ms(now)}"


def _offering(old: PlannedOffering | None, new: PlannedOffering | None) -> Iterator[tuple[str, str]]:
    if old is None or new is None:
        if new is not None:
            yield "offering-added", f"offering '{new.name}' is new"
        elif old is not None:
            yield "offering-removed", f"offering '{old.name}' is gone"
        return
    if sentence := price_moved(new.name, old.price, new.price):
        yield "price-changed", sentence
    if old.available_units != new.available_units:
        yield (
            "inventory-changed",
            f"'{new.name}' has {new.available_units:,} units, it had {old.available_units:,}",
        )
    if old.accelerator != new.accelerator:
        yield "accelerator-changed", f"'{new.name}' is {new.accelerator_name}, it was {old.accelerator_name}"
    for what, was, now in (
        ("zone", old.zone, new.zone),
        ("machine type", old.machine_type, new.machine_type),
        ("units bought together, in domains", old.unit_domains, new.unit_domains),
        ("spare trays of each domain", old.spare_hosts_per_domain, new.spare_hosts_per_domain),
    ):
        if was != now:
            yield "offering-changed", f"{what} of '{new.name}' goes from {was} to {now}"


def price_moved(name: str, old: PriceLine, new: PriceLine) -> str:
    """Return a sentence on a price that differs; empty if it does not.

    >>> from datetime import date
    >>> old = PriceLine(usd_per_gpu_hour=2.0, kind="spot", as_of=date(2026, 9, 1), source="list")
    >>> price_moved("h100", old, old.model_copy(update={"usd_per_gpu_hour": 2.5}))
    "price of 'h100' is up 25 % ($2.000 to $2.500 per GPU-hour)"
    """
    if moved := _moved(old.usd_per_gpu_hour, new.usd_per_gpu_hour):
        return f"price of '{name}' is {moved} ({gpu_price(old.usd_per_gpu_hour)} to {gpu_price(new.usd_per_gpu_hour)} per GPU-hour)"
    if old.kind != new.kind:
        return f"price of '{name}' is of kind {new.kind}, it was {old.kind}"
    return ""


def gpu_price(usd_per_gpu_hour: float) -> str:
    """Return the price of one GPU for an hour to a tenth of a cent, so that products of it can be followed.

    >>> gpu_price(6.155)
    '$6.155'
    """
    return f"${usd_per_gpu_hour:,.3f}"


def _fleet(old: FleetPlan, new: FleetPlan) -> Iterator[tuple[str, str]]:
    was, now = old.policy, new.policy
    if old.fleet != new.fleet:
        yield "fleet-changed", f"the plans are of different fleets: '{new.fleet}', before '{old.fleet}'"
    for what, a, b in (
        ("failures to survive", ", ".join(was.survive) or "none", ", ".join(now.survive) or "none"),
        ("spare trays per rack", str(was.spare_trays_per_rack), str(now.spare_trays_per_rack)),
        ("largest utilisation", format_share(was.max_utilisation), format_share(now.max_utilisation)),
        (
            "planned quantile of the prediction error",
            format_share(was.error_quantile),
            format_share(now.error_quantile),
        ),
        ("budget", _money(was.budget_usd_per_hour), _money(now.budget_usd_per_hour)),
        ("power limit", _kilowatts(was.power_limit_kw), _kilowatts(now.power_limit_kw)),
        ("quality record policy", was.quality_record, now.quality_record),
        ("objective", old.certificate.objective, new.certificate.objective),
    ):
        if a != b:
            yield "policy-changed", f"{what}: {a} to {b}"
    if old.performance and new.performance and old.performance != new.performance:
        came, come = _origin(old.performance), _origin(new.performance)
        yield "backend-changed", f"performance estimates come from {come}; they came from {came}"
    elif old.digests.performance != new.digests.performance:
        yield "estimates-changed", "the performance estimates differ (perf.lock.json)"
    if old.digests.catalog != new.digests.catalog:
        yield "catalog-changed", "the catalogue of hardware, engines and models differs"
    if old.compiled_by != new.compiled_by:
        yield "compiler-changed", f"compiled by {new.compiled_by}, it was {old.compiled_by}"


def _origin(line: PerformanceLine) -> str:
    own = f" with {line.calibration}" if line.calibration else ""
    return f"{line.model} {line.digest[:12]}{own}"


def _moved(old: float, new: float) -> str:
    """Return "up 20 %" or "down 5 %", or nothing for a change that is rounding."""
    if old == new or (old and abs(new - old) < NOTICEABLE * abs(old)):
        return ""
    if old == 0:
        return "new"
    return f"{'up' if new > old else 'down'} {format_share(abs(new - old) / abs(old))}"


def _money(usd_per_hour: float | None) -> str:
    return "none" if usd_per_hour is None else format_usd_per_hour(usd_per_hour)


def _kilowatts(kw: float | None) -> str:
    return "none" if kw is None else f"{kw:,.1f} kW"
