"""The verdict: one line for people, one line of counts for scripts, one exit code for CI."""

from __future__ import annotations

from fleet.plan.changes import PlanDiff
from fleet.plan.document import FleetPlan
from fleet.review.format import counted, percent_change, signed, usd_per_month
from fleet.review.risk import Level, Risk
from fleet.units import format_usd_per_hour

NO_CHANGE, CHANGES = 0, 2


def exit_code(diff: PlanDiff, detailed: bool) -> int:
    """Return 2 where something changes and the caller asked to be told (`--detailed-exitcode`), else 0."""
    return CHANGES if detailed and diff.has_changes else NO_CHANGE


def closing_line(diff: PlanDiff) -> str:
    """Return the counts of deployments in Terraform's form; a move is one to add and one to destroy."""
    counts = diff.counts
    return f"Plan: {counts.add} to add, {counts.change} to change, {counts.destroy} to destroy."


def verdict(diff: PlanDiff, risks: tuple[Risk, ...]) -> str:
    """Return the judgement in a few words.

    "CHANGES WITH HIGH RISK (2 high, 4 others)", "CHANGES WITH RISK (4, none high)", "CHANGES, NO RISK FOUND",
    "NO CHANGES (4 standing risks)".
    """
    high = sum(risk.level is Level.HIGH for risk in risks)
    others = len(risks) - high
    if not diff.has_changes:
        return f"NO CHANGES ({counted(len(risks), 'standing risk')})" if risks else "NO CHANGES"
    if not risks:
        return "CHANGES, NO RISK FOUND"
    if not high:
        return f"CHANGES WITH RISK ({others}, none high)"
    return f"CHANGES WITH HIGH RISK ({high} high, {counted(others, 'other')})"


def headline(diff: PlanDiff, plan: FleetPlan, risks: tuple[Risk, ...]) -> str:
    """Return verdict, money and counts in one line."""
    cost, counts = diff.totals.usd_per_hour, diff.counts
    money = f"{format_usd_per_hour(cost.after)} = {usd_per_month(cost.after)}"
    if diff.is_first:
        money += ", first plan"
    elif format_usd_per_hour(cost.before) == format_usd_per_hour(cost.after):
        money += ", cost unchanged"
    else:
        per_cent = f" ({percent_change(cost)})" if cost.before else ""
        money += f", {signed(cost.change, format_usd_per_hour)}{per_cent}"
    return f"{plan.fleet}: {verdict(diff, risks)}; {money}; {counts.add} to add, {counts.change} to change, {counts.destroy} to destroy"
