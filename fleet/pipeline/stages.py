"""The compiler on one screen: a fleet file in, a verified plan out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import assert_never

from fleet.candidates.need import Candidate, Drop
from fleet.candidates.prune import candidates_of
from fleet.diagnostics import Diagnostic, Rejected
from fleet.perf.interface import PerformanceModel
from fleet.pipeline.deployments import is_same_shape, reference_points
from fleet.pipeline.lift import Found, lift, warning_line
from fleet.pipeline.locate import locate, no_candidates
from fleet.pipeline.lock import Lock, Origin, lock_text, not_in_lock, not_ranked
from fleet.pipeline.lower import lower
from fleet.pipeline.measure.choose import IN_PLAN, RESOLVED_IN_COMPILE, rank_runs
from fleet.pipeline.measure.narrowing import AfterRuns, after_runs
from fleet.pipeline.needs import need_of, places_of
from fleet.pipeline.recording import NotInLock, Recording
from fleet.pipeline.resolved import ResolvedFleet
from fleet.pipeline.warnings import plan_warnings
from fleet.plan.document import Digests, FleetPlan, PerformanceLine
from fleet.plan.file import canonical_json, sha256_hex
from fleet.plan.verify import verify_plan
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
    perf_warnings: tuple[Diagnostic, ...] = ()  # what the plan has to say of the estimates' origin
    previous_plan: FleetPlan | None = None  # for churn only
    previous_digest: str | None = None
    lock: Lock | None = None  # that `perf` answers from; None: what is asked for is frozen in a new one


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
    asked = Recording(inputs.perf)
    found = find_candidates(fleet, asked, progress)
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
    used = {option: trace.candidates[option] for option, count in solved.answer.replicas if count}
    said = (*inputs.diagnostics, *inputs.perf_warnings)
    diagnostics = [*said, *plan_warnings(fleet, used, solved.certificate)]
    try:
        unlocked = lift(
            fleet, found, solved, trace, asked, digests_of(fleet, inputs), inputs.compiled_by, diagnostics
        )
    except NotInLock as missing:
        raise Rejected([not_in_lock(missing, "spec", "workloads")]) from None
    after = inputs.lock.after if inputs.lock else after_runs()
    ranked = _with_runs(fleet, found, unlocked, asked, after, progress)
    lock = _lock(fleet, inputs, asked, after, found)
    digests = ranked.digests.model_copy(update={"performance": sha256_hex(lock)})
    plan = ranked.model_copy(update={"digests": digests, "performance": _performance(fleet, asked)})
    progress("verifying every rule by arithmetic")
    if violations := verify_plan(plan):
        raise UnsoundPlan("; ".join(f"{v.rule} ({v.subject}): {v.message}" for v in violations[:5]))
    return Compiled(plan, lock)


def _with_runs(
    fleet: ResolvedFleet,
    found: Found,
    plan: FleetPlan,
    asked: Recording,
    after: AfterRuns,
    progress: Progress,
) -> FleetPlan:
    """Return the plan with what to measure next; a lock that lacks what the ranking asks for is said in the plan."""
    try:
        ranking = rank_runs(
            fleet, found, plan, asked, after, most_resolved=RESOLVED_IN_COMPILE, progress=progress
        )
    except NotInLock as missing:
        return plan.model_copy(update={"warnings": (*plan.warnings, warning_line(not_ranked(missing)))})
    return plan.model_copy(update={"measure_next": ranking.runs[:IN_PLAN]})


def find_candidates(
    fleet: ResolvedFleet, perf: PerformanceModel, progress: Progress = lambda _: None
) -> Found:
    """Enumerate and price candidates for every workload.

    Raises:
        Rejected: a workload has none, or a lock lacks its estimates.
    """
    candidates: dict[str, list[Candidate]] = {}
    drops: dict[str, list[Drop]] = {}
    lacking: list[Diagnostic] = []
    for name, workload in fleet.workloads.items():
        places = places_of(workload, fleet)
        need = need_of(workload, fleet.file.spec.policy)
        try:
            candidates[name], drops[name] = candidates_of(need, places, perf)
        except NotInLock as missing:
            lacking.append(not_in_lock(missing, "spec", "workloads", name))
            continue
        dropped = sum(drop.count for drop in drops[name])
        progress(f"candidates of '{name}': {len(candidates[name])} kept, {dropped} dropped")
    if lacking:
        raise Rejected(lacking)
    if without := {name: drops[name] for name in candidates if not candidates[name]}:
        raise Rejected(no_candidates(without))
    return Found(candidates, drops)


def _lock(fleet: ResolvedFleet, inputs: Inputs, asked: Recording, after: AfterRuns, found: Found) -> str:
    """Return the lock that the estimates come from, or a new one of those that were asked for.

    A new one also holds what the plan would say of every other candidate, so that it serves at other prices and rates.
    """
    if inputs.lock is not None:
        return inputs.lock.text
    candidates = [c for name in sorted(found.candidates) for c in found.candidates[name]]
    for c in candidates:
        asked.estimate(reference_points(c.shape, fleet.workloads[c.workload]))
    origin = Origin.of(fleet.file.spec.performance, inputs.file_digests)
    return lock_text(origin, inputs.perf_warnings, asked, after, candidates)


def _performance(fleet: ResolvedFleet, asked: Recording) -> PerformanceLine:
    spec = fleet.file.spec.performance
    return PerformanceLine(
        backends=tuple(b.value for b in spec.backends),
        calibration=spec.calibration,
        model=asked.name,
        digest=asked.digest,
    )


def digests_of(fleet: ResolvedFleet, inputs: Inputs) -> Digests:
    """Return the digests of what a plan is made from; that of the estimates is known when all have been asked for."""
    prices = {name: o.price for name, o in fleet.offerings.items()}
    rows = {name: [p.usd_per_gpu_hour, p.kind, p.as_of.isoformat(), p.source] for name, p in prices.items()}
    return Digests(
        spec=inputs.spec_digest,
        files=dict(sorted(inputs.file_digests.items())),
        catalog=fleet.catalog.digest,
        prices=sha256_hex(canonical_json(rows)),
        performance="",
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
        if deployment and is_same_shape(candidate, deployment):
            replicas.append((candidate.id, deployment.replicas))
    return Previous(tuple(replicas))
