"""The one way in: a problem becomes an answer with its proof, the smallest conflict, or a stated lack of both."""

from __future__ import annotations

from collections.abc import Callable

from solver.conflicts import find_conflict
from solver.engines import SOLVER
from solver.floor import floor
from solver.goals import Goal
from solver.outcome import Certificate, Outcome, Solved, Unknown
from solver.problem import Problem
from solver.refine import refine
from solver.search import Search, explore, is_excluded


def solve(problem: Problem, progress: Callable[[str], None] | None = None) -> Outcome:
    """Return the cheapest fleet found with its proof, the smallest conflict, or a stated lack of both.

    Deterministic: the same problem gives the same outcome on every machine.

    Args:
        problem: What may be bought, what it serves and what must hold, in integers.
        progress: Told what is tried next, before each step.

    Raises:
        MalformedProblem: the problem means nothing (a bug of the caller).
        UnsoundSizing: the answer fails `verify` (a bug of ours).
    """
    search = explore(problem, progress or (lambda _: None))
    if search.is_infeasible:
        return find_conflict(problem, is_excluded, is_feasible, search.progress)
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


def _certificate(search: Search) -> Certificate:
    assert search.answer is not None
    cost = search.answer.cost
    bound = min(search.bound, cost)
    return Certificate(
        cost=cost,
        bound=bound,
        gap=(cost - bound) / cost if cost else 0.0,
        proven_optimal=bound == cost,
        solver=SOLVER,
        attempts=tuple(search.attempts),
        floor=floor(search.structure.problem),
    )
