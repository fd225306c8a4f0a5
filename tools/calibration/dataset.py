"""The calibration table as columns: mixed workers and, where labels tell their workers, disaggregated ones."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.labels import labelled_rows
from fleet.catalog.records import Catalog
from fleet.layout import Role
from fleet.perf.coefficients import cell_and_role
from fleet.perf.interface import Point
from fleet.perf.levels import LEVELS, build_of, levels_of
from fleet.perf.memory import held_tokens, worker_memory
from fleet.perf.rows import Row, RowFault, read_row
from fleet.perf.validity import numbers_fault, worker_fault

Array = NDArray[np.float64]
Record = dict[str, str]


def _is_vendor(r: Record) -> bool:
    return "InferenceX" not in r["source"]


SUSPECT: dict[str, Callable[[Record], bool]] = {
    "gpt-oss on H100 at concurrency 512 has a hidden cap of about 92 sequences": lambda r: (
        "gpt-oss" in r["model"]
        and r["gpu"].startswith("H100")
        and r["engine"] == "vllm"
        and float(r["concurrency_or_batch"]) == 512
    ),
    "Qwen3-32B on GB200: concurrency was chosen by an SLA": lambda r: (
        "Qwen3-32B" in r["model"] and r["gpu"].startswith("GB200")
    ),
    "vendor rows of release candidates 1.2.0rc6.post1 and 1.3.0rc": lambda r: (
        _is_vendor(r) and ("1.2.0rc6.post1" in r["engine_version"] or "1.3.0rc" in r["engine_version"])
    ),
    "vendor rows of Llama-3.1-8B with vLLM: TTFT is impossible without prefix hits": lambda r: (
        _is_vendor(r) and "Llama-3.1-8B" in r["model"] and r["engine"] == "vllm"
    ),
    "Qwen3-32B FP8 with vLLM: concurrency is not what the row says": lambda r: (
        "Qwen3-32B" in r["model"] and r["engine"] == "vllm" and r["precision"] == "fp8"
    ),
}
"""Rules of the 64 aggregated rows that were found wrong with hindsight; they are neither fitted nor scored."""


@dataclass(frozen=True)
class Dataset:
    """Measurements under a closed loop, one row each; arrays have shape (N,)."""

    rows: tuple[Row, ...]
    points: tuple[Point, ...]  # of the mixed or decode worker; `batch` is what decodes together in it
    prefill: tuple[Point, ...]  # of the mixed or prefill worker
    is_mixed: NDArray[np.bool_]
    concurrency: Array
    slots: Array  # requests that all decode workers can run
    tpot_ms: Array
    ttft_ms: Array
    levels: dict[str, list[str]]
    cell: tuple[str, ...]  # with its role
    group: tuple[str, ...]  # model build x accelerator x engine
    lengths: tuple[str, ...]
    left_out: Counter[str]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def over(self) -> Array:
        """Requests that wait for a slot, for each that runs."""
        return np.asarray(np.maximum(self.concurrency / self.slots - 1.0, 0.0))

    def take(self, chosen: NDArray[np.intp]) -> Dataset:
        """Return the chosen rows."""
        return Dataset(
            rows=tuple(self.rows[i] for i in chosen),
            points=tuple(self.points[i] for i in chosen),
            prefill=tuple(self.prefill[i] for i in chosen),
            is_mixed=self.is_mixed[chosen],
            concurrency=self.concurrency[chosen],
            slots=self.slots[chosen],
            tpot_ms=self.tpot_ms[chosen],
            ttft_ms=self.ttft_ms[chosen],
            levels={name: [column[i] for i in chosen] for name, column in self.levels.items()},
            cell=tuple(self.cell[i] for i in chosen),
            group=tuple(self.group[i] for i in chosen),
            lengths=tuple(self.lengths[i] for i in chosen),
            left_out=self.left_out,
        )


def load(table: Path, labels: Path | None, catalog: Catalog) -> Dataset:
    """Read the aggregated rows of a calibration table, and the disaggregated rows that have exactly one label."""
    left_out: Counter[str] = Counter()
    rows = list(_aggregated(table, catalog, left_out))
    if labels is not None:
        rows += _disaggregated(table, labels, catalog, left_out)
    slots = [_slots(row) for row in rows]
    points = [_decoding(row, s) for row, s in zip(rows, slots, strict=True)]
    named = [levels_of(p) for p in points]
    return Dataset(
        rows=tuple(rows),
        points=tuple(points),
        prefill=tuple(_prefilling(row) for row in rows),
        is_mixed=np.array([not row.replica.is_disaggregated for row in rows]),
        concurrency=np.array([row.concurrency for row in rows]),
        slots=np.array(slots),
        tpot_ms=np.array([row.tpot_ms for row in rows]),
        ttft_ms=np.array([row.ttft_ms for row in rows]),
        levels={level: [n[level] for n in named] for level in LEVELS},
        cell=tuple(cell_and_role(p) for p in points),
        group=tuple(f"{build_of(p.model)}|{p.accelerator.id}|{p.engine.id}" for p in points),
        lengths=tuple(f"{r.isl:g}x{r.osl:g}" for r in rows),
        left_out=left_out,
    )


def _aggregated(table: Path, catalog: Catalog, left_out: Counter[str]) -> Iterator[Row]:
    with table.open(newline="") as file:
        for record in csv.DictReader(file):
            if record["mode"] != "agg":
                continue
            reason = next((reason for reason, is_suspect in SUSPECT.items() if is_suspect(record)), None)
            if reason:
                left_out[reason] += 1
            elif row := _usable(record, catalog, left_out):
                yield row


def _disaggregated(table: Path, labels: Path, catalog: Catalog, left_out: Counter[str]) -> Iterator[Row]:
    for record in labelled_rows(table, labels, left_out):
        if record["spec"] == "mtp" and not record["draft_tokens"]:
            left_out["disaggregated with speculative decoding of unknown depth"] += 1
        elif row := _usable(record, catalog, left_out):
            yield row


def _usable(record: Record, catalog: Catalog, left_out: Counter[str]) -> Row | None:
    """Return the row of a record, or count why there is none."""
    try:
        row = read_row(record, catalog)
    except RowFault as fault:
        left_out[fault.unsupported.reason] += 1
        return None
    if row.tpot_ms is None or row.ttft_ms is None:
        left_out["no measurement"] += 1
        return None
    for point in (_prefilling(row), _decoding(row, inf)):
        fault = worker_fault(point) or numbers_fault(point)
        if fault:
            left_out[f"{fault.reason}: the label cannot be right"] += 1
            return None
    return row


def _slots(row: Row) -> float:
    """Return how many requests all decode (or mixed) workers can run: their batch limits or their KV caches."""
    w = row.replica.decoder
    memory = worker_memory(w.model, w.accelerator, w.engine, w.layout, w.weights, w.dense_weights, w.kv)
    fit = max(memory.sequences(held_tokens(w.engine.id, row.isl, row.osl)), 1.0)
    workers = row.replica.decode_workers if row.replica.is_disaggregated else 1
    return min(fit, row.batch_limit or inf) * workers


def _decoding(row: Row, slots: float) -> Point:
    """Return the point of the worker that decodes; workers apart run what Little's law leaves after the first token."""
    assert row.tpot_ms is not None
    assert row.ttft_ms is not None
    decoder = row.replica.decoder
    if not row.replica.is_disaggregated:
        return decoder.point(Role.MIXED, batch=min(row.concurrency, slots), isl=row.isl, osl=row.osl)
    share = row.osl * row.tpot_ms / (row.ttft_ms + row.osl * row.tpot_ms)
    batch = max(row.concurrency * share / row.replica.decode_workers, 1.0)
    return decoder.point(Role.DECODE, batch=batch, isl=row.isl, osl=row.osl)


def _prefilling(row: Row) -> Point:
    role = Role.PREFILL if row.replica.is_disaggregated else Role.MIXED
    return row.replica.prefiller.point(role, batch=1.0, isl=row.isl, osl=row.osl)
