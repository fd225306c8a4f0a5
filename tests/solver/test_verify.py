"""The arithmetic check accepts sound answers and names what is wrong with any other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from solver.outcome import Answer, Assignment, Solved
from solver.problem import Demand, Level, Limit, Problem
from solver.solve import solve
from solver.verify import first_unserved, verify
from tests.solver.small import demand, fleet, hosts, option, racks

BOTH = frozenset({Level.HOST, Level.RACK})
PROBLEM = fleet(
    hosts(min_units=1),
    racks(min_units=0, cost_per_unit=15),
    option(),
    option("tray", "gb200", gpus=4, rate=100),
    option("wide", "gb200", gpus=8, rate=10, capacity=(("code", 100),)),
    demand(survives=BOTH),
    Demand("code", 100, min_replicas=2),
    Limit("money", "budget", frozenset({"h100", "gb200"}), 60),
)
Change = Callable[[Answer], Answer]


@pytest.fixture(scope="module")
def answer() -> Answer:
    outcome = solve(PROBLEM)
    assert isinstance(outcome, Solved)
    return outcome.answer


def moved(answer: Answer, number: int, parts: tuple[tuple[int, int, int], ...]) -> Answer:
    changed = [replace(a, parts=parts) if n == number else a for n, a in enumerate(answer.assignments)]
    return replace(answer, assignments=tuple(changed))


MUTATIONS: dict[str, tuple[str, Change]] = {
    "a unit more than the cost says": ("cost", lambda a: replace(a, units=(*a.units[:1], ("gb200", 3)))),
    "more units than exist": ("inventory", lambda a: replace(a, units=(("h100", 5), ("gb200", 2)))),
    "units over the budget": ("budget", lambda a: replace(a, units=(("h100", 4), ("gb200", 2)))),
    "fewer units than committed to": ("min-units", lambda a: replace(a, units=(("gb200", 2),))),
    "part of a unit": ("purchase-unit", lambda a: replace(a, units=(("h100", 1.5), ("gb200", 2)))),  # type: ignore[arg-type]
    "a replica that is not placed": ("placement", lambda a: replace(a, assignments=a.assignments[1:])),
    "a replica placed twice": (
        "placement",
        lambda a: replace(a, assignments=(*a.assignments, a.assignments[0])),
    ),
    "a replica of an option that is not used": (
        "placement",
        lambda a: replace(a, replicas=a.replicas[1:], shares=a.shares),
    ),
    "a replica on a host that was not bought": ("placement", lambda a: moved(a, 0, ((9, 0, 4),))),
    "a replica on a host that no domain has": ("placement", lambda a: moved(a, 0, ((0, 99, 4),))),
    "a replica spread over two hosts": ("placement", lambda a: moved(a, 0, ((0, 0, 2), (0, 1, 2)))),
    "a replica with fewer GPUs": ("placement", lambda a: moved(a, 0, ((0, 0, 3),))),
    "shares that do not add up": ("cover", lambda a: replace(a, shares=a.shares[1:])),
    "a share for an option that cannot serve": (
        "cover",
        lambda a: replace(a, shares=(*a.shares, ("code", "tray", 1))),
    ),
    "a name that the problem does not know": ("answer", lambda a: replace(a, units=(*a.units, ("b200", 1)))),
    "an option listed without replicas": (
        "answer",
        lambda a: replace(a, replicas=(*a.replicas[:-1], ("wide", 0))),
    ),
    "too few replicas": (
        "min-replicas",
        lambda a: replace(a, replicas=tuple((i, 1 if i == "wide" else n) for i, n in a.replicas)),
    ),
}


def test_a_solved_answer_is_accepted(answer: Answer) -> None:
    assert verify(PROBLEM, answer) == []
    assert len({i for _, i, _ in answer.shares}) == 3  # every mutation has something to break


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_changed_answer_is_rejected_by_the_rule_it_breaks(name: str, answer: Answer) -> None:
    rule, change = MUTATIONS[name]
    assert rule in {v.rule for v in verify(PROBLEM, change(answer))}


@pytest.mark.parametrize("level", [Level.HOST, Level.RACK, Level.ZONE])
def test_replicas_that_stand_together_do_not_survive(level: Level) -> None:
    other = racks("gb300", zone="b", max_units=1)
    problem = fleet(
        racks(max_units=1),
        other,
        option("a", "gb200", gpus=1),
        option("b", "gb300", gpus=1),
        demand(300, survives=frozenset({level})),
    )
    outcome = solve(problem)
    assert isinstance(outcome, Solved)
    together = tuple(
        Assignment(option, n, ((0, n // 4 if level is Level.RACK else 0, 1),))
        for option, count in (("a", 4), ("b", 0 if level is Level.ZONE else 1))
        for n in range(count)
    )
    counts = tuple(
        (i, sum(a.option == i for a in together)) for i in ("a", "b") if any(a.option == i for a in together)
    )
    shares = (
        (("chat", "a", 1_000_000),) if len(counts) == 1 else (("chat", "a", 800_000), ("chat", "b", 200_000))
    )
    answer = Answer((("gb200", 1), ("gb300", 1)), counts, shares, together, 200)
    assert {v.rule for v in verify(problem, answer)} == {f"survive({level})"}


def test_a_share_that_does_not_fit_by_more_than_its_rounding_is_rejected() -> None:
    problem = fleet(option("a", slot="s"), option("b", slot="t"), demand(200))
    places = (Assignment("a", 0, ((0, 0, 4),)), Assignment("b", 0, ((0, 0, 4),)))
    exact = Answer(
        (("h100", 1),), (("a", 1), ("b", 1)), (("chat", "a", 500_000), ("chat", "b", 500_000)), places, 10
    )
    assert verify(problem, exact) == []
    for extra, rules in ((1, set()), (2, {"capacity"})):
        shares = (("chat", "a", 500_000 + extra), ("chat", "b", 500_000 - extra))
        assert {v.rule for v in verify(problem, replace(exact, shares=shares))} == rules


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.lists(st.integers(0, 5), min_size=3, max_size=3), min_size=2, max_size=3),
    st.lists(st.integers(1, 9), min_size=3, max_size=3),
    st.lists(st.integers(0, 3), min_size=3, max_size=3),
)
def test_exact_routing_agrees_with_linear_programming(
    capacity: list[list[int]], rates: list[int], room: list[int]
) -> None:
    names = [f"w{n}" for n in range(len(capacity))]
    serving = {
        w: {f"i{n}": q for n, q in enumerate(row) if q} for w, row in zip(names, capacity, strict=True)
    }
    short = first_unserved(
        dict(zip(names, rates, strict=False)), serving, {f"i{n}": Fraction(r) for n, r in enumerate(room)}
    )
    pairs = [(w, int(i[1:]), q) for w, row in serving.items() for i, q in row.items()]
    if not pairs:
        assert short
        return
    cover = [[-q if w == name else 0 for w, _, q in pairs] for name in names]
    fits = [[1 if n == i else 0 for _, n, _ in pairs] for i in range(3)]
    limits = [-r for r in rates[: len(names)]] + room
    found = linprog(np.zeros(len(pairs)), A_ub=np.array(cover + fits), b_ub=np.array(limits), method="highs")
    assert (found.status == 0) == (short == "")


def test_the_problem_is_not_changed_by_solving() -> None:
    before = repr(PROBLEM)
    solve(PROBLEM)
    assert repr(PROBLEM) == before
    assert isinstance(PROBLEM, Problem)
