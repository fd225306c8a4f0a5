"""What a run is worth, on a fleet small enough to reckon by hand: 100 requests/s, hosts of 8 GPUs at 10 USD an hour."""

from __future__ import annotations

import pytest

from fleet.candidates.need import Place, Shape, Weights
from fleet.layout import Precision
from fleet.perf.replica import ReplicaSpec
from fleet.pipeline.lower import MICRO_USD
from fleet.pipeline.measure import worth
from fleet.pipeline.measure.reach import FAST, MIDDLE, SLOW, Near
from fleet.pipeline.measure.worth import Today, Valuer
from solver.problem import Budget, Demand, Offering, Problem
from tests.perf.parts import CATALOG, engine, worker

USD = MICRO_USD


def offering(name: str, units: int = 10) -> Offering:
    return Offering(name, "a", 1, units, 0, 8, 8, 1, 10 * USD, 100)


def near(name: str, rate_now: float, fast: float, slow: float, *, dropped: bool = False) -> Near:
    """A TP2 replica on the offering of its own name, which is its cell too."""
    place = Place(name, CATALOG.accelerators["h100-sxm"], 5e10, 8, 10, 1.25)
    replica = ReplicaSpec(mixed=worker(tp=2))
    weights = Weights(Precision.FP8, Precision.FP8, "hf://x/y")
    shape = Shape(place, engine("vllm"), weights, Precision.FP8, replica, 2, 2, 0)
    known = None if dropped else object()
    return Near(name, "chat", shape, name, rate_now, (fast, rate_now, slow), known)  # type: ignore[arg-type]


def valuer(*rows: Near, today: str = "used", hosts: int = 3, replicas: int = 10, units: int = 10) -> Valuer:
    base = Problem(
        offerings=tuple(offering(n.id, units) for n in rows),
        options=(),
        demands=(Demand("chat", 100_000),),
        budget=Budget(),
    )
    return Valuer(base, Today({today: hosts}, {today: replicas}, hosts * 10 * USD), rows)


def test_a_run_of_an_unused_cell_is_worth_what_a_fast_outcome_saves() -> None:
    # Used: 10 replicas of 10 requests/s, 3 hosts. The other at 16 requests/s: 7 replicas, 14 GPUs, 2 hosts.
    found = valuer(near("used", 10, 12, 8), near("other", 8, 16, 4)).value("other")
    assert [o.saving for o in found.outcomes] == [10 * USD, 0, 0]
    assert found.outcomes[FAST].replicas == {"other": 7}
    assert found.outcomes[SLOW].replicas == {}, "what is not used may be slow: nothing to solve"


def test_a_run_of_a_used_cell_is_worth_what_switching_saves_when_it_is_slow() -> None:
    # At 5 requests/s today's layout needs 20 replicas, 40 GPUs, 5 hosts; the other at 8 needs 13, 26 GPUs, 4 hosts.
    found = valuer(near("used", 10, 10, 5), near("other", 8, 8, 8)).value("used").outcomes
    assert (found[SLOW].keep, found[SLOW].best, found[SLOW].saving) == (50 * USD, 40 * USD, 10 * USD)


def test_what_has_to_be_added_is_of_any_layout_where_the_own_one_runs_out() -> None:
    # Three hosts of each exist: 24 GPUs of the own give 60 requests/s at 5, the other adds 5 replicas of 8, 2 hosts.
    found = valuer(near("used", 10, 10, 5), near("other", 8, 8, 8), units=3).value("used").outcomes[SLOW]
    assert found.keep == 50 * USD


def test_nothing_can_be_kept_where_all_of_it_is_too_little() -> None:
    # Twelve replicas of each at most: 12 x 1 + 12 x 4 requests/s.
    found = valuer(near("used", 10, 10, 1), near("other", 4, 4, 4), units=3).value("used").outcomes[SLOW]
    assert (found.keep, found.best, found.saving) == (None, None, 0)


def test_today_stays_as_dear_as_it_is_when_its_cell_is_fast() -> None:
    # At 20 requests/s 5 replicas do, 10 GPUs, 2 hosts: who does not know it keeps paying for 3.
    found = valuer(near("used", 10, 20, 10)).value("used").outcomes[FAST]
    assert (found.keep, found.best, found.saving) == (30 * USD, 20 * USD, 10 * USD)


def test_a_better_plan_that_needs_no_run_is_no_merit_of_the_run() -> None:
    # The other serves 16 already: the plan could be 2 hosts without any news.
    rows = near("used", 10, 10, 10), near("other", 16, 17, 15)
    found = valuer(*rows).value("other")
    assert found.slack == 10 * USD
    assert [o.saving for o in found.outcomes] == [0, 0, 0]


def test_nothing_is_solved_where_the_run_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(problem: Problem) -> None:
        assert {o.capacity for o in problem.options} == {(("chat", 10_000),)}, "only the slack is solved"

    monkeypatch.setattr(worth, "size", refuse)
    found = valuer(near("used", 10, 10, 10)).value("used")
    assert [o.saving for o in found.outcomes] == [0, 0, 0]


def test_a_dropped_candidate_is_only_there_when_it_is_fast() -> None:
    rows = near("used", 10, 10, 10), near("back", 0, 16, 0, dropped=True)
    found = valuer(*rows).value("back").outcomes
    assert found[FAST].saving == 10 * USD
    assert not found[MIDDLE].replicas
    assert not found[SLOW].replicas
