"""The solver agrees with trying everything, on problems small enough for that."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings

from solver.outcome import Infeasible, Solved
from solver.problem import Problem
from solver.solve import solve
from solver.verify import verify
from tests.solver.enumeration import cheapest_by_enumeration
from tests.solver.problems import problems

LENIENT = settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@LENIENT
@given(problems())
def test_solver_agrees_with_enumeration(problem: Problem) -> None:
    best = cheapest_by_enumeration(problem)  # slow and obviously right
    outcome = solve(problem)
    if best is None:
        assert isinstance(outcome, Infeasible)
        return
    assert isinstance(outcome, Solved)
    assert outcome.answer.cost == best
    assert outcome.certificate.floor <= outcome.certificate.bound <= best
    assert outcome.certificate.proven_optimal
    assert verify(problem, outcome.answer) == []
    for workload in {w for w, _, _ in outcome.answer.shares}:
        assert sum(share for w, _, share in outcome.answer.shares if w == workload) == 1_000_000


@settings(LENIENT, max_examples=25)
@given(problems())
def test_a_conflict_has_no_answer_and_none_of_its_rules_can_be_left_out(problem: Problem) -> None:
    outcome = solve(problem)
    if isinstance(outcome, Solved):
        return
    assert isinstance(outcome, Infeasible)
    assert outcome.conflict
    assert_irreducible(problem, outcome)


def assert_irreducible(problem: Problem, outcome: Infeasible) -> None:
    """Keep only the rules of the conflict: infeasible; without any one of them: solved."""
    from solver.conflicts import rules_of, without

    named = {(c.rule, c.subject) for c in outcome.conflict}
    others = [r for r in rules_of(problem) if (r.kind, r.subject) not in named]
    assert isinstance(solve(without(problem, others)), Infeasible)
    for rule in rules_of(problem):
        if (rule.kind, rule.subject) in named:
            assert isinstance(solve(without(problem, [*others, rule])), Solved), rule
