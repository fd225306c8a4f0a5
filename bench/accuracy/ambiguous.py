"""Disaggregated rows with several labels: never fitted, predicted as a mixture of their labels, no target.

The prediction is the geometric mean over the labels that can run; `nearest` takes the label whose TPOT fits best, with
hindsight, and says how much of the error the missing label is.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np
from calibration.dataset import Array
from calibration.labels import ambiguous_rows

from accuracy.scores import METRICS, Summary, summary
from fleet.catalog.records import Catalog
from fleet.perf.closed_loop import Loop, LoopResult, closed_loops
from fleet.perf.interface import PerformanceModel
from fleet.perf.rows import Row, RowFault, read_row


@dataclass(frozen=True)
class Ambiguous:
    """Errors of rows with several labels by metric: of the mixture, and of the nearest label."""

    mixture: dict[str, Summary]
    nearest: dict[str, Summary]


def ambiguous(perf: PerformanceModel, table: Path, labels: Path, catalog: Catalog) -> Ambiguous | None:
    """Predict every row with several labels; None where no such row can be priced."""
    mixture, nearest = [], []
    for records in ambiguous_rows(table, labels):
        candidates = [row for record in records if (row := _row(record, catalog))]
        errors = np.array([e for row in candidates if (e := _log_errors(perf, row)) is not None])
        if errors.size:
            mixture.append(np.expm1(errors.mean(axis=0)))
            nearest.append(np.expm1(errors[np.argmin(np.abs(errors[:, 0]))]))
    if not mixture:
        return None
    return Ambiguous(*(_summaries(np.array(found)) for found in (mixture, nearest)))


def _row(record: dict[str, str], catalog: Catalog) -> Row | None:
    try:
        return read_row(record, catalog)
    except RowFault:
        return None


def _log_errors(perf: PerformanceModel, row: Row) -> Array | None:
    """Return log(prediction / measurement) of TPOT, throughput and TTFT, as METRICS has them."""
    loop = Loop(row.replica, row.isl, row.osl, row.concurrency, batch_limit=row.batch_limit or inf)
    result = closed_loops(perf, [loop])[0]
    if not isinstance(result, LoopResult) or row.tpot_ms is None or row.ttft_ms is None:
        return None
    took = row.ttft_ms + row.osl * row.tpot_ms
    predicted = result.ttft_ms + row.osl * result.tpot_ms
    return np.log([result.tpot_ms / row.tpot_ms, took / predicted, result.ttft_ms / row.ttft_ms])


def _summaries(errors: Array) -> dict[str, Summary]:
    return {metric: summary(errors[:, i]) for i, metric in enumerate(METRICS)}
