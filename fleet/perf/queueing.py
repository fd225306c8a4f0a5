"""Waiting and its quantiles: several servers, general arrivals and services, mixtures of request kinds.

wait        W_q = E[X] / (c (1 - ρ)) · ρ^(√(2 (c + 1)) - 1) · (c_a² + c_s²) / 2        Allen-Cunneen, Sakasegawa
P(wait > x) = π exp(-x / θ)      π = ρ^(√(2 (c + 1)) - 1), more when arrivals are bursty (Kraemer, Langenbach-Belz)
θ = W_q / π
latency of kind k = m_k + wait + normal noise of standard deviation σ_k
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SMALL = 1e-12


def normal_cdf(x: Array) -> Array:
    """Return Φ(x) within 7.5e-8 (Abramowitz and Stegun, 26.2.17)."""
    size = np.abs(x)
    k = 1.0 / (1.0 + 0.2316419 * size)
    poly = k * (0.319381530 + k * (-0.356563782 + k * (1.781477937 + k * (-1.821255978 + k * 1.330274429))))
    tail = np.exp(-0.5 * np.minimum(size, 38.0) ** 2) * 0.3989422804014327 * poly
    return np.where(x >= 0, 1.0 - tail, tail)


@dataclass(frozen=True, slots=True)
class Wait:
    """Waiting times, shape (R,): with probability `chance` exponential of mean `mean_if_any_ms`, else none."""

    chance: Array
    mean_if_any_ms: Array

    @property
    def mean_ms(self) -> Array:
        return self.chance * self.mean_if_any_ms

    @property
    def variance(self) -> Array:
        return self.chance * (2.0 - self.chance) * self.mean_if_any_ms**2


def waiting(
    service_ms: Array, service_scv: Array, utilisation: Array, servers: Array, arrival_scv: float
) -> Wait:
    """Return the wait for one of `servers` equal servers, each argument of shape (R,); utilisation below 1."""
    rho = np.clip(utilisation, 0.0, 1.0 - 1e-9)
    ca, cs = arrival_scv, service_scv
    poisson = rho ** (np.sqrt(2.0 * (servers + 1.0)) - 1.0)
    mean = service_ms / (servers * (1.0 - rho)) * poisson * (ca + cs) / 2.0
    chance = poisson * 4.0 * ca / (1.0 + rho * (4.0 * ca + cs - 1.0)) if ca > 1.0 else poisson
    chance = np.clip(chance, SMALL, 1.0)
    return Wait(chance, np.maximum(mean / chance, SMALL))


def latency_cdf(limit: Array, mean: Array, noise: Array, wait: Wait, weight: Array) -> Array:
    """Return P(latency <= limit) over all kinds of requests, shape (R,).

    Args:
        limit: Shape (R,).
        mean: Latency of each kind without waiting, shape (R, K).
        noise: Its standard deviation, shape (R, K).
        weight: Share of each kind, shape (K,).
    """
    x = limit[:, None] - mean
    sigma = np.maximum(noise, 1e-6 * np.maximum(mean, 1.0))
    theta = wait.mean_if_any_ms[:, None]
    at_once = normal_cdf(x / sigma)
    # Exponentially modified normal distribution; its exponent is large only where the factor beside it vanishes.
    exponent = np.minimum(-x / theta + 0.5 * (sigma / theta) ** 2, 50.0)
    later = np.exp(exponent) * normal_cdf(x / sigma - sigma / theta)
    kinds = at_once - wait.chance[:, None] * np.minimum(later, at_once)
    return np.asarray(kinds @ weight)


def skewed_cdf(limit: Array, floor: Array, mean: Array, variance: Array, weight: Array) -> Array:
    """Return P(value <= limit) over all kinds, each lognormal above `floor` with the given mean and variance, shape (R,).

    Args:
        limit, floor: Shape (R,).
        mean, variance: Of each kind, shape (R, K); the mean is above the floor.
    """
    above = np.maximum(mean - floor[:, None], 1e-9 * np.maximum(mean, SMALL))
    log_variance = np.log1p(np.maximum(variance, 1e-12 * above**2) / above**2)
    x = np.maximum(limit - floor, SMALL)[:, None]
    z = (np.log(x / above) + 0.5 * log_variance) / np.sqrt(log_variance)
    return np.asarray(normal_cdf(z) @ weight)


def quantile(
    cdf: Callable[[Array], Array], level: float, low: Array, high: Array, *, steps: int = 28
) -> Array:
    """Return the least value at which a non-decreasing `cdf` reaches `level`, shape (R,), by bisection."""
    low, high = low.copy(), high.copy()
    for _ in range(60):
        short = cdf(high) < level
        if not short.any():
            break
        high = np.where(short, 2.0 * high, high)
    for _ in range(steps):
        middle = 0.5 * (low + high)
        enough = cdf(middle) >= level
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return high
