"""Candidates that lost: what each would cost alone, and why it is not in the plan."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from math import ceil

from fleet.candidates.need import Candidate, Drop
from fleet.pipeline.lower import capacity_milli
from fleet.pipeline.resolved import ResolvedFleet, ResolvedOffering, ResolvedWorkload
from fleet.plan.document import Alternative, DeploymentMode, Dropped
from fleet.spec.model import SurviveLevel

_SHOWN = 6
_EXAMPLE = 160


@dataclass(frozen=True, slots=True)
class _Alone:
    """A candidate that serves a whole workload by itself, failures included."""

    candidate: Candidate
    replicas: int
    usd_per_hour: float
    dies_with: str  # the failure that takes every replica at once; empty: none that policy asks to survive


def alternatives(
    workload: ResolvedWorkload,
    fleet: ResolvedFleet,
    candidates: Sequence[Candidate],
    chosen: frozenset[str],
    chosen_usd: float,
) -> tuple[Alternative, ...]:
    """Return the cheapest losing candidates, one of each mode on an offering."""
    lost = [_alone(workload, fleet, c) for c in candidates if c.id not in chosen]
    used = {c.shape.place.offering for c in candidates if c.id in chosen}
    found: dict[tuple[str, bool], Alternative] = {}
    for row in sorted(lost, key=lambda row: (bool(row.dies_with), row.usd_per_hour, row.candidate.id)):
        shape = row.candidate.shape
        key = (shape.place.offering, shape.is_disaggregated)
        if key not in found:
            found[key] = _line(row, _reason(row, chosen_usd, fleet, shape.place.offering in used))
    return tuple(list(found.values())[:_SHOWN])


def _alone(workload: ResolvedWorkload, fleet: ResolvedFleet, candidate: Candidate) -> _Alone:
    """Size a candidate that serves the workload alone: enough capacity after the worst loss that policy names.

    Spread evenly over S failure sets, n replicas lose ceil(n / S) of them to one failure.
    """
    needed = workload.planning_req_per_s * 1000 / capacity_milli(candidate) - 1e-9
    offering = fleet.offerings[candidate.shape.place.offering]
    plain = ceil(needed)
    replicas, dies_with = plain, ""
    for level in fleet.file.spec.policy.survive:
        sets = _failure_sets(level, offering, candidate)
        if sets < 2:
            dies_with = dies_with or level.value
        else:
            enough = (n for n in count(plain) if n - ceil(n / sets) >= needed)
            replicas = max(replicas, next(enough))
    return _Alone(candidate, replicas, round(replicas * candidate.usd_per_hour, 6), dies_with)


def _failure_sets(level: SurviveLevel, offering: ResolvedOffering, candidate: Candidate) -> int:
    """Groups of replicas of a candidate that no single failure of this level takes together."""
    shape, domains = candidate.shape, offering.available_units * offering.unit_domains
    if level is SurviveLevel.ZONE:
        return 1
    if shape.whole_domains:
        return domains // max(shape.whole_domains, 1)
    if level is SurviveLevel.RACK:
        return -(-domains // offering.domains_per_rack)
    hosts = offering.usable_domain_gpus // offering.accelerator.gpus_per_host
    return domains * max(hosts // max(-(-shape.gpus // offering.accelerator.gpus_per_host), 1), 1)


def _line(row: _Alone, reason: str) -> Alternative:
    shape = row.candidate.shape
    return Alternative(
        offering=shape.place.offering,
        layout=shape.label,
        engine=f"{shape.engine.id.value} {shape.engine.version}",
        precision=shape.weights.precision,
        mode=DeploymentMode.DISAGGREGATED if shape.is_disaggregated else DeploymentMode.AGGREGATED,
        gpus_per_replica=shape.gpus,
        replicas=row.replicas,
        gpus=row.replicas * shape.gpus,
        usd_per_hour=row.usd_per_hour,
        why_lost=reason,
    )


def _reason(row: _Alone, chosen_usd: float, fleet: ResolvedFleet, is_used: bool) -> str:
    shape, place = row.candidate.shape, row.candidate.shape.place.offering
    offering = fleet.offerings[place]
    room = offering.available_units * offering.unit_domains * offering.usable_domain_gpus
    gpus = row.replicas * shape.gpus
    if row.dies_with:
        return f"one {row.dies_with} takes all of it, and the loss of a {row.dies_with} must be survived"
    if gpus > room:
        return f"needs {gpus} GPUs with what failures take, {place} has {room} to serve with"
    if row.usd_per_hour > chosen_usd * 1.005:
        return f"costs {row.usd_per_hour / chosen_usd - 1:.0%} more than the plan's deployments for this workload"
    if is_used:
        return "one layout is kept on an offering, and the chosen one costs the whole fleet less"
    return "its GPUs cost the whole fleet less where other workloads use them, or whole units would stay half empty"


def drops_by_reason(drops: Sequence[Drop]) -> tuple[Dropped, ...]:
    """Count the dropped candidates by reason, the most frequent first, with one example."""
    groups: dict[str, list[Drop]] = defaultdict(list)
    for drop in drops:
        groups[drop.reason].append(drop)
    rows = [
        Dropped(reason=reason, count=sum(d.count for d in found), example=found[0].detail[:_EXAMPLE])
        for reason, found in groups.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.count, row.reason)))
