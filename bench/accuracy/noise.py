"""The noise floor: how far two runs of one thing lie apart. No model does better than that.

Repeats share cell, layout, workers, draft, batch limit, lengths and concurrency; copies (the same figures) are no
repeats. Each pair gives |newer / older - 1|; pairs of one situation share the weight of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from calibration.dataset import Array, Dataset
from calibration.held_out import layout_of


@dataclass(frozen=True)
class Noise:
    """Median and 90 % quantile of the difference between repeats, per cent."""

    name: str
    situations: int
    pairs: int
    tpot: tuple[float, float]
    ttft: tuple[float, float]


def _situations(data: Dataset) -> dict[tuple[object, ...], list[int]]:
    found: dict[tuple[object, ...], list[int]] = {}
    for i, row in enumerate(data.rows):
        w = row.replica.decoder
        key = (data.cell[i], layout_of(data, i), w.draft, row.batch_limit, row.isl, row.osl, row.concurrency)
        found.setdefault(key, []).append(i)
    return {key: rows for key, rows in found.items() if len(rows) > 1}


def noise_floor(data: Dataset) -> list[Noise]:
    """Return the floor of one version and date, and of any version: all engines, then each."""
    engines = [p.engine.id.value for p in data.points]
    table = []
    for same in (True, False):
        pairs: list[tuple[int, int, int]] = []
        for number, rows in enumerate(_situations(data).values()):
            pairs += [(number, i, j) for i, j in combinations(rows, 2) if _is_repeat(data, i, j, same=same)]
        which = "one version and date" if same else "any version"
        for engine in ("all", *sorted(set(engines))):
            chosen = [p for p in pairs if engine in ("all", engines[p[1]])]
            if chosen:
                table.append(_noise(f"{which}, {engine}", data, chosen))
    return table


def _is_repeat(data: Dataset, i: int, j: int, *, same: bool) -> bool:
    if (data.tpot_ms[i], data.ttft_ms[i]) == (data.tpot_ms[j], data.ttft_ms[j]):
        return False
    a, b = data.points[i].engine, data.points[j].engine
    return not same or (a.version, a.released) == (b.version, b.released)


def _noise(name: str, data: Dataset, pairs: list[tuple[int, int, int]]) -> Noise:
    situation = np.array([p[0] for p in pairs])
    _, place, count = np.unique(situation, return_inverse=True, return_counts=True)
    weight = 1.0 / count[place]

    def quantiles(values: Array) -> tuple[float, float]:
        size = np.array([_difference(data, values, i, j) for _, i, j in pairs])
        order = np.argsort(size, kind="stable")
        share = np.cumsum(weight[order]) / weight.sum()
        at = [size[order][min(int(np.searchsorted(share, q)), size.size - 1)] for q in (0.5, 0.9)]
        return float(100.0 * at[0]), float(100.0 * at[1])

    return Noise(name, int(count.size), len(pairs), quantiles(data.tpot_ms), quantiles(data.ttft_ms))


def _difference(data: Dataset, values: Array, i: int, j: int) -> float:
    older, newer = sorted((i, j), key=lambda k: (data.points[k].engine.released, k))
    return abs(float(values[newer] / values[older]) - 1.0)
