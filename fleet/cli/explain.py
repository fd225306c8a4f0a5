"""`fleetc explain`: a rule's page; or why a workload got its deployment."""

from __future__ import annotations

import sys
from pathlib import Path

from fleet.cli.stack import committed_plan
from fleet.cli.trouble import Stop
from fleet.diagnostics import all_rules, did_you_mean
from fleet.plan.document import Deployment, FleetPlan, PlannedWorkload
from fleet.review.workload import provenance
from fleet.units import format_ms, format_requests_per_s, format_share, format_usd, format_usd_per_hour


def run(subject: str, workload: str | None) -> None:
    """Print the page of a rule, or the explanation of a workload."""
    if workload is None:
        _rule(subject)
        return
    plan = committed_plan(Path(subject))
    found = next((w for w in plan.workloads if w.name == workload), None)
    if found is None:
        raise Stop(
            f"the plan of {subject} has no workload '{workload}'",
            did_you_mean(workload, [w.name for w in plan.workloads]),
        )
    sys.stdout.write("\n".join(_explanation(plan, found)) + "\n")


def _rule(name: str) -> None:
    import fleet.pipeline.calibrate  # importing the stages registers their rules
    import fleet.pipeline.stack
    import fleet.pipeline.stages  # noqa: F401

    rule = next((rule for rule in all_rules() if rule.name == name), None)
    if rule is None:
        if Path(name).exists():
            raise Stop(f"which workload of {name}?", f"name one: fleetc explain {name} WORKLOAD")
        raise Stop(f"there is no rule '{name[:80]}'", did_you_mean(name, [rule.name for rule in all_rules()]))
    sys.stdout.write(rule.page)


def _explanation(plan: FleetPlan, workload: PlannedWorkload) -> list[str]:
    demand = workload.demand
    lines = [
        f"workload {workload.name}: {workload.model} under SLO {workload.slo}",
        f"  demand: {format_requests_per_s(demand.planning_req_per_s)} at the planning peak ({format_requests_per_s(demand.peak_req_per_s)} written; {demand.basis})",
        f"  prompts of {demand.input_tokens.mean:,.0f} tokens mean, {demand.input_tokens.p99:,.0f} at p99; answers {demand.output_tokens.mean:,.0f} and {demand.output_tokens.p99:,.0f}",
        "",
        "Chosen",
    ]
    chosen = [d for d in plan.deployments if d.id in workload.deployments]
    for deployment in chosen:
        lines += _chosen(deployment, workload.name)
    cost = sum(d.usd_per_hour for d in chosen)
    lines += [
        "",
        f"Runners-up, each serving the whole workload alone (the plan's deployments cost {format_usd_per_hour(cost)})",
    ]
    for other in workload.alternatives:
        lines.append(
            f"  {other.offering} {other.precision.value} {other.layout} ({other.mode.value}, {other.engine})"
        )
        lines.append(
            f"    {other.replicas} replicas, {other.gpus} GPUs, {format_usd_per_hour(other.usd_per_hour)}: {other.why_lost}"
        )
    if not workload.alternatives:
        lines.append("  none: no other candidate was left")
    lines += ["", f"Candidates: {workload.candidates} reached the solver; dropped before it:"]
    lines += [f"  {row.count:5d}  {row.reason}: for example {row.example}" for row in workload.dropped] or [
        "  none"
    ]
    lines += ["", "Questions"]
    lines += [
        f"  {q.number}. {q.question}\n     {q.answer}{'' if q.known else ' [not fully known]'}"
        for q in workload.questions
    ]
    return lines


def _chosen(deployment: Deployment, workload: str) -> list[str]:
    served = next(s for s in deployment.served if s.workload == workload)
    layouts = ", ".join(
        f"{g.workers_per_replica} x {g.role.value} {g.layout.label}" for g in deployment.workers
    )
    lines = [
        f"  {deployment.id}: {deployment.replicas} replicas of {deployment.gpus_per_replica} GPUs ({layouts}), {deployment.weights.value} weights, {deployment.kv_cache.value} KV cache, "
        f"{deployment.engine.id} {deployment.engine.version}",
        f"    {format_requests_per_s(served.rate_req_per_s)} of {format_requests_per_s(served.capacity_req_per_s)} capacity; what stops a replica: {served.binding}",
        f"    {format_usd_per_hour(deployment.usd_per_hour)}, {format_usd(deployment.usd_per_million_useful_tokens)} for a million useful tokens",
    ]
    for limit in served.limits:
        interval = f"{format_ms(limit.error_low_ms)} to {format_ms(limit.error_high_ms)}"
        lines.append(
            f"    {limit.metric} p{limit.quantile}: {format_ms(limit.predicted_ms)} ({interval}) against {format_ms(limit.limit_ms)}, margin {format_share(limit.margin)}"
        )
    for phase, line in (("prefill", deployment.prefill), ("decode", deployment.decode)):
        shares = ", ".join(
            f"{name} {format_share(share)}"
            for name, share in sorted(line.shares.items(), key=lambda item: -item[1])[:4]
        )
        lines.append(f"    {phase} is bound by {line.bound}, {format_share(line.bound_share)} ({shares})")
    lines.append(f"    priced by {provenance(deployment.provenance)}")
    if deployment.prefill_provenance not in (None, deployment.provenance):
        lines.append(f"    its prefill by {provenance(deployment.prefill_provenance)}")
    return lines
