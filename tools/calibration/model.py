"""Step time and time to first token fitted one after the other, and predicted for a closed loop."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from calibration.apart import fit_apart
from calibration.dataset import Array, Dataset
from calibration.fitted import Fitted, cells_of, product
from calibration.pooled import Effects, Shrinkage, fit, grafted
from fleet.perf.calibrated import Calibrated
from fleet.perf.closed_loop import Loop, LoopResult, closed_loops
from fleet.perf.levels import LEVELS
from fleet.perf.rows import Row
from fleet.perf.terms import (
    BESIDE_TERMS,
    DECODE_TERMS,
    STEP_TERMS,
    Table,
    beside_terms,
    decode_terms,
    latency_terms,
    prefill_terms,
)
from fleet.perf.workers import batch_of

FIRST_TOKEN_TERMS = (
    "compute", "attention", "allreduce", "constant", "burst_compute", "burst_attention", "burst_allreduce",
    "steps", "running", "over",
)  # fmt: skip

LEVEL_PENALTY = {
    "generation": 3, "engine": 3, "architecture": 3, "precision": 3, "accelerator": 12, "generation_engine": 6,
    "engine_architecture": 6, "generation_engine_architecture": 10, "model": 10, "model_generation": 10, "cell": 3,
    "era": 6, "version": 6,
}  # fmt: skip

STEP_START = {
    "dense_weights": 1.3, "expert_weights": 1.5, "kv": 1.4, "state": 1.0, "compute": 1.5, "attention": 2.0,
    "step": 0.5, "layer": 15.0, "layer_tp": 10.0, "layer_tp_log": 2.0, "allreduce": 1.5, "moe_layer": 10.0,
    "ep_layer": 3.0, "ep_bytes": 1.0, "sequence": 5.0, "draft": 0.3,
    "beside_compute": 1.8, "beside_attention": 2.0, "beside_allreduce": 1.0, "beside_layer": 20.0,
}  # fmt: skip
FIRST_TOKEN_START = {
    "compute": 1.8, "attention": 2.0, "allreduce": 1.0, "constant": 25.0, "burst_compute": 0.15,
    "burst_attention": 0.2, "burst_allreduce": 0.1, "steps": 0.5, "over": 1.0, "running": 0.5,
}  # fmt: skip


FIXED_TIMES = (
    "step", "layer", "layer_tp", "layer_tp_log", "moe_layer", "ep_layer", "sequence", "draft", "beside_layer",
)  # fmt: skip
LOOSE = dict.fromkeys(FIXED_TIMES, 0.3)
STIFF = {"dense_weights": 8.0, "kv": 4.0, "state": 4.0} | LOOSE
"""How fast memory is read is much the same everywhere; what a layer costs beside it is each engine's own."""

OWN_LEVELS = {
    "cell": (
        "generation", "engine", "architecture", "precision", "accelerator", "generation_engine", "engine_architecture",
        "generation_engine_architecture", "model", "model_generation",
    ),
    "version": ("era",),
}  # fmt: skip
"""Levels that no other cell takes from, and the levels whose values theirs fix."""

STEP_STRENGTH, FIRST_TOKEN_STRENGTH = 0.1, 0.2
OWN_STRENGTH, OTHER_STRENGTH = 0.1, 0.2
"""Penalties of a cell's own effects and of all others where its own rows are predicted, against those where others learn."""

OWN_STIFF = LOOSE | {
    "kv": 2.0, "attention": 2.0, "allreduce": 2.0, "ep_bytes": 2.0, "layer_tp": 1.0, "layer_tp_log": 1.0,
    "ep_layer": 1.0, "beside_compute": 2.0, "beside_attention": 2.0, "beside_allreduce": 2.0,
}  # fmt: skip
"""What grows with lengths and what links add: a cell has few lengths and layouts to learn it from."""

GROUP_WEIGHT_POWER = 0.5
"""Every row of a group of n counts as n to the power of minus this: its rows share machine, engine and client."""


def shrinkage(start: dict[str, float], strength: float, delta: float, fixed: frozenset[str]) -> Shrinkage:
    return Shrinkage(
        start,
        {name: LEVEL_PENALTY[name] * strength for name in LEVELS},
        delta=delta,
        fixed=fixed,
    )


FIRST_TOKEN_SHRINKAGE = replace(
    shrinkage(FIRST_TOKEN_START, FIRST_TOKEN_STRENGTH, 0.25, frozenset({"over"})),
    is_relative=True,
)
SHARED_STEP = replace(shrinkage(STEP_START, STEP_STRENGTH, 0.15, frozenset()), stiffness=STIFF)
"""For cells that the data does not have: judged by cross-validation with whole groups left out."""

OWN_STEP = replace(
    SHARED_STEP,
    level={
        name: penalty * (OWN_STRENGTH if name in OWN_LEVELS else OTHER_STRENGTH)
        for name, penalty in SHARED_STEP.level.items()
    },
    own=dict.fromkeys(OWN_LEVELS, OWN_STIFF),
)
"""For cells that it has: judged with lengths, layouts and high concurrencies left out."""


@dataclass(frozen=True)
class Predicted:
    """A closed loop's TPOT and TTFT, ms, and output tokens/s of all requests in flight; each of shape (N,)."""

    tpot_ms: Array
    ttft_ms: Array
    output_tok_per_s: Array


def table_of_rows(data: Dataset) -> Table:
    batch = batch_of(data.points)
    assert not batch.faults, batch.faults
    return batch.table


def step_columns(data: Dataset, table: Table) -> Array:
    """Return STEP_TERMS of a closed loop, shape (N, K): in a mixed worker (B - 1) / OSL prefills for each token."""
    decode, beside = decode_terms(table), beside_terms(table)
    beside_each = np.where(data.is_mixed, np.maximum(table.batch - 1.0, 0.0) / table.osl, 0.0)
    columns = [decode[name] for name in DECODE_TERMS] + [beside_each * beside[name] for name in BESIDE_TERMS]
    return np.stack(columns, axis=1)


def first_token_columns(data: Dataset, table: Table, tpot_ms: Array) -> Array:
    """Return FIRST_TOKEN_TERMS of a closed loop of mixed workers, shape (N, K)."""
    alone, occupied = latency_terms(table), prefill_terms(table)
    others = np.maximum(table.batch - 1.0, 0.0)
    columns = {name: alone[name] for name in ("compute", "attention", "allreduce")}
    columns |= {f"burst_{name}": others * occupied[name] for name in ("compute", "attention", "allreduce")}
    columns |= {
        "constant": np.ones(len(data)),
        "steps": tpot_ms,
        "running": data.concurrency,
        "over": data.over * table.osl * tpot_ms,
    }
    return np.stack([columns[name] for name in FIRST_TOKEN_TERMS], axis=1)


def weights_of(data: Dataset) -> Array:
    """Return the weights of rows, shape (N,), of mean 1: the larger its group, the less a row counts."""
    size = Counter(data.group)
    weight = np.array([size[group] ** -GROUP_WEIGHT_POWER for group in data.group])
    return np.asarray(weight / weight.mean())


def fit_all(data: Dataset, *, with_apart: bool = True) -> Fitted:
    """Fit mixed workers: step time, then TTFT with the fitted step time; on top of them workers apart where asked."""
    mixed, apart = (data.take(np.flatnonzero(chosen)) for chosen in (data.is_mixed, ~data.is_mixed))
    table = table_of_rows(mixed)
    x, weights = step_columns(mixed, table), weights_of(mixed)
    shared, own = (
        fit(STEP_TERMS, x, mixed.tpot_ms, mixed.levels, how, weights=weights)
        for how in (SHARED_STEP, OWN_STEP)
    )
    step = grafted(shared, own, mixed.levels, OWN_LEVELS)
    z = first_token_columns(mixed, table, _tpot(step, mixed, table))
    first_token = fit(FIRST_TOKEN_TERMS, z, mixed.ttft_ms, mixed.levels, FIRST_TOKEN_SHRINKAGE)
    workers_apart = fit_apart(apart, step) if with_apart and len(apart) else None
    return Fitted(step, first_token, workers_apart, cells_of(data))


def _tpot(step: Effects, data: Dataset, table: Table) -> Array:
    return np.asarray((step.coefficients(data.levels, len(data)) * step_columns(data, table)).sum(axis=1))


def predict(fitted: Fitted, data: Dataset) -> Predicted:
    """Predict rows that need not have been fitted from what is known before they are measured."""
    tpot, ttft = np.empty(len(data)), np.empty(len(data))
    mixed, apart = np.flatnonzero(data.is_mixed), np.flatnonzero(~data.is_mixed)
    if mixed.size:
        tpot[mixed], ttft[mixed] = _predict_mixed(fitted, data.take(mixed))
    if apart.size:
        tpot[apart], ttft[apart] = predict_apart(product(fitted), data.take(apart))
    return Predicted(tpot, ttft, throughput(data, ttft, tpot))


def _predict_mixed(fitted: Fitted, data: Dataset) -> tuple[Array, Array]:
    table = table_of_rows(data)
    tpot = _tpot(fitted.step, data, table)
    z = first_token_columns(data, table, tpot)
    return tpot, (fitted.first_token.coefficients(data.levels, len(data)) * z).sum(axis=1)


def predict_apart(backend: Calibrated, data: Dataset) -> tuple[Array, Array]:
    """Return TPOT and TTFT, ms, of rows of workers apart as the product says them."""
    results = closed_loops(backend, [loop_of(row) for row in data.rows])
    shown = [result for result in results if isinstance(result, LoopResult)]
    assert len(shown) == len(data), [r for r in results if not isinstance(r, LoopResult)]
    return np.array([r.tpot_ms for r in shown]), np.array([r.ttft_ms for r in shown])


def loop_of(row: Row) -> Loop:
    """Return a row as the product is asked for it."""
    limit = inf if row.batch_limit is None else row.batch_limit
    return Loop(row.replica, row.isl, row.osl, row.concurrency, batch_limit=limit)


def throughput(data: Dataset, ttft_ms: Array, tpot_ms: Array) -> Array:
    """Output tokens/s by Little's law: C requests in flight, each there for TTFT + OSL · TPOT."""
    osl = np.array([r.osl for r in data.rows])
    return np.asarray(1e3 * data.concurrency * osl / (ttft_ms + osl * tpot_ms))
