"""Lists the benchmark runs most worth making: cells screened by a first-order gain, the best of them solved again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fleet.candidates.need import Candidate
from fleet.perf.interface import PerformanceModel
from fleet.perf.rounding import six
from fleet.pipeline.deployments import is_same_shape
from fleet.pipeline.lift import Found
from fleet.pipeline.lower import lower
from fleet.pipeline.measure.describe import Describer
from fleet.pipeline.measure.narrowing import AfterRuns
from fleet.pipeline.measure.reach import FAST, PROBABILITIES, SLOW, Near, within_reach
from fleet.pipeline.measure.worth import Today, Valuer
from fleet.pipeline.resolved import ResolvedFleet
from fleet.plan.document import Deployment, FleetPlan, MeasureRun
from solver.goals import Goal, amount_of
from solver.problem import Budget
from solver.structure import analyse

IN_PLAN = 3
"""Runs that a plan carries."""

RESOLVED_IN_COMPILE = 20
"""Cells whose outcomes are solved again within a compile; `fleetc measure` solves all that are within reach."""


class PlanNotReproduced(ValueError):
    """The plan has a deployment that today's candidates do not contain: it was made from other estimates."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Runs, the most worth first; how many cells are within reach, and of how many the outcomes were solved again."""

    runs: tuple[MeasureRun, ...]
    within_reach: int
    resolved: int


def rank_runs(
    fleet: ResolvedFleet,
    found: Found,
    plan: FleetPlan,
    perf: PerformanceModel,
    after: AfterRuns,
    *,
    most_resolved: int,
    progress: Callable[[str], None] = lambda _: None,
) -> Ranking:
    """Return the runs whose outcomes were solved again, the most worth first, then the most risk reduced.

    Raises:
        PlanNotReproduced: the plan was made from other candidates.
    """
    in_force = deployments_by_candidate(plan, found)
    median = fleet.file.spec.policy.risk.error_quantile <= 0.5
    near = within_reach(fleet, found.candidates, perf, after, plans_on_median=median)
    base, _ = lower(fleet, dict(found.candidates), Budget())
    units = {o.name: o.bought_units for o in plan.offerings}
    replicas = {option: d.replicas for option, d in in_force.items()}
    amount = amount_of(analyse(base), Goal(base.objective), units, replicas)
    valuer = Valuer(base, Today(units, replicas, amount), near)
    cells = screened(near, in_force, plan)
    chosen = cells[:most_resolved]
    describer = Describer(fleet, plan, perf, after, near, in_force)
    runs = []
    for number, cell in enumerate(chosen, start=1):
        progress(f"what to measure: run {number} of {len(chosen)}, {cell}")
        runs.append(describer.run(cell, valuer.value(cell)))
    runs.sort(key=lambda r: (-r.worth, -six(r.risk_reduced_usd_per_hour), r.workload, r.offering, r.layout))
    return Ranking(tuple(runs), len(cells), len(chosen))


def deployments_by_candidate(plan: FleetPlan, found: Found) -> dict[str, Deployment]:
    """Return the candidate of every deployment.

    Raises:
        PlanNotReproduced: some deployment has none.
    """
    candidates: dict[str, Candidate] = {}
    for rows in found.candidates.values():
        for candidate in rows:
            for deployment in plan.deployments:
                if is_same_shape(candidate, deployment):
                    candidates[deployment.id] = candidate
    missing = [d.id for d in plan.deployments if d.id not in candidates]
    if missing:
        raise PlanNotReproduced(f"deployment '{missing[0]}' is not among today's candidates")
    return {candidates[d.id].id: d for d in plan.deployments}


def screened(near: Sequence[Near], in_force: dict[str, Deployment], plan: FleetPlan) -> list[str]:
    """Return the cells whose run could change something, by first-order gain, then by money that rests on them.

    With π_w what a workload's request rate costs today, π(z) what it costs in the cell and π' elsewhere at best:

        gain = p_fast Σ_w rate_w max(π_w - π(fast), 0) + p_slow Σ_w rate_w share_w max(π(slow) - π', 0)
    """
    rate = {w.name: w.demand.planning_req_per_s for w in plan.workloads}
    price_today = dict.fromkeys(rate, 0.0)
    share: dict[tuple[str, str], float] = {}
    stake: dict[str, float] = {}
    for n in near:
        if deployment := in_force.get(n.id):
            part = deployment.served[0].share / 1e6
            price_today[n.workload] += part * n.usd_per_request_rate(n.rate_now)
            share[n.workload, n.cell] = share.get((n.workload, n.cell), 0.0) + part
            stake[n.cell] = stake.get(n.cell, 0.0) + deployment.usd_per_hour
    gain: dict[str, float] = {}
    for cell in sorted({n.cell for n in near}):
        total = 0.0
        for workload in sorted({n.workload for n in near if n.cell == cell}):
            here = [n for n in near if n.workload == workload and n.cell == cell]
            fast = min(n.usd_per_request_rate(n.rates[FAST]) for n in here)
            total += PROBABILITIES[FAST] * rate[workload] * max(price_today[workload] - fast, 0.0)
            slow = min((n.usd_per_request_rate(n.rates[SLOW]) for n in here if n.id in in_force), default=0.0)
            other = min(
                (
                    n.usd_per_request_rate(n.rate_now)
                    for n in near
                    if n.workload == workload and n.cell != cell
                ),
                default=float("inf"),
            )
            worse = min(slow, other * 10.0) - other if slow > other else 0.0
            total += PROBABILITIES[SLOW] * rate[workload] * share.get((workload, cell), 0.0) * worse
        gain[cell] = total
    moving = [cell for cell in gain if gain[cell] > 0 or cell in stake]
    return sorted(moving, key=lambda cell: (-six(gain[cell]), -stake.get(cell, 0.0), cell))
