"""Error bars: residual quantiles of cross-validation by class, every group with the same weight."""

from __future__ import annotations

import numpy as np

from calibration.dataset import Array, Dataset
from calibration.validate import Errors
from fleet.perf.error_bars import class_of


def grouped_quantile(errors: Array, groups: list[str]) -> float:
    """Return the 90 % quantile of the absolute error, every group with the same weight."""
    size = np.abs(errors)
    count = {g: groups.count(g) for g in set(groups)}
    weight = np.array([1.0 / count[g] for g in groups])
    order = np.argsort(size, kind="stable")
    share = np.cumsum(weight[order]) / weight.sum()
    return float(size[order][np.searchsorted(share, 0.9)])


def error_bars(data: Dataset, errors: Errors) -> dict[str, dict[str, float]]:
    """Return 90 % error quantiles of TPOT and TTFT by class, every group with the same weight."""
    classes = np.array([class_of(data.points[i]) for i in errors.rows])
    bars: dict[str, dict[str, float]] = {"tpot": {}, "ttft": {}}
    for name in sorted(set(classes.tolist())):
        chosen = np.flatnonzero(classes == name)
        groups = [data.group[errors.rows[i]] for i in chosen]
        for metric, values in (("tpot", errors.tpot), ("ttft", errors.ttft)):
            bars[metric][name] = float(f"{grouped_quantile(values[chosen], groups):.3g}")
    return bars
