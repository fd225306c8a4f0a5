"""What is minimised, one goal after the other, and what each is worth in an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import gcd

from solver.problem import Previous
from solver.structure import Structure


class Goal(StrEnum):
    """An amount to make small; a later goal chooses only among answers that are no worse in the earlier ones."""

    ANY = "any"  # no preference: does an answer exist?
    COST = "cost"  # micro-USD/h of units bought and replicas run
    GPUS = "gpus"  # GPUs of units bought
    POWER = "power"  # W of units bought
    CHURN = "churn"  # cost less what the kept replicas of the previous plan are worth
    ORDER = "order"  # GPUs of replicas, then earlier options first


@dataclass(frozen=True, slots=True)
class Weights:
    """Amount of a goal: Σ weight × units + Σ weight × replicas − kept_worth × Σ min(replicas, before)."""

    units: tuple[tuple[str, int], ...] = ()
    replicas: tuple[tuple[str, int], ...] = ()
    kept: tuple[tuple[str, int], ...] = ()
    kept_worth: int = 1
    grain: int = 1


def weights(structure: Structure, goal: Goal) -> Weights:
    """Return what a unit and a replica add to the goal."""
    problem = structure.problem
    if goal is Goal.COST:
        units = tuple((o.id, o.cost_per_unit) for o in problem.offerings if o.cost_per_unit)
        replicas = tuple((i.id, i.cost_per_replica) for i in structure.options if i.cost_per_replica)
        return Weights(units, replicas, grain=gcd(*(w for _, w in units + replicas)) or 1)
    if goal is Goal.POWER:
        units = tuple((o.id, o.power_per_unit) for o in problem.offerings if o.power_per_unit)
        return Weights(units, grain=gcd(*(w for _, w in units)) or 1)
    if goal is Goal.GPUS:
        units = tuple((o.id, o.bought_gpus) for o in problem.offerings)
        return Weights(units, grain=gcd(*(w for _, w in units)) or 1)
    if goal is Goal.CHURN and problem.previous is not None:
        return _churn(structure, problem.previous)
    if goal is Goal.ORDER:
        scale = len(structure.options) + 1
        return Weights(
            replicas=tuple((i.id, scale * i.gpus + rank) for rank, i in enumerate(structure.options))
        )
    return Weights()


def _churn(structure: Structure, previous: Previous) -> Weights:
    """Kept replicas alone where answers cost the same; where cost may rise for them, what both are worth in money."""
    known = {i.id for i in structure.options}
    kept = tuple((i, n) for i, n in previous.replicas if i in known and n > 0)
    worth = structure.problem.churn_weight
    if not may_pay_for_churn(structure):
        return Weights(kept=kept)
    cost = weights(structure, Goal.COST)
    return Weights(cost.units, cost.replicas, kept, worth, gcd(cost.grain, worth))


def may_pay_for_churn(structure: Structure) -> bool:
    """Whether keeping a replica has a price: then an answer inside the gap may cost more than the cheapest found."""
    return structure.problem.objective == "cost" and structure.problem.churn_weight > 0


def later_goals(structure: Structure) -> tuple[Goal, ...]:
    """Return the goals after the problem's own objective, in order; what costs nothing is not bought to stand idle."""
    tie_break = (Goal.COST,) if structure.problem.objective != "cost" else ()
    is_free = any(o.cost_per_unit == 0 for o in structure.problem.offerings)
    idle = (Goal.POWER,) if is_free and structure.problem.objective != "power" else ()
    churn = (Goal.CHURN,) if structure.problem.previous is not None else ()
    return (*tie_break, *idle, *churn, Goal.ORDER)


def amount_of(structure: Structure, goal: Goal, units: Mapping[str, int], replicas: Mapping[str, int]) -> int:
    """Return what a fleet amounts to in a goal."""
    weighed = weights(structure, goal)
    return (
        sum(w * units.get(o, 0) for o, w in weighed.units)
        + sum(w * replicas.get(i, 0) for i, w in weighed.replicas)
        - weighed.kept_worth * sum(min(before, replicas.get(i, 0)) for i, before in weighed.kept)
    )
