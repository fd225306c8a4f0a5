"""Fit how much of the kernel tables goes into an estimate, and write it as data. Run: python tools/silicon/fit_combination.py [CSV].

Every group (model x accelerator x engine) is left out of the calibrated fit and predicted by both backends. For each kind
of worker one weight of the steps and, for dense models, one of the latency are taken from a grid: those with the least mean
error, groups with the same weight. What is printed and kept as error is of weights chosen without the group that they are
judged on; a kind keeps its weights only when it gains by that measure. Groups that borrow an older sibling's coefficients
keep them, and `--interpolation` shows that the tables gain nothing where only lengths are unseen.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from calibration.dataset import Array, Dataset, load
from calibration.few_shot import coefficients_of
from calibration.model import fit_all
from calibration.validate import NOT_SCORED, folds_by_group, folds_by_lengths, summary
from measure_errors import DEFAULT_TABLE, error_bar, loops_of, relative_errors

from fleet.catalog.load import load_catalog
from fleet.perf.calibrated import Calibrated
from fleet.perf.closed_loop import LoopResult, closed_loops
from fleet.perf.coefficients import Coefficients, cell_and_role
from fleet.perf.combined import PATH, Combination, Combined, Rule
from fleet.perf.error_bars import class_of
from fleet.perf.interface import Unsupported
from fleet.perf.siblings import lender_of
from fleet.perf.silicon.backend import Silicon
from fleet.perf.silicon.extra import HOW_TO_INSTALL, library

GRID = tuple(round(0.05 * i, 2) for i in range(21))
LEAST_GROUPS = 2
LEAST_GAIN = 0.02
"""A kind's weights are kept when the error of TPOT on groups not looked at falls by this share or more."""

Results = list[LoopResult | Unsupported]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Folds:
    """The table, its folds, and the calibrated model of each fold, which has not seen it."""

    data: Dataset
    fold: Rows
    models: dict[int, Coefficients]

    @classmethod
    def of(cls, data: Dataset, fold: Rows) -> Folds:
        models = {}
        for k in sorted(set(fold.tolist()) - {NOT_SCORED}):
            train = data.take(np.flatnonzero(fold != k))
            models[k] = coefficients_of(fit_all(train))
        return cls(data, fold, models)

    def results(self, combination: Callable[[int], Combination], silicon: Silicon) -> Results:
        """Price every row by its held-out model, combined with the tables by a fold's rules; None are left out."""
        loops = loops_of(self.data)
        out: Results = [Unsupported("not-scored", "its fold is not scored")] * len(self.data)
        for k, known in self.models.items():
            rows = np.flatnonzero(self.fold == k)
            model = Combined(Calibrated(known), silicon, combination(k), known.cells)
            for i, result in zip(rows, closed_loops(model, [loops[i] for i in rows]), strict=True):
                out[i] = result
        return out

    def is_lent(self) -> NDArray[np.bool_]:
        """Which rows' accelerators have an older sibling whose cell the held-out model knows."""
        lent = []
        for point, k in zip(self.data.points, self.fold.tolist(), strict=True):
            lender = lender_of(point)
            lent.append(bool(lender and k in self.models and cell_and_role(lender) in self.models[k].cells))
        return np.array(lent)


@dataclass(frozen=True)
class Logs:
    """Log errors of both backends on the rows that both price, shape (N,); NaN elsewhere."""

    kind: NDArray[np.str_]
    group: NDArray[np.str_]
    calibrated: Array
    silicon: Array

    def chosen(self, kind: str, without: str = "") -> float:
        """Return the weight of a kind with the least mean error over groups, one group not looked at."""
        rows = np.flatnonzero(
            (self.kind == kind) & (self.group != without) & ~np.isnan(self.calibrated + self.silicon)
        )
        groups = sorted(set(self.group[rows].tolist()))
        if len(groups) < LEAST_GROUPS:
            return 0.0

        def error(weight: float) -> float:
            log = (1.0 - weight) * self.calibrated[rows] + weight * self.silicon[rows]
            size = np.abs(np.expm1(log))
            return float(np.mean([size[self.group[rows] == g].mean() for g in groups]))

        return min(GRID, key=error)


def kind_of(class_name: str) -> str:
    return class_name.split("|")[1]


def logs_of(folds: Folds, calibrated: Array, silicon: Array) -> Logs:
    """Return log errors of rows that are not lent."""
    kind = np.array([kind_of(class_of(p)) for p in folds.data.points])
    without = np.where(folds.is_lent(), np.nan, 0.0)
    return Logs(kind, np.array(folds.data.group), np.log1p(calibrated) + without, np.log1p(silicon) + without)


def combination_of(
    weights: dict[str, tuple[float, float]], errors: Callable[[str], tuple[float, float]]
) -> Combination:
    """Return rules by class from weights by kind."""
    classes = [f"{engine}|{kind}" for engine in ("sglang", "trtllm", "vllm") for kind in sorted(weights)]
    return Combination("", {name: Rule(*weights[kind_of(name)], *errors(name)) for name in classes})


def no_error(_: str) -> tuple[float, float]:
    return 1.0, 1.0


NOTHING = Combination("", {})


def error_of(folds: Folds, errors: Array, lent: NDArray[np.bool_]) -> Callable[[str], tuple[float, float]]:
    """Return the 90 % quantiles of TPOT and TTFT errors of a class, or of its kind where it has too few groups."""
    names = np.array([class_of(p) for p in folds.data.points])
    kinds = np.array([kind_of(name) for name in names])
    usable = ~lent & ~np.isnan(errors[0])

    def quantiles(name: str) -> tuple[float, float]:
        rows = np.flatnonzero(usable & (names == name))
        if len({folds.data.group[i] for i in rows}) <= LEAST_GROUPS:
            rows = np.flatnonzero(usable & (kinds == kind_of(name)))
        groups = [folds.data.group[i] for i in rows]
        tpot, ttft = (error_bar(errors[m][rows], groups) for m in (0, 1))
        return tpot, ttft

    return quantiles


def show(title: str, data: Dataset, errors: Array, rows: NDArray[np.bool_]) -> None:
    kinds = np.array([kind_of(class_of(p)) for p in data.points])
    for label, mask in [("mixed", data.is_mixed), *((k, kinds == k) for k in ("dense", "moe", "apart"))]:
        chosen = mask & rows & ~np.isnan(errors[0])
        figures = "  ".join(summary(e[chosen]) for e in errors)
        print(f"{title:34s}{label:8s}{int(chosen.sum()):6d}  {figures}")


def fit(folds: Folds, silicon: Silicon) -> dict[str, object]:
    """Return the data file's content; prints the errors before and after."""
    data = folds.data
    before = relative_errors(data, folds.results(lambda _: NOTHING, silicon))
    tables = relative_errors(data, closed_loops(silicon, loops_of(data)))
    step, latency = logs_of(folds, before[0], tables[0]), logs_of(folds, before[1], tables[1])
    kinds = sorted(set(step.kind.tolist()))

    def weights(without: str) -> dict[str, tuple[float, float]]:
        return {
            k: (step.chosen(k, without), latency.chosen(k, without) if k == "dense" else 0.0) for k in kinds
        }

    group_of = {int(k): g for k, g in zip(folds.fold, data.group, strict=True)}
    after = relative_errors(
        data, folds.results(lambda k: combination_of(weights(group_of[k]), no_error), silicon)
    )
    lent, both = folds.is_lent(), ~np.isnan(tables[0])
    of_kind = {k: (step.kind == k) & both & ~lent for k in kinds}
    kept = {
        k: weights("")[k] if gains(before[0][rows], after[0][rows]) else (0.0, 0.0)
        for k, rows in of_kind.items()
    }
    for k in kinds:
        if kept[k] == (0.0, 0.0):
            after[:, step.kind == k] = before[:, step.kind == k]
    print(
        f"{'unseen groups':42s}{'rows':>6s}  {'TPOT':19s}{'TTFT':19s}{'throughput':19s}(mean / median / 90 %)"
    )
    for title, errors in (("calibrated", before), ("silicon", tables), ("combined", after)):
        show(title, data, errors, both)
    print("weights of (steps, latency):", weights(""), "kept:", kept)
    final = combination_of(kept, error_of(folds, after, lent))
    return {"rows": int((both & ~lent).sum()), "rules": {name: asdict(r) for name, r in final.rules.items()}}


def gains(before: Array, after: Array) -> bool:
    """Whether the mean absolute error falls by enough to keep the weights."""
    return bool(np.abs(after).mean() < (1.0 - LEAST_GAIN) * np.abs(before).mean())


def check_interpolation(data: Dataset, silicon: Silicon) -> None:
    """Print what each weight would do where only the lengths are unseen."""
    folds = Folds.of(data, folds_by_lengths(data))
    before = relative_errors(data, folds.results(lambda _: NOTHING, silicon))
    tables = relative_errors(data, closed_loops(silicon, loops_of(data)))
    for weight in (0.0, 0.1, 0.25, 0.5):
        log = (1.0 - weight) * np.log1p(before[0]) + weight * np.log1p(tables[0])
        scored = ~np.isnan(log)
        print(f"lengths left out, weight {weight:4.2f}: TPOT {summary(np.expm1(log[scored]))}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", nargs="?", type=Path, default=DEFAULT_TABLE)
    parser.add_argument(
        "--interpolation", action="store_true", help="only check that interpolation gains nothing"
    )
    given = parser.parse_args(arguments)
    installed = library()
    if installed is None or not given.table.is_file():
        print(HOW_TO_INSTALL if installed is None else f"{given.table} is not there", file=sys.stderr)
        return 2
    data, silicon = load(given.table, given.table.parent / "labels", load_catalog()), Silicon()
    if given.interpolation:
        check_interpolation(data, silicon)
        return 0
    content = {"library": f"{installed.distribution} {installed.version}", "library_sha256": installed.digest}
    content |= fit(Folds.of(data, folds_by_group(data)), silicon)
    PATH.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
