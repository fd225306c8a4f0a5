"""A sized fleet on its way to an answer: read from a program, placed, shared out, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ortools.math_opt.python import mathopt

from solver.exact import place_exactly
from solver.goals import Goal, amount_of
from solver.outcome import Answer, Assignment
from solver.placement import Order, Unplaced, allowance_rules, place
from solver.program import Cells, SizingModel
from solver.shares import allowance, split_traffic
from solver.structure import Structure
from solver.verify import UnsoundSizing, Violation, verify

_ROUNDING_RULES = ("cover", "capacity", "survive")


@dataclass(frozen=True, slots=True)
class Fleet:
    """Units, replicas, pieces of traffic and, when told apart, replicas by cell; not yet placed."""

    units: Mapping[str, int]
    replicas: Mapping[str, int]
    pieces: Mapping[tuple[str, str], int]
    cells: Cells
    in_cell: Mapping[tuple[str, int], int]


@dataclass(frozen=True, slots=True)
class Short:
    """Workloads that the fleet serves only up to the tolerance of floating point."""

    workloads: tuple[str, ...]


def read_fleet(sizing: SizingModel, values: Mapping[mathopt.Variable, float]) -> Fleet:
    """Round the solution of a sizing program to the integers it stands for."""

    def whole(variables: Mapping[str, mathopt.Variable]) -> dict[str, int]:
        return {name: count for name, variable in variables.items() if (count := round(values[variable]))}

    pieces = {key: count for key, variable in sizing.pieces.items() if (count := round(values[variable]))}
    in_cell = {key: count for key, variable in sizing.in_cell.items() if (count := round(values[variable]))}
    return Fleet(whole(sizing.units), whole(sizing.replicas), pieces, sizing.formulation.cells, in_cell)


def settle(
    structure: Structure, fleet: Fleet, objective: Goal, *, effort: float
) -> Answer | Unplaced | Short:
    """Place a fleet, split its traffic and verify the result.

    `effort` is the deterministic time that the exact placement may take when the constructive one fails; 0 skips it.

    Raises:
        UnsoundSizing: the answer breaks a rule that no rounding explains.
    """
    allowances = {
        (number, level): allowance(structure.components[number], workloads, fleet.replicas, fleet.pieces)
        for number, level, workloads in allowance_rules(structure.components)
    }
    short = [
        d.id
        for (number, _), allowed in allowances.items()
        if allowed.amount < 0
        for d in structure.components[number].demands
    ]
    if short:
        return Short(tuple(sorted(set(short))))
    order = Order(fleet.units, fleet.replicas, allowances, fleet.cells, fleet.in_cell)
    places = place(structure, order)
    if isinstance(places, Unplaced) and effort > 0:
        places = place_exactly(structure, order, effort) or places
    if isinstance(places, Unplaced):
        return places
    answer = _assemble(structure, fleet, places, objective)
    violations = verify(structure.problem, answer)
    if violations:
        return _explain(violations)
    return answer


def _explain(violations: list[Violation]) -> Short:
    if all(v.rule.startswith(_ROUNDING_RULES) for v in violations):
        return Short(tuple(sorted({v.subject for v in violations})))
    raise UnsoundSizing(violations)


def _assemble(structure: Structure, fleet: Fleet, places: tuple[Assignment, ...], objective: Goal) -> Answer:
    problem = structure.problem
    units = tuple((o.id, fleet.units[o.id]) for o in problem.offerings if fleet.units.get(o.id, 0))
    replicas = tuple((i.id, fleet.replicas[i.id]) for i in structure.options if fleet.replicas.get(i.id, 0))
    shares = {
        (w, i): share
        for component in structure.components
        for w, i, share in split_traffic(component, fleet.replicas, fleet.pieces)
    }
    by_workload = tuple(
        (d.id, i.id, shares[d.id, i.id])
        for d in problem.demands
        for i in structure.options
        if (d.id, i.id) in shares
    )
    return Answer(
        units, replicas, by_workload, places, amount_of(structure, objective, dict(units), dict(replicas))
    )
