"""Synthetic fleets with fixed seeds."""

from __future__ import annotations

import random
from dataclasses import dataclass

from solver.problem import Budget, Demand, Level, Offering, Option, Problem

HOST_AND_RACK = frozenset({Level.HOST, Level.RACK})
USUAL = Budget()


@dataclass(frozen=True, slots=True)
class Kind:
    """Hardware of one kind: domain, host and rack sizes, price of a unit and speed of a GPU against the slowest."""

    name: str
    domain_gpus: int
    host_gpus: int
    domains_per_rack: int
    usd_per_hour: float
    speed: float
    power_w: int


KINDS = (
    Kind("h100", 8, 8, 4, 24.0, 1.0, 10_200),
    Kind("h200", 8, 8, 4, 30.0, 1.35, 10_500),
    Kind("b200", 8, 8, 4, 46.0, 2.6, 14_300),
    Kind("gb200", 68, 4, 1, 460.0, 2.9, 120_000),
)


def _offering(name: str, kind: Kind, zone: str, units: int) -> Offering:
    return Offering(
        id=name,
        zone=zone,
        unit_domains=1,
        max_units=units,
        min_units=0,
        domain_gpus=kind.domain_gpus,
        host_gpus=kind.host_gpus,
        domains_per_rack=kind.domains_per_rack,
        cost_per_unit=round(kind.usd_per_hour * 1_000_000),
        power_per_unit=kind.power_w,
    )


def _options(
    rng: random.Random,
    workload: str,
    base_rate: float,
    smallest: int,
    offering: Offering,
    kind: Kind,
    count: int,
) -> list[Option]:
    """Layouts of one workload on one offering: capacity grows a little less than GPUs, with scatter."""
    sizes = [g for g in (1, 2, 4, 8, 16, 32) if smallest <= g <= (8 if kind.domain_gpus == 8 else 32)]
    found = []
    for number in range(count):
        gpus = rng.choice(sizes)
        capacity = max(
            1, int(base_rate * kind.speed * gpus ** rng.uniform(0.85, 1.05) * rng.uniform(0.6, 1.0))
        )
        name = f"{workload}-{offering.id}-{number}"
        found.append(Option(name, offering.id, f"{workload}@{offering.id}", gpus, 0, ((workload, capacity),)))
    return found


def reference_fleet(seed: int, load: float, budget: Budget = USUAL) -> Problem:
    """12 H100, 8 H200 and 6 B200 hosts and 3 GB200 racks in two zones, six workloads that outlive a host and a rack."""
    rng = random.Random(seed)
    counts = (12, 8, 6, 3)
    offerings = [_offering(k.name, k, "ab"[n % 2], counts[n]) for n, k in enumerate(KINDS)]
    return _with_workloads(rng, offerings, list(KINDS), 6, 12, load, budget)


def synthetic_fleet(
    seed: int, workloads: int, kinds: int, units: int, load: float = 0.5, budget: Budget = USUAL
) -> Problem:
    """Return W workloads on `kinds` offerings of `units` units each; `load` is the part of all GPUs that is needed."""
    rng = random.Random(seed)
    chosen = [KINDS[n % 4] for n in range(kinds)]
    offerings = [_offering(f"{k.name}-{n}", k, "abc"[n % 3], units) for n, k in enumerate(chosen)]
    return _with_workloads(rng, offerings, chosen, workloads, 6, load, budget)


def _with_workloads(
    rng: random.Random,
    offerings: list[Offering],
    kinds: list[Kind],
    workloads: int,
    layouts: int,
    load: float,
    budget: Budget,
) -> Problem:
    strength = sum(o.max_units * o.domain_gpus * k.speed for o, k in zip(offerings, kinds, strict=True))
    parts = [rng.uniform(0.3, 1.7) for _ in range(workloads)]
    options: list[Option] = []
    demands = []
    for number, part in enumerate(parts):
        name, base = f"w{number}", rng.uniform(200, 3000)
        smallest = rng.choice([1, 1, 2, 4])
        for offering, kind in zip(offerings, kinds, strict=True):
            options += _options(rng, name, base, smallest, offering, kind, layouts)
        rate = int(base * 0.8 * load * strength * part / sum(parts))
        demands.append(Demand(name, max(1, rate), 1, HOST_AND_RACK))
    return Problem(tuple(offerings), tuple(options), tuple(demands), budget=budget)
