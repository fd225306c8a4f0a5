"""Small decisions made of calibration rows: which layout, accelerator, engine and precision serves most for each GPU.

A decision is about one model at one pair of lengths under a TPOT limit. Its alternatives are the layouts in the cells that
were measured there. Every group (model x accelerator x engine) is predicted by a fit without it; runs that are picked
update their cells as `fleetc calibrate` does. Regret is judged by the measurements:

    regret = 1 - V(chosen) / V(best)       V  most measured output tokens/s for each GPU of rows within the limit
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter

import numpy as np
from calibration.dataset import Array, Dataset
from calibration.model import FIRST_TOKEN_TERMS as FITTED_FIRST_TOKEN_TERMS
from calibration.model import fit_all
from calibration.pooled import Effects

from fleet.perf.calibrated import Calibrated
from fleet.perf.closed_loop import Loop, LoopResult, closed_loops
from fleet.perf.coefficients import FIRST_TOKEN_TERMS, Coefficients, committed
from fleet.perf.interface import PerformanceModel
from fleet.perf.levels import build_of
from fleet.perf.measured import few_shot
from fleet.perf.measured.fitted import fit_cells, own_of
from fleet.perf.measured.measurement import Measurement
from fleet.perf.terms import STEP_TERMS
from fleet.pipeline.measure.narrowing import after_runs
from fleet.pipeline.measure.reach import PROBABILITIES, SCORES
from fleet.pipeline.measure.shifted import Shifted

LIMITS_MS = (10.0, 15.0, 25.0, 40.0, 60.0, 100.0)
RUNS = 3
Figures = tuple[float, float]
"""TPOT in ms, output tokens/s for each GPU."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """A layout in a cell, and its rows in the data, by concurrency."""

    cell: str
    layout: str
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """Which alternative serves most for each GPU with TPOT within the limit."""

    name: str
    limit_ms: float
    alternatives: tuple[Alternative, ...]

    @property
    def rows(self) -> list[int]:
        return [row for a in self.alternatives for row in a.rows]

    @property
    def cells(self) -> list[str]:
        return sorted({a.cell for a in self.alternatives})

    def value(self, alternative: Alternative, of: Mapping[int, Figures]) -> float:
        """Return the most that an alternative serves within the limit, 0 where nothing of it is within."""
        return max((of[r][1] for r in alternative.rows if of[r][0] <= self.limit_ms), default=0.0)

    def choose(self, of: Mapping[int, Figures]) -> Alternative:
        """Return the best alternative by some figures; the first one where none is within the limit."""
        return max(self.alternatives, key=lambda a: self.value(a, of))

    def operating_row(self, alternative: Alternative, of: Mapping[int, Figures]) -> int:
        """Return the row that serves most within the limit, or the one that is nearest to it."""
        within = [r for r in alternative.rows if of[r][0] <= self.limit_ms]
        return (
            max(within, key=lambda r: of[r][1]) if within else min(alternative.rows, key=lambda r: of[r][0])
        )


def decisions_of(data: Dataset, measured: Mapping[int, Figures]) -> list[Decision]:
    """Return every decision with a choice: two cells and more, and a limit that two of them can keep."""
    rows: dict[tuple[str, str], dict[tuple[str, str], list[int]]] = defaultdict(lambda: defaultdict(list))
    for i, point in enumerate(data.points):
        rows[build_of(point.model), data.lengths[i]][data.cell[i], point.layout.label].append(i)
    found = []
    for (model, lengths), by_alternative in sorted(rows.items()):
        alternatives = tuple(Alternative(*key, tuple(r)) for key, r in sorted(by_alternative.items()))
        for limit in LIMITS_MS:
            decision = Decision(f"{model} {lengths} TPOT {limit:g} ms", limit, alternatives)
            able = {a.cell for a in alternatives if decision.value(a, measured) > 0}
            if len(able) >= 2:
                found.append(decision)
    return found


def measured_figures(data: Dataset) -> dict[int, Figures]:
    """Return what was measured, by row; throughput by Little's law."""
    osl = np.array([r.osl for r in data.rows])
    gpus = np.array([r.replica.gpus for r in data.rows])
    rate = 1e3 * data.concurrency * osl / (data.ttft_ms + osl * data.tpot_ms) / gpus
    return dict(enumerate(zip(data.tpot_ms.tolist(), rate.tolist(), strict=True)))


def coefficients_without(data: Dataset, groups: Iterable[str]) -> Coefficients:
    """Return the coefficients of a fit without some groups: their cells are then unseen."""
    left_out = set(groups)
    kept = np.flatnonzero([group not in left_out for group in data.group])
    fitted = fit_all(data.take(kept), with_apart=False)
    cells = {cell for cell, group in zip(data.cell, data.group, strict=True) if group in left_out}
    base = committed()
    step, first = fitted.step, fitted.first_token
    columns = [FITTED_FIRST_TOKEN_TERMS.index(name) for name in FIRST_TOKEN_TERMS]
    return replace(
        base,
        step_base=step.base[[step.terms.index(name) for name in STEP_TERMS]],
        step={level: dict(values) for level, values in step.levels.items()},
        first_token_base=first.base[columns],
        first_token=_columns(first, columns),
        cells={cell: known for cell, known in base.cells.items() if cell not in cells},
        versions=_without(base.versions, step.levels["version"]),
        eras=_without(base.eras, step.levels["era"]),
    )


def _columns(effects: Effects, columns: Sequence[int]) -> dict[str, dict[str, Array]]:
    return {
        level: {value: row[columns] for value, row in values.items()}
        for level, values in effects.levels.items()
    }


def _without(known: Mapping[str, tuple[str, ...]], fitted: Mapping[str, Array]) -> dict[str, tuple[str, ...]]:
    """Return the newest values that the smaller fit still has."""
    left = {key: tuple(v for v in values if v in fitted) for key, values in known.items()}
    return {key: values for key, values in left.items() if values}


@dataclass
class Predictor:
    """Predictions of rows by fits without their groups, before and after runs of their cells."""

    data: Dataset
    coefficients: Mapping[str, Coefficients]  # by group
    _known: dict[tuple[str, tuple[int, ...]], dict[int, Figures]] = field(default_factory=dict)

    def figures(self, decision: Decision, runs: Sequence[int] = ()) -> dict[int, Figures]:
        """Return figures of a decision's rows once the runs are known."""
        found: dict[int, Figures] = {}
        for cell in decision.cells:
            rows = self._rows(decision, cell)
            own = tuple(sorted(r for r in runs if r in rows))
            key = (f"{decision.name.rsplit(' TPOT', 1)[0]}|{cell}", own)
            if key not in self._known:
                self._known[key] = self._priced(self._model(cell, own), rows)
            found |= self._known[key]
        return found

    def shifted(self, decision: Decision, cell: str, standard_score: float) -> dict[int, Figures]:
        """Return figures of a cell's rows in an outcome of its run."""
        return self._priced(
            Shifted(self._model(cell, ()), standard_score, after_runs()), self._rows(decision, cell)
        )

    def _rows(self, decision: Decision, cell: str) -> list[int]:
        return [r for a in decision.alternatives if a.cell == cell for r in a.rows]

    def _model(self, cell: str, runs: tuple[int, ...]) -> PerformanceModel:
        base = self.coefficients[self.data.group[self.data.cell.index(cell)]]
        if not runs:
            return Calibrated(base)
        tables = few_shot.committed()
        measurements = [
            Measurement(_loop(self.data, r), float(self.data.tpot_ms[r]), float(self.data.ttft_ms[r]))
            for r in runs
        ]
        cells = fit_cells(base, measurements, tables)
        return Calibrated(base.with_own(own_of(base, cells, measurements, tables)))

    def _priced(self, model: PerformanceModel, rows: Sequence[int]) -> dict[int, Figures]:
        loops = [_loop(self.data, r) for r in rows]
        results = closed_loops(model, loops)
        return {
            row: (x.tpot_ms, x.output_tok_per_s(loop.osl) / loop.replica.gpus)
            if isinstance(x, LoopResult)
            else (float("inf"), 0.0)
            for row, loop, x in zip(rows, loops, results, strict=True)
        }


def _loop(data: Dataset, row: int) -> Loop:
    r = data.rows[row]
    return Loop(r.replica, r.isl, r.osl, r.concurrency, batch_limit=r.batch_limit or float("inf"))


def picked(predictor: Predictor, decision: Decision) -> list[int]:
    """Return the runs that the product's criterion picks, without a look at any measurement.

    Cells by expected gain of the decision that knows the run's outcome, then by the error taken away; in each cell first
    the layout that would be chosen, at its operating point. Where cells are few, their next layouts follow.
    """
    now = predictor.figures(decision)
    chosen = decision.choose(now)
    order: list[tuple[float, bool, str]] = []
    best_first: dict[str, list[int]] = {}
    for cell in decision.cells:
        outcomes = [now | predictor.shifted(decision, cell, z) for z in SCORES]
        gain = sum(
            p * (decision.value(decision.choose(of), of) - decision.value(chosen, of))
            for p, of in zip(PROBABILITIES, outcomes, strict=True)
        )
        order.append((-gain, cell != chosen.cell, cell))
        fast = outcomes[0]
        keyed = [
            ((a is not chosen, -decision.value(a, fast), a.layout), a)
            for a in decision.alternatives
            if a.cell == cell
        ]
        here = [a for _, a in sorted(keyed, key=itemgetter(0))]
        best_first[cell] = [decision.operating_row(a, fast if a is not chosen else now) for a in here]
    cells = [cell for _, _, cell in sorted(order)]
    rounds = max(map(len, best_first.values()))
    ranked = [best_first[c][k] for k in range(rounds) for c in cells if k < len(best_first[c])]
    return ranked[:RUNS]


def regret(
    decision: Decision, predictor: Predictor, measured: Mapping[int, Figures], runs: Sequence[int]
) -> float:
    """Return the regret of the choice that is made once the runs are known."""
    chosen = decision.choose(predictor.figures(decision, runs))
    best = decision.choose(measured)
    return 1.0 - decision.value(chosen, measured) / decision.value(best, measured)


def random_runs(decision: Decision, random: np.random.Generator) -> list[int]:
    """Return three of the available runs, whichever."""
    rows = decision.rows
    return [rows[i] for i in random.permutation(len(rows))[:RUNS]]


def random_operating_runs(decision: Decision, predictor: Predictor, random: np.random.Generator) -> list[int]:
    """Return the operating points of three random alternatives: what one would do who knows the load, not the worth."""
    now = predictor.figures(decision)
    alternatives = [decision.alternatives[i] for i in random.permutation(len(decision.alternatives))[:RUNS]]
    return [decision.operating_row(a, now) for a in alternatives]
