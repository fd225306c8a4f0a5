"""The review for machines: one versioned JSON document, for policies and dashboards."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fleet.plan.changes import Action, Change, Delta, FieldChange, PlanDiff
from fleet.plan.document import (
    CertificateLine,
    Deployment,
    Digests,
    FleetPlan,
    LimitLine,
    MeasureRun,
    WarningLine,
)
from fleet.plan.file import canonical_json
from fleet.plan.inputs import InputChange
from fleet.review.risk import Level, find_risks
from fleet.review.verdict import closing_line, headline, verdict
from fleet.units import HOURS_PER_MONTH

REVIEW_FORMAT_VERSION = "1.0"
ACTIONS: dict[Action, tuple[str, ...]] = {
    Action.CREATE: ("create",),
    Action.RESIZE: ("update",),
    Action.RELAYOUT: ("update",),
    Action.MOVE: ("delete", "create"),
    Action.REMOVE: ("delete",),
    Action.KEEP: ("no-op",),
}
"""Terraform's actions for each of ours."""


class ReviewModel(BaseModel):
    """Base of every part: closed and immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ReasonEntry(ReviewModel):
    subject: Literal["workload", "offering", "fleet"]
    name: str
    rule: str  # kind of the input change, kebab-case
    sentence: str


class FieldEntry(ReviewModel):
    path: str
    before: str | int | float | None
    after: str | int | float | None


class ChangeEntry(ReviewModel):
    """One change. `address` is stable: deployment.<id>, capacity.<offering>, route.<workload> or setting.<path>."""

    address: str
    previous_address: str | None = None  # of a move: what goes
    type: Literal["deployment", "capacity", "route", "setting"]
    action: Literal["create", "resize", "relayout", "move", "remove", "keep", "update"]
    actions: tuple[Literal["create", "update", "delete", "no-op"], ...]
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    fields: tuple[FieldEntry, ...] = ()
    restart_paths: tuple[str, ...] = ()  # fields for which every running replica restarts
    reasons: tuple[ReasonEntry, ...] = ()
    replicas_placed_elsewhere: int = 0


class SummaryEntry(ReviewModel):
    """Counts are of deployments; a move is one to add and one to destroy."""

    headline: str
    verdict: str
    closing_line: str
    has_changes: bool
    is_first: bool
    add: int
    change: int
    destroy: int
    keep: int
    high_risks: int
    medium_risks: int


class RiskEntry(ReviewModel):
    level: Literal["high", "medium"]
    kind: str
    subject: str
    sentence: str


class DeltaEntry(ReviewModel):
    before: float
    after: float
    change: float


class CostEntry(ReviewModel):
    """Everything bought, used or not; a month is 730 hours."""

    usd_per_hour: DeltaEntry
    usd_per_month: DeltaEntry
    usd_per_million_useful_tokens: DeltaEntry


class CapacityEntry(ReviewModel):
    """An offering of the new plan, or one that the old plan bought."""

    offering: str
    accelerator_name: str
    units_before: int
    units_after: int
    gpus_before: int
    gpus_after: int
    gpus_held: int  # by replicas of the new plan


class FleetCapacity(ReviewModel):
    gpus_bought: DeltaEntry
    gpus_used: DeltaEntry
    hosts: DeltaEntry
    racks: DeltaEntry
    power_kw: DeltaEntry
    offerings: tuple[CapacityEntry, ...]


class SloEntry(LimitLine):
    """A line of an SLO against its prediction, with who it is about."""

    workload: str
    deployment: str


class SurvivalEntry(ReviewModel):
    workload: str
    level: str
    left_req_per_s: float  # capacity after the worst single loss
    planned_req_per_s: float


class InputsEntry(ReviewModel):
    compiled_by: str
    as_of: date
    digests: Digests
    solver: str
    changes: tuple[ReasonEntry, ...]


class ReviewDocument(ReviewModel):
    """The whole review. Fields are only ever added within format 1.x."""

    kind: Literal["FleetReview"] = "FleetReview"
    format_version: Annotated[str, Field(pattern=r"^1\.\d+$")] = REVIEW_FORMAT_VERSION
    fleet: str
    summary: SummaryEntry
    risks: tuple[RiskEntry, ...]
    changes: tuple[ChangeEntry, ...]
    cost: CostEntry
    capacity: FleetCapacity
    slo: tuple[SloEntry, ...]
    survival: tuple[SurvivalEntry, ...]
    certificate: CertificateLine
    diagnostics: tuple[WarningLine, ...]
    measure_next: tuple[MeasureRun, ...] = ()
    inputs: InputsEntry


def render_json(diff: PlanDiff, plan: FleetPlan) -> str:
    """Return the review as canonical JSON: the same bytes for the same plans."""
    return canonical_json(review_document(diff, plan).model_dump(mode="json"))


def review_document(diff: PlanDiff, plan: FleetPlan) -> ReviewDocument:
    """Return the review as data."""
    return ReviewDocument(
        fleet=plan.fleet,
        summary=_summary(diff, plan),
        risks=tuple(
            RiskEntry(level=r.level.value, kind=r.kind, subject=r.subject, sentence=r.sentence)
            for r in find_risks(diff, plan)
        ),
        changes=(
            *map(_deployment, diff.changes),
            *_purchases(diff),
            *_routes(diff),
            *map(_setting, diff.settings),
        ),
        cost=CostEntry(
            usd_per_hour=_delta(diff.totals.usd_per_hour),
            usd_per_month=_delta(diff.totals.usd_per_hour, HOURS_PER_MONTH),
            usd_per_million_useful_tokens=_delta(diff.totals.usd_per_million_useful_tokens),
        ),
        capacity=_capacity(diff, plan),
        slo=tuple(
            SloEntry(workload=served.workload, deployment=d.id, **line.model_dump())
            for d in plan.deployments
            for served in d.served
            for line in served.limits
        ),
        survival=tuple(
            SurvivalEntry(
                workload=w.name,
                level=level,
                left_req_per_s=left,
                planned_req_per_s=w.demand.planning_req_per_s,
            )
            for w in plan.workloads
            for level, left in sorted(w.survives.items())
        ),
        certificate=plan.certificate,
        diagnostics=plan.warnings,
        measure_next=plan.measure_next,
        inputs=InputsEntry(
            compiled_by=plan.compiled_by,
            as_of=plan.as_of,
            digests=plan.digests,
            solver=plan.certificate.solver,
            changes=_reasons(diff.inputs),
        ),
    )


def _summary(diff: PlanDiff, plan: FleetPlan) -> SummaryEntry:
    risks, counts = find_risks(diff, plan), diff.counts
    high = sum(risk.level is Level.HIGH for risk in risks)
    return SummaryEntry(
        headline=headline(diff, plan, risks),
        verdict=verdict(diff, risks),
        closing_line=closing_line(diff),
        has_changes=diff.has_changes,
        is_first=diff.is_first,
        add=counts.add,
        change=counts.change,
        destroy=counts.destroy,
        keep=counts.keep,
        high_risks=high,
        medium_risks=len(risks) - high,
    )


def _deployment(change: Change) -> ChangeEntry:
    moved = change.before is not None and change.after is not None and change.before.id != change.after.id
    return ChangeEntry(
        address=f"deployment.{change.id}",
        previous_address=f"deployment.{change.before.id}" if moved and change.before else None,
        type="deployment",
        action=change.action.value,
        actions=ACTIONS[change.action],
        before=_dump(change.before),
        after=_dump(change.after),
        fields=tuple(map(_field, change.fields)),
        restart_paths=tuple(f.path for f in change.fields if f.path != "replicas"),
        reasons=_reasons(change.reasons),
        replicas_placed_elsewhere=change.replicas_placed_elsewhere,
    )


def _dump(deployment: Deployment | None) -> dict[str, Any] | None:
    return deployment.model_dump(mode="json") if deployment else None


def _purchases(diff: PlanDiff) -> list[ChangeEntry]:
    return [
        _side_by_side(
            f"capacity.{c.offering}",
            "capacity",
            {"units": c.units_before, "gpus": c.gpus_before, "usd_per_hour": c.usd_per_hour_before}
            if c.units_before
            else None,
            {"units": c.units_after, "gpus": c.gpus_after, "usd_per_hour": c.usd_per_hour_after}
            if c.units_after
            else None,
        )
        for c in diff.capacity
    ]


def _routes(diff: PlanDiff) -> list[ChangeEntry]:
    return [
        _side_by_side(f"route.{r.workload}", "route", dict(r.before) or None, dict(r.after) or None)
        for r in diff.routes
    ]


def _setting(field: FieldChange) -> ChangeEntry:
    sides = ({"value": value} if value is not None else None for value in (field.before, field.after))
    return _side_by_side(f"setting.{field.path}", "setting", *sides)


def _side_by_side(
    address: str,
    kind: Literal["capacity", "route", "setting"],
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
) -> ChangeEntry:
    if before is None:
        return ChangeEntry(
            address=address, type=kind, action="create", actions=("create",), before=None, after=after
        )
    if after is None:
        return ChangeEntry(
            address=address, type=kind, action="remove", actions=("delete",), before=before, after=None
        )
    return ChangeEntry(
        address=address, type=kind, action="update", actions=("update",), before=before, after=after
    )


def _capacity(diff: PlanDiff, plan: FleetPlan) -> FleetCapacity:
    changed = {c.offering: c for c in diff.capacity}
    known = {o.name: o for o in plan.offerings}
    entries = []
    for name in sorted(known.keys() | changed.keys()):
        offering, change = known.get(name), changed.get(name)
        units, gpus = (offering.bought_units, offering.gpus_bought) if offering else (0, 0)
        entries.append(
            CapacityEntry(
                offering=name,
                accelerator_name=offering.accelerator_name if offering else changed[name].accelerator_name,
                units_before=change.units_before if change else units,
                units_after=units,
                gpus_before=change.gpus_before if change else gpus,
                gpus_after=gpus,
                gpus_held=offering.gpus_used if offering else 0,
            )
        )
    t = diff.totals
    return FleetCapacity(
        gpus_bought=_delta(t.gpus_bought),
        gpus_used=_delta(t.gpus_used),
        hosts=_delta(t.hosts),
        racks=_delta(t.racks),
        power_kw=_delta(t.power_kw),
        offerings=tuple(entries),
    )


def _delta(delta: Delta, factor: float = 1.0) -> DeltaEntry:
    before, after = delta.before * factor, delta.after * factor
    return DeltaEntry(before=before, after=after, change=after - before)


def _field(field: FieldChange) -> FieldEntry:
    return FieldEntry(path=field.path, before=field.before, after=field.after)


def _reasons(changes: tuple[InputChange, ...]) -> tuple[ReasonEntry, ...]:
    return tuple(
        ReasonEntry(subject=c.subject.value, name=c.name, rule=c.rule, sentence=c.sentence) for c in changes
    )
