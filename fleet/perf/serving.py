"""From service to percentiles: what a replica serves within its SLO, and what a rate does to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np
from numpy.typing import NDArray

from fleet.layout import Role
from fleet.perf.interface import Capacity, Estimate, PerformanceModel, ServedPoint, Target, Unsupported
from fleet.perf.lengths import Atoms, condense
from fleet.perf.operating import BISECTIONS, LEAST_BATCH, MOST_BATCHES, Operating, batch_at, operate
from fleet.perf.replica import Load, ReplicaSpec, WorkerSpec
from fleet.perf.rounding import six
from fleet.perf.service import Array, Service, gather
from fleet.units import format_ms

__all__ = ["Load", "ReplicaSpec", "WorkerSpec", "capacities", "largest_rates", "served_at"]

LEAST_SLOTS = 2
"""Slots that the 99 % quantile of a batch is held against at least: it counts the request that sees the batch."""

HALF_A_DIGIT = 5e-6
"""Rates are rounded down to six digits: near saturation a batch is far more sensitive than the last digit."""


def capacities(
    perf: PerformanceModel, replicas: Sequence[ReplicaSpec], load: Load
) -> list[Capacity | Unsupported]:
    """Return for every replica the largest rate at which all targets hold, or why there is none.

    Times are taken at `load.error_quantile` of the prediction error while the rate is sought; the percentiles
    returned are predictions at that rate without the margin.

    Raises:
        ValueError: the load's lengths are impossible.
    """
    sought = _seek(perf, replicas, load)
    service, found = sought.service, sought.found
    if service is None or found is None:
        return list(sought.none)
    batch = np.minimum(batch_at(service, found.rate, load.burstiness_scv), found.batch)
    at_rate = operate(service, batch, load.burstiness_scv)
    fitting = [r for r, fault in zip(replicas, sought.faults, strict=True) if fault is None]
    served = served_points(at_rate)
    estimates = _estimates(perf, fitting, service.atoms, load, at_rate)
    answers: list[Capacity | Unsupported] = []
    for row, replica in enumerate(fitting):
        reason = sought.unreachable(row)
        answers.append(reason or _capacity(replica, load, found, at_rate, served[row], estimates[row], row))
    rows = iter(answers)
    return [fault or next(rows) for fault in sought.faults]


def largest_rates(
    perf: PerformanceModel, replicas: Sequence[ReplicaSpec], load: Load
) -> list[float | Unsupported]:
    """Return only the rates of `capacities`, requests/s, in a fraction of its time.

    Raises:
        ValueError: the load's lengths are impossible.
    """
    sought = _seek(perf, replicas, load)
    if sought.found is None:
        return list(sought.none)
    rows = enumerate(sought.found.rate.tolist())
    answers = iter([sought.unreachable(row) or rate for row, rate in rows])
    return [fault or next(answers) for fault in sought.faults]


def served_at(
    perf: PerformanceModel, replica: ReplicaSpec, load: Load, rate_req_per_s: float
) -> ServedPoint | Unsupported:
    """Return what one replica does at a rate, without margin; Unsupported where the rate is beyond it."""
    if not 0 < rate_req_per_s < np.inf:
        return Unsupported("rate-not-positive", f"{rate_req_per_s:g} requests/s")
    service, faults = gather(
        perf, [replica], condense(load.lengths), load.cached_prefix_fraction, load.max_batch
    )
    if service is None:
        assert faults[0] is not None
        return faults[0]
    batch = batch_at(service, np.array([rate_req_per_s]), load.burstiness_scv)
    point = operate(service, batch, load.burstiness_scv)
    shares = {
        "prefill": point.prefill_utilisation[0],
        "KV cache": max(point.kv_p99[0], point.batch_p99[0] / max(point.kv_slots[0], LEAST_SLOTS)),
        "batch": point.batch_p99[0] / max(load.max_batch, LEAST_SLOTS),
    }
    if point.rate[0] < rate_req_per_s * (1.0 - 1e-5) or max(shares.values()) > 1.0 + 1e-5:
        fullest = max(shares, key=lambda name: shares[name])
        return Unsupported("rate-beyond-capacity", f"at {rate_req_per_s:g} requests/s the {fullest} is full")
    return served_points(point)[0]


@dataclass(frozen=True, slots=True)
class _Found:
    """Where the search ended, shape (R,): batch and rate, whether any rate holds, and what fails just above it."""

    batch: Array
    rate: Array
    is_possible: NDArray[np.bool_]
    binding: list[str]


@dataclass(frozen=True, slots=True)
class _Sought:
    """Replicas at their largest rates; `faults` are of all that were asked for, the rest of those without one."""

    service: Service | None
    faults: list[Unsupported | None]
    found: _Found | None = None
    best_ms: Mapping[Target, Array] = field(
        default_factory=dict
    )  # every target of a request alone, shape (R,)

    @property
    def none(self) -> list[Unsupported]:
        """Every fault, where no replica is without one."""
        return [fault for fault in self.faults if fault is not None]

    def unreachable(self, row: int) -> Unsupported | None:
        """Say which target fails even for a request alone, and how near it gets; None where a rate was found."""
        assert self.found is not None
        if self.found.is_possible[row]:
            return None
        binding = self.found.binding[row]
        for target, figures in self.best_ms.items():
            if binding == f"{target.metric}_p{target.quantile}":
                detail = f"{binding} is {format_ms(figures[row])} at best, the limit is {format_ms(target.limit_ms)}"
                return Unsupported("slo-unreachable", detail)
        return Unsupported("does-not-fit", f"even a single request does not fit: {binding}")


def _seek(perf: PerformanceModel, replicas: Sequence[ReplicaSpec], load: Load) -> _Sought:
    """Gather the replicas' service and search the largest rate of each."""
    atoms = condense(load.lengths)
    service, faults = gather(perf, replicas, atoms, load.cached_prefix_fraction, load.max_batch)
    if service is None:
        return _Sought(None, faults)
    cautious = service.with_margin(load.error_quantile)
    found = _search(cautious, load)
    if found.is_possible.all():
        return _Sought(service, faults, found)
    alone = operate(cautious, np.full(found.rate.shape, LEAST_BATCH), load.burstiness_scv)
    return _Sought(service, faults, found, {t: alone.quantile(t.metric, t.quantile) for t in load.targets})


def _limits(point: Operating, load: Load) -> list[tuple[str, NDArray[np.bool_]]]:
    """Every condition of an operating point by name, in the order in which one is blamed."""
    conditions = [(f"{t.metric}_p{t.quantile}", point.holds(t)) for t in load.targets]
    in_slots = point.batch_p99 <= np.maximum(point.kv_slots, LEAST_SLOTS)
    conditions.append(("kv", (point.kv_p99 <= 1.0) & in_slots))
    conditions.append(("batch-limit", point.batch_p99 <= max(load.max_batch, LEAST_SLOTS)))
    conditions.append(("stability", point.prefill_utilisation <= load.max_utilisation))
    return conditions


def _search(service: Service, load: Load) -> _Found:
    """Bisect on the mean batch, on a logarithmic scale: every condition holds below some batch and fails above."""
    size = service.constant.size
    low, high = np.full(size, LEAST_BATCH), np.full(size, MOST_BATCHES * service.batch[-1])
    start = _limits(operate(service, low, load.burstiness_scv), load)
    possible = np.logical_and.reduce([holds for _, holds in start])
    for _ in range(BISECTIONS):
        middle = np.sqrt(low * high)
        holds = np.logical_and.reduce(
            [h for _, h in _limits(operate(service, middle, load.burstiness_scv), load)]
        )
        low, high = np.where(holds, middle, low), np.where(holds, high, middle)
    end = _limits(operate(service, high, load.burstiness_scv), load)
    binding = []
    for row in range(size):
        conditions = end if possible[row] else start
        binding.append(next((name for name, h in conditions if not h[row]), "batch-limit"))
    at_most = operate(service, low, load.burstiness_scv).rate * (1.0 - HALF_A_DIGIT)
    return _Found(low, np.array([six(r) for r in at_most.tolist()]), possible, binding)


def served_points(point: Operating) -> list[ServedPoint]:
    """Return operating points as records."""
    ttft, tpot, e2e = (point.percentiles(metric) for metric in ("ttft", "tpot", "e2e"))
    utilisation = np.maximum(point.prefill_utilisation, point.kv_utilisation)
    return [
        ServedPoint(
            rate_req_per_s=six(float(point.rate[r])),
            ttft=ttft[r],
            tpot=tpot[r],
            e2e=e2e[r],
            utilisation=six(float(utilisation[r])),
            mean_batch=six(float(point.batch[r] * point.service.decode_workers[r])),
            kv_utilisation=six(float(point.kv_utilisation[r])),
        )
        for r in range(point.batch.size)
    ]


def _estimates(
    perf: PerformanceModel, replicas: Sequence[ReplicaSpec], atoms: Atoms, load: Load, point: Operating
) -> list[tuple[Estimate, Estimate]]:
    """Return the decode and the prefill estimate of every replica at its operating point."""
    isl, osl = atoms.mean(atoms.isl), max(atoms.mean(atoms.osl), 1.0)
    cached = load.cached_prefix_fraction * isl
    asked = []
    for replica, batch in zip(replicas, point.batch.tolist(), strict=True):
        decode, prefill = (
            (Role.DECODE, Role.PREFILL) if replica.is_disaggregated else (Role.MIXED, Role.MIXED)
        )
        now = six(1.0 + batch)
        asked.append(replica.decoder.point(decode, batch=now, isl=isl, osl=osl, cached_prefix=cached))
        asked.append(replica.prefiller.point(prefill, batch=now, isl=isl, osl=osl, cached_prefix=cached))
    answers = [a for a in perf.estimate(asked) if isinstance(a, Estimate)]
    assert len(answers) == len(asked), "mean lengths are supported where the grid was"
    return list(zip(answers[::2], answers[1::2], strict=True))


def batch_limit(batch_p99: float, ranks: int, max_batch: int, kv_slots: float = inf) -> int:
    """Return the batch limit to configure: per attention rank a power of two or one and a half of it, times the ranks.

    Never more than `kv_slots`, the requests of mean context that the KV cache holds: beyond it engines preempt.

    >>> batch_limit(37.2, 1, 1024), batch_limit(37.2, 8, 1024), batch_limit(37.2, 1, 1024, 41.0)
    (48, 48, 41)
    """
    each = batch_p99 / ranks
    ladder: list[int] = sorted({1 << p for p in range(31)} | {3 << p for p in range(30)})
    step = next(b for b in ladder if b >= each)
    return max(int(min(step * ranks, max_batch, kv_slots)), 1)


def _capacity(
    replica: ReplicaSpec,
    load: Load,
    found: _Found,
    point: Operating,
    served: ServedPoint,
    estimates: tuple[Estimate, Estimate],
    row: int,
) -> Capacity:
    decode, prefill = estimates
    atoms = point.service.atoms
    rate = served.rate_req_per_s
    return Capacity(
        served=served,
        binding=found.binding[row],
        batch_limit=batch_limit(
            float(point.batch_p99[row]),
            replica.decoder.layout.dp,
            load.max_batch,
            float(point.kv_slots[row]),
        ),
        decode=decode,
        prefill=prefill,
        context={
            "output_tok_per_s": six(rate * atoms.mean(atoms.osl)),
            "output_tok_per_s_per_gpu": six(rate * atoms.mean(atoms.osl) / replica.gpus),
            "prefill_utilisation": six(float(point.prefill_utilisation[row])),
            "kv_p99_utilisation": six(float(point.kv_p99[row])),
            "batch_p99_per_worker": six(float(point.batch_p99[row])),
            "queue_ms": six(float(point.wait.mean_ms[row])),
            "kv_transfer_ms": six(float(point.service.transfer[row] @ atoms.weight)),
        },
    )
