"""One small fleet, and how to change one thing about it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from solver.problem import Budget, Demand, Limit, Offering, Option, Problem

EXACT = Budget(deterministic_seconds=5.0, gap=0.0)


def hosts(name: str = "h100", **changes: Any) -> Offering:
    """Four hosts of 8 GPUs at 10 each."""
    usual = Offering(
        id=name,
        zone="a",
        unit_domains=1,
        max_units=4,
        min_units=0,
        domain_gpus=8,
        host_gpus=8,
        domains_per_rack=2,
        cost_per_unit=10,
        power_per_unit=7,
    )
    return replace(usual, **changes)


def racks(name: str = "gb200", **changes: Any) -> Offering:
    """Two racks of 18 trays, 17 of them usable, 4 GPUs a tray."""
    return hosts(
        name,
        **{"max_units": 2, "domain_gpus": 68, "host_gpus": 4, "domains_per_rack": 1, "cost_per_unit": 100}
        | changes,
    )


def option(
    name: str = "chat", offering: str = "h100", gpus: int = 4, rate: int = 100, **changes: Any
) -> Option:
    """Replicas of 4 GPUs that serve 100 milli-requests/s of `chat`."""
    return replace(Option(name, offering, f"{name}@{offering}", gpus, 0, (("chat", rate),)), **changes)


def demand(rate: int = 300, **changes: Any) -> Demand:
    return replace(Demand("chat", rate), **changes)


def fleet(*parts: Offering | Option | Demand | Limit, **changes: Any) -> Problem:
    """Return a problem of these parts; kinds that are left out are the usual ones."""

    def of(kind: type, usual: Any) -> tuple[Any, ...]:
        found = tuple(p for p in parts if isinstance(p, kind))
        return found or ((usual,) if usual else ())

    return Problem(
        offerings=of(Offering, hosts()),
        options=of(Option, option()),
        demands=of(Demand, demand()),
        limits=of(Limit, None),
        **({"budget": EXACT} | changes),
    )
