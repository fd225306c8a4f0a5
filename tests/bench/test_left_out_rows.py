"""What a cross-validation leaves out is what its name says: layouts and high concurrencies of mixed workers."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from calibration.dataset import Dataset, load
from calibration.validate import FOLDS, NOT_SCORED, folds_by_high_concurrency, folds_by_layout

from fleet.catalog.load import load_catalog

TABLE = Path(__file__).resolve().parents[3] / "shared" / "bench" / "calibration.csv"


@pytest.fixture(scope="module")
def data() -> Dataset:
    if not TABLE.is_file():
        pytest.skip(f"the calibration table is not beside the checkout ({TABLE.name})")
    return load(TABLE, TABLE.parent / "labels", load_catalog())


def test_a_layout_is_left_out_whole_and_its_cell_keeps_others(data: Dataset) -> None:
    folds = folds_by_layout(data)
    assert not (folds[~data.is_mixed] != NOT_SCORED).any()
    assert set(folds.tolist()) == {NOT_SCORED, *range(FOLDS)}
    layouts: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for i in np.flatnonzero(data.is_mixed):
        layouts[data.cell[i]][data.points[i].layout.label].add(int(folds[i]))
    for cell, by_layout in layouts.items():
        assert all(len(fold) == 1 for fold in by_layout.values()), cell
        left_out = {fold for each in by_layout.values() for fold in each}
        assert len(left_out) > 1 if len(by_layout) > 1 else left_out == {NOT_SCORED}, cell


def test_every_series_of_three_concurrencies_loses_its_top_third(data: Dataset) -> None:
    folds = folds_by_high_concurrency(data)
    assert not (folds[~data.is_mixed] != NOT_SCORED).any()
    assert set(folds.tolist()) == {NOT_SCORED, 0}
    series: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for i in np.flatnonzero(data.is_mixed).tolist():
        series[data.cell[i], data.points[i].layout.label, data.lengths[i]].append(i)
    for name, rows in series.items():
        left_out = {float(data.concurrency[i]) for i in rows if folds[i] == 0}
        kept = {float(data.concurrency[i]) for i in rows if folds[i] != 0}
        assert len(left_out) == (len(left_out) + len(kept)) // 3, name
        assert not left_out or min(left_out) > max(kept), name
