"""A fleet sized but not placed is never dearer than the cheapest one that can be placed."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings

from solver.outcome import Solved
from solver.problem import Problem
from solver.relaxed import size
from solver.solve import solve
from tests.solver.problems import problems
from tests.solver.small import EXACT, demand, fleet, hosts, option


@settings(max_examples=25, deadline=None)
@given(problems())
def test_it_is_a_bound_of_every_placed_fleet(problem: Problem) -> None:
    exact = replace(problem, budget=EXACT)
    found, outcome = size(exact), solve(exact)
    if isinstance(outcome, Solved):
        assert found is not None, "what can be placed can be sized"
        assert found.bound <= found.amount
        assert found.bound <= outcome.answer.cost


def test_units_replicas_and_amount_agree() -> None:
    found = size(fleet(hosts(), option(rate=100), demand(rate=500), budget=EXACT))
    assert found is not None
    assert (found.units, found.replicas, found.amount, found.gap) == ({"h100": 3}, {"chat": 5}, 30, 0.0)


def test_none_is_found_where_the_hosts_run_out() -> None:
    assert size(fleet(hosts(max_units=1), option(rate=100), demand(rate=500), budget=EXACT)) is None


def test_the_same_problem_gives_the_same_fleet() -> None:
    problem = fleet(hosts(), option(rate=70), demand(rate=500), budget=EXACT)
    assert size(problem) == size(problem)
