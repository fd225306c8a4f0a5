"""A lower bound that needs no solver: every milli-request must be served at the cheapest price per capacity."""

from __future__ import annotations

from fractions import Fraction

from solver.problem import Offering, Option, Problem


def floor(problem: Problem) -> int:
    """Return an amount of the objective that no answer can go below, by plain arithmetic.

    A replica of g GPUs costs at least g / GPUs-of-a-unit of its unit, so that

        objective ≥ Σ_w d_w min_i (price_i / q_iw)

    and never less than the units already committed to. Sharing does not change it: an option's time is shared linearly.
    """
    offering = {o.id: o for o in problem.offerings}
    total = Fraction(0)
    for demand in problem.demands:
        prices = [
            _price(problem, option, offering[option.offering]) / capacity
            for option in problem.options
            for workload, capacity in option.capacity
            if workload == demand.id and capacity > 0
        ]
        total += demand.rate * min(prices, default=Fraction(0))
    committed = sum(o.min_units * _unit_price(problem, o) for o in problem.offerings)
    return max(-(-total.numerator // total.denominator), committed)


def _unit_price(problem: Problem, offering: Offering) -> int:
    return {"cost": offering.cost_per_unit, "power": offering.power_per_unit, "gpus": offering.bought_gpus}[
        problem.objective
    ]


def _price(problem: Problem, option: Option, offering: Offering) -> Fraction:
    """Return what one replica adds to the objective at least."""
    share = Fraction(option.gpus, offering.unit_domains * offering.domain_gpus) * _unit_price(
        problem, offering
    )
    return share + (option.cost_per_replica if problem.objective == "cost" else 0)
