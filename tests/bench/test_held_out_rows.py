"""What an error bar knows of a held-out row comes from rows that were fitted; labels are read as the table has them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from accuracy.ablation import as_labelled
from accuracy.aiconfigurator import ids_of, read_predictions
from accuracy.decisions import options
from accuracy.noise import noise_floor
from calibration.dataset import Dataset, load
from calibration.held_out import held_out
from calibration.labels import ambiguous_rows
from calibration.validate import NOT_SCORED, Errors, folds_by_high_concurrency, folds_by_lengths

from fleet.catalog.load import load_catalog
from fleet.perf.rows import repaired_layout

TABLE = Path(__file__).resolve().parents[3] / "shared" / "bench" / "calibration.csv"
WITH_TABLE = pytest.mark.skipif(not TABLE.is_file(), reason=f"{TABLE.name} is not beside the checkout")


@cache
def table() -> Dataset:
    return load(TABLE, TABLE.parent / "labels", load_catalog())


def as_if_exact(data: Dataset, fold: np.ndarray) -> Errors:
    rows = np.flatnonzero(fold != NOT_SCORED)
    return Errors(rows, *np.zeros((3, rows.size)))


@pytest.mark.parametrize(
    ("label", "read", "repaired"),
    [
        ("TP4 PP1 attnDP4 moeTP1 moeEP16", "TP4 DP4 EP16", "TP4 EP4"),
        ("TP8 PP1 attnDP1 moeTP8 moeEP1", "TP8", "TP8"),
    ],
)
def test_labels_that_are_not_repaired_are_read_as_written(label: str, read: str, repaired: str) -> None:
    assert as_labelled(label).label == read
    assert repaired_layout(label).label == repaired


@WITH_TABLE
def test_rows_and_ranges_are_those_of_the_fitted_rows_of_the_cell() -> None:
    data, fold = table(), folds_by_lengths(table())
    held = held_out(data, fold, as_if_exact(data, fold))
    cells = np.array(data.cell)
    context = np.array([p.isl + p.osl for p in data.points])
    for i, known in list(zip(held.rows, held.known, strict=True))[::97]:
        fitted = (cells == cells[i]) & (fold != fold[i])
        assert known.rows == fitted.sum() > 0
        assert known.beyond_context == (context[i] > context[fitted].max())


@WITH_TABLE
def test_the_top_third_of_concurrency_lies_beyond_what_was_fitted_in_its_layout() -> None:
    data, fold = table(), folds_by_high_concurrency(table())
    keys = [(c, p.layout.label, n) for c, p, n in zip(data.cell, data.points, data.lengths, strict=True)]
    for i in np.flatnonzero(fold == 0)[::41]:
        others = [j for j, key in enumerate(keys) if key == keys[i] and fold[j] == NOT_SCORED]
        assert data.concurrency[i] > max(data.concurrency[j] for j in others)


@WITH_TABLE
def test_exact_predictions_have_options_whose_prediction_is_the_measurement() -> None:
    data, fold = table(), folds_by_lengths(table())
    exact = as_if_exact(data, fold)
    groups = options(data, exact.rows, exact.tpot, exact.throughput, np.zeros(exact.rows.size))
    assert len(groups) > 50
    for group in groups:
        assert len(set(group.layouts)) > 1
        assert np.array_equal(group.predicted_throughput, group.throughput)


@WITH_TABLE
def test_the_noise_of_one_version_and_date_is_below_that_of_any() -> None:
    floors = {n.name: n for n in noise_floor(table())}
    same, other = floors["one version and date, all"], floors["any version, all"]
    assert 0 < same.tpot[0] < other.tpot[0] < 10
    assert same.situations <= other.situations


@WITH_TABLE
def test_nearly_every_row_has_its_id_and_an_answer_of_aiconfigurator() -> None:
    ids, answers = ids_of(table(), TABLE), read_predictions()
    assert all(ids)
    assert sum(i in answers for i in ids) > 0.9 * len(ids)


@WITH_TABLE
def test_rows_with_several_labels_come_once_with_each_of_them() -> None:
    rows = list(ambiguous_rows(TABLE, TABLE.parent / "labels"))
    assert len(rows) > 200
    for records in rows:
        assert len(records) > 1
        assert len({r["tpot_ms"] for r in records}) == 1
