"""The search for a fleet: the formulations that are tried, one after the other, until a proof or a stated gap."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite

from solver.conflicts import find_conflict
from solver.engines import SOLVER, Run, Status, run_mip, whole_bound
from solver.fleet import Fleet, Short, read_fleet, settle
from solver.floor import floor
from solver.goals import Goal, amount_of, later_goals
from solver.outcome import Answer, Attempt, Certificate, Outcome, Solved, Unknown
from solver.placement import Unplaced, Want
from solver.problem import Level, Problem
from solver.sizing import Cap, Margin, SizingModel, build_sizing, goal_grain
from solver.structure import Structure, analyse

_MOST_RACKS = 48  # beyond, racks are too many to be told apart in a program
_MOST_RACK_VARIABLES = 8_000
_REPAIRS = 12
_NODES_PER_SECOND = 100_000  # nodes × variables that GSCIP gets through in a deterministic second


@dataclass
class Search:
    """What is known so far of one problem."""

    structure: Structure
    progress: Callable[[str], None]
    goal: Goal = field(init=False)
    attempts: list[Attempt] = field(default_factory=list)
    bound: int = field(init=False)
    answer: Answer | None = None
    is_infeasible: bool = False

    def __post_init__(self) -> None:
        self.goal = Goal(self.structure.problem.objective)
        self.bound = floor(self.structure.problem)

    @property
    def is_done(self) -> bool:
        if self.is_infeasible:
            return True
        if self.answer is None:
            return False
        return self.answer.cost - self.bound <= self.structure.problem.budget.gap * self.answer.cost

    def nodes(self, sizing: SizingModel, part: float) -> int:
        """Branch-and-bound nodes that a part of the budget buys, fewer for larger programs."""
        variables = max(1, sizing.model.get_num_variables())
        return max(
            20,
            int(part * self.structure.problem.budget.deterministic_seconds * _NODES_PER_SECOND / variables),
        )


Start = Mapping[int, float]  # variable's number in the program -> value, to start another run of it from


@dataclass(frozen=True, slots=True)
class Formulation:
    """One way to write and search the sizing program."""

    name: str
    by_racks: bool = False
    units_first: bool = False  # branch on units before anything else: better bounds, worse answers
    start: Start = field(default_factory=dict)


def solve(problem: Problem, progress: Callable[[str], None] | None = None) -> Outcome:
    """Return the cheapest fleet found with its proof, the smallest conflict, or a stated lack of both.

    Deterministic: the same problem gives the same outcome on every machine.

    Raises:
        MalformedProblem: the problem means nothing (a bug of the caller).
        UnsoundSizing: the answer fails `verify` (a bug of ours).
    """
    search = explore(problem, progress or (lambda _: None))
    if search.is_infeasible:
        return find_conflict(problem, is_feasible, search.progress)
    if search.answer is None:
        reason = "no fleet was found that can be placed, and none was excluded, within the budget"
        return Unknown(search.bound, tuple(search.attempts), reason)
    refine(search)
    return Solved(search.answer, _certificate(search))


def is_feasible(problem: Problem) -> bool | None:
    """Return whether any fleet meets the problem; None when the budget does not tell."""
    search = explore(problem, lambda _: None, goal=Goal.ANY)
    if search.is_infeasible:
        return False
    return True if search.answer is not None else None


def explore(problem: Problem, progress: Callable[[str], None], goal: Goal | None = None) -> Search:
    """Try the formulations in order until the gap is closed, infeasibility is proven or the budget is spent."""
    structure = analyse(problem)
    search = Search(structure, progress)
    if goal is not None:
        search.goal, search.bound = goal, 0
    if _racks_can_be_told_apart(structure):
        start = _try(search, Formulation("by racks", by_racks=True), part=0.35)
        if not search.is_done:
            _try(
                search,
                Formulation("by racks, units first", by_racks=True, units_first=True, start=start),
                part=0.4,
            )
    else:
        _try(search, Formulation("compact"), part=0.75)
    if search.answer is None and not search.is_infeasible:
        _repair(search)
    return search


def _racks_can_be_told_apart(structure: Structure) -> bool:
    racks = {o.id: structure.most_sets(o, Level.RACK) for o in structure.problem.offerings}
    variables = sum(racks[i.offering] for i in structure.options)
    decides = any(level is not Level.ZONE for c in structure.components for level, _ in c.levels)
    packs = any(o.domain_gpus > o.host_gpus for o in structure.problem.offerings)
    return (decides or packs) and sum(racks.values()) <= _MOST_RACKS and variables <= _MOST_RACK_VARIABLES


def _try(search: Search, formulation: Formulation, part: float) -> Start:
    """Run one formulation; keep its bound, and its answer when it can be placed. Returns where it ended."""
    search.progress(f"sizing: {formulation.name}")
    sizing = build_sizing(search.structure, goal=search.goal, by_racks=formulation.by_racks)
    run = run_mip(
        sizing.model,
        nodes=search.nodes(sizing, part),
        gap=search.structure.problem.budget.gap / 2,
        start={v: formulation.start[v.id] for v in sizing.model.variables() if v.id in formulation.start},
        priorities=sizing.units_first() if formulation.units_first else None,
        first_only=search.goal is Goal.ANY,
    )
    if run.status is Status.INFEASIBLE:
        search.is_infeasible = search.answer is None
        search.attempts.append(Attempt(formulation.name, None, None, f"{run.nodes} nodes, infeasible"))
        return {}
    bound = _proven(search, run)
    search.bound = max(search.bound, bound or 0)
    found = None
    if run.status is Status.FOUND:
        found = _settle(search, read_fleet(sizing, run.values), effort=2.0)
    cost = found.cost if isinstance(found, Answer) else None
    search.attempts.append(Attempt(formulation.name, cost, bound, _effort(run, found)))
    return {v.id: value for v, value in run.values.items()}


def _proven(search: Search, run: Run) -> int | None:
    whole = whole_bound(run.bound) if isfinite(run.bound) else None
    return None if whole is None else whole * goal_grain(search.structure, search.goal)


def _effort(run: Run, found: Answer | Unplaced | Short | None) -> str:
    if isinstance(found, Unplaced):
        return f"{run.nodes} nodes, {found.left_over} replicas of {found.option.id} without {found.want.name.lower()}"
    if isinstance(found, Short):
        return f"{run.nodes} nodes, short by rounding"
    return f"{run.nodes} nodes"


def _settle(search: Search, fleet: Fleet, effort: float) -> Answer | Unplaced | Short:
    """Place a fleet and keep the answer when it is the cheapest so far."""
    search.progress("placement")
    found = settle(search.structure, fleet, Goal(search.structure.problem.objective), effort=effort)
    if isinstance(found, Answer) and (search.answer is None or found.cost < search.answer.cost):
        search.answer = found
    return found


def _repair(search: Search) -> None:
    """Ask for fleets with more and more slack where placing failed, until one can be placed."""
    idle: dict[str, int] = {}
    spare: dict[str, int] = {}
    by_racks = _racks_can_be_told_apart(search.structure)
    for number in range(1, _REPAIRS + 1):
        margin = Margin(idle, spare)
        sizing = build_sizing(search.structure, goal=search.goal, by_racks=by_racks, margin=margin)
        run = run_mip(
            sizing.model, nodes=search.nodes(sizing, 0.4 / _REPAIRS), gap=search.structure.problem.budget.gap
        )
        if run.status is not Status.FOUND:
            search.attempts.append(
                Attempt(f"with slack, {number}", None, None, f"{run.nodes} nodes, nothing found")
            )
            return
        found = _settle(search, read_fleet(sizing, run.values), effort=0.5)
        cost = found.cost if isinstance(found, Answer) else None
        search.attempts.append(Attempt(f"with slack, {number}", cost, None, _effort(run, found)))
        if isinstance(found, Answer):
            return
        _widen(search.structure, found, idle, spare, number)


def _widen(
    structure: Structure, found: Unplaced | Short, idle: dict[str, int], spare: dict[str, int], number: int
) -> None:
    """Add the slack whose lack stopped the placement."""
    rates = {d.id: d.rate for d in structure.problem.demands}
    if isinstance(found, Short):
        for workload in found.workloads:
            if workload in rates:
                spare[workload] = spare.get(workload, 0) + max(1, rates[workload] * 3 * number // 1_000_000)
    elif found.want is Want.SPACE:
        option = found.option
        idle[option.offering] = idle.get(option.offering, 0) + option.gpus * max(1, found.left_over // 2)
    else:
        for workload, capacity in found.option.capacity:
            step = min(capacity, max(1, rates[workload] // 4))
            spare[workload] = spare.get(workload, 0) + step


def refine(search: Search) -> None:
    """Among answers that are no costlier, prefer less churn, then fewer GPUs, then earlier options."""
    assert search.answer is not None
    structure = search.structure
    caps = [Cap(search.goal, search.answer.cost)]
    by_racks = _racks_can_be_told_apart(structure)
    for goal in later_goals(structure):
        search.progress(f"choosing among equals: {goal}")
        sizing = build_sizing(structure, goal=goal, caps=caps, by_racks=by_racks)
        run = run_mip(sizing.model, nodes=search.nodes(sizing, 0.05), gap=0.0)
        if run.status is Status.FOUND:
            found = settle(structure, read_fleet(sizing, run.values), search.goal, effort=0.5)
            if isinstance(found, Answer) and _is_no_worse(
                structure, found, search.answer, [*(c.goal for c in caps), goal]
            ):
                search.answer = found
        caps.append(Cap(goal, _amount(structure, goal, search.answer)))


def _amount(structure: Structure, goal: Goal, answer: Answer) -> int:
    return amount_of(structure, goal, dict(answer.units), dict(answer.replicas))


def _is_no_worse(structure: Structure, new: Answer, old: Answer, goals: Iterable[Goal]) -> bool:
    goals = tuple(goals)
    return [_amount(structure, g, new) for g in goals] <= [_amount(structure, g, old) for g in goals]


def _certificate(search: Search) -> Certificate:
    assert search.answer is not None
    cost = search.answer.cost
    bound = min(search.bound, cost)
    gap = (cost - bound) / cost if cost else 0.0
    return Certificate(
        cost=cost,
        bound=bound,
        gap=gap,
        proven_optimal=bound == cost,
        solver=SOLVER,
        attempts=tuple(search.attempts),
        floor=floor(search.structure.problem),
    )
