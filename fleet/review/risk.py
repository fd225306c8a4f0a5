"""What could go wrong when the plan is applied: facts of the diff and the plan that a reviewer must not miss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from fleet.plan.changes import Action, PlanDiff
from fleet.plan.document import Deployment, FleetPlan, LimitLine, PlannedWorkload
from fleet.review.format import count, counted, latency, listed
from fleet.units import MS_PER_S, format_requests_per_s, format_share, format_usd_per_hour

THIN_MARGIN = 0.05
"""An SLO or survival margin below this is a risk."""
A_CENT = 0.01
PARTS = 1_000_000
"""Router weights of a workload add up to this."""
MUCH_IDLE = 0.1
"""A larger part of the cost for GPUs that no replica holds is a risk to the budget."""
WIDE_GAP = 0.01
"""A proof whose gap is wider leaves money on the table, perhaps."""


class Level(StrEnum):
    """HIGH: requests can fail or capacity is lost. MEDIUM: a figure stands on weak ground, or money is at stake."""

    HIGH = "high"
    MEDIUM = "medium"


@dataclass(frozen=True, slots=True)
class Risk:
    """One risk: its kind in kebab-case, what it is about, and a sentence with the numbers."""

    level: Level
    kind: str
    subject: str
    sentence: str


def find_risks(diff: PlanDiff, plan: FleetPlan) -> tuple[Risk, ...]:
    """Return every risk, high ones first, then in a fixed order of kinds and the plan's order of subjects."""
    found = [
        *_of_changes(diff, plan),
        *_of_capacity(diff),
        *(risk for deployment in plan.deployments for risk in _of_deployment(deployment, plan)),
        *_inside_the_error(plan),
        *(risk for workload in plan.workloads for risk in _of_workload(workload, plan)),
        *_of_proof(plan),
        *_of_idle(plan),
        *_of_sums(plan),
        *_of_warnings(plan),
    ]
    return tuple(sorted(found, key=lambda risk: risk.level is not Level.HIGH))


def _of_changes(diff: PlanDiff, plan: FleetPlan) -> Iterator[Risk]:
    for change in diff.changes:
        old, new = change.before, change.after
        if change.action is Action.REMOVE and old is not None:
            yield Risk(
                Level.HIGH,
                "remove",
                old.id,
                _removal(old, plan),
            )
        if old is None or new is None:
            continue
        if change.action is Action.MOVE:
            sentence = f"'{old.id}' is replaced by '{new.id}' on {new.offering}: bring up the new one before the old one goes"
            yield Risk(Level.HIGH, "move", new.id, sentence)
        if change.action is Action.RELAYOUT:
            sentence = f"every replica of '{new.id}' restarts, each loads weights for about {latency(new.weight_load_s * MS_PER_S)}"
            yield Risk(Level.HIGH, "relayout", new.id, sentence)
            if not _has_room(plan, new):
                needed = f"no room on {new.offering} for one more replica of '{new.id}' ({counted(new.gpus_per_replica, 'GPU')})"
                yield Risk(
                    Level.HIGH,
                    "no-room-to-surge",
                    new.id,
                    f"{needed}: a rollout that creates before it deletes never ends",
                )
        if change.action is Action.RESIZE and new.replicas < old.replicas:
            yield Risk(
                Level.MEDIUM,
                "fewer-replicas",
                new.id,
                f"'{new.id}' shrinks from {old.replicas} to {counted(new.replicas, 'replica')}",
            )


def _removal(old: Deployment, plan: FleetPlan) -> str:
    served_by = {w.name: w.deployments for w in plan.workloads}
    left = (
        f"'{s.workload}' stays with {listed(served_by[s.workload])}"
        if served_by.get(s.workload)
        else f"nothing serves '{s.workload}' any more"
        for s in old.served
    )
    return (
        f"'{old.id}' goes ({counted(old.replicas, 'replica')}, {counted(old.gpus, 'GPU')}): {'; '.join(left)}"
    )


def _of_capacity(diff: PlanDiff) -> Iterator[Risk]:
    for change in diff.capacity:
        if change.gpus_after < change.gpus_before:
            released = f"{counted(change.gpus_before - change.gpus_after, 'GPU')} of {change.offering} ({change.accelerator_name}) released"
            yield Risk(
                Level.HIGH,
                "released-gpus",
                change.offering,
                f"{released}: they may not be there again when demand returns",
            )


def _of_deployment(d: Deployment, plan: FleetPlan) -> Iterator[Risk]:
    for served in d.served:
        for line in served.limits:
            if line.margin < THIN_MARGIN:
                yield Risk(
                    Level.HIGH if line.margin < 0 else Level.MEDIUM,
                    "thin-slo-margin",
                    d.id,
                    _margin(d.id, served.workload, line),
                )
        if served.rate_req_per_s > served.capacity_req_per_s:
            rates = f"{format_requests_per_s(served.rate_req_per_s)} planned, {format_requests_per_s(served.capacity_req_per_s)} served within the SLO"
            yield Risk(
                Level.HIGH,
                "over-capacity",
                d.id,
                f"'{d.id}' gets more of '{served.workload}' than it serves: {rates}",
            )
    if d.utilisation > plan.policy.max_utilisation + 1e-9:
        used = f"{format_share(d.utilisation)} at the planning peak, the policy allows {format_share(plan.policy.max_utilisation)}"
        yield Risk(Level.HIGH, "over-utilised", d.id, f"busiest resource of '{d.id}' is used {used}")
    if d.provenance.basis == "extrapolated" and not _warned(plan, "estimate-outside-its-data"):
        error = format_share(d.provenance.relative_error_p90)
        yield Risk(
            Level.MEDIUM,
            "extrapolated-estimate",
            d.id,
            f"estimate of '{d.id}' is extrapolated from neighbouring cells (error p90 {error})",
        )


def _margin(deployment: str, workload: str, line: LimitLine) -> str:
    side = "over its limit" if line.margin < 0 else f"{format_share(line.margin)} under its limit"
    figures = f"{latency(line.predicted_ms)} predicted, limit {latency(line.limit_ms)}"
    interval = f"90 % interval {latency(line.error_low_ms)} to {latency(line.error_high_ms)}"
    return f"{line.metric.upper()} p{line.quantile} of '{workload}' on '{deployment}' is {side}: {figures}, {interval}"


def _inside_the_error(plan: FleetPlan) -> Iterator[Risk]:
    """SLO lines with a fair margin whose limit still lies within the prediction's interval: one risk for all."""
    lines = [(d.id, line) for d in plan.deployments for served in d.served for line in served.limits]
    inside = [
        f"{i} {line.metric} p{line.quantile}"
        for i, line in lines
        if line.margin >= THIN_MARGIN and line.error_high_ms > line.limit_ms
    ]
    if inside:
        head = f"{count(len(inside))} of {counted(len(lines), 'SLO limit')} could be missed within the prediction's 90 % interval"
        yield Risk(Level.MEDIUM, "limit-inside-error", plan.fleet, f"{head}: {listed(inside)}")


def _of_workload(w: PlannedWorkload, plan: FleetPlan) -> Iterator[Risk]:
    if w.demand.basis == "guessed" and not _warned(plan, "guessed-demand", w.name):
        yield Risk(
            Level.MEDIUM,
            "guessed-demand",
            w.name,
            f"demand of '{w.name}' is guessed, not measured: everything sized for it is a guess",
        )
    yield from _of_survival(w, plan)


def _of_survival(w: PlannedWorkload, plan: FleetPlan) -> Iterator[Risk]:
    """What a single loss leaves: too little, or (one risk for all levels) hardly enough."""
    planned = w.demand.planning_req_per_s
    thin: list[str] = []
    for level, left in sorted(w.survives.items()):
        spare = left - planned
        if level not in plan.policy.survive or spare >= THIN_MARGIN * planned:
            continue
        if spare < 0:
            rates = f"{format_requests_per_s(left)} left for {format_requests_per_s(planned)} planned"
            message = f"'{w.name}' does not survive the loss of a {level}: {rates}"
            yield Risk(Level.HIGH, "does-not-survive", w.name, message)
        else:
            thin.append(f"{format_share(spare / planned)} after the loss of a {level}")
    if thin:
        message = (
            f"'{w.name}' has little to spare beyond {format_requests_per_s(planned)}: {' and '.join(thin)}"
        )
        yield Risk(Level.MEDIUM, "thin-survival", w.name, message)


def _of_proof(plan: FleetPlan) -> Iterator[Risk]:
    proof = plan.certificate
    if proof.gap > WIDE_GAP:
        at_most = (
            f"{format_usd_per_hour(proof.cost - proof.bound)}"
            if proof.unit == "USD/h"
            else f"{count(proof.cost - proof.bound)} {proof.unit}"
        )
        yield Risk(
            Level.MEDIUM,
            "wide-gap",
            plan.fleet,
            f"the plan is proven within {format_share(proof.gap)} of the cheapest only: up to {at_most} may be saved",
        )


def _of_idle(plan: FleetPlan) -> Iterator[Risk]:
    idle = plan.summary.usd_per_hour - sum(d.usd_per_hour for d in plan.deployments)
    if idle > MUCH_IDLE * plan.summary.usd_per_hour:
        per_cent = format_share(idle / plan.summary.usd_per_hour)
        sentence = f"{format_usd_per_hour(idle)} ({per_cent} of the cost) is paid for GPUs that no replica holds and no spare needs"
        yield Risk(Level.MEDIUM, "idle-gpus", plan.fleet, sentence)


def _of_sums(plan: FleetPlan) -> Iterator[Risk]:
    """Numbers of the plan that must agree with each other: a review does not print sums that it did not add up."""
    held: Counter[str] = Counter()
    for domain in plan.domains:
        held[domain.offering] += sum(slot.gpus for host in domain.hosts for slot in host.slots)
    for offering in plan.offerings:
        gpus = sum(d.gpus for d in plan.deployments if d.offering == offering.name)
        if not gpus == offering.gpus_used == held[offering.name]:
            found = f"deployments {gpus:,}, offering {offering.gpus_used:,}, rack map {held[offering.name]:,}"
            yield Risk(
                Level.HIGH,
                "numbers-disagree",
                offering.name,
                f"GPUs held on {offering.name} do not agree: {found}",
            )
    bought, usd_per_hour = (
        sum(o.gpus_bought for o in plan.offerings),
        sum(o.usd_per_hour for o in plan.offerings),
    )
    if bought != plan.summary.gpus_bought or abs(usd_per_hour - plan.summary.usd_per_hour) > A_CENT:
        stated = f"{plan.summary.gpus_bought:,} GPUs at {format_usd_per_hour(plan.summary.usd_per_hour)}"
        sentence = f"the summary states {stated}, the offerings add up to {bought:,} at {format_usd_per_hour(usd_per_hour)}"
        yield Risk(Level.HIGH, "numbers-disagree", plan.fleet, sentence)
    for workload in plan.workloads:
        here = [(d, s) for d in plan.deployments for s in d.served if s.workload == workload.name]
        if sum(s.share for _, s in here) != PARTS:
            total = format_share(sum(s.share for _, s in here) / PARTS)
            yield Risk(
                Level.HIGH,
                "numbers-disagree",
                workload.name,
                f"router weights of '{workload.name}' add up to {total}",
            )
        floor, gpus = (
            plan.certificate.physical_floor_gpus.get(workload.name, 0.0),
            sum(d.gpus for d, _ in here),
        )
        if gpus < floor:
            yield Risk(
                Level.HIGH,
                "below-physical-floor",
                workload.name,
                f"'{workload.name}' gets {gpus:,} GPUs, by dense peak it needs {count(floor)}",
            )


def _of_warnings(plan: FleetPlan) -> Iterator[Risk]:
    for line in plan.warnings:
        if line.severity == "warning":
            yield Risk(Level.MEDIUM, line.rule, line.subject, line.message)


def _warned(plan: FleetPlan, rule: str, about: str = "") -> bool:
    """Whether a warning of the plan says it already: in general, or with `about` among the names of its path."""
    return any(
        line.rule == rule and line.severity == "warning" and (not about or about in line.subject.split("."))
        for line in plan.warnings
    )


def _has_room(plan: FleetPlan, new: Deployment) -> bool:
    """Whether one more replica fits beside those that run: what a rollout that creates before it deletes needs."""
    offering = next(o for o in plan.offerings if o.name == new.offering)
    usable = (offering.hosts_per_domain - offering.spare_hosts_per_domain) * offering.gpus_per_host
    held = [
        sum(slot.gpus for host in d.hosts for slot in host.slots)
        for d in plan.domains
        if d.offering == offering.name
    ]
    if new.domains_per_replica:
        return held.count(0) >= new.domains_per_replica
    return any(usable - gpus >= new.gpus_per_replica for gpus in held)
