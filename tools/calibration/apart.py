"""Workers apart: their decode step on top of what mixed workers share, and their TTFT under a closed loop.

    step = Σ_k γ_k exp(β_k + Σ_l v_lk) x_k                  γ of mixed workers, versions left out; v by pooled.fit

    S    = u (σ (compute + attention) + ς) / workers        service, at peak times an inverse efficiency, and a constant
    R    = [ (S C - Z) + √((S C - Z)² + 4 S Z) ] / 2        response of a closed loop, Z = OSL · TPOT, C at most the slots
    TTFT = max(κ u alone, S workers) + (R - S) + transfer + τ w + ρ w C / workers + (C / slots - 1) (Z + R)

log u and log w are sums of effects of levels, shrunk towards zero. The loss is a Huber of the relative error
TTFT / measured - 1, the metric that is reported: of two equal misses in logs the one above costs more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from calibration.dataset import Array, Dataset
from calibration.pooled import Effects, Shrinkage, fit
from fleet.perf.closed_loop import transfer_ms
from fleet.perf.coefficients import APART_LEVELS, APART_STEP_LEVELS, APART_TERMS
from fleet.perf.levels import DATED, apart_levels_of
from fleet.perf.memory import worker_memory
from fleet.perf.rows import Row
from fleet.perf.terms import DECODE_TERMS, attended_ms, decode_terms, latency_terms, prefill_terms
from fleet.perf.workers import batch_of

STEP_PENALTY = {
    "engine": 3, "generation": 3, "precision": 3, "engine_precision": 4, "accelerator": 6, "model": 6, "draft": 4,
    "attention": 4, "engine_attention": 4, "generation_engine_width": 4, "cell": 8,
}  # fmt: skip
STEP_SHRINKAGE = Shrinkage({}, {name: 0.4 * STEP_PENALTY[name] for name in APART_STEP_LEVELS}, base=0.1)

START = np.log([2.5, 5.0, 5.0, 60.0, 0.5])
BASE_PENALTY, DELTA = 0.3, 0.25
LEVEL_PENALTY = dict(zip(APART_LEVELS, (3.6, 3.6, 3.6, 6.0, 3.6, 3.6, 7.2), strict=True))
SPAN = 5.0
"""Parameters stay within this of their start, in logs."""


@dataclass(frozen=True)
class Apart:
    """A fit: effects on the decode step, logs of APART_TERMS, and effects on service and on constants by level."""

    step: Effects
    base: Array
    effects: dict[str, dict[str, Array]]


def fit_apart(data: Dataset, mixed_step: Effects) -> Apart:
    """Fit disaggregated rows; their measured latencies give the batch and the decoding time."""
    base, effects = _fit_first_token(data)
    return Apart(_fit_step(data, mixed_step), base, effects)


def _fit_step(data: Dataset, mixed_step: Effects) -> Effects:
    batch = batch_of(data.points)
    assert not batch.faults, batch.faults
    terms = decode_terms(batch.table)
    shared = {name: effects for name, effects in mixed_step.levels.items() if name not in DATED}
    prior = Effects(mixed_step.terms, mixed_step.base, shared).coefficients(data.levels, len(data))
    kept = [mixed_step.terms.index(name) for name in DECODE_TERMS]
    x = np.stack([terms[name] for name in DECODE_TERMS], axis=1) * prior[:, kept]
    named = [apart_levels_of(p) for p in data.points]
    levels = {level: [n[level] for n in named] for level in APART_STEP_LEVELS}
    return fit(DECODE_TERMS, x, data.tpot_ms, levels, STEP_SHRINKAGE)


@dataclass(frozen=True)
class _Columns:
    """What a closed loop's TTFT is made of, each of shape (N,); times ms."""

    work: Array
    alone: Array
    workers: Array
    served: Array
    concurrency: Array
    over: Array
    transfer: Array
    decoding: Array


def _transfer_ms(row: Row) -> float:
    w = row.replica.decoder
    memory = worker_memory(w.model, w.accelerator, w.engine, w.layout, w.weights, w.dense_weights, w.kv)
    return transfer_ms(row.replica, row.isl, memory)


def _columns(data: Dataset) -> _Columns:
    batch = batch_of(data.prefill)
    assert not batch.faults, batch.faults
    occupied, alone = prefill_terms(batch.table), latency_terms(batch.table)
    return _Columns(
        work=occupied["compute"] + occupied["attention"],
        alone=alone["compute"] + attended_ms(batch.table),
        workers=np.array([float(row.replica.prefill_workers) for row in data.rows]),
        served=np.minimum(data.concurrency, data.slots),
        concurrency=data.concurrency,
        over=data.over,
        transfer=np.array([_transfer_ms(row) for row in data.rows]),
        decoding=np.array([row.osl for row in data.rows]) * data.tpot_ms,
    )


def _ttft(c: _Columns, base: Array, slower: Array, longer: Array) -> tuple[Array, Array, Array, Array]:
    """Return TTFT, its slopes by `base`, shape (5, N), and its slopes by the logs of `slower` and of `longer`."""
    sigma, request, kappa, tau, rho = np.exp(base)
    by_work, by_request = slower * sigma * c.work / c.workers, slower * request / c.workers
    service = by_work + by_request
    excess = service * c.served - c.decoding
    root = np.sqrt(excess**2 + 4.0 * service * c.decoding)
    response = (excess + root) / 2.0
    alone, occupied = slower * kappa * c.alone, service * c.workers
    constant, crowd = longer * tau, longer * rho * c.concurrency / c.workers
    ttft = np.maximum(alone, occupied) + np.maximum(response - service, 0.0) + c.transfer + constant + crowd
    ttft = ttft + c.over * (c.decoding + response)
    by_response = (c.served + (excess * c.served + 2.0 * c.decoding) / root) / 2.0
    slope = np.where(response > service, by_response - 1.0, 0.0) + c.over * by_response
    slope = slope + np.where(occupied > alone, c.workers, 0.0)
    latency = np.where(occupied > alone, 0.0, alone)
    by_base = np.stack([slope * by_work, slope * by_request, latency, constant, crowd])
    return ttft, by_base, slope * service + latency, constant + crowd


def _fit_first_token(data: Dataset) -> tuple[Array, dict[str, dict[str, Array]]]:
    """Return logs of APART_TERMS and, by level and value, the effects on service and latency and on constants."""
    columns, named = _columns(data), [apart_levels_of(p) for p in data.prefill]
    values = {level: sorted({n[level] for n in named}) for level in APART_LEVELS}
    pairs = [(level, value) for level in APART_LEVELS for value in values[level]]
    member = np.array([[n[level] == value for level, value in pairs] for n in named], dtype=np.float64)
    penalty = np.array([LEVEL_PENALTY[level] for level, _ in pairs])
    k, n = len(APART_TERMS), len(pairs)

    def loss(p: Array) -> tuple[float, Array]:
        base, on_service, on_constant = p[:k], p[k : k + n], p[k + n :]
        predicted, by_base, by_slower, by_longer = _ttft(
            columns, base, np.exp(member @ on_service), np.exp(member @ on_constant)
        )
        error = predicted / data.ttft_ms - 1.0
        size = np.abs(error)
        huber = np.where(size < DELTA, 0.5 * error**2, DELTA * (size - 0.5 * DELTA)).sum()
        slope = np.clip(error, -DELTA, DELTA) / data.ttft_ms
        off = base - START
        pull = BASE_PENALTY * (off**2).sum() + (penalty * (on_service**2 + on_constant**2)).sum()
        return float(huber + 0.5 * pull), np.concatenate([
            by_base @ slope + BASE_PENALTY * off,
            member.T @ (by_slower * slope) + penalty * on_service,
            member.T @ (by_longer * slope) + penalty * on_constant,
        ])  # fmt: skip

    first = np.concatenate([START, np.zeros(2 * n)])
    bounds = [(v - SPAN, v + SPAN) for v in first]
    found = minimize(loss, first, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 300}).x
    both = np.stack([found[k : k + n], found[k + n :]], axis=1)
    place = {pair: i for i, pair in enumerate(pairs)}
    effects = {level: {v: both[place[level, v]] for v in values[level]} for level in APART_LEVELS}
    return found[:k], effects
