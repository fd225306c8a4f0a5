"""A fleet sized but not placed: the compact program of `sizing.py`, a relaxation of every placement, in a fraction of the time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from solver.engines import Status, run_mip, whole_bound
from solver.fleet import read_fleet
from solver.goals import Goal, amount_of
from solver.problem import Problem
from solver.program import Formulation
from solver.sizing import build_sizing, goal_grain
from solver.structure import analyse

NODES = 400
"""Branch-and-bound nodes of one program: small ones end long before."""


@dataclass(frozen=True, slots=True)
class Sized:
    """Units and replicas of a sized fleet, its amount in the problem's objective, and a bound of any fleet's."""

    amount: int
    bound: int
    units: Mapping[str, int]
    replicas: Mapping[str, int]

    @property
    def gap(self) -> float:
        return (self.amount - self.bound) / self.amount if self.amount else 0.0


def size(problem: Problem) -> Sized | None:
    """Return the cheapest sized fleet within the problem's gap, None where none was found. Deterministic.

    Raises:
        MalformedProblem: the problem means nothing (a bug of the caller).
    """
    structure, goal = analyse(problem), Goal(problem.objective)
    sizing = build_sizing(structure, Formulation(), goal=goal)
    run = run_mip(sizing.model, nodes=NODES, gap=problem.budget.gap)
    if run.status is not Status.FOUND:
        return None
    fleet = read_fleet(sizing, run.values)
    amount = amount_of(structure, goal, fleet.units, fleet.replicas)
    bound = (whole_bound(run.bound) or 0) * goal_grain(structure, goal)
    return Sized(amount, min(max(bound, 0), amount), fleet.units, fleet.replicas)
