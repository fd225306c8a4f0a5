"""The plan at a glance: money, what it buys, whether it holds, how good it is."""

from __future__ import annotations

from fleet.plan.changes import PlanDiff
from fleet.plan.document import CertificateLine, FleetPlan
from fleet.review.format import change, count, counted, usd_per_month
from fleet.review.proof import amount, spare_gpus
from fleet.review.report import Facts, Section
from fleet.units import format_kilowatts, format_share, format_usd, format_usd_per_hour


def glance_section(diff: PlanDiff, plan: FleetPlan) -> Section:
    """Return the totals with what they were before, and the thinnest margins."""
    rows = [*_money(diff, plan), *_amounts(diff, plan), ("SLO", _limits(plan))]
    rows += [(f"lost {level}", _survival(plan, level)) for level in plan.policy.survive]
    rows.append(("proof", _proof(plan.certificate)))
    return Section("At a glance", (Facts(tuple(rows)),), importance=0)


def _money(diff: PlanDiff, plan: FleetPlan) -> list[tuple[str, str]]:
    totals, summary = diff.totals, plan.summary
    rows = [
        ("cost", change(totals.usd_per_hour, format_usd_per_hour)),
        ("per month", f"{change(totals.usd_per_hour, usd_per_month)}, 730 h"),
        (
            "useful tokens",
            f"{change(totals.usd_per_million_useful_tokens, format_usd)} per million with everything bought (within the SLO, not cancelled, no retry's waste)",
        ),
        (
            "output tokens",
            f"{format_usd(summary.usd_per_million_output_tokens)} per million with everything bought",
        ),
    ]
    budget = plan.policy.budget_usd_per_hour
    if budget:
        rows.append(
            (
                "budget",
                f"{format_usd_per_hour(budget)}, of which {format_share(summary.usd_per_hour / budget)} is used",
            )
        )
    return rows


def _amounts(diff: PlanDiff, plan: FleetPlan) -> list[tuple[str, str]]:
    totals, summary = diff.totals, plan.summary
    spare = sum(spare_gpus(o) for o in plan.offerings)
    idle = summary.gpus_bought - summary.gpus_used - spare
    idle_usd_per_hour = max(0.0, summary.usd_per_hour - sum(d.usd_per_hour for d in plan.deployments))
    racks = f", {counted(summary.racks, 'NVL72 rack')} among them" if summary.racks else ""
    limit = plan.policy.power_limit_kw
    return [
        ("GPUs bought", f"{change(totals.gpus_bought, count)}, on {counted(summary.hosts, 'host')}{racks}"),
        ("of them", f"{count(summary.gpus_used)} held by replicas, {count(spare)} spare, {count(idle)} idle"),
        (
            "idle costs",
            f"{format_usd_per_hour(idle_usd_per_hour)} of the cost (spares are charged to the replicas they protect)",
        ),
        (
            "power",
            f"{change(totals.power_kw, format_kilowatts)} all-in{f', limit {format_kilowatts(limit)}' if limit else ''}",
        ),
    ]


def _limits(plan: FleetPlan) -> str:
    lines = [(line, s.workload, d.id) for d in plan.deployments for s in d.served for line in s.limits]
    if not lines:
        return "no limit is stated"
    hold = sum(line.margin >= 0 for line, _, _ in lines)
    safe = sum(line.error_high_ms <= line.limit_ms for line, _, _ in lines)
    thinnest, workload, deployment = min(lines, key=lambda part: part[0].margin)
    least = f"{format_share(thinnest.margin)}, {thinnest.metric.upper()} p{thinnest.quantile} of '{workload}' on '{deployment}'"
    return f"{hold} of {counted(len(lines), 'limit')} hold by prediction, {safe} with the whole 90 % interval; thinnest margin {least}"


def _survival(plan: FleetPlan, level: str) -> str:
    """What the worst single loss leaves, over workloads; a workload without a figure is not known."""
    known = [
        (w.survives[level] / w.demand.planning_req_per_s - 1, w.name)
        for w in plan.workloads
        if level in w.survives and w.demand.planning_req_per_s
    ]
    if not known:
        return "not known for any workload"
    survive = sum(spare >= 0 for spare, _ in known)
    least, name = min(known)
    return f"{survive} of {counted(len(plan.workloads), 'workload')} survive any one by prediction (p{plan.policy.error_quantile * 100:.0f} of its error); least to spare {format_share(least)}, '{name}'"


def _proof(c: CertificateLine) -> str:
    if c.proven_optimal:
        return (
            "the cheapest plan under these rules and estimates, proven"
            if c.objective == "money"
            else f"the best plan by {c.objective}, proven"
        )
    return f"no plan under these rules and estimates costs less than {amount(c.bound, c.unit)} (gap {format_share(c.gap)})"
