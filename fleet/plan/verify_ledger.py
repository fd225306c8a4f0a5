"""What every check of a plan shares: violations, tolerances, comparisons and look-ups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from fleet.layout import Role
from fleet.plan.document import (
    Deployment,
    FleetPlan,
    MappedDomain,
    PlannedModel,
    PlannedOffering,
    PlannedWorkload,
    Served,
)

MILLION = 1_000_000
"""A workload's shares, and the tokens of a price, are counted in millions."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that a plan breaks: about what, and in the message what was found and what is allowed."""

    rule: str
    subject: str
    message: str


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a figure may lie from its recomputation: relative × amount + absolute."""

    relative: float
    absolute: float

    def of(self, amount: float) -> float:
        return self.relative * abs(amount) + self.absolute


EXACT = Tolerance(0.0, 0.0)
"""Counts: integers have no rounding."""

SUMS = Tolerance(1e-6, 2e-6)
"""Money, power, rates: written with six decimals, so that a sum or product of a few of them moves by little more."""

DIGITS = Tolerance(2e-5, 1e-9)
"""Quotients of figures that are written with six significant digits, each up to 5e-6 off."""

CENTS = Tolerance(1e-9, 0.01)
"""Money for a month, written in cents."""

ONE_MICRO = Tolerance(1e-9, 1e-6)
"""Costs and bounds of one certificate: both come from integers in millionths of the unit."""

OPERATING_POINT = Tolerance(5e-4, 0.0)
"""Utilisation: a replica's capacity is rounded to four significant digits, and the utilisation there follows it."""

TIME_SHARES = Tolerance(0.0, 1e-3)
"""Shares of a step's time: each is written with four decimals, and those that round to nothing are left out."""

PARAMETERS = Tolerance(0.01, 0.0)
"""Weights against the model's parameter count, which is known to one per cent."""


def same(
    rule: str, subject: str, figure: str, found: float, recomputed: float, tolerance: Tolerance
) -> Iterator[Violation]:
    """Yield a violation unless a figure equals its recomputation."""
    if not abs(found - recomputed) <= tolerance.of(recomputed):
        yield Violation(rule, subject, f"{figure} is {found:.10g}, recomputed {recomputed:.10g}")


def at_most(
    rule: str, subject: str, figure: str, found: float, allowed: float, tolerance: Tolerance
) -> Iterator[Violation]:
    """Yield a violation unless a figure stays at or below what is allowed."""
    if not found <= allowed + tolerance.of(allowed):
        yield Violation(rule, subject, f"{figure} is {found:.10g}, allowed is at most {allowed:.10g}")


def at_least(
    rule: str, subject: str, figure: str, found: float, needed: float, tolerance: Tolerance
) -> Iterator[Violation]:
    """Yield a violation unless a figure reaches what is needed."""
    if not found >= needed - tolerance.of(needed):
        yield Violation(rule, subject, f"{figure} is {found:.10g}, needed is at least {needed:.10g}")


class Worker(NamedTuple):
    """One worker of one replica."""

    deployment: str
    replica: int
    role: Role
    worker: int


class Place(NamedTuple):
    """GPUs that a worker holds on one host."""

    domain: str
    host: int
    gpus: int


@dataclass(frozen=True)
class Ledger:
    """A plan with its names resolved. Look-ups raise KeyError for a name that the rule `reference` refuses."""

    plan: FleetPlan

    @cached_property
    def models(self) -> dict[str, PlannedModel]:
        return {m.name: m for m in self.plan.models}

    @cached_property
    def offerings(self) -> dict[str, PlannedOffering]:
        return {o.name: o for o in self.plan.offerings}

    @cached_property
    def workloads(self) -> dict[str, PlannedWorkload]:
        return {w.name: w for w in self.plan.workloads}

    @cached_property
    def deployments(self) -> dict[str, Deployment]:
        return {d.id: d for d in self.plan.deployments}

    @cached_property
    def served(self) -> dict[str, list[tuple[Deployment, Served]]]:
        """The lines that serve each workload, an empty list where none does."""
        lines: dict[str, list[tuple[Deployment, Served]]] = {w.name: [] for w in self.plan.workloads}
        for deployment in self.plan.deployments:
            for line in deployment.served:
                lines[line.workload].append((deployment, line))
        return lines

    @cached_property
    def domains(self) -> dict[str, list[MappedDomain]]:
        """The mapped domains of each offering."""
        mapped: dict[str, list[MappedDomain]] = {o.name: [] for o in self.plan.offerings}
        for domain in self.plan.domains:
            mapped[domain.offering].append(domain)
        return mapped

    @cached_property
    def domain(self) -> dict[str, MappedDomain]:
        return {d.id: d for d in self.plan.domains}

    @cached_property
    def places(self) -> dict[Worker, list[Place]]:
        """Where each worker stands, in the order of the rack map."""
        found: dict[Worker, list[Place]] = defaultdict(list)
        for domain in self.plan.domains:
            for host in domain.hosts:
                for slot in host.slots:
                    worker = Worker(slot.deployment, slot.replica, slot.role, slot.worker)
                    found[worker].append(Place(domain.id, host.index, slot.gpus))
        return dict(found)


def usable_domain_gpus(offering: PlannedOffering) -> int:
    """Return the GPUs of a domain that replicas may use, spare hosts taken out."""
    return offering.domain_gpus - offering.spare_hosts_per_domain * offering.gpus_per_host


def lent_req_per_s(deployment: Deployment, line: Served) -> float:
    """Return the capacity that a deployment lends to one of its workloads.

    A line's capacity is that of replicas which serve nothing else. Where there are several lines, the replicas are
    divided among them in proportion to the load λ_k / q_k that each brings:

        lent_k = q_k · (λ_k / q_k) / Σ_j (λ_j / q_j),   so that λ_k ≤ lent_k for all k exactly when Σ_j λ_j / q_j ≤ 1
    """
    if len(deployment.served) == 1:
        return line.capacity_req_per_s
    load = sum(s.rate_req_per_s / s.capacity_req_per_s for s in deployment.served if s.capacity_req_per_s > 0)
    return line.rate_req_per_s / load if load > 0 else line.capacity_req_per_s / len(deployment.served)


def useful_share(workload: PlannedWorkload, line: Served) -> float:
    """Return the share of output tokens that are useful: inside the SLO, not cancelled and not a retry's.

    u = q_min · (1 - cancellation) / (1 + retries),   q_min the lowest quantile that the line's limits hold at
    """
    attained = min((limit.quantile for limit in line.limits), default=100) / 100
    return attained * (1.0 - workload.demand.cancellation) / (1.0 + workload.demand.retries)
