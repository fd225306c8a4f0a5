"""Choices and orders on options whose best is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from accuracy.decisions import LIMITS_MS, Options, choices, orders

# Two layouts, three loads each: TPOT grows and throughput grows; "wide" is the better one at every limit.
TRUE = Options(
    group="one",
    layouts=("narrow", "narrow", "narrow", "wide", "wide", "wide"),
    tpot_ms=np.array([10.0, 20.0, 40.0, 8.0, 16.0, 32.0]),
    throughput=np.array([100.0, 180.0, 300.0, 150.0, 260.0, 400.0]),
    predicted_tpot_ms=np.array([10.0, 20.0, 40.0, 8.0, 16.0, 32.0]),
    predicted_throughput=np.array([100.0, 180.0, 300.0, 150.0, 260.0, 400.0]),
    error_p90=np.full(6, 0.1),
)


def test_a_perfect_predictor_without_margin_misses_nothing_and_regrets_nothing() -> None:
    made = choices([TRUE], 0.5)
    assert (made.missed, made.regret, made.without) == (0.0, 0.0, 0.0)
    assert made.choices == len([limit for limit in LIMITS_MS if 8.0 <= limit < 40.0])


def test_a_limit_that_everything_or_nothing_holds_decides_nothing() -> None:
    assert choices([replace(TRUE, tpot_ms=np.full(6, 5.0))], 0.5).choices == 0
    assert choices([replace(TRUE, tpot_ms=np.full(6, 500.0))], 0.5).choices == 0


def test_too_fast_a_prediction_misses_its_limit() -> None:
    hopeful = replace(TRUE, predicted_tpot_ms=TRUE.predicted_tpot_ms / 3)
    assert choices([hopeful], 0.5).missed == 100.0


def test_a_wrong_order_of_throughput_is_a_regret() -> None:
    wrong = replace(TRUE, predicted_throughput=TRUE.predicted_throughput[::-1].copy())
    assert choices([wrong], 0.5).regret > 10.0


def test_caution_alone_is_no_regret_by_error() -> None:
    cautious = choices([replace(TRUE, error_p90=np.full(6, 0.6))], 0.95)
    assert cautious.regret > 10.0
    assert cautious.regret_by_error == 0.0


@pytest.mark.parametrize(("sign", "expected"), [(1.0, 1.0), (-1.0, -1.0)])
def test_orders_are_one_when_right_and_minus_one_when_upside_down(sign: float, expected: float) -> None:
    found = {o.name: o for o in orders([replace(TRUE, predicted_throughput=1e3 + sign * TRUE.throughput)])}
    assert found["options"].mean == pytest.approx(expected)
    compared = [limit for limit in LIMITS_MS if np.sum(TRUE.tpot_ms <= limit) >= 3 and limit < 40.0]
    assert found["options"].comparisons == len(compared)
