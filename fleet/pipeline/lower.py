"""Lowers a resolved fleet and its candidates to the solver's integers, and remembers what every integer came from."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

from fleet.candidates.need import Candidate, Shape
from fleet.candidates.rounding import rounded
from fleet.pipeline.resolved import ResolvedFleet, ResolvedOffering
from fleet.spec.model import Objective
from solver.problem import Budget, Demand, Level, Limit, Offering, Option, Previous, Problem

MICRO_USD = 1_000_000
MILLI = 1_000

SpecPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """Where the solver's ids come from: options to candidates, rules to places in the fleet file."""

    candidates: dict[str, Candidate]

    def path(self, rule: str, subject: str) -> SpecPath:
        """Return the place in the fleet file that states a rule of a conflict."""
        if rule in ("cover", "rate"):
            return ("spec", "workloads", subject, "demand")
        if rule.startswith("survive"):
            return ("spec", "policy", "survive")
        if rule == "min-replicas":
            return ("spec", "workloads", subject, "min_replicas")
        if rule in ("budget", "power"):
            offering = subject.partition(":")[2]
            if rule == "power" and offering not in ("", "fleet"):
                return ("spec", "hardware", "offerings", offering, "power_limit")
            return ("spec", "policy", "budget" if rule == "budget" else "power_limit")
        if rule == "min-units":
            return ("spec", "hardware", "offerings", subject, "committed")
        if rule == "purchase-unit":
            return ("spec", "hardware", "offerings", subject, "unit")
        if rule == "one-layout":
            return ("spec", "workloads", subject.partition("@")[0])
        if rule == "placement":
            return ("spec", "hardware", "offerings", subject, "accelerator")
        return ("spec", "hardware", "offerings", subject, "available")


def lower(
    fleet: ResolvedFleet,
    candidates: dict[str, list[Candidate]],
    budget: Budget,
    previous: Previous | None = None,
) -> tuple[Problem, Trace]:
    """Return the sizing and placement problem, amounts rounded so that an answer to it is one to the real problem."""
    policy = fleet.file.spec.policy
    ordered = [candidate for name in fleet.workloads for candidate in candidates[name]]
    problem = Problem(
        offerings=tuple(_offering(o) for o in fleet.offerings.values()),
        options=tuple(option_of(c.id, c.workload, c.shape, capacity_milli(c)) for c in ordered),
        demands=tuple(
            Demand(
                id=name,
                rate=max(ceil(workload.planning_req_per_s * MILLI - 1e-6), 1),
                min_replicas=workload.spec.min_replicas,
                survives=frozenset(Level(level.value) for level in policy.survive),
            )
            for name, workload in fleet.workloads.items()
        ),
        limits=_limits(fleet),
        previous=previous,
        objective={Objective.GPUS: "gpus", Objective.WATTS: "power"}.get(policy.objective, "cost"),
        churn_weight=round(policy.churn_weight * MICRO_USD),
        budget=budget,
    )
    return problem, Trace({c.id: c for c in ordered})


def _offering(offering: ResolvedOffering) -> Offering:
    return Offering(
        id=offering.name,
        zone=offering.spec.zone,
        unit_domains=offering.unit_domains,
        max_units=offering.available_units,
        min_units=offering.committed_units,
        domain_gpus=offering.usable_domain_gpus,
        host_gpus=offering.accelerator.gpus_per_host,
        domains_per_rack=offering.domains_per_rack,
        cost_per_unit=round(offering.usd_per_unit_hour * MICRO_USD),
        power_per_unit=round(offering.unit_watts),
        unit_gpus=offering.unit_gpus,
    )


def option_of(id: str, workload: str, shape: Shape, capacity: int) -> Option:
    """Return replicas of a shape as an option that serves a workload with so many milli-requests/s each."""
    return Option(
        id=id,
        offering=shape.place.offering,
        slot=f"{workload}@{shape.place.offering}",
        gpus=shape.reserved_gpus,
        domains=shape.whole_domains,
        capacity=((workload, capacity),),
    )


def capacity_milli(candidate: Candidate) -> int:
    """One replica's capacity in milli-requests/s, rounded down after the fourth digit."""
    return milli(candidate.rate_req_per_s)


def milli(rate_req_per_s: float) -> int:
    """A rate in milli-requests/s, rounded down after the fourth digit; 0 where it is less than one of them."""
    return floor(rounded(rate_req_per_s) * MILLI + 1e-6) if rate_req_per_s * MILLI >= 1 else 0


def _limits(fleet: ResolvedFleet) -> tuple[Limit, ...]:
    policy, everything = fleet.file.spec.policy, frozenset(fleet.offerings)
    limits: list[Limit] = []
    if policy.budget is not None:
        limits.append(Limit("budget", "budget", everything, round(policy.budget * MICRO_USD)))
    if policy.power_limit is not None:
        limits.append(Limit("power:fleet", "power", everything, round(policy.power_limit * 1000)))
    for name, offering in fleet.offerings.items():
        if offering.spec.power_limit is not None:
            limits.append(
                Limit(f"power:{name}", "power", frozenset({name}), round(offering.spec.power_limit * 1000))
            )
    return tuple(limits)
