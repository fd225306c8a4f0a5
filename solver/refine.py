"""Among answers that amount to no more: less churn, then fewer GPUs, then earlier options."""

from __future__ import annotations

from solver.engines import Status, run_mip
from solver.fleet import read_fleet, settle
from solver.goals import Goal, amount_of, later_goals, may_pay_for_churn
from solver.outcome import Answer
from solver.program import Formulation
from solver.search import Search, cells_of
from solver.sizing import Cap, build_sizing
from solver.structure import Structure


def refine(search: Search) -> None:
    """Improve the answer of a search in the later goals, one after the other, never in an earlier one's place.

    One exception: where keeping a replica has a price, cost may rise for it, as far as the gap that was asked for.
    """
    structure = search.structure
    assert search.answer is not None
    caps = [Cap(search.goal, search.answer.cost)]
    for goal in later_goals(structure):
        if goal is Goal.CHURN and may_pay_for_churn(structure):
            caps = [Cap(search.goal, _dearest_inside_gap(search))]
        found = _improve(search, goal, caps)
        if found is not None and _amount(structure, goal, found) < _amount(structure, goal, search.answer):
            search.answer = found
        caps = [Cap(cap.goal, _amount(structure, cap.goal, search.answer)) for cap in caps]
        caps.append(Cap(goal, _amount(structure, goal, search.answer)))


def _improve(search: Search, goal: Goal, caps: list[Cap]) -> Answer | None:
    """Return a placed answer for the goal within the caps, or None when none was found."""
    search.progress(f"choosing among equals: {goal}")
    structure = search.structure
    sizing = build_sizing(structure, Formulation(cells_of(structure)), goal=goal, caps=caps)
    run = run_mip(sizing.model, nodes=search.nodes(sizing, 0.04), gap=0.0)
    if run.status is not Status.FOUND:
        return None
    found = settle(structure, read_fleet(sizing, run.values), search.goal, effort=0.5)
    if not isinstance(found, Answer) or any(_amount(structure, c.goal, found) > c.amount for c in caps):
        return None
    return found


def _dearest_inside_gap(search: Search) -> int:
    """Largest cost that is still within the gap asked for of what is proven."""
    assert search.answer is not None
    inside = int(search.bound / (1 - search.gap)) if search.gap < 1 else search.answer.cost
    return max(search.answer.cost, inside)


def _amount(structure: Structure, goal: Goal, answer: Answer) -> int:
    return amount_of(structure, goal, dict(answer.units), dict(answer.replicas))
