"""The calibration table as columns, with what is left out and why."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleet.catalog.records import Catalog
from fleet.layout import Role
from fleet.perf.interface import Point
from fleet.perf.levels import LEVELS, build_of, cell_of, levels_of
from fleet.perf.memory import held_tokens, worker_memory
from fleet.perf.rows import Row, RowFault, read_row
from fleet.perf.validity import numbers_fault, worker_fault

Array = NDArray[np.float64]

SUSPECT: dict[str, Callable[[dict[str, str]], bool]] = {
    "gpt-oss on H100 at concurrency 512 has a hidden cap of about 92 sequences": lambda r: (
        "gpt-oss" in r["model"] and r["gpu"].startswith("H100") and r["engine"] == "vllm" and float(r["concurrency_or_batch"]) == 512
    ),
    "Qwen3-32B on GB200: concurrency was chosen by an SLA": lambda r: "Qwen3-32B" in r["model"] and r["gpu"].startswith("GB200"),
    "vendor rows of release candidates 1.2.0rc6.post1 and 1.3.0rc": lambda r: (
        "InferenceX" not in r["source"] and ("1.2.0rc6.post1" in r["engine_version"] or "1.3.0rc" in r["engine_version"])
    ),
    "vendor rows of Llama-3.1-8B with vLLM: TTFT is impossible without prefix hits": lambda r: (
        "InferenceX" not in r["source"] and "Llama-3.1-8B" in r["model"] and r["engine"] == "vllm"
    ),
    "Qwen3-32B FP8 with vLLM: concurrency is not what the row says": lambda r: (
        "Qwen3-32B" in r["model"] and r["engine"] == "vllm" and r["precision"] == "fp8"
    ),
}
"""Rules of the 64 rows that were found wrong with hindsight; they are neither fitted nor scored."""


@dataclass(frozen=True)
class Dataset:
    """Measurements under a closed loop, one row each; arrays have shape (N,)."""

    rows: tuple[Row, ...]
    points: tuple[Point, ...]          # `batch` is the number of requests that decode together
    concurrency: Array
    over: Array                        # concurrency / batch - 1: what waits for memory
    tpot_ms: Array
    ttft_ms: Array
    levels: dict[str, list[str]]
    cell: tuple[str, ...]
    group: tuple[str, ...]             # model build x accelerator x engine
    lengths: tuple[str, ...]
    left_out: Counter[str]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, chosen: NDArray[np.intp]) -> Dataset:
        """Return the chosen rows."""

        def pick(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(values[i] for i in chosen)

        return Dataset(
            rows=pick(self.rows),
            points=pick(self.points),
            concurrency=self.concurrency[chosen],
            over=self.over[chosen],
            tpot_ms=self.tpot_ms[chosen],
            ttft_ms=self.ttft_ms[chosen],
            levels={name: [column[i] for i in chosen] for name, column in self.levels.items()},
            cell=pick(self.cell),
            group=pick(self.group),
            lengths=pick(self.lengths),
            left_out=self.left_out,
        )


def running(row: Row) -> float:
    """Return how many of the requests in flight a mixed worker can run: all, or what its KV cache holds."""
    w = row.replica.decoder
    memory = worker_memory(w.model, w.accelerator, w.engine, w.layout, w.weights, w.dense_weights, w.kv)
    return min(row.concurrency, max(memory.sequences(held_tokens(w.engine.id, row.isl, row.osl)), 1.0))


def load_aggregated(path: Path, catalog: Catalog) -> Dataset:
    """Read the aggregated rows of a calibration table."""
    left_out: Counter[str] = Counter()
    rows: list[Row] = []
    with path.open(newline="") as file:
        for record in csv.DictReader(file):
            if record["mode"] != "agg":
                continue
            reason = _reason_to_leave_out(record, catalog, rows)
            if reason:
                left_out[reason] += 1
    points = []
    for row in rows:
        points.append(row.replica.decoder.point(Role.MIXED, batch=running(row), isl=row.isl, osl=row.osl))
    concurrency = np.array([r.concurrency for r in rows])
    named = [levels_of(p) for p in points]
    return Dataset(
        rows=tuple(rows),
        points=tuple(points),
        concurrency=concurrency,
        over=concurrency / np.array([p.batch for p in points]) - 1.0,
        tpot_ms=np.array([r.tpot_ms for r in rows]),
        ttft_ms=np.array([r.ttft_ms for r in rows]),
        levels={level: [n[level] for n in named] for level in LEVELS},
        cell=tuple(cell_of(p) for p in points),
        group=tuple(f"{build_of(p.model)}|{p.accelerator.id}|{p.engine.id}" for p in points),
        lengths=tuple(f"{r.isl:g}x{r.osl:g}" for r in rows),
        left_out=left_out,
    )


def _reason_to_leave_out(record: dict[str, str], catalog: Catalog, rows: list[Row]) -> str:
    """Append the row of a record, or return why it is left out."""
    for reason, is_suspect in SUSPECT.items():
        if is_suspect(record):
            return reason
    try:
        row = read_row(record, catalog)
    except RowFault as fault:
        return fault.unsupported.reason
    if row.tpot_ms is None or row.ttft_ms is None:
        return "no measurement"
    point = row.replica.decoder.point(Role.MIXED, batch=row.concurrency, isl=row.isl, osl=row.osl)
    fault = worker_fault(point) or numbers_fault(point)
    if fault:
        return f"{fault.reason}: the label cannot be right"
    rows.append(row)
    return ""
