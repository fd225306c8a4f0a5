"""Fit the calibrated backend on a calibration table and write its data file. Run: python tools/fit_calibrated.py [CSV].

Labels of disaggregated rows are read from a folder `labels` beside the table; without it they are left out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from calibration.apart import Apart
from calibration.bars import fit_bars, gathered, written_bars
from calibration.dataset import Array, Dataset, load
from calibration.figures import figures_digest
from calibration.model import FIRST_TOKEN_TERMS as FITTED_FIRST_TOKEN_TERMS
from calibration.model import Fitted, fit_all
from calibration.pooled import Effects

from fleet.catalog.load import load_catalog
from fleet.catalog.records import Catalog
from fleet.perf.coefficients import APART_TERMS, FIRST_TOKEN_TERMS, FORMAT, PATH
from fleet.perf.error_bars import ErrorBars
from fleet.perf.terms import STEP_TERMS

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_TABLE = ROOT.parent / "shared" / "bench" / "calibration.csv"
DIGITS = 4


def digits(values: Array) -> list[float]:
    return [float(f"{v:.{DIGITS}g}") for v in values.tolist()]


def written_effects(effects: Effects, terms: tuple[str, ...]) -> dict[str, Any]:
    """Return a regression as JSON data: log coefficients, rounded, terms in order."""
    keep = [effects.terms.index(name) for name in terms]
    by_level = {
        level: {value: digits(row[keep]) for value, row in sorted(values.items())}
        for level, values in effects.levels.items()
    }
    return {"terms": list(terms), "base": digits(effects.base[keep]), "effects": by_level}


def cells_of(data: Dataset) -> dict[str, list[float]]:
    """Return for every cell its rows, largest batch, longest context and widest worker."""
    cells: dict[str, list[float]] = {}
    for cell, point in sorted(zip(data.cell, data.points, strict=True), key=lambda pair: pair[0]):
        rows, batch, context, gpus = cells.get(cell, [0, 0.0, 0.0, 0])
        widest = max(gpus, point.layout.gpus)
        context = max(context, float(f"{point.isl + point.osl:.6g}"))
        cells[cell] = [rows + 1, max(batch, float(f"{point.batch:.6g}")), context, widest]
    return cells


def written_apart(apart: Apart | None) -> dict[str, Any]:
    """Return the regression of prefill workers apart as JSON data."""
    if apart is None:
        raise SystemExit("no disaggregated row has a label: put the folder `labels` beside the table")
    effects = {
        level: {value: digits(row) for value, row in sorted(values.items())}
        for level, values in apart.effects.items()
    }
    return {"terms": list(APART_TERMS), "base": digits(apart.base), "effects": effects}


def coefficients_document(data: Dataset, fitted: Fitted, bars: dict[str, ErrorBars]) -> dict[str, Any]:
    """Return what the calibrated backend reads of a fit: coefficients, cells and error bars by metric."""
    assert set(FIRST_TOKEN_TERMS) <= set(FITTED_FIRST_TOKEN_TERMS)
    return {
        "format": FORMAT,
        "error_p90": {metric: written_bars(each) for metric, each in bars.items()},
        "cells": cells_of(data),
        "step": written_effects(fitted.step, STEP_TERMS),
        "first_token": written_effects(fitted.first_token, FIRST_TOKEN_TERMS),
        "apart": written_apart(fitted.apart),
    }


def document(table: Path, catalog: Catalog) -> dict[str, Any]:
    """Fit and cross-validate; return the data file's content."""
    labels = table.parent / "labels"
    data = load(table, labels if labels.is_dir() else None, catalog)
    evidence = gathered(data)
    bars = {metric: fit_bars(evidence, metric) for metric in ("tpot", "ttft")}
    fitted = coefficients_document(data, fit_all(data), bars)
    return {
        "format": fitted.pop("format"),
        "table_sha256": hashlib.sha256(table.read_bytes()).hexdigest(),
        "models": sorted({p.model.id for p in data.points}),
        "accelerators": sorted({p.accelerator.id for p in data.points}),
        "records_sha256": figures_digest(catalog, data.points),
        "rows": int(data.is_mixed.sum()),
        "rows_disaggregated": int((~data.is_mixed).sum()),
        "rows_left_out": dict(sorted(data.left_out.items())),
        **fitted,
    }


def encode(content: dict[str, Any]) -> str:
    """Return JSON with one line for each vector, so that a new fit is a readable diff."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    lines: list[str] = []
    for line in text.split("\n"):
        if (lines and lines[-1].endswith("[")) or (lines and "[" in lines[-1] and "]" not in lines[-1]):
            lines[-1] += line.strip()
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "table", nargs="?", type=Path, default=DEFAULT_TABLE, help="CSV with the columns of calibration.csv"
    )
    parser.add_argument("--out", type=Path, default=PATH, help="where the coefficients go")
    arguments = parser.parse_args()
    if not arguments.table.is_file():
        print(f"{arguments.table} is not there: give the path of a calibration table", file=sys.stderr)
        return 2
    content = document(arguments.table, load_catalog())
    arguments.out.write_text(encode(content), encoding="utf-8")
    left_out = sum(content["rows_left_out"].values())
    print(
        f"{content['rows']} mixed and {content['rows_disaggregated']} disaggregated rows fitted, {left_out} left out"
    )
    print(json.dumps(content["error_p90"], indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
