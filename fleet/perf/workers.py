"""Points sorted by the worker they describe, so that a worker's constants are computed once and spread over its points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fleet.perf.interface import Point, Unsupported
from fleet.perf.memory import WorkerMemory, worker_memory
from fleet.perf.terms import Shape, Table, shape_of, table_of
from fleet.perf.validity import numbers_fault, worker_fault


@dataclass(frozen=True, slots=True)
class Batch:
    """The points that can be priced, as columns, and the rest with their reasons.

    `positions[i]` is where row i of the table stands among all points; `worker[i]` is its worker.
    """

    size: int
    faults: dict[int, Unsupported]
    positions: NDArray[np.intp]
    worker: NDArray[np.intp]
    workers: tuple[Point, ...]  # one point of each worker
    memories: tuple[WorkerMemory, ...]
    table: Table


@dataclass(frozen=True, slots=True)
class _Worker:
    index: int
    fault: Unsupported | None


def batch_of(points: Sequence[Point]) -> Batch:
    """Sort points by worker. Never raises for what a point holds.

    Two points are of one worker when they refer to the same records: identity is enough and fast.
    """
    known: dict[tuple[object, ...], _Worker] = {}
    workers: list[Point] = []
    shapes: list[Shape] = []
    memories: list[WorkerMemory] = []
    kept: list[Point] = []
    positions: list[int] = []
    of_worker: list[int] = []
    faults: dict[int, Unsupported] = {}
    for position, p in enumerate(points):
        records = (id(p.model), id(p.accelerator), id(p.engine), id(p.layout), id(p.draft))
        key = (*records, p.role, p.weights, p.dense_weights, p.kv)
        entry = known.get(key)
        if entry is None:
            fault = worker_fault(p)
            entry = known[key] = _Worker(len(workers), fault)
            if fault is None:
                workers.append(p)
                shapes.append(shape_of(p))
                memories.append(
                    worker_memory(
                        p.model, p.accelerator, p.engine, p.layout, p.weights, p.dense_weights, p.kv
                    )
                )
        reason = entry.fault or numbers_fault(p)
        if reason is not None:
            faults[position] = reason
            continue
        kept.append(p)
        positions.append(position)
        of_worker.append(entry.index)
    index = np.array(of_worker, dtype=np.intp)
    if not kept:
        return Batch(len(points), faults, index, index, (), (), _empty())
    table = table_of(kept, shapes, index)
    return Batch(
        len(points), faults, np.array(positions, dtype=np.intp), index, tuple(workers), tuple(memories), table
    )


def _empty() -> Table:
    nothing = np.zeros(0)
    return Table({}, nothing, nothing, nothing, nothing)
