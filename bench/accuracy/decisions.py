"""Decisions on held-out predictions: the order of layouts, and what the choice by prediction costs.

Comparable layouts share model build, accelerator, engine, precision and lengths, all of which were left out together.
Of repeats the newest run counts. A limit L on TPOT is one that people write (LIMITS_MS), where it decides something: a
measured option of the group holds it, another does not.

    order      Spearman's rank correlation of throughput per GPU, predicted against measured, in a group under a limit:
               of options   all layouts and concurrencies that were measured to hold it
               of layouts   the best of each layout; one that nowhere holds it has 0, predicted and measured alike
    choice     layout and concurrency of the highest predicted throughput per GPU with TPOT · (1 + e)^(z_q / z_0.95) <= L,
               e the error bar from all other groups, q the planned quantile (fleet.perf.service.margin)
    missed     the choice's measured TPOT is above L
    regret     1 - its measured throughput per GPU / that of the measured best that holds, not below 0
    by error   the same against the choice of a perfect predictor that keeps the same margin: concurrencies were measured
               in powers of two, so that caution alone often costs a whole step
    no choice  nothing is predicted to hold L although something does: neither missed nor a regret, but counted
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from calibration.dataset import Array, Dataset
from calibration.held_out import layout_of
from calibration.model import throughput
from numpy.typing import NDArray
from scipy.stats import spearmanr

from fleet.perf.service import margin

LIMITS_MS = (8.0, 10.0, 12.5, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 75.0, 100.0)
"""From 125 to 10 tokens/s for a user."""
PLANNED = (0.5, 0.7, 0.8, 0.9, 0.95)
LEAST_COMPARED = 3
ORDER_AT_LEAST, REGRET_AT_MOST, MISSED_AT_MOST = 0.95, 3.0, 5.0
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Options:
    """What can be chosen in one group, arrays of shape (N,): throughput is output tokens/s per GPU."""

    group: str
    layouts: tuple[str, ...]
    tpot_ms: Array
    throughput: Array
    predicted_tpot_ms: Array
    predicted_throughput: Array
    error_p90: Array

    @property
    def limits(self) -> Array:
        """Limits on TPOT, ms, that decide something here: shape (L,), maybe none."""
        least, most = self.tpot_ms.min(), self.tpot_ms.max()
        return np.array([limit for limit in LIMITS_MS if least <= limit < most])


@dataclass(frozen=True)
class Order:
    """Rank correlations over all groups and limits."""

    name: str
    groups: int
    comparisons: int
    mean: float
    median: float


@dataclass(frozen=True)
class Choices:
    """What planning on one quantile of the error costs, per cent."""

    quantile: float
    choices: int
    missed: float
    missed_by_median: float  # of those missed, how far above the limit
    regret: float
    regret_by_error: float
    without: float


def options(
    data: Dataset, rows: Rows, tpot_error: Array, throughput_error: Array, error_p90: Array
) -> list[Options]:
    """Group held-out rows; errors are relative, of the rows in order. Groups with one layout are left out."""
    gpus = np.array([row.replica.gpus for row in data.rows], dtype=float)
    measured = throughput(data, data.ttft_ms, data.tpot_ms) / gpus
    newest: dict[tuple[str, str, float, object], int] = {}
    for place in sorted(range(rows.size), key=lambda k: (data.points[rows[k]].engine.released, k)):
        i = int(rows[place])
        key = (
            f"{data.cell[i]}|{data.lengths[i]}",
            layout_of(data, i),
            data.concurrency[i],
            data.points[i].draft,
        )
        newest[key] = place
    members: dict[str, list[int]] = {}
    for (group, *_), place in sorted(newest.items(), key=lambda item: (item[0][:3], item[1])):
        members.setdefault(group, []).append(place)
    found = []
    for group, places in members.items():
        kept, at = rows[places], np.array(places)
        layouts = tuple(layout_of(data, int(i)) for i in kept)
        if len(set(layouts)) > 1:
            found.append(
                Options(
                    group,
                    layouts,
                    data.tpot_ms[kept],
                    measured[kept],
                    data.tpot_ms[kept] * (1.0 + tpot_error[at]),
                    measured[kept] * (1.0 + throughput_error[at]),
                    error_p90[at],
                )
            )
    return found


def _best(values: Array, holds: NDArray[np.bool_], layouts: Sequence[str]) -> Array:
    names = np.array(layouts)
    return np.array([np.where(holds & (names == n), values, 0.0).max() for n in sorted(set(layouts))])


def orders(groups: Sequence[Options]) -> list[Order]:
    """Compare the order of options and of layouts under every limit."""
    options_found: list[tuple[str, float]] = []
    layouts_found: list[tuple[str, float]] = []
    for group in groups:
        for limit in group.limits:
            holds = group.tpot_ms <= limit
            options_found += _correlation(group, group.throughput[holds], group.predicted_throughput[holds])
            measured = _best(group.throughput, holds, group.layouts)
            predicted = _best(group.predicted_throughput, group.predicted_tpot_ms <= limit, group.layouts)
            layouts_found += _correlation(group, measured, predicted)
    return [_order("options", options_found), _order("layouts", layouts_found)]


def _correlation(group: Options, measured: Array, predicted: Array) -> list[tuple[str, float]]:
    if measured.size < LEAST_COMPARED or np.ptp(measured) == 0 or np.ptp(predicted) == 0:
        return []
    return [(group.group, float(spearmanr(measured, predicted).statistic))]


def _order(name: str, found: Sequence[tuple[str, float]]) -> Order:
    values = np.array([value for _, value in found])
    if not values.size:
        return Order(name, 0, 0, 0.0, 0.0)
    return Order(
        name, len({g for g, _ in found}), values.size, float(values.mean()), float(np.median(values))
    )


def choices(groups: Sequence[Options], quantile: float) -> Choices:
    """Choose in every group under every limit, planning on a quantile of the error."""
    over: list[float] = []
    regret: list[float] = []
    by_error: list[float] = []
    without = 0
    for group in groups:
        factor = margin(group.error_p90, quantile)
        cautious = group.predicted_tpot_ms * factor
        for limit in group.limits:
            holds = cautious <= limit
            if not holds.any():
                without += 1
                continue
            chosen = int(np.argmax(np.where(holds, group.predicted_throughput, -np.inf)))
            best = group.throughput[group.tpot_ms <= limit].max()
            over.append(float(group.tpot_ms[chosen] / limit - 1.0))
            regret.append(max(1.0 - float(group.throughput[chosen] / best), 0.0))
            known = group.throughput[group.tpot_ms * factor <= limit]
            by_error.append(max(1.0 - float(group.throughput[chosen] / known.max(initial=1e-9)), 0.0))
    excess = np.array(over)
    missed = excess > 1e-9
    return Choices(
        quantile=quantile,
        choices=len(over),
        missed=100.0 * float(missed.mean()) if missed.size else 0.0,
        missed_by_median=100.0 * float(np.median(excess[missed])) if missed.any() else 0.0,
        regret=100.0 * float(np.mean(regret)) if regret else 0.0,
        regret_by_error=100.0 * float(np.mean(by_error)) if by_error else 0.0,
        without=100.0 * without / max(len(over) + without, 1),
    )
