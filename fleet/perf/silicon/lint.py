"""The table linter: which kernel timings cannot be true, found from the tables and from physics alone.

faster-than-physics     latency < (1 - tolerance) · floor                        a share of the rows
slower-at-less          latency > 1.5 · the least latency at any larger batch    a share of the rows
slower-than-wider       median of latency / latency in BF16, same shape, small batches
rises-with-ep           decode step at twice the expert parallelism, same requests for each GPU, same domain
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from fleet.catalog.records import Accelerator, Catalog
from fleet.perf.rounding import six
from fleet.perf.silicon.extra import Library
from fleet.perf.silicon.faults import Finding
from fleet.perf.silicon.lint_steps import lint_steps
from fleet.perf.silicon.names import SYSTEMS
from fleet.perf.silicon.tables import KINDS, Columns, Table, read_tables

ENGINES = ("sglang", "trtllm", "vllm")

TOLERANCE = 0.05
"""Clocks above their data sheet and timer noise: rows within this of the floor pass."""

FASTER_SHARE = 0.001
SLOWER_RATIO, SLOWER_SHARE = 1.5, 0.05
WIDER_RATIO, SMALL_BATCH = 4.0, 256.0
"""In small batches a narrower format reads fewer bytes: four times slower than BF16 is a fault of the table."""

LEAST_SHAPES = 20
"""Shapes in common from which two precisions are compared."""


def lint_tables(library: Library, catalog: Catalog, systems: Iterable[str] = tuple(SYSTEMS)) -> list[Finding]:
    """Check every table, and whole steps, of the named accelerators, or of all: minutes for all of them."""
    machines = [(catalog.accelerators[name], engine) for name in systems for engine in ENGINES]
    tables = [finding for gpu, engine in machines for finding in lint_engine(library, gpu, engine)]
    return tables + [finding for gpu, engine in machines for finding in lint_steps(library, gpu, engine)]


def lint_engine(library: Library, accelerator: Accelerator, engine: str) -> list[Finding]:
    """Check the tables of one engine on one accelerator."""
    system = SYSTEMS[accelerator.id]
    return [
        finding
        for kind in KINDS
        for finding in findings_in(
            read_tables(library.tables, system, engine, kind, accelerator), system, engine
        )
    ]


def findings_in(tables: Sequence[Table], system: str, engine: str) -> list[Finding]:
    """Check tables of one kind, one for each precision."""
    wide = next((t for t in tables if t.precision == "bfloat16"), None)
    found = []
    for t in tables:
        checks = [("faster-than-physics", *_faster(t)), ("slower-at-less", *_slower_at_less(t))]
        if wide is not None and t is not wide and t.kind in ("gemm", "moe"):
            checks.append(("slower-than-wider", *_slower_than_wider(t, wide)))
        found += [
            Finding(system, engine, t.kind, t.precision, rule, six(measure), f"{t.name}: {detail}")
            for rule, fails, measure, detail in checks
            if fails
        ]
    return found


def _faster(t: Table) -> tuple[bool, float, str]:
    impossible = t.latency_ms < (1.0 - TOLERANCE) * t.floor_ms
    share = float(impossible.mean())
    if not impossible.any():
        return False, share, ""
    worst = float((t.latency_ms[impossible] / t.floor_ms[impossible]).min())
    return (
        share > FASTER_SHARE,
        share,
        f"{int(impossible.sum())} of {t.batch.size} rows beat the floor, one takes {worst:.2f} of it",
    )


def least_later(curve: NDArray[np.intp], batch: Columns, latency_ms: Columns) -> Columns:
    """Return for every row the least latency of its curve at this batch or a larger one, shape (N,)."""
    order = np.lexsort((batch, curve))
    least = latency_ms[order].copy()
    same = curve[order][:-1] == curve[order][1:]
    for i in range(least.size - 2, -1, -1):
        if same[i]:
            least[i] = min(least[i], least[i + 1])
    answer = np.empty_like(least)
    answer[order] = least
    return answer


def _slower_at_less(t: Table) -> tuple[bool, float, str]:
    slower = t.latency_ms > SLOWER_RATIO * least_later(t.curve, t.batch, t.latency_ms)
    share = float(slower.mean())
    return (
        share > SLOWER_SHARE,
        share,
        f"{int(slower.sum())} of {t.batch.size} rows are slower than one with a larger batch",
    )


def _slower_than_wider(t: Table, wide: Table) -> tuple[bool, float, str]:
    known: dict[tuple[object, ...], float] = {}
    for shape, batch, latency in zip(wide.shape, wide.batch.tolist(), wide.latency_ms.tolist(), strict=True):
        key = (*shape, batch)
        known[key] = min(latency, known.get(key, np.inf))
    ratios = [
        latency / known[*shape, batch]
        for shape, batch, latency in zip(t.shape, t.batch.tolist(), t.latency_ms.tolist(), strict=True)
        if batch <= SMALL_BATCH and (*shape, batch) in known
    ]
    if len(ratios) < LEAST_SHAPES:
        return False, 0.0, ""
    median = float(np.median(ratios))
    return median > WIDER_RATIO, median, f"median of {len(ratios)} shapes is {median:.1f} times that in BF16"
