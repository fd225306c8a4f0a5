"""Queueing formulas against results that are known exactly."""

from __future__ import annotations

from math import erf, exp, factorial, sqrt

import numpy as np
import pytest

from fleet.perf.queueing import Wait, latency_cdf, normal_cdf, quantile, skewed_cdf, waiting


def test_the_normal_distribution() -> None:
    x = np.linspace(-8, 8, 401)
    assert normal_cdf(x) == pytest.approx([0.5 * (1 + erf(v / sqrt(2))) for v in x], abs=1e-7)


@pytest.mark.parametrize("rho", [0.3, 0.7, 0.95])
def test_one_server_with_poisson_arrivals_is_exact(rho: float) -> None:
    """Pollaczek-Khinchine: W = ρ X (1 + c_s²) / (2 (1 - ρ))."""
    one = np.ones(1)
    for scv in (0.0, 1.0, 3.0):
        wait = waiting(10 * one, scv * one, rho * one, one, 1.0)
        assert wait.mean_ms[0] == pytest.approx(rho * 10 * (1 + scv) / 2 / (1 - rho))
        assert wait.chance[0] == pytest.approx(rho)


@pytest.mark.parametrize("servers", [2, 4, 8])
def test_several_servers_wait_nearly_as_erlang_says(servers: int) -> None:
    rho = 0.8
    load = servers * rho
    last = load**servers / factorial(servers) / (1 - rho)
    erlang = last / (sum(load**k / factorial(k) for k in range(servers)) + last)
    one = np.ones(1)
    wait = waiting(10 * one, one, rho * one, servers * one, 1.0)
    assert wait.mean_ms[0] == pytest.approx(erlang * 10 / servers / (1 - rho), rel=0.06)


def test_bursty_arrivals_wait_more_and_more_often() -> None:
    one = np.ones(1)
    calm, bursty = (waiting(10 * one, one, 0.5 * one, one, scv) for scv in (1.0, 4.0))
    assert bursty.mean_ms[0] > 2 * calm.mean_ms[0]
    assert bursty.chance[0] > calm.chance[0]


def test_latency_without_noise_is_a_shifted_exponential() -> None:
    wait = Wait(np.array([0.5]), np.array([20.0]))
    got = latency_cdf(np.array([130.0]), np.array([[100.0]]), np.array([[1e-9]]), wait, np.ones(1))
    assert got[0] == pytest.approx(1 - 0.5 * exp(-30 / 20), abs=1e-6)


def test_latency_is_a_mixture_of_kinds() -> None:
    wait = Wait(np.array([1e-12]), np.array([1.0]))
    got = latency_cdf(
        np.array([50.0]), np.array([[10.0, 90.0]]), np.array([[1.0, 1.0]]), wait, np.array([0.3, 0.7])
    )
    assert got[0] == pytest.approx(0.3)


def test_a_skewed_value_has_the_moments_asked_for() -> None:
    levels = (np.arange(2000) + 0.5) / 2000
    floor, mean, variance = np.array([5.0]), np.array([[9.0]]), np.array([[4.0]])
    draws = [
        quantile(
            lambda x: skewed_cdf(x, floor, mean, variance, np.ones(1)), q, np.zeros(1), np.full(1, 50.0)
        )[0]
        for q in levels
    ]
    assert np.mean(draws) == pytest.approx(9.0, rel=0.01)
    assert np.var(draws) == pytest.approx(4.0, rel=0.05)
    assert min(draws) > 5.0
