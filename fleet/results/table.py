"""A CSV table of benchmark results: the columns of the calibration table, one run a row."""

from __future__ import annotations

import csv
import io
from datetime import date

from fleet.diagnostics import Diagnostic
from fleet.results.faults import BROKEN, UNKNOWN_FORMAT
from fleet.results.figures import Figures
from fleet.results.record import BenchmarkResult, Latency
from fleet.results.records import Record, ResultsFile

COLUMNS = (
    "model", "gpu", "engine", "mode", "parallelism", "precision", "isl", "osl", "concurrency_or_batch", "ttft_ms",
    "tpot_ms",
)  # fmt: skip
"""Columns that a table of results must have; the others of the calibration table are read where they are there."""


def table_records(file: ResultsFile, faults: list[Diagnostic]) -> list[Record]:
    """Return the rows of a table; rows and headers that are broken go to `faults`."""
    reader = csv.reader(io.StringIO(file.text), strict=True)
    records: list[Record] = []
    starts = _line_starts(file.text)
    try:
        header = [name.strip() for name in next(reader, [])]
        if fault := _header_fault(header):
            faults.append(file.report(UNKNOWN_FORMAT, f"{file.name}: {fault}", 0, len(file.text)))
            return []
        begun = reader.line_num
        for row in reader:
            line, begun = begun, reader.line_num
            start = starts[min(line, len(starts) - 1)]
            if not row:
                continue
            if len(row) != len(header):
                faults.append(
                    file.report(
                        BROKEN,
                        f"{file.name}: {len(row)} values under {len(header)} columns",
                        start,
                        start + 1,
                    )
                )
                continue
            data = dict(zip(header, row, strict=True))
            records.append(Record(file, len(records) + 1, start, start + 1, data))
    except csv.Error as fault:
        start = starts[min(max(reader.line_num - 1, 0), len(starts) - 1)]
        faults.append(file.report(BROKEN, f"{file.name} is no CSV: {fault}", start, start + 1))
    if not records and not faults:
        faults.append(file.report(BROKEN, f"{file.name} has no rows", 0, 1))
    return records


def _line_starts(text: str) -> list[int]:
    starts = [0]
    while (at := text.find("\n", starts[-1])) >= 0:
        starts.append(at + 1)
    return starts


def _header_fault(header: list[str]) -> str:
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        return f"the columns {', '.join(missing)} are missing"
    repeated = sorted({name for name in header if header.count(name) > 1})
    return f"the columns {', '.join(repeated)} stand twice" if repeated else ""


def read_row(record: Record, figures: Figures) -> BenchmarkResult:
    """Return a row as a result; what is wrong with its figures goes to `figures`."""
    row = {name: value.strip() for name, value in record.data.items()}
    concurrency = figures.number(
        "concurrency_or_batch", row["concurrency_or_batch"] or None, needed="the requests in flight"
    )
    osl = figures.number("osl", row["osl"] or None, needed="the answer tokens")
    ttft = figures.number("ttft_ms", row["ttft_ms"] or None, needed="TTFT")
    tpot = figures.number("tpot_ms", row["tpot_ms"] or None, needed="TPOT")
    return BenchmarkResult(
        source=f"{record.file.name}:{record.line}",
        tool="csv",
        sha256=record.file.sha256,
        model=row["model"],
        day=_day(row.get("date", "")),
        engine=row["engine"].lower(),
        engine_version=row.get("engine_version", ""),
        accelerator=row["gpu"],
        precision=row["precision"],
        parallelism=row["parallelism"],
        gpus=figures.count("n_gpus", row["n_gpus"], zero=False) if row.get("n_gpus") else None,
        concurrency=concurrency,
        isl=figures.number("isl", row["isl"] or None, needed="the prompt tokens"),
        osl=osl,
        ttft=Latency(mean=ttft),
        tpot=Latency(mean=tpot),
        record_sha256=record.sha256,
        row=row,
        line=record.line,
    )


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
