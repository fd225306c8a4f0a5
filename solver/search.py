"""The formulations that are tried on a problem, one after the other, until a proof or a stated gap."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite

from solver.engines import Run, Status, run_mip, whole_bound
from solver.fleet import Fleet, Short, read_fleet, settle
from solver.floor import floor
from solver.goals import Goal
from solver.outcome import Answer, Attempt
from solver.placement import Unplaced, Want
from solver.problem import Level, Problem
from solver.program import Cells, Formulation, SizingModel
from solver.sizing import Cap, build_sizing, goal_grain
from solver.structure import Structure, analyse

_MOST_CELLS = 48  # beyond, racks or domains are too many to be told apart in a program
_MOST_CELL_VARIABLES = 8_000
_TARGETS = 3  # amounts between bound and answer that are tried
_REPAIRS = 8
_WIDE_GAP = 0.02
_WORK_PER_SECOND = 100_000  # nodes × variables that GSCIP gets through in a deterministic second
_FEWEST_NODES = 50


@dataclass
class Search:
    """What is known so far of one problem."""

    structure: Structure
    progress: Callable[[str], None]
    goal: Goal
    attempts: list[Attempt] = field(default_factory=list)
    bound: int = 0
    answer: Answer | None = None
    is_infeasible: bool = False

    @property
    def grain(self) -> int:
        return goal_grain(self.structure, self.goal)

    @property
    def gap(self) -> float:
        return self.structure.problem.budget.gap

    @property
    def is_done(self) -> bool:
        """Whether the answer is within the gap asked for, or none exists."""
        if self.answer is None:
            return self.is_infeasible
        return self.goal is Goal.ANY or self.answer.cost - self.bound <= self.gap * self.answer.cost

    @property
    def is_wide_open(self) -> bool:
        """Whether an answer is so far from the bound that another kind of program is worth its time."""
        if self.answer is None or self.is_done:
            return False
        return self.answer.cost - self.bound > max(_WIDE_GAP, self.gap) * self.answer.cost

    def nodes(self, sizing: SizingModel, part: float) -> int:
        """Branch-and-bound nodes that a part of the budget buys, fewer for larger programs."""
        work = part * self.structure.problem.budget.deterministic_seconds * _WORK_PER_SECOND
        return max(_FEWEST_NODES, int(work / max(1, sizing.model.get_num_variables())))

    def settle(self, fleet: Fleet, effort: float) -> Answer | Unplaced | Short:
        """Place a fleet and keep the answer when it is the best so far."""
        self.progress("placement")
        found = settle(self.structure, fleet, Goal(self.structure.problem.objective), effort=effort)
        if isinstance(found, Answer) and (self.answer is None or found.cost < self.answer.cost):
            self.answer = found
        return found

    def raise_bound(self, run: Run) -> int | None:
        """Take over what a run of an excluding-nothing program proved."""
        whole = whole_bound(run.bound) if isfinite(run.bound) else None
        if whole is None:
            return None
        self.bound = max(self.bound, whole * self.grain)
        return whole * self.grain

    def note(
        self, name: str, run: Run, found: Answer | Unplaced | Short | None = None, bound: int | None = None
    ) -> None:
        cost = found.cost if isinstance(found, Answer) else None
        self.attempts.append(Attempt(name, cost, bound, _effort(run, found)))


def _effort(run: Run, found: Answer | Unplaced | Short | None) -> str:
    nodes = f"{run.nodes} nodes"
    if isinstance(found, Unplaced):
        return f"{nodes}, {found.left_over} replicas of {found.option.id} without {found.want.name.lower()}"
    if isinstance(found, Short):
        return f"{nodes}, short by rounding"
    return nodes if run.status is Status.FOUND else f"{nodes}, {run.status.name.lower()}"


def explore(problem: Problem, progress: Callable[[str], None], goal: Goal | None = None) -> Search:
    """Search for the best fleet of a goal, by default the problem's own.

    Few racks or domains: the program that tells them apart, then targets between its bound and its answer. Many: the
    compact program for the bound and for which options are worth having, then cautious programs over those options.
    """
    structure = analyse(problem)
    wanted = goal or Goal(problem.objective)
    search = Search(structure, progress, wanted, bound=0 if wanted is Goal.ANY else floor(problem))
    cells = cells_of(structure)
    fleet = _open(search, cells, part=0.4)
    if cells is not Cells.NONE and search.goal is not Goal.ANY and not search.is_done:
        _close_gap(search, cells)
    if search.answer is None and not search.is_infeasible:
        _be_cautious(search, fleet)
    elif cells is not Cells.NONE and search.is_wide_open:
        _be_cautious(search, None)
    return search


def is_excluded(problem: Problem) -> bool | None:
    """Whether a program proves that no fleet meets the problem; None when its limit ends it first."""
    structure = analyse(problem)
    search = Search(structure, lambda _: None, Goal.ANY)
    sizing = build_sizing(structure, Formulation(cells_of(structure)), goal=Goal.ANY)
    run = run_mip(sizing.model, nodes=search.nodes(sizing, 0.3), gap=0.0, first_only=True)
    return None if run.status is Status.OPEN else run.status is Status.INFEASIBLE


def cells_of(structure: Structure) -> Cells:
    """Choose what a program can afford to tell apart: domains when hosts must be outlived, else racks, else nothing."""
    levels = {level for c in structure.components for level, _ in c.levels}
    packs = any(o.domain_gpus > o.host_gpus for o in structure.problem.offerings)
    if not levels & {Level.HOST, Level.RACK} and not packs:
        return Cells.NONE
    domains = {o.id: o.max_units * o.unit_domains for o in structure.problem.offerings}
    racks = {o.id: structure.most_sets(o, Level.RACK) for o in structure.problem.offerings}
    if Level.HOST in levels and _are_few(structure, domains):
        return Cells.DOMAINS
    return Cells.RACKS if _are_few(structure, racks) else Cells.NONE


def _are_few(structure: Structure, cells: Mapping[str, int]) -> bool:
    variables = sum(cells[i.offering] for i in structure.options)
    return sum(cells.values()) <= _MOST_CELLS and variables <= _MOST_CELL_VARIABLES


def _open(search: Search, cells: Cells, part: float) -> Fleet | None:
    """Run the first formulation for a bound, a fleet and perhaps an answer."""
    name = str(cells)
    search.progress(f"sizing: {name}")
    sizing = build_sizing(search.structure, Formulation(cells), goal=search.goal)
    nodes = search.nodes(sizing, part)
    run = run_mip(
        sizing.model,
        nodes=nodes,
        gap=search.gap / 2,
        first_only=search.goal is Goal.ANY,
        many_cuts=cells is not Cells.NONE and search.goal is not Goal.ANY,
    )
    search.is_infeasible = run.status is Status.INFEASIBLE
    bound = search.raise_bound(run)
    if run.status is not Status.FOUND:
        search.note(name, run, bound=bound)
        return None
    fleet = read_fleet(sizing, run.values)
    search.note(name, run, search.settle(fleet, effort=2.0), bound)
    return fleet


def _close_gap(search: Search, cells: Cells) -> None:
    """Ask for any fleet at all that amounts to no more than a target: one found is an answer, none is a bound.

    The first target is the bound itself, the next ones halve the gap or, when that is too hard to decide, less of it.
    """
    if search.answer is None and _aim(search, cells, None, part=0.2) is not Status.FOUND:
        return
    ratio, part = 0.0, 0.1
    for _ in range(_TARGETS):
        if search.is_done or search.answer is None:
            return
        steps = int((search.answer.cost - search.bound) / search.grain * ratio)
        target = search.bound + search.grain * steps
        if target >= search.answer.cost:
            return
        status = _aim(search, cells, target, part)
        ratio = (1 + ratio) / 2 if status is Status.OPEN else 0.5
        part = 0.2


def _aim(search: Search, cells: Cells, target: int | None, part: float) -> Status:
    """Decide whether some fleet amounts to no more than the target."""
    name = f"{cells}, any fleet" if target is None else f"{cells}, at most a target"
    search.progress(f"sizing: {name}")
    caps = () if target is None else (Cap(search.goal, target),)
    sizing = build_sizing(search.structure, Formulation(cells), goal=Goal.ANY, caps=caps)
    nodes = search.nodes(sizing, part)
    priorities = None if target is None or target <= search.bound else sizing.units_first()
    run = run_mip(sizing.model, nodes=nodes, gap=0.0, priorities=priorities, first_only=True)
    if run.status is Status.INFEASIBLE:
        if target is None:
            search.is_infeasible = search.answer is None
        else:
            search.bound = max(search.bound, target + search.grain)
        search.note(name, run, bound=None if target is None else target + search.grain)
        return Status.INFEASIBLE
    found = search.settle(read_fleet(sizing, run.values), effort=2.0) if run.status is Status.FOUND else None
    search.note(name, run, found)
    return Status.FOUND if isinstance(found, Answer) else Status.OPEN


def _be_cautious(search: Search, fleet: Fleet | None) -> None:
    """Ask for fleets that can be spread, with more and more slack where placing failed, until one is placed."""
    structure = _worthwhile(search.structure, fleet)
    idle: dict[str, int] = {}
    spare: dict[str, int] = {}
    for number in range(1, (2 if search.goal is Goal.ANY else _REPAIRS) + 1):
        bearable = {i.id: _planned_losses(structure, i.id, fleet) for i in structure.options}
        formulation = Formulation(bearable=bearable, idle_gpus=idle, spare_rate=spare)
        search.progress(f"sizing: cautious, {number}")
        sizing = build_sizing(structure, formulation, goal=search.goal)
        part = 0.3 if number == 1 else 0.1
        run = run_mip(
            sizing.model,
            nodes=search.nodes(sizing, part),
            gap=search.gap,
            first_only=search.goal is Goal.ANY,
        )
        if run.status is not Status.FOUND:
            search.note(f"cautious, {number}", run)
            if structure is search.structure:
                return
            structure = search.structure
            continue
        fleet = read_fleet(sizing, run.values)
        found = search.settle(fleet, effort=0.5)
        search.note(f"cautious, {number}", run, found)
        if isinstance(found, Answer):
            return
        _widen(structure, found, idle, spare)


def _worthwhile(structure: Structure, fleet: Fleet | None) -> Structure:
    """Keep the options that the fleet uses and, for each slot, the one that serves most per GPU."""
    if fleet is None:
        return structure
    kept = {i.id for i in structure.options if fleet.replicas.get(i.id, 0)}
    for options in structure.slots.values():
        kept.add(max(options, key=lambda i: max(q for _, q in i.capacity) / i.gpus).id)
    return Structure(structure.problem, tuple(i for i in structure.options if i.id in kept))


def _planned_losses(structure: Structure, option: str, fleet: Fleet | None) -> tuple[int, ...]:
    """Losses worth planning for: what an even spread over the units of an earlier fleet makes of it, and around."""
    replicas = fleet.replicas.get(option, 0) if fleet else 0
    if fleet is None or not replicas:
        return (1, 2, 4, 8)
    found = next(i for i in structure.options if i.id == option)
    offering = structure.offering[found.offering]
    domains = max(1, fleet.units.get(offering.id, 0) * offering.unit_domains)
    racks = max(1, domains // offering.domains_per_rack)
    even = -(-replicas * structure.racks_touched(found) // racks)
    return tuple(sorted({max(1, even - 1), even, even + 1, 2 * even}))


def _widen(
    structure: Structure, found: Unplaced | Short, idle: dict[str, int], spare: dict[str, int]
) -> None:
    """Add the slack whose lack stopped the placement."""
    rates = {d.id: d.rate for d in structure.problem.demands}
    if isinstance(found, Short):
        for workload in found.workloads:
            if workload in rates:
                spare[workload] = spare.get(workload, 0) + max(1, rates[workload] // 250_000)
        return
    option = found.option
    idle[option.offering] = idle.get(option.offering, 0) + option.gpus * max(1, found.left_over // 2)
    if found.want is Want.SPREAD:
        for workload, capacity in option.capacity:
            spare[workload] = spare.get(workload, 0) + min(capacity, max(1, rates[workload] // 50))
