"""Each rule alone decides what a fleet costs, or whether there is one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from solver.outcome import Infeasible, Solved
from solver.problem import Budget, Demand, Level, Limit, Previous, Problem
from solver.solve import solve
from tests.solver.small import demand, fleet, hosts, option, racks

HOST, RACK, ZONE = (frozenset({level}) for level in Level)
TWO_SERVE = (("chat", 100), ("code", 100))


def cost_of(problem: Problem) -> int | None:
    outcome = solve(problem)
    assert isinstance(outcome, Solved | Infeasible)
    return outcome.answer.cost if isinstance(outcome, Solved) else None


# Three replicas of 4 GPUs serve the usual demand: two hosts, cost 20.
COSTS = {
    "the usual fleet": (fleet(), 20),
    "(cover) one more request needs a fourth replica, which the second host holds": (fleet(demand(301)), 20),
    "(cover) a fifth replica needs a third host": (fleet(demand(401)), 30),
    "(capacity) two workloads share one replica's time linearly": (
        fleet(option(capacity=TWO_SERVE), demand(150), Demand("code", 150)),
        20,
    ),
    "(capacity) shared time runs out": (
        fleet(option(capacity=TWO_SERVE), demand(250), Demand("code", 250)),
        30,
    ),
    "(inventory) one host does not do": (fleet(hosts(max_units=1)), None),
    "(min-units) hosts committed to are paid for": (fleet(hosts(min_units=3)), 30),
    "(min-units) more committed to than exist": (fleet(hosts(min_units=5)), None),
    "(purchase-unit) hosts sold in fours": (fleet(hosts(unit_domains=4, cost_per_unit=40)), 40),
    "(budget) a budget below the cost": (fleet(Limit("money", "budget", frozenset({"h100"}), 19)), None),
    "(budget) a budget of the cost": (fleet(Limit("money", "budget", frozenset({"h100"}), 20)), 20),
    "(power) power for one host": (fleet(Limit("zone-a", "power", frozenset({"h100"}), 13)), None),
    "(min-replicas) replicas beyond the demand": (fleet(demand(min_replicas=5)), 30),
    "(max-replicas) too few replicas allowed": (fleet(option(max_replicas=2)), None),
    "(one-layout) a mix of two layouts would be cheapest": (
        fleet(
            hosts(max_units=1),
            option("a", gpus=4, rate=100, slot="s"),
            option("b", gpus=2, rate=20, slot="s"),
            demand(130),
        ),
        10,
    ),
    "(one-layout) a mix of two layouts is the only way": (
        fleet(
            hosts(max_units=1),
            option("a", gpus=5, rate=100, slot="s"),
            option("b", gpus=3, rate=30, slot="s"),
            demand(130),
        ),
        None,
    ),
    "(one-layout) in two slots the mix is allowed": (
        fleet(hosts(max_units=1), option("a", gpus=5, rate=100), option("b", gpus=3, rate=30), demand(130)),
        10,
    ),
    "(placement) three replicas of 5 GPUs need three hosts though two have the GPUs": (
        fleet(option(gpus=5)),
        30,
    ),
    "(placement) a replica of 8 trays leaves one of 17 trays unused, so two fit a rack": (
        fleet(racks(), option(offering="gb200", gpus=32)),
        200,
    ),
    "(placement) a replica over two whole domains": (fleet(option(gpus=16, domains=2), demand(100)), 20),
    "(placement) trays are not shared with a replica that takes whole ones": (
        fleet(
            racks(domain_gpus=8, max_units=3),
            option("large", "gb200", gpus=8, rate=100),
            option("small", "gb200", gpus=1, capacity=(("code", 10),)),
            demand(100),
            Demand("code", 10),
        ),
        200,
    ),
    "(survive) a host is lost: a fourth replica, and two hosts of two will not do": (
        fleet(demand(survives=HOST)),
        30,
    ),
    "(survive) a host of two replicas may be lost when two more run": (fleet(demand(200, survives=HOST)), 20),
    "(survive) a tray of a rack is a host": (
        fleet(racks(), option(offering="gb200", gpus=4), demand(300, survives=HOST)),
        100,
    ),
    "(survive) a rack of two hosts is lost": (fleet(demand(400, survives=RACK)), 40),
    "(survive) a rack too many is lost": (fleet(demand(401, survives=RACK)), None),
    "(survive) an NVL72 domain is a rack": (
        fleet(racks(), option(offering="gb200"), demand(survives=RACK)),
        200,
    ),
    "(survive) the only zone is lost": (fleet(demand(survives=ZONE)), None),
    "(survive) the other zone serves everything": (
        fleet(hosts(), hosts("h200", zone="b"), option(), option("b", "h200"), demand(200, survives=ZONE)),
        20,
    ),
    "(survive) shared replicas are shared again after a loss": (
        fleet(option(capacity=TWO_SERVE), demand(100, survives=HOST), Demand("code", 100, survives=HOST)),
        20,
    ),
    "(survive) a workload that need not outlive a loss makes room": (
        fleet(option(capacity=TWO_SERVE), demand(100, survives=HOST), Demand("code", 100)),
        20,
    ),
    "(pieces) half the traffic is the least that goes anywhere": (
        fleet(
            hosts(max_units=1),
            option("a", gpus=4, rate=100, slot="s", max_replicas=1),
            option("b", gpus=4, rate=60, slot="t", max_replicas=1),
            demand(150, pieces=2),
        ),
        None,
    ),
    "a replica's own cost counts": (fleet(option(cost_per_replica=3)), 29),
    "nothing is bought for nothing": (fleet(demand(0, min_replicas=0)), 0),
    "fewest GPUs bought": (
        fleet(option("big", gpus=8, rate=210), option("small", gpus=1, rate=20), objective="gpus"),
        16,
    ),
    "least power": (
        fleet(
            hosts(),
            hosts("h200", power_per_unit=1, cost_per_unit=99),
            option(),
            option("b", "h200"),
            objective="power",
        ),
        2,
    ),
}


@pytest.mark.parametrize("name", COSTS)
def test_rule(name: str) -> None:
    problem, cost = COSTS[name]
    assert cost_of(problem) == cost


def test_a_demand_in_pieces_is_served_in_whole_pieces() -> None:
    problem = fleet(option("a", slot="s"), option("b", gpus=8, rate=199, slot="t"), demand(500, pieces=5))
    outcome = solve(problem)
    assert isinstance(outcome, Solved)
    assert all(share % 200_000 == 0 for _, _, share in outcome.answer.shares)


def test_an_equal_fleet_keeps_what_runs() -> None:
    one, two = option("one", slot="s"), option("two", slot="t")
    problem = fleet(one, two)
    for kept in ("one", "two"):
        outcome = solve(replace(problem, previous=Previous(((kept, 3),))))
        assert isinstance(outcome, Solved)
        assert dict(outcome.answer.replicas)[kept] == 3


def test_churn_never_makes_a_fleet_costlier() -> None:
    dear = option("dear", gpus=8, rate=100, slot="s")
    outcome = solve(fleet(dear, option(), previous=Previous((("dear", 3),))))
    assert isinstance(outcome, Solved)
    assert outcome.answer.cost == 20


def test_a_kept_replica_may_cost_what_it_is_worth_inside_the_gap() -> None:
    dear = option("dear", rate=100, slot="s", cost_per_replica=1)
    problem = fleet(dear, option(slot="t"), previous=Previous((("dear", 3),)), budget=Budget(5.0, gap=0.2))
    for worth, cost in ((0, 20), (2, 23)):
        outcome = solve(replace(problem, churn_weight=worth))
        assert isinstance(outcome, Solved)
        assert (outcome.answer.cost, outcome.certificate.cost) == (cost, cost)


def test_of_equal_fleets_the_one_with_fewer_gpus_is_taken() -> None:
    outcome = solve(
        fleet(option("wasteful", gpus=8, rate=150, slot="s"), option("lean", gpus=2, rate=50, slot="t"))
    )
    assert isinstance(outcome, Solved)
    gpus = {"wasteful": 8, "lean": 2}
    assert sum(gpus[i] * n for i, n in outcome.answer.replicas) == 12
