"""Measure the kernel tables against a calibration table and write their error quantiles as data.

Run: python tools/silicon/measure_errors.py [CSV]. Nothing is fitted. Rows go through the closed loop as benchmarks do;
the classes are those of fleet/perf/error_bars.py, rows for which something else was priced apart.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from calibration.bars import grouped_quantile
from calibration.dataset import Dataset, load
from calibration.model import throughput

from fleet.catalog.load import load_catalog
from fleet.perf.closed_loop import Loop, LoopResult, closed_loops
from fleet.perf.error_bars import class_of
from fleet.perf.interface import PerformanceModel, Unsupported
from fleet.perf.silicon import errors
from fleet.perf.silicon.backend import Silicon
from fleet.perf.silicon.extra import HOW_TO_INSTALL, library

DEFAULT_TABLE = Path(__file__).resolve().parents[3] / "shared" / "bench" / "calibration.csv"
LEAST_GROUPS = 2
"""Groups of rows from which a class has an error of its own; below, the next wider class serves."""


def loops_of(data: Dataset) -> list[Loop]:
    """Return every row as its closed loop, the batch limit of the dataset's slots included."""
    return [
        Loop(row.replica, row.isl, row.osl, row.concurrency, batch_limit=row.batch_limit or np.inf)
        for row in data.rows
    ]


def results_of(perf: PerformanceModel, data: Dataset) -> list[LoopResult | Unsupported]:
    return closed_loops(perf, loops_of(data))


def relative_errors(data: Dataset, results: list[LoopResult | Unsupported]) -> np.ndarray:
    """Return relative errors of TPOT, TTFT and throughput, shape (3, N); NaN where there is no estimate."""
    tpot = np.array([np.nan if isinstance(r, Unsupported) else r.tpot_ms for r in results])
    ttft = np.array([np.nan if isinstance(r, Unsupported) else r.ttft_ms for r in results])
    measured, predicted = (throughput(data, t, p) for t, p in ((data.ttft_ms, data.tpot_ms), (ttft, tpot)))
    return np.stack([tpot / data.tpot_ms - 1.0, ttft / data.ttft_ms - 1.0, predicted / measured - 1.0])


def error_bar(relative: np.ndarray, groups: list[str]) -> float:
    """Return the factor, less 1, that 90 % of measurements lie within, either way; groups with the same weight."""
    return float(f"{np.expm1(grouped_quantile(np.log1p(relative), groups)):.3g}")


def is_substituted(result: LoopResult) -> bool:
    return bool(result.decode.provenance.note or result.prefill.provenance.note)


def document(data: Dataset, results: list[LoopResult | Unsupported], digest: str) -> dict[str, object]:
    """Return the data file's content."""
    relative = relative_errors(data, results)
    classes: dict[str, list[int]] = {}
    for i, result in enumerate(results):
        if not isinstance(result, Unsupported):
            name = class_of(data.points[i])
            classes.setdefault(name + (errors.SUBSTITUTED if is_substituted(result) else ""), []).append(i)
    quantiles: dict[str, dict[str, float]] = {"tpot": {}, "ttft": {}}
    for name, rows in sorted(classes.items()):
        groups = [data.group[i] for i in rows]
        if len(set(groups)) >= LEAST_GROUPS:
            for row, metric in enumerate(quantiles):
                quantiles[metric][name] = error_bar(relative[row][rows], groups)
    reasons = Counter(r.reason for r in results if isinstance(r, Unsupported))
    rows = {name: len(found) for name, found in sorted(classes.items())}
    return {"digest": digest, "rows": rows, "unsupported": dict(sorted(reasons.items())), **quantiles}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", nargs="?", type=Path, default=DEFAULT_TABLE)
    arguments = parser.parse_args()
    installed = library()
    if installed is None or not arguments.table.is_file():
        print(HOW_TO_INSTALL if installed is None else f"{arguments.table} is not there", file=sys.stderr)
        return 2
    data = load(arguments.table, arguments.table.parent / "labels", load_catalog())
    results = results_of(Silicon(table_errors=errors.TableErrors("", {}, {})), data)
    content = document(data, results, installed.digest)
    errors.PATH.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(content, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
