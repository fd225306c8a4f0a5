"""The calibrated backend: every physical term times a fitted inverse efficiency, never below the physical floor.

    decode step    = max( Σ_k γ_k · decode_k ,  floor )            γ = exp(global + effects of the point's levels)
    interference   = Σ_k γ_k · beside_k
    prefill        = max( interference ,  floor )       τ holds the waiting of a closed loop: no measure of throughput
    latency        = max( Σ_k τ_k · alone_k ,  floor of one request alone )

γ were fitted on TPOT and τ on TTFT of closed loops, where TPOT = step + interference · (B - 1) / OSL. Prefill workers
apart have their own: prefill = σ · (compute + attention) + a constant, latency = κ · (the same, alone), constants besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleet.layout import Role
from fleet.perf.coefficients import APART_TERMS, FIRST_TOKEN_TERMS, Coefficients, Lookup, committed
from fleet.perf.error_bars import ErrorBars, widened
from fleet.perf.interface import Basis, Bound, Estimate, Point, Provenance, Unsupported
from fleet.perf.roofline import floors
from fleet.perf.rounding import six_digits
from fleet.perf.terms import (
    BESIDE_TERMS,
    DECODE_TERMS,
    STEP_TERMS,
    TERM_BOUND,
    Columns,
    beside_terms,
    decode_terms,
    latency_terms,
    prefill_terms,
)  # fmt: skip
from fleet.perf.workers import Batch, batch_of

BOUNDS = tuple(Bound)
DECODE_PARTS = {
    "weights": ("dense_weights", "expert_weights"),
    "kv": ("kv", "state"),
    "compute": ("compute", "attention"),
    "all-reduce": ("allreduce", "layer_tp", "layer_tp_log"),
    "all-to-all": ("ep_layer", "ep_bytes"),
    "fixed": ("step", "layer", "moe_layer", "sequence", "draft"),
}
PREFILL_PARTS = ("compute", "attention", "allreduce")
PREFILL_NAMES = ("compute", "attention", "all-reduce", "fixed")


@dataclass(frozen=True, slots=True)
class _Columns:
    """What becomes of the points, each of shape (N,) or, by part or bound, (P, N)."""

    decode_ms: Columns
    prefill_ms: Columns
    latency_ms: Columns
    interference_ms: Columns
    burst_ms: Columns
    decode_shares: Columns
    prefill_shares: Columns
    decode_bound: NDArray[np.intp]
    prefill_bound: NDArray[np.intp]
    tpot_error: Columns
    ttft_error: Columns
    outside: NDArray[np.bool_]


class Calibrated:
    """The default backend. Its coefficients are data that ships with the package."""

    def __init__(self, coefficients: Coefficients | None = None) -> None:
        self._coefficients = coefficients or committed()

    @property
    def name(self) -> str:
        return "calibrated"

    @property
    def digest(self) -> str:
        """sha256 of the coefficients' file."""
        return self._coefficients.digest

    def estimate(self, points: Sequence[Point]) -> list[Estimate | Unsupported]:
        """Return an estimate or a reason for every point, in order. 100,000 points take about two seconds."""
        batch = batch_of(points)
        answers: dict[int, Estimate | Unsupported] = dict(batch.faults)
        if batch.workers:
            lookups = [self._coefficients.look_up(worker) for worker in batch.workers]
            answers |= zip(batch.positions.tolist(), self._assemble(batch, lookups), strict=True)
        return [answers[i] for i in range(batch.size)]

    def _assemble(self, batch: Batch, lookups: Sequence[Lookup]) -> list[Estimate]:
        c = _evaluate(batch, lookups, self._coefficients.tpot_error, self._coefficients.ttft_error)
        fixed = [
            six_digits(_fixed(worker, lookup)) for worker, lookup in zip(batch.workers, lookups, strict=True)
        ]
        inside = [self._provenance(lookup, outside=False) for lookup in lookups]
        beyond = [self._provenance(lookup, outside=True) for lookup in lookups]
        memories = batch.memories
        return [
            Estimate(
                decode_step_ms=decode,
                prefill_ms=prefill,
                prefill_latency_ms=latency,
                interference_ms=interference,
                constant_ms=fixed[w][0],
                weight_bytes_per_gpu=memories[w].weight_bytes_per_gpu,
                kv_bytes_per_token=memories[w].kv_bytes_per_token,
                kv_capacity_tokens=memories[w].kv_capacity_tokens,
                decode_bound=BOUNDS[step_bound],
                prefill_bound=BOUNDS[fill_bound],
                decode_shares=step_shares,
                prefill_shares=fill,
                relative_error_p90=tpot_error,
                provenance=beyond[w] if outside else inside[w],
                ttft_relative_error_p90=ttft_error,
                kv_bytes_per_sequence=memories[w].kv_bytes_per_sequence,
                prefill_wait_steps=fixed[w][1],
                per_running_request_ms=fixed[w][2],
                burst_ms=burst,
            )
            for (
                w, decode, prefill, latency, interference, burst, step_bound, fill_bound, step_shares, fill,
                tpot_error, ttft_error, outside,
            ) in zip(batch.worker.tolist(), *_rounded(c), strict=True)
        ]  # fmt: skip

    def _provenance(self, lookup: Lookup, *, outside: bool) -> Provenance:
        notes = [lookup.note] if lookup.note else []
        if outside:
            notes.append("batch, context or width beyond this cell's data")
        return Provenance(self.name, self.digest[:12], lookup.basis, "; ".join(notes))


def _rounded(c: _Columns) -> tuple[list[Any], ...]:
    """Return the columns as Python values, in the order in which `_assemble` takes them."""
    return (
        six_digits(c.decode_ms),
        six_digits(c.prefill_ms),
        six_digits(c.latency_ms),
        six_digits(c.interference_ms),
        six_digits(c.burst_ms),
        c.decode_bound.tolist(),
        c.prefill_bound.tolist(),
        [dict(zip(DECODE_PARTS, row, strict=True)) for row in np.round(c.decode_shares.T, 6).tolist()],
        [dict(zip(PREFILL_NAMES, row, strict=True)) for row in np.round(c.prefill_shares.T, 6).tolist()],
        six_digits(c.tpot_error),
        six_digits(c.ttft_error),
        c.outside.tolist(),
    )


def _fixed(worker: Point, lookup: Lookup) -> Columns:
    """Return a worker's constant, the decode steps it waits and what every running request adds to TTFT."""
    if worker.role is Role.PREFILL:
        return np.array([lookup.apart[APART_TERMS.index("constant")], 0.0, 0.0])
    return lookup.first_token[[FIRST_TOKEN_TERMS.index(name) for name in ("constant", "steps", "running")]]


def _bound(parts: dict[str, Columns], terms: Sequence[str]) -> NDArray[np.intp]:
    """Index in BOUNDS of the resource that takes most time, by the terms' own resources."""
    by_bound = [
        sum((parts[t] for t in terms if TERM_BOUND[t] is b), np.zeros_like(parts[terms[0]])) for b in BOUNDS
    ]
    return np.asarray(np.argmax(np.stack(by_bound), axis=0))


def _evaluate(
    batch: Batch, lookups: Sequence[Lookup], tpot_bars: ErrorBars, ttft_bars: ErrorBars
) -> _Columns:
    t, worker = batch.table, batch.worker
    gamma = np.stack([lookup.step for lookup in lookups], axis=1)[:, worker]
    tau = np.stack([lookup.first_token for lookup in lookups], axis=1)[:, worker]
    step = dict(zip(STEP_TERMS, gamma, strict=True))
    first = dict(zip(FIRST_TOKEN_TERMS, tau, strict=True))
    least = floors(t)
    decode = {name: step[name] * term for name, term in decode_terms(t).items()}
    beside, occupied, alone = beside_terms(t), prefill_terms(t), latency_terms(t)
    total = sum((decode[name] for name in DECODE_TERMS), np.zeros_like(t.batch))
    interference = sum((step[name] * beside[name] for name in BESIDE_TERMS), np.zeros_like(t.batch))
    burst = sum((first[f"burst_{n}"] * occupied[n] for n in PREFILL_PARTS), np.zeros_like(total))
    fill = {name: first[name] * alone[name] for name in PREFILL_PARTS} | {"constant": first["constant"]}
    apart = dict(
        zip(APART_TERMS, np.stack([lookup.apart for lookup in lookups], axis=1)[:, worker], strict=True)
    )
    is_apart = np.array([w.role is Role.PREFILL for w in batch.workers])[worker]
    for name in PREFILL_PARTS:
        # Workers apart were fitted on compute and attention: what they send is within.
        scaled = 0.0 if name == "allreduce" else apart["latency"] * alone[name]
        fill[name] = np.where(is_apart, scaled, fill[name])
    fill["constant"] = np.where(is_apart, apart["constant"], fill["constant"])
    latency = fill["compute"] + fill["attention"] + fill["allreduce"]
    alone_ms = apart["service"] * (occupied["compute"] + occupied["attention"]) + apart["request"]
    busy = np.where(is_apart, alone_ms, interference)
    prefill = np.maximum(busy, least.prefill_ms)
    parts = np.stack(
        [sum((decode[n] for n in names), np.zeros_like(total)) for names in DECODE_PARTS.values()]
    )
    fill_parts = np.stack([fill["compute"], fill["attention"], fill["allreduce"], fill["constant"]])
    beyond = _beyond(batch, lookups)
    return _Columns(
        decode_ms=np.maximum(total, least.decode_ms),
        prefill_ms=prefill,
        latency_ms=np.maximum(np.maximum(latency, prefill), least.latency_ms),
        interference_ms=np.where(is_apart, 0.0, interference),
        burst_ms=np.where(is_apart, apart["per_request"], burst),
        decode_shares=parts / parts.sum(axis=0),
        prefill_shares=fill_parts / fill_parts.sum(axis=0),
        decode_bound=_bound(decode, DECODE_TERMS),
        prefill_bound=_bound(fill, ("compute", "attention", "allreduce", "constant")),
        tpot_error=beyond.widen(np.array([lookup.tpot_error_p90 for lookup in lookups])[worker], tpot_bars),
        ttft_error=beyond.widen(np.array([lookup.ttft_error_p90 for lookup in lookups])[worker], ttft_bars),
        outside=beyond.batch | beyond.context | beyond.width,
    )


@dataclass(frozen=True, slots=True)
class _Beyond:
    """Which points of fitted cells lie beyond the batch, context and width that their data covers, each of shape (N,)."""

    batch: NDArray[np.bool_]
    context: NDArray[np.bool_]
    width: NDArray[np.bool_]

    def widen(self, error: Columns, bars: ErrorBars) -> Columns:
        """Return errors, widened where the data does not reach."""
        factor = np.where(self.batch, bars.beyond_batch, 1.0) * np.where(self.width, bars.beyond_width, 1.0)
        return widened(error, factor * np.where(self.context, bars.beyond_context, 1.0))


def _beyond(batch: Batch, lookups: Sequence[Lookup]) -> _Beyond:
    t, worker = batch.table, batch.worker
    ranges = [lookup.range if lookup.basis is Basis.FITTED else None for lookup in lookups]
    most_batch = np.array([r.batch if r else np.inf for r in ranges])
    most_context = np.array([r.context_tokens if r else np.inf for r in ranges])
    too_wide = [w.layout.gpus > r.gpus if r else False for r, w in zip(ranges, batch.workers, strict=True)]
    return _Beyond(
        batch=np.asarray(t.batch > most_batch[worker]),
        context=np.asarray(t.isl + t.osl > most_context[worker]),
        width=np.array(too_wide, dtype=bool)[worker],
    )
