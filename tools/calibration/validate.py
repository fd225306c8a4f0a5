"""Cross-validation: what is left out together, and how wrong the predictions of it are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibration.dataset import Array, Dataset
from calibration.model import Predicted, fit_all, predict, throughput
from fleet.perf.coefficients import cell_and_role
from fleet.perf.interface import Point
from fleet.perf.levels import LEVELS, levels_of
from fleet.perf.siblings import lender_of

NOT_SCORED = -1
FOLDS = 4


def folds_by_lengths(data: Dataset, seed: int = 0) -> NDArray[np.intp]:
    """Within every cell, deal its (ISL, OSL) pairs into four folds; cells with one pair are not scored."""
    return _dealt(data, data.lengths, seed)


def folds_by_layout(data: Dataset, seed: int = 0) -> NDArray[np.intp]:
    """Within every cell of mixed workers, deal its layouts into four folds; cells with one layout are not scored."""
    folds = _dealt(data, tuple(p.layout.label for p in data.points), seed)
    return np.where(data.is_mixed, folds, NOT_SCORED)


def _dealt(data: Dataset, what: tuple[str, ...], seed: int) -> NDArray[np.intp]:
    random = np.random.default_rng(seed)
    fold = np.full(len(data), NOT_SCORED, dtype=np.intp)
    for cell in sorted(set(data.cell)):
        members = [i for i, c in enumerate(data.cell) if c == cell]
        values = sorted({what[i] for i in members})
        if len(values) < 2:
            continue
        dealt = dict(zip(values, random.permutation(len(values)) % FOLDS, strict=True))
        for i in members:
            fold[i] = dealt[what[i]]
    return fold


def folds_by_high_concurrency(data: Dataset) -> NDArray[np.intp]:
    """Make the top third of concurrencies of every series (cell, layout, lengths; mixed) one fold, three at least."""
    fold = np.full(len(data), NOT_SCORED, dtype=np.intp)
    series: dict[tuple[str, str, str], list[int]] = {}
    for i in np.flatnonzero(data.is_mixed).tolist():
        key = (data.cell[i], data.points[i].layout.label, data.lengths[i])
        series.setdefault(key, []).append(i)
    for members in series.values():
        known = sorted({float(data.concurrency[i]) for i in members})
        highest = set(known[len(known) - len(known) // 3 :])
        for i in members:
            if float(data.concurrency[i]) in highest:
                fold[i] = 0
    return fold


def folds_by_group(data: Dataset) -> NDArray[np.intp]:
    """Make every group (model x accelerator x engine, mixed and apart) its own fold."""
    groups = sorted(set(data.group))
    return np.array([groups.index(g) for g in data.group], dtype=np.intp)


def folds_by_machine(data: Dataset) -> NDArray[np.intp]:
    """Make the disaggregated rows of every accelerator x engine x precision a fold; mixed rows are always fitted."""
    machine = [f"{p.accelerator.id}|{p.engine.id}|{p.weights}" for p in data.points]
    names = sorted({m for m, mixed in zip(machine, data.is_mixed, strict=True) if not mixed})
    folds = [NOT_SCORED if mixed else names.index(m) for m, mixed in zip(machine, data.is_mixed, strict=True)]
    return np.array(folds, dtype=np.intp)


def folds_by_newer_sibling(data: Dataset) -> NDArray[np.intp]:
    """Make every group whose accelerator has an older sibling that may lend a fold; other groups are always fitted."""
    fold = folds_by_group(data)
    return np.array([f if lender_of(p) else NOT_SCORED for f, p in zip(fold, data.points, strict=True)])


def lent(data: Dataset) -> Dataset:
    """Return the rows with the levels of their accelerators' older siblings; hardware and measurements stay their own."""
    points = [lender_of(p) or p for p in data.points]
    named = [levels_of(p) for p in points]
    return replace(
        data,
        points=tuple(renamed(p, lender_of(p)) for p in data.points),
        prefill=tuple(renamed(p, lender_of(p)) for p in data.prefill),
        levels={level: [n[level] for n in named] for level in LEVELS},
        cell=tuple(cell_and_role(p) for p in points),
    )


def renamed(point: Point, lender: Point | None) -> Point:
    """Return the point with its own hardware under the lender's name."""
    if lender is None:
        return point
    accelerator = point.accelerator.model_copy(update={"id": lender.accelerator.id})
    return replace(point, accelerator=accelerator)


@dataclass(frozen=True)
class Errors:
    """Relative errors of held-out rows, prediction / measurement - 1, and which rows they belong to."""

    rows: NDArray[np.intp]
    tpot: Array
    ttft: Array
    throughput: Array


def cross_validate(
    data: Dataset,
    fold: NDArray[np.intp],
    seen_as: Callable[[Dataset], Dataset] = lambda held_out: held_out,
) -> Errors:
    """Fit without each fold and predict it, as `seen_as` has it."""
    rows, parts = [], []
    for k in sorted(set(fold.tolist()) - {NOT_SCORED}):
        held_out = np.flatnonzero(fold == k)
        needs_apart = not data.is_mixed[held_out].all()
        fitted = fit_all(data.take(np.flatnonzero(fold != k)), with_apart=needs_apart)
        rows.append(held_out)
        parts.append(errors_of(data.take(held_out), predict(fitted, seen_as(data.take(held_out)))))
    joined = np.concatenate(parts, axis=1)
    return Errors(np.concatenate(rows), *joined)


def errors_of(data: Dataset, predicted: Predicted) -> Array:
    """Return relative errors of TPOT, TTFT and throughput, shape (3, N)."""
    measured = throughput(data, data.ttft_ms, data.tpot_ms)
    return np.stack([
        predicted.tpot_ms / data.tpot_ms - 1.0,
        predicted.ttft_ms / data.ttft_ms - 1.0,
        predicted.output_tok_per_s / measured - 1.0,
    ])  # fmt: skip


def summary(errors: Array) -> str:
    """Return mean, median and 90 % quantile of the absolute error, in per cent."""
    size = np.abs(errors) * 100
    return f"{size.mean():5.1f} /{np.median(size):5.1f} /{np.quantile(size, 0.9):5.0f}"
