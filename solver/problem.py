"""A sizing and placement problem in integers: what may be bought, what it serves, what must hold."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """A failure that the fleet has to outlive, one at a time."""

    HOST = "host"  # one operating system: an HGX host, or a compute tray of a rack
    RACK = "rack"  # one physical rack: an NVL72, or `hosts_per_rack` HGX hosts
    ZONE = "zone"


@dataclass(frozen=True, slots=True)
class Offering:
    """NVLink domains of one kind in one place.

    A domain is the smallest thing a replica is placed in: an HGX host or an NVL72 rack. Domains are interchangeable.
    `host_gpus` divides `domain_gpus` (usable GPUs of a domain, spares already taken out). Cost and power are per unit bought, used or not.
    """

    id: str
    zone: str
    unit_domains: int  # domains in one purchase unit
    max_units: int  # units that exist or may be bought
    min_units: int  # units already committed to
    domain_gpus: int
    host_gpus: int  # GPUs of one host (tray); replicas of up to this size stay on one host, larger ones take whole hosts
    domains_per_rack: int  # HGX: hosts in one physical rack; NVL72: 1
    cost_per_unit: int  # micro-USD per hour
    power_per_unit: int  # W, all-in
    unit_gpus: int = 0  # GPUs bought with a unit, spares included; 0: those that replicas may use

    @property
    def bought_gpus(self) -> int:
        """GPUs that one unit adds to what is bought."""
        return self.unit_gpus or self.unit_domains * self.domain_gpus


@dataclass(frozen=True, slots=True)
class Option:
    """Replicas of one candidate on one offering, for the workloads they can serve.

    Either `domains` is 0 and a replica takes `gpus` GPUs inside one domain, or `domains` >= 1 and a replica takes
    that many whole domains (`gpus` = domains * domain_gpus of the offering).
    """

    id: str
    offering: str
    slot: str  # at most one option of a slot is used (one layout for a workload on an offering)
    gpus: int
    domains: int
    capacity: tuple[
        tuple[str, int], ...
    ]  # workload id -> milli-requests/s of one replica that serves only it
    max_replicas: int | None = None
    cost_per_replica: int = 0  # micro-USD/h on top of the units bought, for example a licence


@dataclass(frozen=True, slots=True)
class Demand:
    """What one workload needs at its planning peak."""

    id: str
    rate: int  # milli-requests/s
    min_replicas: int = 1
    survives: frozenset[Level] = frozenset()  # losses after which the demand must still be met
    pieces: int = 0  # 0: traffic splits at will; k >= 1: into k equal pieces, each served by one option


@dataclass(frozen=True, slots=True)
class Limit:
    """A budget over some offerings: Σ weight × units bought ≤ amount."""

    id: str  # the rule's id for conflicts, for example budget or power:zone-a
    kind: str  # "budget" or "power"
    offerings: frozenset[str]
    amount: int  # micro-USD/h or W


@dataclass(frozen=True, slots=True)
class Previous:
    """Replicas of the plan in force, for the churn stage."""

    replicas: tuple[tuple[str, int], ...]  # option id -> replicas


@dataclass(frozen=True, slots=True)
class Budget:
    """How much work the solver may do; counts, never seconds, so that the answer is the same on every machine."""

    deterministic_seconds: float = 20.0
    gap: float = 0.005  # stop when (cost - bound) / cost is at most this


@dataclass(frozen=True, slots=True)
class Problem:
    """The whole problem. Tuples are in a canonical order chosen by the caller; the answer depends on it only for ties."""

    offerings: tuple[Offering, ...]
    options: tuple[Option, ...]
    demands: tuple[Demand, ...]
    limits: tuple[Limit, ...] = ()
    previous: Previous | None = None
    objective: str = "cost"  # "cost", "gpus" or "power": what is minimised first
    churn_weight: int = (
        0  # micro-USD/h that one replica kept is worth, used only to choose among answers inside the gap
    )
    budget: Budget = Budget()
