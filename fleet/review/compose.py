"""The review as a whole: what comes first, and what is left out first where space is short."""

from __future__ import annotations

from fleet.plan.changes import Action, PlanDiff
from fleet.plan.document import FleetPlan
from fleet.review.changes import changes_section
from fleet.review.glance import glance_section
from fleet.review.measure import measure_section
from fleet.review.proof import (
    capacity_section,
    certificate_section,
    inputs_section,
    map_section,
    warnings_section,
)
from fleet.review.report import Item, Items, Mark, Report, Section
from fleet.review.risk import Level, Risk, find_risks
from fleet.review.verdict import closing_line, headline
from fleet.review.workload import workload_section

CERTIFICATE, CAPACITY, CHANGED, WARNINGS, AT_RISK, MEASURE, INPUTS, MAP, AS_BEFORE = range(1, 10)
"""Importance of the sections that may be left out, the first to stay first. A workload is changed, at risk, or as before."""


def compose(diff: PlanDiff, plan: FleetPlan) -> Report:
    """Return the review of a plan against the plan in force: verdict, money, risk; changes; workloads; map; proof."""
    risks = find_risks(diff, plan)
    importance = _importance(diff, risks)
    workloads = [workload_section(w, plan, importance.get(w.name, AS_BEFORE)) for w in plan.workloads]
    return Report(
        fleet=plan.fleet,
        headline=headline(diff, plan, risks),
        sections=(
            glance_section(diff, plan),
            risks_section(risks),
            changes_section(diff, plan),
            *workloads,
            map_section(plan, MAP),
            capacity_section(plan, CAPACITY),
            certificate_section(plan, CERTIFICATE),
            warnings_section(plan, WARNINGS),
            *([measure_section(plan, MEASURE)] if plan.measure_next else []),
            inputs_section(plan, INPUTS),
        ),
        closing=closing_line(diff),
    )


def risks_section(risks: tuple[Risk, ...]) -> Section:
    """Return the risks, high ones first, each with its kind to look up."""
    items = tuple(
        Item(f"{risk.sentence} [{risk.kind}]", Mark.HIGH if risk.level is Level.HIGH else Mark.WARN)
        for risk in risks
    )
    return Section(f"Risks ({len(risks):,})", (Items(items or (Item("none found"),)),), importance=0)


def _importance(diff: PlanDiff, risks: tuple[Risk, ...]) -> dict[str, int]:
    """Importance by workload: one with a changed deployment goes before one with a risk of its own or of a deployment."""
    subjects = {risk.subject for risk in risks}
    importance = dict.fromkeys(subjects, AT_RISK)
    for change in diff.changes:
        for deployment in (change.before, change.after):
            for served in deployment.served if deployment else ():
                if change.action is not Action.KEEP:
                    importance[served.workload] = CHANGED
                elif change.id in subjects:
                    importance.setdefault(served.workload, AT_RISK)
    return importance
