"""The compiler on one screen: a fleet file in, a verified plan out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import assert_never

from fleet.candidates.need import Candidate, Drop, Limits, Need
from fleet.candidates.prune import candidates_of
from fleet.diagnostics import Diagnostic, Rejected
from fleet.perf.interface import PerformanceModel
from fleet.pipeline.lift import Found, lift
from fleet.pipeline.locate import locate, no_candidates
from fleet.pipeline.lock import lock_text
from fleet.pipeline.lower import lower
from fleet.pipeline.resolved import ResolvedFleet, ResolvedWorkload
from fleet.pipeline.warnings import plan_warnings
from fleet.plan.document import Deployment, Digests, FleetPlan
from fleet.plan.file import canonical_json, sha256_hex
from fleet.plan.verify import verify_plan
from fleet.spec.model import PolicySpec
from solver.outcome import Infeasible, Solved, Unknown
from solver.problem import Budget, Previous
from solver.solve import solve

Progress = Callable[[str], None]


class UnsoundPlan(RuntimeError):
    """A finished plan broke one of its own rules: our mistake; please report it with the fleet file."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a compile is made from beside the resolved fleet: all of it explicit, so that the same inputs give the same bytes."""

    perf: PerformanceModel
    spec_digest: str
    file_digests: Mapping[str, str]
    compiled_by: str
    budget: Budget
    diagnostics: tuple[Diagnostic, ...] = ()  # warnings of the stages before
    previous_plan: FleetPlan | None = None  # for churn only
    previous_digest: str | None = None


@dataclass(frozen=True, slots=True)
class Compiled:
    plan: FleetPlan
    lock: str


def compile_fleet(fleet: ResolvedFleet, inputs: Inputs, progress: Progress = lambda _: None) -> Compiled:
    """Turn a resolved fleet into a plan and its performance lock.

    Raises:
        Rejected: the file cannot be met; carries located diagnostics.
        UnsoundPlan: we are wrong.
    """
    found = find_candidates(fleet, inputs.perf, progress)
    problem, trace = lower(
        fleet, dict(found.candidates), inputs.budget, _previous(found, inputs.previous_plan)
    )
    progress(
        f"solving: {len(problem.options)} options, {len(problem.offerings)} offerings, {len(problem.demands)} workloads"
    )
    match solve(problem, progress):
        case Solved() as solved:
            pass
        case Infeasible() | Unknown() as failure:
            raise Rejected([*locate(failure, trace, fleet), *inputs.diagnostics])
        case unreachable:
            assert_never(unreachable)
    lock = lock_text(dict(found.candidates), inputs.perf)
    used = {option: trace.candidates[option] for option, count in solved.answer.replicas if count}
    diagnostics = [*inputs.diagnostics, *plan_warnings(fleet, used, solved.certificate)]
    plan = lift(
        fleet,
        found,
        solved,
        trace,
        inputs.perf,
        digests_of(fleet, inputs, lock),
        inputs.compiled_by,
        diagnostics,
    )
    progress("verifying every rule by arithmetic")
    if violations := verify_plan(plan):
        raise UnsoundPlan("; ".join(f"{v.rule} ({v.subject}): {v.message}" for v in violations[:5]))
    return Compiled(plan, lock)


def find_candidates(
    fleet: ResolvedFleet, perf: PerformanceModel, progress: Progress = lambda _: None
) -> Found:
    """Enumerate and price candidates for every workload.

    Raises:
        Rejected: a workload has none.
    """
    candidates: dict[str, list[Candidate]] = {}
    drops: dict[str, list[Drop]] = {}
    for name, workload in fleet.workloads.items():
        places = [
            fleet.offerings[offering].place
            for offering in workload.offerings
            if fleet.offerings[offering].available_units
        ]
        candidates[name], drops[name] = candidates_of(need_of(workload, fleet.file.spec.policy), places, perf)
        progress(f"candidates of '{name}': {len(candidates[name])} kept, {len(drops[name])} dropped")
    if missing := {name: drops[name] for name in candidates if not candidates[name]}:
        raise Rejected(no_candidates(missing))
    return Found(candidates, drops)


def need_of(workload: ResolvedWorkload, policy: PolicySpec) -> Need:
    """Return a workload as the candidates see it."""
    model = workload.model
    return Need(
        workload=workload.name,
        card=model.card,
        weights=model.weights,
        kv_precisions=model.kv_precisions,
        engines=model.engines,
        draft=model.draft,
        load=workload.load,
        rate_req_per_s=workload.planning_req_per_s,
        max_model_len=workload.max_context,
        limits=Limits(
            max_tp=policy.layouts.max_tp,
            max_gpus_per_replica=policy.layouts.max_gpus_per_replica,
            allow_pipeline=policy.layouts.allow_pipeline,
            allow_aggregated=policy.disaggregation != "require",
            allow_disaggregated=policy.disaggregation != "forbid",
        ),
    )


def digests_of(fleet: ResolvedFleet, inputs: Inputs, lock: str) -> Digests:
    """Return the digests of everything that a plan is made from."""
    prices = {name: o.price for name, o in fleet.offerings.items()}
    rows = {name: [p.usd_per_gpu_hour, p.kind, p.as_of.isoformat(), p.source] for name, p in prices.items()}
    return Digests(
        spec=inputs.spec_digest,
        files=dict(sorted(inputs.file_digests.items())),
        catalog=fleet.catalog.digest,
        prices=sha256_hex(canonical_json(rows)),
        performance=sha256_hex(lock),
        previous=inputs.previous_digest,
    )


def _previous(found: Found, plan: FleetPlan | None) -> Previous | None:
    """Map the plan in force to options, where the same shape still exists."""
    if plan is None:
        return None
    in_force = {(s.workload, d.offering): d for d in plan.deployments for s in d.served}
    replicas = []
    for candidate in (c for rows in found.candidates.values() for c in rows):
        deployment = in_force.get((candidate.workload, candidate.shape.place.offering))
        if deployment and _same_shape(candidate, deployment):
            replicas.append((candidate.id, deployment.replicas))
    return Previous(tuple(replicas))


def _same_shape(candidate: Candidate, deployment: Deployment) -> bool:
    shape = candidate.shape
    workers = tuple((worker.layout, count) for worker, count in shape.workers)
    same_workers = workers == tuple((g.layout, g.workers_per_replica) for g in deployment.workers)
    return same_workers and (shape.engine.id.value, shape.weights.precision, shape.kv) == (
        deployment.engine.id,
        deployment.weights,
        deployment.kv_cache,
    )
