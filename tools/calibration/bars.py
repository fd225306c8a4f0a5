"""Error bars from held-out predictions: quantiles of |log(prediction / measurement)|, every group with the same weight.

    near, far     0.9 quantile over the groups of a class; groups of other classes count POOLED, for thin classes
    thin rows h   least pinball loss of w(n) over lengths left out, where cells keep n rows
    factors s     0.9 quantile of |log error| / w where that alone applies, at least 1
    drift d       such that the 0.9 quantile of |log error| / (w² + d² q)^½ is 1, newer quarters left out

Nested coverage of a group: bars from all other groups, then the share of its own errors within them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from calibration.dataset import Array, Dataset
from calibration.held_out import (
    HeldOut,
    held_out,
    held_out_by_age,
)
from calibration.validate import (
    folds_by_group,
    folds_by_high_concurrency,
    folds_by_layout,
    folds_by_lengths,
    folds_by_newer_sibling,
    lent,
)
from fleet.perf.error_bars import ErrorBars, Known

QUANTILE = 0.9
POOLED = 0.1
THIN_ROWS = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0)
LEAST_GROUPS = 3
"""Groups that must show a factor or a drift before it is believed."""
DIGITS = 3


@dataclass(frozen=True)
class Evidence:
    """The cross-validations that error bars come from."""

    lengths: HeldOut
    groups: HeldOut
    layouts: HeldOut
    loads: HeldOut
    ages: HeldOut
    siblings: HeldOut

    def without(self, group: str) -> Evidence:
        """Return the evidence of all other groups."""
        chosen = {}
        for field in fields(self):
            held: HeldOut = getattr(self, field.name)
            chosen[field.name] = held.take(np.flatnonzero(np.array(held.groups) != group))
        return replace(self, **chosen)


def gathered(data: Dataset) -> Evidence:
    """Cross-validate everything that error bars need."""
    return Evidence(
        lengths=held_out(data, folds_by_lengths(data)),
        groups=held_out(data, folds_by_group(data)),
        layouts=held_out(data, folds_by_layout(data)),
        loads=held_out(data, folds_by_high_concurrency(data)),
        ages=held_out_by_age(data),
        siblings=held_out(data, folds_by_newer_sibling(data), seen_as=lent),
    )


def grouped_quantile(sizes: Array, groups: Sequence[str], share: Array | float = 1.0) -> float:
    """Return the 0.9 quantile of absolute values, every group with the same weight times its rows' mean share.

    >>> float(grouped_quantile(np.array([1.0, 1.0, 1.0, 9.0]), ["a", "a", "a", "b"]))
    9.0
    """
    sizes = np.abs(sizes)
    _, place, count = np.unique(np.array(groups), return_inverse=True, return_counts=True)
    weight = np.broadcast_to(np.asarray(share, dtype=float), sizes.shape) / count[place]
    order = np.argsort(sizes, kind="stable")
    below = np.cumsum(weight[order]) / weight.sum()
    return float(sizes[order][min(int(np.searchsorted(below, QUANTILE)), sizes.size - 1)])


def by_class(sizes: Array, held: HeldOut) -> dict[str, float]:
    """Return each class's quantile as a relative error; other classes count a little."""
    classes = np.array([k.class_name for k in held.known])
    found = {}
    for name in sorted(set(classes.tolist())):
        share = np.where(classes == name, 1.0, POOLED)
        found[name] = float(np.expm1(grouped_quantile(sizes, held.groups, share)))
    return found


def fit_bars(evidence: Evidence, metric: str) -> ErrorBars:
    """Return the error bars of one metric: `tpot` or `ttft`."""
    plain = _flagged(evidence.lengths, lambda k: not (k.beyond_batch or k.beyond_context or k.beyond_width))
    bars = ErrorBars(
        interpolation=by_class(sizes_of(plain, metric), plain),
        unseen=by_class(sizes_of(evidence.groups, metric), evidence.groups),
        thin_cell_rows=THIN_ROWS[0],
        beyond_batch=1.0,
        beyond_context=1.0,
        beyond_width=1.0,
        borrowed=1.0,
        drift=0.0,
    )
    bars = min((replace(bars, thin_cell_rows=h) for h in THIN_ROWS), key=lambda b: _pinball(plain, metric, b))
    bars = _rescaled(bars, plain, metric)
    shown = {
        "beyond_context": _flagged(
            evidence.lengths, lambda k: k.beyond_context and not (k.beyond_batch or k.beyond_width)
        ),
        "beyond_batch": _flagged(evidence.loads, lambda k: k.beyond_batch),
        "beyond_width": _flagged(evidence.layouts, lambda k: k.beyond_width and not k.beyond_batch),
        "borrowed": evidence.siblings,
    }
    factor = {name: _factor(held, metric, bars) for name, held in shown.items()}
    bars = replace(
        bars,
        beyond_batch=factor["beyond_batch"],
        beyond_context=factor["beyond_context"],
        beyond_width=factor["beyond_width"],
        borrowed=factor["borrowed"],
    )
    return replace(bars, drift=_drift(_flagged(evidence.ages, lambda k: k.quarters > 0), metric, bars))


def sizes_of(held: HeldOut, metric: str) -> Array:
    """Return |log(prediction / measurement)|."""
    return np.abs(held.log_tpot if metric == "tpot" else held.log_ttft)


def widths_of(held: HeldOut, bars: ErrorBars) -> Array:
    """Return the bars of the predictions as logs."""
    return np.log1p([bars.at(k) for k in held.known])


def _flagged(held: HeldOut, applies: Callable[[Known], bool]) -> HeldOut:
    return held.take(np.flatnonzero([applies(k) for k in held.known]))


def _pinball(held: HeldOut, metric: str, bars: ErrorBars) -> float:
    over = sizes_of(held, metric) - widths_of(held, bars)
    loss = np.where(over > 0, QUANTILE * over, (QUANTILE - 1.0) * over)
    return float(np.mean([loss[np.array(held.groups) == g].mean() for g in sorted(set(held.groups))]))


def _rescaled(bars: ErrorBars, plain: HeldOut, metric: str) -> ErrorBars:
    """Return the bars with `near` such that 90 % lie within bars that thin cells have widened."""
    for _ in range(3):
        scale = grouped_quantile(sizes_of(plain, metric) / widths_of(plain, bars), plain.groups)
        near = {name: float(np.expm1(scale * np.log1p(e))) for name, e in bars.interpolation.items()}
        bars = replace(bars, interpolation=near)
    return bars


def _factor(held: HeldOut, metric: str, bars: ErrorBars) -> float:
    """Return by how much errors are larger than their bars say, at least 1."""
    if len(set(held.groups)) < LEAST_GROUPS:
        return 1.0
    return max(grouped_quantile(sizes_of(held, metric) / widths_of(held, bars), held.groups), 1.0)


def _drift(held: HeldOut, metric: str, bars: ErrorBars) -> float:
    """Return the least drift that covers 90 % where newer quarters are left out, found by bisection."""
    if len(set(held.groups)) < LEAST_GROUPS:
        return 0.0
    low, high, sizes = 0.0, 2.0, sizes_of(held, metric)

    def uncovered(drift: float) -> float:
        return grouped_quantile(sizes / widths_of(held, replace(bars, drift=drift)), held.groups) - 1.0

    if uncovered(low) <= 0:
        return 0.0
    for _ in range(20):
        middle = (low + high) / 2.0
        low, high = (middle, high) if uncovered(middle) > 0 else (low, middle)
    return high


@dataclass(frozen=True)
class Coverage:
    """Share of a group's errors within bars that come from all other groups."""

    group: str
    rows: int
    covered: float


def nested_coverage(evidence: Evidence, scored: str, metric: str) -> list[Coverage]:
    """Return the coverage of every group of one of the cross-validations, groups in name order."""
    held: HeldOut = getattr(evidence, scored)
    inside = sizes_of(held, metric) <= np.log1p(nested_bars(evidence, scored, metric))
    groups = np.array(held.groups)
    found = [(group, inside[groups == group]) for group in sorted(set(held.groups))]
    return [Coverage(group, int(own.size), float(own.mean())) for group, own in found]


def nested_bars(evidence: Evidence, scored: str, metric: str) -> Array:
    """Return the bar of every prediction of one of the cross-validations, from all groups but its own, shape (N,)."""
    held: HeldOut = getattr(evidence, scored)
    groups, found = np.array(held.groups), np.empty(len(held.rows))
    for group in sorted(set(held.groups)):
        own = np.flatnonzero(groups == group)
        bars = fit_bars(evidence.without(group), metric)
        found[own] = [bars.at(held.known[i]) for i in own]
    return found
