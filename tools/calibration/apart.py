"""TTFT of prefill workers apart under a closed loop, by nonlinear least squares on log error with pooled effects.

    S    = σ u (compute + attention) / workers              service, at peak times an inverse efficiency
    R    = [ (S C - Z) + √((S C - Z)² + 4 S Z) ] / 2        response of a closed loop, Z = OSL · TPOT, C at most the slots
    TTFT = κ u (alone) + (R - S) + τ w + ρ w C / workers + (C / slots - 1) (Z + R)

log u and log w are sums of effects of engine, precision, generation, accelerator and cell, shrunk towards zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from calibration.dataset import Array, Dataset
from fleet.perf.coefficients import APART_LEVELS, APART_TERMS
from fleet.perf.levels import levels_of
from fleet.perf.terms import attended_ms, latency_terms, prefill_terms
from fleet.perf.workers import batch_of

START = np.log([2.5, 5.0, 60.0, 0.5])
BASE_PENALTY, DELTA = 0.3, 0.35
LEVEL_PENALTY = dict(zip(APART_LEVELS, (1.2, 1.2, 1.2, 2.0, 2.4), strict=True))
SPAN = 4.0
"""Parameters stay within this of their start, in logs."""


@dataclass(frozen=True)
class Apart:
    """A fit: logs of APART_TERMS, and by level and value the effects on service and latency, and on constants."""

    base: Array
    effects: dict[str, dict[str, Array]]


@dataclass(frozen=True)
class _Columns:
    service: Array
    alone: Array
    workers: Array
    served: Array
    concurrency: Array
    over: Array


def _columns(data: Dataset) -> _Columns:
    batch = batch_of(data.prefill)
    assert not batch.faults, batch.faults
    workers = np.array([float(row.replica.prefill_workers) for row in data.rows])
    occupied, alone = prefill_terms(batch.table), latency_terms(batch.table)
    return _Columns(
        service=(occupied["compute"] + occupied["attention"]) / workers,
        alone=alone["compute"] + attended_ms(batch.table),
        workers=workers,
        served=np.minimum(data.concurrency, data.slots),
        concurrency=data.concurrency,
        over=data.over,
    )


def _ttft(c: _Columns, base: Array, on_service: Array, on_constant: Array, decoding_ms: Array) -> Array:
    sigma, kappa, tau, rho = np.exp(base)
    slower, longer = np.exp(on_service), np.exp(on_constant)
    service = sigma * slower * c.service
    excess = service * c.served - decoding_ms
    response = (excess + np.sqrt(excess**2 + 4.0 * service * decoding_ms)) / 2.0
    waited = np.maximum(response - service, 0.0)
    fixed = longer * (tau + rho * c.concurrency / c.workers)
    return np.asarray(kappa * slower * c.alone + waited + fixed + c.over * (decoding_ms + response))


def _levels(data: Dataset) -> dict[str, list[str]]:
    named = [levels_of(p) for p in data.prefill]
    return {level: [n[level] for n in named] for level in APART_LEVELS}


def fit_apart(data: Dataset) -> Apart:
    """Fit disaggregated rows; the measured TPOT gives their decoding time."""
    columns, levels = _columns(data), _levels(data)
    values = {name: sorted(set(column)) for name, column in levels.items()}
    pairs = [(name, value) for name in APART_LEVELS for value in values[name]]
    place = {pair: i for i, pair in enumerate(pairs)}
    index = np.array([[place[name, value] for value in levels[name]] for name in APART_LEVELS])
    penalty = np.array([LEVEL_PENALTY[name] for name, _ in pairs])
    decoding = np.array([row.osl for row in data.rows]) * data.tpot_ms
    log_y, k, n = np.log(data.ttft_ms), len(APART_TERMS), len(pairs)

    def loss(p: Array) -> float:
        on_service, on_constant = p[k : k + n], p[k + n :]
        predicted = _ttft(
            columns, p[:k], on_service[index].sum(axis=0), on_constant[index].sum(axis=0), decoding
        )
        residual = np.abs(np.log(predicted) - log_y)
        huber = np.where(residual < DELTA, 0.5 * residual**2, DELTA * (residual - 0.5 * DELTA)).sum()
        pull = (
            BASE_PENALTY * ((p[:k] - START) ** 2).sum() + (penalty * (on_service**2 + on_constant**2)).sum()
        )
        return float(huber + 0.5 * pull)

    first = np.concatenate([START, np.zeros(2 * n)])
    bounds = [(v - SPAN, v + SPAN) for v in first]
    options = {"maxiter": 60, "maxfun": 10**6}
    found = minimize(loss, first, method="L-BFGS-B", bounds=bounds, options=options).x
    both = np.stack([found[k : k + n], found[k + n :]], axis=1)
    effects = {name: {value: both[place[name, value]] for value in values[name]} for name in APART_LEVELS}
    return Apart(found[:k], effects)


def predict_apart(fitted: Apart, data: Dataset, tpot_ms: Array) -> Array:
    """Return TTFT, ms, shape (N,)."""
    levels, nothing = _levels(data), np.zeros(2)
    effect = np.zeros((len(data), 2))
    for name in APART_LEVELS:
        effect += np.array([fitted.effects[name].get(value, nothing) for value in levels[name]])
    decoding = np.array([row.osl for row in data.rows]) * tpot_ms
    return _ttft(_columns(data), fitted.base, effect[:, 0], effect[:, 1], decoding)
