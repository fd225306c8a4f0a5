"""Among answers that amount to no more: less churn, then fewer GPUs, then earlier options."""

from __future__ import annotations

from solver.engines import Status, run_mip
from solver.fleet import read_fleet, settle
from solver.goals import Goal, amount_of, later_goals
from solver.outcome import Answer
from solver.program import Formulation
from solver.search import Search, cells_of
from solver.sizing import Cap, build_sizing
from solver.structure import Structure


def refine(search: Search) -> None:
    """Improve the answer of a search in the later goals, one after the other, never in an earlier one's place."""
    structure = search.structure
    assert search.answer is not None
    caps = [Cap(search.goal, search.answer.cost)]
    formulation = Formulation(cells_of(structure))
    for goal in later_goals(structure):
        search.progress(f"choosing among equals: {goal}")
        sizing = build_sizing(structure, formulation, goal=goal, caps=caps)
        run = run_mip(sizing.model, nodes=search.nodes(sizing, 0.04), gap=0.0)
        if run.status is Status.FOUND:
            found = settle(structure, read_fleet(sizing, run.values), search.goal, effort=0.5)
            goals = [*(cap.goal for cap in caps), goal]
            if isinstance(found, Answer) and _amounts(structure, goals, found) < _amounts(
                structure, goals, search.answer
            ):
                search.answer = found
        caps.append(Cap(goal, _amounts(structure, [goal], search.answer)[0]))


def _amounts(structure: Structure, goals: list[Goal], answer: Answer) -> list[int]:
    return [amount_of(structure, goal, dict(answer.units), dict(answer.replicas)) for goal in goals]
