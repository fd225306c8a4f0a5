"""What is left out, and what an error bar knows beforehand about each row that was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.dataset import Array, Dataset
from calibration.validate import NOT_SCORED, Errors, cross_validate, lent
from fleet.perf.error_bars import Known, class_of, quarters_between
from fleet.perf.levels import UNDATED, quarter_of

Folds = NDArray[np.intp]


@dataclass(frozen=True)
class HeldOut:
    """Predictions of rows that were not fitted: logs of prediction / measurement, shape (N,), and what was known."""

    rows: NDArray[np.intp]
    log_tpot: Array
    log_ttft: Array
    known: tuple[Known, ...]
    groups: tuple[str, ...]

    def take(self, chosen: NDArray[np.intp]) -> HeldOut:
        """Return the chosen predictions."""
        return HeldOut(
            self.rows[chosen],
            self.log_tpot[chosen],
            self.log_ttft[chosen],
            tuple(self.known[i] for i in chosen),
            tuple(self.groups[i] for i in chosen),
        )


def layout_of(data: Dataset, row: int) -> str:
    """Name the layout of a row: that of its one worker, or those of all its workers."""
    replica = data.rows[row].replica
    if not replica.is_disaggregated:
        return replica.decoder.layout.label
    prefill = f"{replica.prefill_workers}x{replica.prefiller.layout.label}"
    return f"{prefill}+{replica.decode_workers}x{replica.decoder.layout.label}"


def quarters_of(data: Dataset) -> list[str]:
    """Return the quarter of every row's engine version."""
    return [quarter_of(p.engine.released) for p in data.points]


def merged(fold: Folds, folds: int, seed: int = 0) -> Folds:
    """Merge folds into so many, each leaving several out at once: cheaper, for comparing variants only."""
    random = np.random.default_rng(seed)
    names = sorted(set(fold.tolist()) - {NOT_SCORED})
    into = dict(zip(names, random.permutation(len(names)) % folds, strict=True))
    return np.array([into.get(k, NOT_SCORED) for k in fold.tolist()], dtype=np.intp)


def held_out(
    data: Dataset,
    fold: Folds,
    errors: Errors | None = None,
    seen_as: Callable[[Dataset], Dataset] | None = None,
) -> HeldOut:
    """Cross-validate, unless `errors` are given, and say what was known of every scored row."""
    errors = errors or (cross_validate(data, fold, seen_as) if seen_as else cross_validate(data, fold))
    known = _known(data, fold, is_borrowed=seen_as is lent)
    return HeldOut(
        rows=errors.rows,
        log_tpot=np.log1p(errors.tpot),
        log_ttft=np.log1p(errors.ttft),
        known=tuple(known[i] for i in errors.rows),
        groups=tuple(data.group[i] for i in errors.rows),
    )


def held_out_by_age(data: Dataset) -> HeldOut:
    """Predict every quarter from older ones only: for each quarter, all rows from it on are left out at once.

    Rows of cells without older data are not scored; a row counts once for every quarter that it is newer by.
    """
    quarters = np.array(quarters_of(data))
    dated = sorted(set(quarters.tolist()) - {UNDATED})
    parts = []
    for first in dated[1:]:
        fold = np.where((quarters != UNDATED) & (quarters >= first), 0, NOT_SCORED).astype(np.intp)
        part = held_out(data, fold)
        parts.append(part.take(np.flatnonzero([k.quarters > 0 for k in part.known])))
    return HeldOut(
        rows=np.concatenate([p.rows for p in parts]),
        log_tpot=np.concatenate([p.log_tpot for p in parts]),
        log_ttft=np.concatenate([p.log_ttft for p in parts]),
        known=tuple(k for p in parts for k in p.known),
        groups=tuple(g for p in parts for g in p.groups),
    )


def _known(data: Dataset, fold: Folds, *, is_borrowed: bool) -> dict[int, Known]:
    cells, quarters = np.array(data.cell), quarters_of(data)
    batch = np.array([p.batch for p in data.points])
    context = np.array([p.isl + p.osl for p in data.points])
    gpus = np.array([p.layout.gpus for p in data.points])
    found: dict[int, Known] = {}
    for k in sorted(set(fold.tolist()) - {NOT_SCORED}):
        left_out = np.flatnonzero(fold == k)
        for cell in sorted(set(cells[left_out].tolist())):
            fitted = np.flatnonzero((fold != k) & (cells == cell))
            for i in left_out[cells[left_out] == cell]:
                found[int(i)] = Known(
                    class_name=class_of(data.points[i]),
                    rows=int(fitted.size),
                    is_borrowed=is_borrowed,
                    quarters=_age([quarters[j] for j in fitted], quarters[i]),
                    beyond_batch=bool(fitted.size and batch[i] > batch[fitted].max()),
                    beyond_context=bool(fitted.size and context[i] > context[fitted].max()),
                    beyond_width=bool(fitted.size and gpus[i] > gpus[fitted].max()),
                )
    return found


def _age(fitted: Sequence[str], quarter: str) -> int:
    """Return by how many quarters a row is newer than the newest dated one of its cell."""
    dated = [q for q in fitted if q != UNDATED]
    return quarters_between(max(dated), quarter) if dated else 0
