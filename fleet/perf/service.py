"""The service of many replicas as arrays: asked of a backend once, at a grid of batch sizes and prompt lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from fleet.catalog.records import EngineId
from fleet.layout import Role
from fleet.perf.interface import Estimate, PerformanceModel, Point, Unsupported
from fleet.perf.lengths import Atoms
from fleet.perf.replica import ReplicaSpec

Array = NDArray[np.float64]

CHUNK_TOKENS = 8192.0
"""Prompt tokens that engines put beside decodes in one step: the usual default of all three on data-centre GPUs."""

PROMPT_GRID = 8
Z_BY_QUANTILE = (
    (0.5, 0.0),
    (0.75, 0.6745),
    (0.8, 0.8416),
    (0.9, 1.2816),
    (0.95, 1.6449),
    (0.975, 1.96),
    (0.99, 2.3263),
)
"""Quantiles of the normal distribution between which those of prediction errors are interpolated."""


def margin(error_p90: Array, error_quantile: float) -> Array:
    """Return the factor on times that covers the error at a quantile.

    Errors are taken as lognormal around the prediction. 90 % of |error| lie within `error_p90`, so one side's 95 %
    quantile is 1 + error_p90, and its q quantile (1 + error_p90) ^ (z_q / z_0.95): none at the median.
    """
    levels, z = zip(*Z_BY_QUANTILE, strict=True)
    power = np.interp(error_quantile, levels, z) / 1.6449
    return np.asarray((1.0 + error_p90) ** power)


def batch_grid(max_batch: int) -> Array:
    """Return batch sizes 1, 1.5, 2, 3, 4, 6, 8 ... up to max_batch.

    >>> batch_grid(8).tolist()
    [1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0]
    """
    grid = [b for p in range(31) for b in (2.0**p, 1.5 * 2.0**p) if b < max_batch]
    return np.array([*grid, float(max(max_batch, 1))])


@dataclass(frozen=True, slots=True)
class Service:
    """R replicas, K kinds of requests, J batch sizes. Times are ms; rows of replicas without an estimate are left out."""

    atoms: Atoms
    batch: Array  # (J,)
    step: Array  # (R, J) decode step of one decode (or mixed) worker
    interference: Array  # (R, K) 0 where prefill is apart
    occupied: Array  # (R, K) of one prefill (or mixed) worker
    latency: Array  # (R, K)
    transfer: Array  # (R, K) of the prompt's KV cache, 0 where nothing moves
    constant: Array  # (R,)
    wait_steps: Array  # (R,)
    per_running: Array  # (R,)
    is_mixed: NDArray[np.bool_]  # (R,)
    prefill_servers: Array  # (R,)
    prefill_ranks: Array  # (R,) attention ranks that prefill side by side
    decode_workers: Array  # (R,)
    decode_ranks: Array  # (R,) attention ranks of a decode worker
    held: Array  # (R, K) KV tokens that count for a running request of a kind, at its mean
    kv_capacity: Array  # (R,) tokens of one decode (or mixed) worker
    tpot_error: Array  # (R, J)
    ttft_error: Array  # (R,)

    def with_margin(self, error_quantile: float) -> Service:
        """Return the service with every time at that quantile of the prediction error."""
        ttft = margin(self.ttft_error, error_quantile)
        return replace(
            self,
            step=self.step * margin(self.tpot_error, error_quantile),
            interference=self.interference * margin(self.tpot_error, error_quantile).max(axis=1)[:, None],
            occupied=self.occupied * ttft[:, None],
            latency=self.latency * ttft[:, None],
            constant=self.constant * ttft,
            per_running=self.per_running * ttft,
        )


def prompt_grid(atoms: Atoms) -> Array:
    """Return the prompt lengths to ask for: all of them if few, else a geometric grid over their range."""
    distinct = np.unique(atoms.isl)
    if distinct.size <= PROMPT_GRID:
        return distinct
    return np.geomspace(distinct[0], distinct[-1], PROMPT_GRID)


class Phase(StrEnum):
    """Which of its two grids is meant."""

    DECODE = "decode"  # at every batch size
    PREFILL = "prefill"  # at every prompt length


WorkerKey = tuple[int, bool, Phase]
"""A worker by its identity, whether its replica is disaggregated, and the phase."""


def _key(replica: ReplicaSpec, phase: Phase) -> WorkerKey:
    worker = replica.decoder if phase is Phase.DECODE else replica.prefiller
    return id(worker), replica.is_disaggregated, phase


def _grids(
    perf: PerformanceModel,
    replicas: Sequence[ReplicaSpec],
    atoms: Atoms,
    batch: Array,
    prompts: Array,
    cached_fraction: float,
) -> dict[WorkerKey, list[Estimate | Unsupported]]:
    """Ask once for every worker, however many replicas it stands in."""
    isl, osl = atoms.running_mean(atoms.isl), atoms.running_mean(atoms.osl)
    points: dict[WorkerKey, list[Point]] = {}
    for replica in replicas:
        decode, prefill = (
            (Role.DECODE, Role.PREFILL) if replica.is_disaggregated else (Role.MIXED, Role.MIXED)
        )
        if (key := _key(replica, Phase.DECODE)) not in points:
            point = replica.decoder.point
            points[key] = [point(decode, batch=b, isl=isl, osl=osl) for b in batch.tolist()]
        if (key := _key(replica, Phase.PREFILL)) not in points:
            point = replica.prefiller.point
            points[key] = [
                point(prefill, batch=1.0, isl=p, osl=1.0, cached_prefix=cached_fraction * p)
                for p in prompts.tolist()
            ]
    answers = iter(perf.estimate([p for asked in points.values() for p in asked]))
    return {key: [next(answers) for _ in asked] for key, asked in points.items()}


def gather(
    perf: PerformanceModel,
    replicas: Sequence[ReplicaSpec],
    atoms: Atoms,
    cached_fraction: float,
    max_batch: int,
) -> tuple[Service | None, list[Unsupported | None]]:
    """Ask a backend for everything that the serving equations need.

    Returns:
        The service of the replicas that have one, in order (None if none has), and for every replica its fault or None.
    """
    batch, prompts = batch_grid(max_batch), prompt_grid(atoms)
    grids = _grids(perf, replicas, atoms, batch, prompts, cached_fraction)
    rows: list[dict[str, object]] = []
    faults: list[Unsupported | None] = []
    longest = float((atoms.isl + atoms.osl).max())
    for replica in replicas:
        decode, prefill = grids[_key(replica, Phase.DECODE)], grids[_key(replica, Phase.PREFILL)]
        fault = next((x for x in (*decode, *prefill) if isinstance(x, Unsupported)), None)
        limit = replica.decoder.model.max_context_tokens
        if fault is None and longest > limit:
            fault = Unsupported(
                "context-too-long", f"{longest:g} tokens, {replica.decoder.model.id} takes {limit}"
            )
        faults.append(fault)
        if fault is None:
            rows.append(
                _row(
                    replica,
                    [d for d in decode if isinstance(d, Estimate)],
                    [p for p in prefill if isinstance(p, Estimate)],
                    atoms,
                    prompts,
                )
            )
    if not rows:
        return None, faults
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return Service(atoms=atoms, batch=batch, **columns), faults


def _row(
    replica: ReplicaSpec,
    decode: Sequence[Estimate],
    prefill: Sequence[Estimate],
    atoms: Atoms,
    prompts: Array,
) -> dict[str, object]:
    """One replica's row of every array."""

    def by_kind(values: list[float]) -> Array:
        return np.interp(atoms.isl, prompts, values)

    first, mixed = decode[0], not replica.is_disaggregated
    per_sequence = (
        first.kv_bytes_per_sequence / first.kv_bytes_per_token if first.kv_bytes_per_token > 0 else 0.0
    )
    # TensorRT-LLM reserves the whole answer on admission; a request elsewhere holds half of its answer on average.
    held_osl = atoms.osl if replica.decoder.engine.id is EngineId.TRTLLM else atoms.osl / 2.0
    moved = (atoms.isl * first.kv_bytes_per_token + first.kv_bytes_per_sequence) * 1e3
    link = replica.kv_link_bytes_per_s
    return {
        "step": [d.decode_step_ms for d in decode],
        "interference": by_kind([p.interference_ms for p in prefill]) if mixed else np.zeros_like(atoms.isl),
        "occupied": by_kind([p.prefill_ms for p in prefill]),
        "latency": by_kind([p.prefill_latency_ms for p in prefill]),
        "transfer": moved / link if link > 0 and not mixed else np.zeros_like(atoms.isl),
        "constant": prefill[0].constant_ms,
        "wait_steps": prefill[0].prefill_wait_steps,
        "per_running": prefill[0].per_running_request_ms,
        "is_mixed": mixed,
        "prefill_servers": 1.0 if mixed else float(replica.prefill_workers),
        "prefill_ranks": float(replica.prefiller.layout.dp),
        "decode_workers": 1.0 if mixed else float(replica.decode_workers),
        "decode_ranks": float(replica.decoder.layout.dp),
        "held": atoms.isl + held_osl + per_sequence,
        "kv_capacity": first.kv_capacity_tokens,
        "tpot_error": [d.relative_error_p90 for d in decode],
        "ttft_error": max(p.ttft_relative_error_p90 for p in prefill),
    }
