"""Cross-validated errors of the calibrated backend. Run: python bench/accuracy/bench_accuracy.py [CSV].

Each line leaves something out, fits without it and predicts it: mean / median / 90 % quantile of the absolute relative
error in per cent. Throughput follows from TTFT and TPOT by Little's law.

Rows that are neither fitted nor scored are counted first, by rule. The rules: a layout whose weights do not fit its
memory, the five rules of tools/calibration/dataset.py (`SUSPECT`), disaggregated rows without exactly one label, their
exact copies, and speculative decoding of unknown depth. In "lengths", cells with one pair of lengths are not scored.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from calibration.dataset import Dataset, load  # noqa: E402
from calibration.model import fit_all, predict  # noqa: E402
from calibration.validate import (  # noqa: E402
    Errors,
    cross_validate,
    errors_of,
    folds_by_group,
    folds_by_lengths,
    folds_by_machine,
    folds_by_newer_sibling,
    lent,
    summary,
)

from fleet.catalog.load import load_catalog  # noqa: E402

DEFAULT_TABLE = ROOT.parent / "shared" / "bench" / "calibration.csv"
Mask = NDArray[np.bool_]


def parts(data: Dataset) -> dict[str, Mask]:
    """Return the classes of rows that errors are shown for."""
    moe = np.array([p.model.is_moe for p in data.points])
    ranks = np.array([p.layout.dp for p in data.points])
    drafts = np.array([p.draft is not None for p in data.points])
    mixed = data.is_mixed
    engines = np.array([p.engine.id.value for p in data.points])
    return {
        "mixed, all": mixed,
        "mixed, dense": mixed & ~moe,
        "mixed, MoE": mixed & moe,
        **{f"mixed, {engine}": mixed & (engines == engine) for engine in sorted(set(engines.tolist()))},
        "apart, all": ~mixed,
        "apart, wide DP (12 and more)": ~mixed & (ranks >= 12),
        "apart, DP": ~mixed & (ranks > 1) & (ranks < 12),
        "apart, TP": ~mixed & (ranks == 1),
        "apart, drafting": ~mixed & drafts,
    }


def show(name: str, data: Dataset, errors: Errors) -> None:
    """Print one table: a line for each class with scored rows."""
    print(f"\n{name}\n{'':30s}{'rows':>6s}   {'TPOT':19s}{'TTFT':21s}{'throughput':18s}")
    for label, mask in parts(data).items():
        chosen = mask[errors.rows]
        if chosen.any():
            figures = "  ".join(summary(e[chosen]) for e in (errors.tpot, errors.ttft, errors.throughput))
            print(f"{label:30s}{int(chosen.sum()):6d}  {figures}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", nargs="?", type=Path, default=DEFAULT_TABLE)
    arguments = parser.parse_args()
    if not arguments.table.is_file():
        print(f"{arguments.table} is not there: give the path of a calibration table", file=sys.stderr)
        return 2
    labels = arguments.table.parent / "labels"
    data = load(arguments.table, labels if labels.is_dir() else None, load_catalog())
    print(f"{int(data.is_mixed.sum())} mixed and {int((~data.is_mixed).sum())} disaggregated rows; left out:")
    for reason, rows in sorted(data.left_out.items()):
        print(f"  {rows:5d}  {reason}")
    everything = np.arange(len(data))
    in_sample = Errors(everything, *errors_of(data, predict(fit_all(data), data)))
    show("nothing left out", data, in_sample)
    show("lengths left out", data, cross_validate(data, folds_by_lengths(data)))
    show("whole model x accelerator x engine left out", data, cross_validate(data, folds_by_group(data)))
    newer = folds_by_newer_sibling(data)
    show("newer accelerator left out, by neighbours only", data, cross_validate(data, newer))
    show("newer accelerator left out, as its older sibling", data, cross_validate(data, newer, lent))
    if not data.is_mixed.all():
        show(
            "disaggregated accelerator x engine x precision left out",
            data,
            cross_validate(data, folds_by_machine(data)),
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
