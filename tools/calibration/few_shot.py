"""Cross-validation of the update: a whole group left out, then k of a cell's own rows given. Run: python tools/calibration/few_shot.py [CSV].

For every model x accelerator x engine the pooled model is fitted without it. Each of its cells (precision, and mixed or
apart) is then updated with k of its rows, drawn at random or spread over concurrency, and its other rows are predicted.
Priors are those of the grid with the least mean error at k = 1 and 3, TPOT and TTFT apart. Error bars are 90 % quantiles with
every cell weighted the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from calibration.bars import grouped_quantile  # noqa: E402
from calibration.dataset import Dataset, load  # noqa: E402
from calibration.fitted import Fitted, coefficients_document  # noqa: E402
from calibration.model import fit_all  # noqa: E402
from calibration.validate import folds_by_group  # noqa: E402
from fleet.catalog.load import load_catalog  # noqa: E402
from fleet.perf import coefficients  # noqa: E402
from fleet.perf.calibrated import Calibrated  # noqa: E402
from fleet.perf.closed_loop import Loop, LoopResult, closed_loops  # noqa: E402
from fleet.perf.measured import few_shot  # noqa: E402
from fleet.perf.measured.measurement import Measurement  # noqa: E402
from fleet.perf.measured.update import Moved, Prior, Priors, update  # noqa: E402

DEFAULT_TABLE = ROOT.parent / "shared" / "bench" / "calibration.csv"
ROLES = ("mixed", "apart")
COUNTS, GRID_COUNTS = (1, 3, 6), (1, 3)
DRAWS, GRID_DRAWS = 2, 1
LEAST_SCORED = 5
"""Cells with fewer rows left than this are not scored: their quantiles would be of nothing."""

TPOT_GRID = [
    Prior(0.12, 0.1, 0.08),
    Prior(0.25, 0.15, 0.07),
    Prior(0.25, 0.25, 0.07),
    Prior(0.25, 0.25, 0.12),
]
TTFT_GRID = [
    Prior(0.3, 0.1, 0.25),
    Prior(0.3, 0.05, 0.4),
    Prior(0.3, 0.1, 0.4),
    Prior(0.25, 0.05, 1.2),
    Prior(0.5, 0.1, 1.2),
]
"""Priors that were near each other in a wider search: the error hardly depends on them."""

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Scores:
    """Relative errors of rows predicted after an update, shape (N, 3): TPOT, TTFT, throughput; and their cells."""

    errors: NDArray[np.float64]
    cells: list[str]

    def mean(self) -> NDArray[np.float64]:
        """Mean absolute errors over rows."""
        return np.asarray(np.abs(self.errors).mean(axis=0))

    def mean_of_cells(self) -> NDArray[np.float64]:
        """Mean absolute errors with every cell weighted the same."""
        names = np.array(self.cells)
        return np.asarray(
            np.mean(
                [np.abs(self.errors[names == cell]).mean(axis=0) for cell in sorted(set(self.cells))], axis=0
            )
        )

    def p90(self, metric: int) -> float:
        """90 % quantile of one absolute error, every cell weighted the same."""
        return grouped_quantile(self.errors[:, metric], self.cells)


class Folds:
    """The pooled model without each group, and the loops of all rows."""

    def __init__(self, data: Dataset) -> None:
        self.data = data
        self.fold = folds_by_group(data)
        self.loops = [_loop(data, i) for i in range(len(data))]
        self.models = {k: self._without(k) for k in sorted(set(self.fold.tolist()))}

    def _without(self, fold: int) -> Calibrated:
        train = self.data.take(np.flatnonzero(self.fold != fold))
        return Calibrated(coefficients_of(fit_all(train)))

    def cells(self, role: str) -> Iterator[tuple[Calibrated, str, Rows]]:
        """Yield the held-out model, the name and the rows of every cell with this role."""
        for k, model in self.models.items():
            rows = np.flatnonzero(self.fold == k)
            for cell in sorted({self.data.cell[i] for i in rows}):
                if cell.endswith(f"|{role}"):
                    yield model, cell, np.array([i for i in rows if self.data.cell[i] == cell])

    def score(self, role: str, count: int, priors: Priors, draws: int, *, is_spread: bool = False) -> Scores:
        """Return the errors of rows that were not given, after updates with `count` of the others (0: none)."""
        errors: list[NDArray[np.float64]] = []
        cells: list[str] = []
        for number, (model, cell, rows) in enumerate(self.cells(role)):
            if len(rows) < count + LEAST_SCORED:
                continue
            for draw in range(draws if count else 1):
                random = np.random.default_rng([number, count, draw])
                given = self._spread(rows, count, random) if is_spread else random.permutation(rows)[:count]
                rest = np.setdiff1d(rows, given)
                found = self._errors(self._updated(model, given, priors), rest)
                errors.append(found)
                cells += [cell] * len(found)
        return Scores(np.concatenate(errors), cells)

    def score_groups(self, count: int, priors: Priors, draws: int) -> Scores:
        """Return the errors of mixed rows after `count` rows of their whole group: cells without one stay as they are."""
        errors: list[NDArray[np.float64]] = []
        cells: list[str] = []
        for k, model in self.models.items():
            rows = np.flatnonzero((self.fold == k) & self.data.is_mixed)
            if len(rows) < count + LEAST_SCORED:
                continue
            for draw in range(draws):
                given = np.random.default_rng([k, count, draw]).permutation(rows)[:count]
                rest = np.setdiff1d(rows, given)
                for cell in sorted({self.data.cell[i] for i in rest}):
                    here = np.array([i for i in rest if self.data.cell[i] == cell])
                    own = np.array([i for i in given if self.data.cell[i] == cell], dtype=np.intp)
                    found = self._errors(self._updated(model, own, priors), here)
                    errors.append(found)
                    cells += [self.data.group[rows[0]]] * len(found)
        return Scores(np.concatenate(errors), cells)

    def _spread(self, rows: Rows, count: int, random: np.random.Generator) -> Rows:
        """Return one row of each of `count` equal parts by concurrency."""
        order = rows[np.lexsort((random.random(len(rows)), self.data.concurrency[rows]))]
        places = (np.arange(count) + random.random(count)) / count * len(rows)
        return np.unique(order[places.astype(np.intp)])

    def _updated(self, model: Calibrated, given: Rows, priors: Priors) -> Moved:
        moved = Moved(model)
        if given.size:
            effects = update(model, [self._measurement(i) for i in given], priors)
            moved.step, moved.first_token = effects.step, effects.first_token
        return moved

    def _measurement(self, row: int) -> Measurement:
        return Measurement(self.loops[row], float(self.data.tpot_ms[row]), float(self.data.ttft_ms[row]))

    def _errors(self, model: Moved, rows: Rows) -> NDArray[np.float64]:
        """Return relative errors of TPOT, TTFT and throughput, shape (N, 3)."""
        errors = []
        for i, result in zip(rows, closed_loops(model, [self.loops[i] for i in rows]), strict=True):
            if not isinstance(result, LoopResult):
                continue
            tpot, ttft, osl = self.data.tpot_ms[i], self.data.ttft_ms[i], self.loops[i].osl
            duration = result.ttft_ms + osl * result.tpot_ms
            errors.append(
                (result.tpot_ms / tpot - 1, result.ttft_ms / ttft - 1, (ttft + osl * tpot) / duration - 1)
            )
        return np.array(errors).reshape(len(errors), 3)


def _loop(data: Dataset, i: int) -> Loop:
    row = data.rows[i]
    limit = inf if row.batch_limit is None else row.batch_limit
    return Loop(row.replica, row.isl, row.osl, row.concurrency, batch_limit=limit)


def coefficients_of(fitted: Fitted) -> coefficients.Coefficients:
    """Return a fit as the backend reads it, with the committed error bars, which the update does not use."""
    known = coefficients.committed()
    bars = {"tpot": known.tpot_error, "ttft": known.ttft_error}
    return coefficients.parse(json.dumps(coefficients_document(fitted, bars)).encode())


def chosen_priors(folds: Folds, role: str) -> Priors:
    """Return the priors of the grid with the least mean error at one and three rows: TPOT first, TTFT with it."""
    ttft = TTFT_GRID[0]
    tpot = min(TPOT_GRID, key=lambda p: _mean_error(folds, role, Priors(p, ttft), 0))
    return Priors(tpot, min(TTFT_GRID, key=lambda p: _mean_error(folds, role, Priors(tpot, p), 1)))


def _mean_error(folds: Folds, role: str, priors: Priors, metric: int) -> float:
    scores = [folds.score(role, count, priors, GRID_DRAWS) for count in GRID_COUNTS]
    errors = [float((s.mean() + s.mean_of_cells())[metric]) for s in scores]
    print(f"  {role} {asdict(priors)}: {np.round(np.array(errors) * 50, 1)}", file=sys.stderr, flush=True)
    return sum(errors)


def report(name: str, scores: Scores) -> None:
    """Print one line: mean errors in per cent over rows, and with cells weighted the same."""
    rows, cells = scores.mean() * 100, scores.mean_of_cells() * 100
    print(
        f"{name:22s}{len(scores.cells):7d}   TPOT {rows[0]:5.1f} {cells[0]:5.1f}   TTFT {rows[1]:5.1f} {cells[1]:5.1f}"
        f"   throughput {rows[2]:5.1f} {cells[2]:5.1f}   90 %: {scores.p90(0):.2f} {scores.p90(1):.2f}",
        flush=True,
    )


def document(folds: Folds, priors: dict[str, Priors]) -> dict[str, Any]:
    """Return the data file's content; print the errors on the way."""
    print(f"{'':22s}{'rows':>7s}   mean absolute error in %: over rows, then cells weighted the same")
    tpot: dict[str, dict[str, float]] = {}
    ttft: dict[str, dict[str, float]] = {}
    for role in ROLES:
        unseen = folds.score(role, 0, priors[role], 1)
        report(f"{role}, none", unseen)
        tpot[role] = {"0": float(f"{unseen.p90(0):.3g}")}
        ttft[role] = {"0": float(f"{unseen.p90(1):.3g}")}
        for count in COUNTS:
            scores = folds.score(role, count, priors[role], DRAWS)
            report(f"{role}, {count} at random", scores)
            report(f"{role}, {count} spread", folds.score(role, count, priors[role], DRAWS, is_spread=True))
            tpot[role][str(count)] = float(f"{scores.p90(0):.3g}")
            ttft[role][str(count)] = float(f"{scores.p90(1):.3g}")
    for count in COUNTS:
        report(f"mixed, {count} of the group", folds.score_groups(count, priors["mixed"], DRAWS))
    written = {role: asdict(p) for role, p in priors.items()}
    return {"format": few_shot.FORMAT, "priors": written, "tpot_error_p90": tpot, "ttft_error_p90": ttft}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", nargs="?", type=Path, default=DEFAULT_TABLE)
    parser.add_argument("--out", type=Path, default=few_shot.PATH, help="where the figures go")
    parser.add_argument("--keep-priors", action="store_true", help="use the committed priors, choose none")
    arguments = parser.parse_args()
    if not arguments.table.is_file():
        print(f"{arguments.table} is not there: give the path of a calibration table", file=sys.stderr)
        return 2
    labels = arguments.table.parent / "labels"
    folds = Folds(load(arguments.table, labels if labels.is_dir() else None, load_catalog()))
    priors = (
        few_shot.committed().priors
        if arguments.keep_priors
        else {role: chosen_priors(folds, role) for role in ROLES}
    )
    content = document(folds, priors)
    arguments.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
