"""What changes and why: deployments, operating points, purchases, routes and the inputs that moved."""

from __future__ import annotations

from collections.abc import Callable

from fleet.plan.changes import Action, Change, FieldChange, PlanDiff
from fleet.plan.diff import engine_label
from fleet.plan.document import Deployment, FleetPlan
from fleet.plan.inputs import Subject
from fleet.review.format import count, counted, latency, listed, signed, units, usd_per_month, weight
from fleet.review.report import Block, Item, Items, Mark, Section, Table, columns
from fleet.units import format_requests_per_s, format_usd, format_usd_per_hour

MARKS = {
    Action.CREATE: Mark.ADD,
    Action.RESIZE: Mark.CHANGE,
    Action.RELAYOUT: Mark.CHANGE,
    Action.MOVE: Mark.MOVE,
    Action.REMOVE: Mark.REMOVE,
    Action.KEEP: Mark.NONE,
}


def changes_section(diff: PlanDiff, plan: FleetPlan) -> Section:
    """Return what changes: deployments with reasons, then what is bought, routed and asked for differently."""
    blocks: list[Block] = []
    moved = [change for change in diff.changes if change.action is not Action.KEEP]
    if moved:
        blocks.append(Items(tuple(_item(change, diff) for change in moved)))
    kept = [change for change in diff.changes if change.action is Action.KEEP]
    if kept:
        blocks.append(Items(_kept(kept)))
    blocks.extend(_operating_points(moved))
    blocks.extend(_purchases(diff, plan))
    blocks.extend(_routes(diff))
    blocks.extend(_figures(diff))
    blocks.extend(_inputs(diff))
    return Section("What changes and why" if diff.has_changes else "No changes", tuple(blocks), importance=0)


def shape(d: Deployment) -> str:
    """Return a deployment's workers and GPUs.

    A replica of one worker: "5 x TP4 = 20 GPUs"; of several: "2 x (2 prefill DP4 EP4 + 1 decode DP32 EP32) = 80 GPUs".
    """
    if len(d.workers) == 1 and d.workers[0].workers_per_replica == 1:
        replica = d.workers[0].layout.label
    else:
        replica = (
            f"({' + '.join(f'{g.workers_per_replica} {g.role.value} {g.layout.label}' for g in d.workers)})"
        )
    return f"{d.replicas:,} x {replica} = {counted(d.gpus, 'GPU')}"


def _item(change: Change, diff: PlanDiff) -> Item:
    old, new = change.before, change.after
    notes: list[str] = []
    if new is not None and old is None:
        text = f"{new.id}: create {_summary(new)}"
    elif old is not None and new is None:
        text = f"{old.id}: remove {_summary(old)}"
    else:
        assert old is not None, "a change has a before or an after"
        assert new is not None, "a change has a before or an after"
        name = f"{old.id} -> {new.id}" if old.id != new.id else new.id
        text = f"{name}: {change.action.value}, {_gpus(change)}, {_cost(change)}"
        notes.extend(_field(field) for field in change.fields)
    notes.extend(_because(change, diff))
    if change.replicas_placed_elsewhere:
        notes.append(
            f"{counted(change.replicas_placed_elsewhere, 'running replica')} placed on other hosts by the new rack map"
        )
    return Item(text, MARKS[change.action], tuple(notes))


def _summary(d: Deployment) -> str:
    where = f"{d.model} {d.weights.value} on {d.offering}, {shape(d)}"
    return f"{where}, {engine_label(d)}, {format_usd_per_hour(d.usd_per_hour)}"


def _gpus(change: Change) -> str:
    delta = change.gpus_after - change.gpus_before
    return (
        f"{change.gpus_after:,} GPUs ({signed(delta, count)})"
        if delta
        else f"{change.gpus_after:,} GPUs as before"
    )


def _cost(change: Change) -> str:
    shown = signed(change.usd_per_hour_delta, format_usd_per_hour)
    return shown if shown.strip("+-") != format_usd_per_hour(0.0) else "cost as before"


def _field(field: FieldChange) -> str:
    return f"{field.path}: {_value(field.before)} -> {_value(field.after)}"


def _value(value: str | int | float | None) -> str:
    if value is None or value == "":
        return "none"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _because(change: Change, diff: PlanDiff) -> list[str]:
    """Return reasons: the deployment's own inputs first; what holds for the fleet only where nothing of its own moved."""
    if diff.is_first:
        return []
    own = [reason.sentence for reason in change.reasons if reason.subject is not Subject.FLEET]
    fleet = [reason.sentence for reason in change.reasons if reason.subject is Subject.FLEET]
    if own or fleet:
        return [f"because {sentence}" for sentence in own or fleet]
    others = [i.name for i in diff.inputs if i.subject is not Subject.FLEET]
    if others:
        return [
            f"nothing of its own moved; it shares hardware and budget with what did: {listed(sorted(set(others)))}"
        ]
    return ["both plans tell no reason: no input that they record moved"]


def _kept(kept: list[Change]) -> tuple[Item, ...]:
    moved = tuple(
        Item(
            f"{c.id}: kept, {counted(c.replicas_placed_elsewhere, 'replica')} placed on other hosts by the new rack map",
            Mark.CHANGE,
        )
        for c in kept
        if c.replicas_placed_elsewhere
    )
    still = [c.id for c in kept if not c.replicas_placed_elsewhere]
    return (
        (*moved, Item(f"{counted(len(still), 'deployment')} kept as before: {listed(still)}"))
        if still
        else moved
    )


def _operating_points(moved: list[Change]) -> list[Block]:
    """Old and new operating point of what moves or is laid out anew: the question of every hardware generation."""
    rows = []
    for change in moved:
        if change.action in (Action.MOVE, Action.RELAYOUT) and change.before and change.after:
            rows += [_point("before", change.before), _point("after", change.after)]
    if not rows:
        return []
    names = columns(
        "", "Deployment", "Shape", "Weights", ">Capacity", ">TTFT p95", ">TPOT p95", ">$/M useful tok"
    )
    return [Table(names, tuple(rows), title="Operating points before and after (capacity within the SLO)")]


def _point(side: str, d: Deployment) -> tuple[str, ...]:
    capacity = format_requests_per_s(sum(s.capacity_req_per_s for s in d.served))
    ttft, tpot = (max((getattr(s, f"{m}_ms").p95 for s in d.served), default=0.0) for m in ("ttft", "tpot"))
    return (
        side,
        d.id,
        shape(d),
        d.weights.value,
        capacity,
        latency(ttft),
        latency(tpot),
        format_usd(d.usd_per_million_useful_tokens),
    )


def _purchases(diff: PlanDiff, plan: FleetPlan) -> list[Block]:
    offerings = {o.name: o for o in plan.offerings}
    rows = []
    for c in diff.capacity:
        after = (
            units(offerings[c.offering], c.units_after) if c.offering in offerings else f"{c.units_after:,}"
        )
        usd_per_hour = c.usd_per_hour_after - c.usd_per_hour_before
        gpus = f"{c.gpus_before:,} -> {c.gpus_after:,}"
        money = (signed(usd_per_hour, format_usd_per_hour), signed(usd_per_hour, usd_per_month))
        rows.append((c.offering, c.accelerator_name, f"{c.units_before:,} -> {after}", gpus, *money))
    names = columns("Offering", "Accelerator", ">Bought", ">GPUs", ">Cost by hour", ">Cost by month (730 h)")
    return [Table(names, tuple(rows), title="Purchases")] if rows else []


def _routes(diff: PlanDiff) -> list[Block]:
    if diff.is_first:
        return []
    items = tuple(
        Item(f"{route.workload}: {_weights(route.before)} -> {_weights(route.after)}", Mark.CHANGE)
        for route in diff.routes
    )
    return [Items(items, title="Router weights")] if items else []


def _weights(shares: tuple[tuple[str, int], ...]) -> str:
    return ", ".join(f"{deployment} {weight(share)}" for deployment, share in shares) or "none"


def _inputs(diff: PlanDiff) -> list[Block]:
    blocks: list[Block] = []
    if diff.inputs:
        blocks.append(
            Items(tuple(Item(change.sentence) for change in diff.inputs), title="Inputs that moved")
        )
    if diff.engines:
        sentences = (f"{e.before} -> {e.after}: {listed(e.deployments)}" for e in diff.engines)
        blocks.append(Items(tuple(Item(s, Mark.CHANGE) for s in sentences), title="Engine versions"))
    if diff.settings:
        settings = tuple(Item(_field(setting), Mark.CHANGE) for setting in diff.settings)
        blocks.append(Items(settings, title="Settings"))
    return blocks


def _figures(diff: PlanDiff) -> list[Block]:
    """Deployments that stay and serve with other figures."""
    rows = tuple(
        (
            f.deployment,
            f.after.workload,
            _then(f.before.rate_req_per_s, f.after.rate_req_per_s, format_requests_per_s),
            _then(f.before.capacity_req_per_s, f.after.capacity_req_per_s, format_requests_per_s),
            _then(f.before.ttft_ms.p95, f.after.ttft_ms.p95, latency),
            _then(f.before.tpot_ms.p95, f.after.tpot_ms.p95, latency),
        )
        for f in diff.figures
    )
    names = columns("Deployment", "Workload", ">Rate planned", ">Capacity", ">TTFT p95", ">TPOT p95")
    return [Table(names, rows, title="Figures of deployments that stay")] if rows else []


def _then(before: float, after: float, show: Callable[[float], str]) -> str:
    return show(after) if show(before) == show(after) else f"{show(before)} -> {show(after)}"
