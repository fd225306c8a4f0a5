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

from calibration.bars import fit_bars, gathered
from calibration.dataset import load
from calibration.figures import figures_digest
from calibration.fitted import coefficients_document
from calibration.model import fit_all

from fleet.catalog.load import load_catalog
from fleet.catalog.records import Catalog
from fleet.perf.coefficients import PATH

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_TABLE = ROOT.parent / "shared" / "bench" / "calibration.csv"


def document(table: Path, catalog: Catalog) -> dict[str, Any]:
    """Fit and cross-validate; return the data file's content."""
    labels = table.parent / "labels"
    data = load(table, labels if labels.is_dir() else None, catalog)
    evidence = gathered(data)
    bars = {metric: fit_bars(evidence, metric) for metric in ("tpot", "ttft")}
    fitted = coefficients_document(fit_all(data), bars)
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
