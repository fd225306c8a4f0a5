"""AIConfigurator 0.12 on the same rows: predictions of its own kernel tables against ours, held out, class by class."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from calibration.dataset import Array, Dataset
from calibration.model import throughput
from calibration.validate import Errors

from accuracy.scores import METRICS, Summary, classes, summary

PREDICTIONS = Path(__file__).parent / "aiconfigurator_predictions.csv"
ID = re.compile(r"id=([^;]+)")
Key = tuple[float, float, float]


@dataclass(frozen=True)
class Comparison:
    """One class: rows that both predict, and the errors of each by metric. `refused`: rows it has no answer for."""

    name: str
    refused: int
    theirs: dict[str, Summary]
    ours: dict[str, Summary]
    is_better: bool  # the mean error of TPOT, throughput and TTFT are all smaller


def ids_of(data: Dataset, table: Path) -> list[str]:
    """Return the id of every row in the table that it was read from, empty where it has none."""
    known: dict[Key, str] = {}
    with table.open(newline="") as file:
        for record in csv.DictReader(file):
            found = ID.search(record["notes"])
            if found and record["tpot_ms"] and record["ttft_ms"] and record["concurrency_or_batch"]:
                load = float(record["concurrency_or_batch"])
                key = (float(record["tpot_ms"]), float(record["ttft_ms"]), load)
                known.setdefault(key, found.group(1).strip())
    measured = zip(data.tpot_ms, data.ttft_ms, data.concurrency, strict=True)
    return [known.get((float(a), float(b), float(c)), "") for a, b, c in measured]


def read_predictions(path: Path = PREDICTIONS) -> dict[str, tuple[float, float]]:
    """Return TPOT and TTFT, ms, by id; rows without an answer are not there."""
    with path.open(newline="") as file:
        return {
            r["id"]: (float(r["tpot_ms"]), float(r["ttft_ms"])) for r in csv.DictReader(file) if r["tpot_ms"]
        }


def compare(
    data: Dataset, ids: Sequence[str], predictions: Mapping[str, tuple[float, float]], ours: Errors
) -> list[Comparison]:
    """Compare on held-out rows that both have an answer for, class by class."""
    answered = np.array([ids[i] in predictions for i in ours.rows])
    rows = ours.rows[answered]
    if not rows.size:
        return []
    pairs = np.array([predictions[ids[i]] for i in rows])
    theirs = _errors(data.take(rows), pairs[:, 0], pairs[:, 1])
    own = {"tpot": ours.tpot[answered], "ttft": ours.ttft[answered], "throughput": ours.throughput[answered]}
    found = []
    for name, members in classes(data).items():
        chosen = members[rows]
        if chosen.any():
            a, b = ({m: summary(values[m][chosen]) for m in METRICS} for values in (theirs, own))
            refused = int((members[ours.rows] & ~answered).sum())
            better = all(b[m].mean < a[m].mean for m in METRICS)
            found.append(Comparison(name, refused, a, b, better))
    return found


def _errors(data: Dataset, tpot_ms: Array, ttft_ms: Array) -> dict[str, Array]:
    measured = throughput(data, data.ttft_ms, data.tpot_ms)
    return {
        "tpot": tpot_ms / data.tpot_ms - 1.0,
        "ttft": ttft_ms / data.ttft_ms - 1.0,
        "throughput": throughput(data, ttft_ms, tpot_ms) / measured - 1.0,
    }
