"""Cross-validation: what is left out together, and how wrong the predictions of it are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from calibration.dataset import Array, Dataset
from calibration.model import Predicted, fit_both, predict, throughput
from numpy.typing import NDArray

NOT_SCORED = -1
LENGTH_FOLDS, GROUP_FOLDS = 4, 8


def folds_by_lengths(data: Dataset, seed: int = 0) -> NDArray[np.intp]:
    """Within every cell, deal its (ISL, OSL) pairs into four folds; cells with one pair are not scored."""
    random = np.random.default_rng(seed)
    fold = np.full(len(data), NOT_SCORED, dtype=np.intp)
    for cell in sorted(set(data.cell)):
        members = [i for i, c in enumerate(data.cell) if c == cell]
        pairs = sorted({data.lengths[i] for i in members})
        if len(pairs) < 2:
            continue
        dealt = dict(zip(pairs, random.permutation(len(pairs)) % LENGTH_FOLDS, strict=True))
        for i in members:
            fold[i] = dealt[data.lengths[i]]
    return fold


def folds_by_group(data: Dataset, seed: int = 0) -> NDArray[np.intp]:
    """Deal whole groups (model x accelerator x engine) into eight folds."""
    groups = sorted(set(data.group))
    dealt = dict(zip(groups, np.random.default_rng(seed).permutation(len(groups)) % GROUP_FOLDS, strict=True))
    return np.array([dealt[g] for g in data.group], dtype=np.intp)


@dataclass(frozen=True)
class Errors:
    """Relative errors of held-out rows, prediction / measurement - 1, and which rows they belong to."""

    rows: NDArray[np.intp]
    tpot: Array
    ttft: Array
    throughput: Array


def cross_validate(data: Dataset, fold: NDArray[np.intp]) -> Errors:
    """Fit without each fold and predict it."""
    rows, parts = [], []
    for k in sorted(set(fold.tolist()) - {NOT_SCORED}):
        held_out = np.flatnonzero(fold == k)
        fitted = fit_both(data.take(np.flatnonzero(fold != k)))
        rows.append(held_out)
        parts.append(errors_of(data.take(held_out), predict(fitted, data.take(held_out))))
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
