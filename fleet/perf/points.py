"""A benchmark table priced row by row: CSV in, CSV out with the predictions as further columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf

from fleet.catalog.records import Catalog
from fleet.perf.closed_loop import Loop, LoopResult, closed_loops
from fleet.perf.interface import PerformanceModel, Unsupported
from fleet.perf.rounding import six
from fleet.perf.rows import Row, RowFault, read_row

REQUIRED_COLUMNS = (
    "model", "gpu", "engine", "mode", "parallelism", "precision", "isl", "osl", "concurrency_or_batch",
)  # fmt: skip
ADDED_COLUMNS = (
    "predicted_ttft_ms", "predicted_tpot_ms", "predicted_tok_s_per_gpu_output", "error_p90", "bound", "unsupported",
)  # fmt: skip
MOST_BYTES = 64 * 1024 * 1024


class UnusableTable(ValueError):
    """The file is no table that can be priced; says the line where that shows."""

    def __init__(self, line: int, fault: str) -> None:
        super().__init__(f"line {line}: {fault}")
        self.line = line
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Priced:
    """A row's predictions, or the reason why there are none (then the figures are None)."""

    ttft_ms: float | None
    tpot_ms: float | None
    output_tok_per_s_per_gpu: float | None
    error_p90: float | None
    bound: str
    unsupported: str

    @property
    def cells(self) -> list[str]:
        """The values of ADDED_COLUMNS."""
        figures = (self.ttft_ms, self.tpot_ms, self.output_tok_per_s_per_gpu, self.error_p90)
        return [*("" if x is None else f"{x:g}" for x in figures), self.bound, self.unsupported]


def _unsupported(fault: Unsupported) -> Priced:
    return Priced(None, None, None, None, "", f"{fault.reason}: {fault.detail}")


def price_table(rows: Iterable[Mapping[str, str]], catalog: Catalog, perf: PerformanceModel) -> list[Priced]:
    """Price every row under its closed loop, in order. A bad row gets its reason; nothing is raised for one."""
    read = [_read(row, catalog) for row in rows]
    loops = [_loop(row) for row in read if isinstance(row, Row)]
    results = iter(zip(loops, closed_loops(perf, loops), strict=True))
    return [_unsupported(row) if isinstance(row, Unsupported) else _priced(*next(results)) for row in read]


def _read(row: Mapping[str, str], catalog: Catalog) -> Row | Unsupported:
    try:
        return read_row(row, catalog)
    except RowFault as fault:
        return fault.unsupported


def _loop(row: Row) -> Loop:
    limit = inf if row.batch_limit is None else row.batch_limit
    return Loop(row.replica, row.isl, row.osl, row.concurrency, batch_limit=limit)


def _priced(loop: Loop, result: LoopResult | Unsupported) -> Priced:
    if isinstance(result, Unsupported):
        return _unsupported(result)
    return Priced(
        ttft_ms=six(result.ttft_ms),
        tpot_ms=six(result.tpot_ms),
        output_tok_per_s_per_gpu=six(result.output_tok_per_s(loop.osl) / loop.replica.gpus),
        error_p90=result.decode.relative_error_p90,
        bound=result.decode.decode_bound.value,
        unsupported="",
    )


def estimate_table(text: str, catalog: Catalog, perf: PerformanceModel) -> str:
    """Return a CSV table with ADDED_COLUMNS; rows keep their order and their own columns.

    Raises:
        UnusableTable: the text is no CSV, lacks a column, repeats one, or is larger than 64 MB.
    """
    header, rows = _parse(text)
    kept = [name for name in header if name not in ADDED_COLUMNS]
    priced = price_table(rows, catalog, perf)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*kept, *ADDED_COLUMNS])
    for row, figures in zip(rows, priced, strict=True):
        writer.writerow([*(row[name] for name in kept), *figures.cells])
    return out.getvalue()


def _parse(text: str) -> tuple[list[str], list[dict[str, str]]]:
    if len(text) > MOST_BYTES:
        raise UnusableTable(1, f"the table has {len(text)} characters, at most {MOST_BYTES} are read")
    if "\0" in text:
        raise UnusableTable(text[: text.index("\0")].count("\n") + 1, "a NUL character: this is no text file")
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(header)
        rows = []
        for record in reader:
            if not record:
                continue
            if len(record) != len(header):
                raise UnusableTable(reader.line_num, f"{len(record)} values under {len(header)} columns")
            rows.append(dict(zip(header, record, strict=True)))
    except csv.Error as fault:
        raise UnusableTable(reader.line_num, f"not CSV: {fault}") from None
    if not rows:
        raise UnusableTable(1, "the table has no rows")
    return header, rows


def _check_header(header: list[str]) -> None:
    missing = [name for name in REQUIRED_COLUMNS if name not in header]
    if missing:
        raise UnusableTable(1, f"missing columns: {', '.join(missing)}")
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise UnusableTable(1, f"repeated columns: {', '.join(repeated)}")
