"""Candidates that lost: what each would cost alone, and why it is not in the plan."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import ceil

from fleet.candidates.need import Candidate, Drop
from fleet.pipeline.lower import capacity_milli
from fleet.pipeline.resolved import ResolvedFleet, ResolvedWorkload
from fleet.plan.document import Alternative, DeploymentMode, Dropped

_SHOWN = 6
_EXAMPLE = 160


def alternatives(
    workload: ResolvedWorkload,
    fleet: ResolvedFleet,
    candidates: Sequence[Candidate],
    chosen: frozenset[str],
    chosen_usd: float,
) -> tuple[Alternative, ...]:
    """Return the cheapest losing candidates, at most one of each layout and mode on an offering."""
    priced = sorted(
        (_alone(workload, c) for c in candidates if c.id not in chosen), key=lambda row: (row[1], row[0].id)
    )
    offerings_used = {c.shape.place.offering for c in candidates if c.id in chosen}
    found: list[Alternative] = []
    seen: set[str] = set()
    for candidate, usd, replicas in priced:
        place = candidate.shape.place.offering
        key = f"{place}/{candidate.shape.is_disaggregated}"
        if key in seen:
            continue
        seen.add(key)
        found.append(
            _line(
                candidate,
                usd,
                replicas,
                _reason(candidate, usd, replicas, chosen_usd, fleet, place in offerings_used),
            )
        )
    return tuple(found[:_SHOWN])


def _alone(workload: ResolvedWorkload, candidate: Candidate) -> tuple[Candidate, float, int]:
    replicas = ceil(workload.planning_req_per_s * 1000 / capacity_milli(candidate) - 1e-9)
    return candidate, round(replicas * candidate.usd_per_hour, 6), replicas


def _line(candidate: Candidate, usd: float, replicas: int, reason: str) -> Alternative:
    shape = candidate.shape
    return Alternative(
        offering=shape.place.offering,
        layout=shape.label,
        engine=f"{shape.engine.id.value} {shape.engine.version}",
        precision=shape.weights.precision,
        mode=DeploymentMode.DISAGGREGATED if shape.is_disaggregated else DeploymentMode.AGGREGATED,
        gpus_per_replica=shape.gpus,
        replicas=replicas,
        gpus=replicas * shape.gpus,
        usd_per_hour=usd,
        why_lost=reason,
    )


def _reason(
    candidate: Candidate, usd: float, replicas: int, chosen_usd: float, fleet: ResolvedFleet, is_used: bool
) -> str:
    shape = candidate.shape
    offering = fleet.offerings[shape.place.offering]
    room = offering.available_units * offering.unit_domains * offering.usable_domain_gpus
    if replicas * shape.gpus > room:
        return f"needs {replicas * shape.gpus} GPUs, {shape.place.offering} has {room} to serve with"
    if usd > chosen_usd * 1.005:
        return f"costs {usd / chosen_usd - 1:.0%} more than the plan's deployments for this workload"
    if is_used:
        return "another layout on the same offering serves the rest with fewer GPUs, and one layout is kept on an offering"
    return "no dearer by itself; its GPUs cost the whole fleet less where other workloads use them, or whole units would stay half empty"


def drops_by_reason(drops: Sequence[Drop]) -> tuple[Dropped, ...]:
    """Count the dropped candidates by reason, the most frequent first, with one example."""
    groups: dict[str, list[str]] = defaultdict(list)
    for drop in drops:
        groups[drop.reason].append(drop.detail)
    rows = [
        Dropped(reason=reason, count=len(details), example=details[0][:_EXAMPLE])
        for reason, details in groups.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.count, row.reason)))
