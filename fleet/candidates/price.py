"""Prices the shapes of a place, the most promising first: a pairing that cannot win is never built.

A pairing of n prefill and m decode workers serves at most  u = min(n p, m d)  requests/s, p and d what one worker of each
serves beside plenty of the other. It loses where k = floor(g / g') replicas of a priced shape that reserves g' GPUs fit
into the g that it reserves and serve k q' >= u: they lose less in a failure and fit wherever it does (sizes divide a host,
or are whole hosts).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fleet.candidates.enumerate import Space
from fleet.candidates.need import Drop, Need, Shape
from fleet.candidates.pairs import MOST_WORKERS, Pairs
from fleet.candidates.rounding import rounded
from fleet.perf.interface import PerformanceModel, Unsupported
from fleet.perf.replica import ReplicaSpec
from fleet.perf.serving import largest_rates

PLENTY = 4 * MOST_WORKERS
AT_ONCE = 48
MOST_PRICED = 480
"""Pairings of one workload at one place that are priced at most; those beyond are counted, with what they could be worth."""

BOUND_SLACK = 1.01
"""On u: decode steps shift the first token by a fraction of a step, which the bound does not follow."""

Rates = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Priced:
    """A shape and the largest rate of one replica, requests/s."""

    shape: Shape
    rate_req_per_s: float


def price(need: Need, space: Space, perf: PerformanceModel) -> tuple[list[Priced], list[Drop]]:
    """Return the shapes that may win, each with its rate, and the drops: every shape of the space is one or the other."""
    drops: list[Drop] = list(space.drops)
    priced = _rated(need, space.mixed, perf, drops)
    bounds = [_bounds(need, pairs, perf, drops) for pairs in space.apart]
    where = np.repeat(np.arange(len(bounds)), [b.size for b in bounds])
    row = np.concatenate([np.arange(b.size) for b in bounds]) if bounds else np.zeros(0, np.int64)
    bound = np.concatenate(bounds) if bounds else np.zeros(0)
    gpus = np.concatenate([p.reserved_gpus for p in space.apart]) if bounds else np.zeros(0, np.int64)
    order = np.lexsort((np.arange(gpus.size), gpus, -bound / np.maximum(gpus, 1)))
    alive = order[bound[order] > 0]
    tried = 0
    while alive.size:
        beaten = bound[alive] <= _best_by(priced, gpus[alive])
        if beaten.any():
            first = alive[np.argmax(beaten)]
            label = space.apart[where[first]].shape(row[first]).label
            drops.append(
                Drop(
                    "dominated",
                    f"{label}: smaller replicas serve as much with no more GPUs",
                    int(beaten.sum()),
                )
            )
            alive = alive[~beaten]
        if tried >= MOST_PRICED and alive.size:
            drops.append(_beyond(priced, gpus[alive], bound[alive]))
            break
        now, alive = alive[:AT_ONCE], alive[AT_ONCE:]
        shapes = [space.apart[where[i]].shape(row[i]) for i in now]
        priced += _rated(need, shapes, perf, drops)
        tried += len(shapes)
    return priced, drops


def _rated(need: Need, shapes: Sequence[Shape], perf: PerformanceModel, drops: list[Drop]) -> list[Priced]:
    """Return the shapes that serve anything, and add the others to the drops."""
    kept: list[Priced] = []
    rates = largest_rates(perf, [s.replica for s in shapes], need.load)
    for shape, rate in zip(shapes, rates, strict=True):
        where = f"{shape.label} {shape.weights.precision} on {shape.place.offering}"
        if isinstance(rate, Unsupported):
            drops.append(Drop(rate.reason, f"{where}: {rate.detail}"))
        elif rate * 1000 < 1:
            drops.append(Drop("slo-unreachable", f"{where} serves less than 0.001 requests/s"))
        else:
            kept.append(Priced(shape, rate))
    return kept


def _bounds(need: Need, pairs: Pairs, perf: PerformanceModel, drops: list[Drop]) -> Rates:
    """Return u of every pairing, requests/s, 0 where a worker cannot reach its target at all. Shape (N,).

    Each worker is held against plenty of its own kind and a link that costs nothing.
    """
    bound, targets = np.full(len(pairs), np.inf), need.load.targets
    sides = (
        ("ttft", MOST_WORKERS, PLENTY, pairs.prefill, pairs.prefill_workers / MOST_WORKERS),
        ("tpot", PLENTY, 1, pairs.decode, pairs.decode_workers),
    )
    for metric, prefill_workers, decode_workers, side, times in sides:
        replicas = [
            ReplicaSpec(prefill=w, prefill_workers=prefill_workers, decode=w, decode_workers=decode_workers)
            for w in pairs.workers
        ]
        load = replace(need.load, targets=tuple(t for t in targets if t.metric == metric))
        found = largest_rates(perf, replicas, load)
        for place, refusal in enumerate(found):
            fails = (side == place) & (bound > 0)
            if isinstance(refusal, Unsupported) and fails.any():
                label = f"{pairs.workers[place].layout.label} on {pairs.form.place.offering}"
                drops.append(Drop(refusal.reason, f"{label}: {refusal.detail}", int(fails.sum())))
        rate = np.array([0.0 if isinstance(r, Unsupported) else r for r in found])
        bound = np.minimum(bound, rate[side] * times)
    return bound * BOUND_SLACK


def _best_by(priced: Sequence[Priced], gpus: NDArray[np.int64]) -> Rates:
    """Return the most that replicas of one priced shape serve in so many GPUs, requests/s, shape (N,)."""
    part = [p for p in priced if not p.shape.whole_domains]
    if not part:
        return np.zeros(gpus.shape)
    distinct, back = np.unique(gpus, return_inverse=True)
    each = np.array([p.shape.reserved_gpus for p in part])
    rate = np.array([rounded(p.rate_req_per_s) for p in part])
    return np.asarray((distinct[:, None] // each * rate).max(axis=1)[back])


def _beyond(priced: Sequence[Priced], gpus: NDArray[np.int64], bound: Rates) -> Drop:
    """Count what is left untried, and say by how much the best of it could at most be better."""
    gain = float((bound / np.maximum(_best_by(priced, gpus), 1e-12)).max()) - 1.0
    most = f"at most {gain:.1%} more for each GPU" if gain < 10 else "and nothing smaller to compare with"
    return Drop(
        "search-limit", f"{MOST_PRICED} pairings were priced, the rest could serve {most}", int(gpus.size)
    )
