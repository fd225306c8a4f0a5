"""Public results and their predictions, with error bars, from fits without them.

A run is predicted without any row of its model x accelerator x engine. Host and rack are compared at equal tokens/s for
each user, each predicted without the rows of its model x accelerator x engine at these lengths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import inf, log2
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from calibration.dataset import Array, Dataset

from accuracy.few_shot import coefficients_without
from fleet.catalog.records import Catalog
from fleet.layout import Role
from fleet.perf.calibrated import Calibrated
from fleet.perf.closed_loop import Loop, LoopResult, closed_loops
from fleet.perf.interface import PerformanceModel
from fleet.perf.levels import build_of
from fleet.perf.rows import Row, read_row

POINTS = Path(__file__).parent / "public_points.yaml"
SAME_LENGTH = 0.15
SIDES = ("host", "rack")
"""Lengths that differ by less are the same: runs draw real ones up to 20 % below the nominal."""

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Figure:
    """One public figure and its prediction; 90 % of measurements lie within a factor 1 + error of it, either way."""

    name: str
    metric: str
    public: float
    predicted: float
    error_p90: float

    @property
    def is_within(self) -> bool:
        """Whether the public figure lies within the error bar."""
        factor = 1.0 + self.error_p90
        return self.public / factor <= self.predicted <= self.public * factor


@dataclass(frozen=True)
class Domains:
    """One claim: best total tokens/s per GPU of a host and a rack at equal tokens/s for each user."""

    name: str
    user_tok_per_s: float
    host: Figure
    rack: Figure


def read_points(path: Path = POINTS) -> dict[str, Any]:
    """Read the data file."""
    points: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return points


def _row(record: Record, catalog: Catalog) -> Row:
    return read_row({name: str(value) for name, value in record.items()}, catalog)


def _loop(row: Row) -> Loop:
    limit = inf if row.batch_limit is None else row.batch_limit
    return Loop(row.replica, row.isl, row.osl, row.concurrency, batch_limit=limit)


def group_of(row: Row) -> str:
    """Name the model build x accelerator x engine of a row, as the calibration data does."""
    worker = row.replica.decoder.point(Role.MIXED, batch=1, isl=row.isl, osl=row.osl)
    return f"{build_of(worker.model)}|{worker.accelerator.id}|{worker.engine.id}"


class Models:
    """The calibrated backend without a group, or without its rows at some lengths; fitted once for each."""

    def __init__(self, data: Dataset) -> None:
        self._data = data
        self.without = cache(self._without)

    def _without(self, group: str, lengths: tuple[float, float] | None = None) -> PerformanceModel:
        left_out = [
            i
            for i, row in enumerate(self._data.rows)
            if self._data.group[i] == group and (lengths is None or _are_near((row.isl, row.osl), lengths))
        ]
        return Calibrated(coefficients_without(self._data, left_out))


def _are_near(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return all(abs(a / b - 1.0) <= SAME_LENGTH for a, b in zip(one, other, strict=True))


def predicted_runs(points: Record, models: Models, catalog: Catalog) -> list[Figure]:
    """Predict every run of the file: a figure for each metric that is public."""
    figures = []
    for run in points["runs"]:
        row = _row(run["record"], catalog)
        result = closed_loops(models.without(group_of(row)), [_loop(row)])[0]
        assert isinstance(result, LoopResult), result
        tpot, ttft = result.decode.relative_error_p90, result.prefill.ttft_relative_error_p90
        answers = {
            "ttft_ms": (result.ttft_ms, ttft),
            "tpot_ms": (result.tpot_ms, tpot),
            "output_tok_per_s": (result.output_tok_per_s(row.osl) * run["replicas"], tpot),
        }
        for metric, public in run["measured"].items():
            figures.append(Figure(run["name"], metric, float(public), *answers[metric]))
    return figures


def _records(domains: Record, side: Record, draft_tokens: Sequence[int]) -> Iterator[Record]:
    """Yield every layout, load and draft depth of one side."""
    shared = {"model": domains["model"], "engine": domains["engine"], "precision": domains["precision"]}
    shared |= {"isl": domains["isl"], "osl": domains["osl"], "gpu": side["gpu"], "source": "InferenceX"}
    loads = domains["concurrency"]
    doublings = log2(loads["most"] / loads["least"])
    for load in np.geomspace(
        loads["least"], loads["most"], round(doublings * loads["for_each_doubling"]) + 1
    ).round():
        for draft in draft_tokens:
            asked = {**shared, "concurrency_or_batch": load, "draft_tokens": draft}
            for label in side["aggregated"]:
                yield {**asked, "mode": "agg", "parallelism": label}
            for pair in side["disaggregated"]:
                p, d = pair["prefill"], pair["decode"]
                label = f"P: TP{p} DP1 EP{p} | D: TP{d} DP1 EP{d}"
                for workers, decoders in product(pair["prefill_workers"], pair["decode_workers"]):
                    yield {
                        **asked, "mode": "disagg", "parallelism": label, "p_workers": workers, "d_workers": decoders,
                        "p_dp_attn": "true", "d_dp_attn": str(pair["ranks"]).lower(),
                    }  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """What one side is predicted to reach: tokens/s of a user, total tokens/s per GPU and error, shape (N,)."""

    user: Array
    per_gpu: Array
    error_p90: Array

    def best(self, user_tok_per_s: float) -> tuple[float, float]:
        """Return the most total tokens/s per GPU at which each user gets so much, and its error."""
        holds = np.where(self.user >= user_tok_per_s, self.per_gpu, 0.0)
        return float(holds.max()), float(self.error_p90[int(np.argmax(holds))])

    def user_at(self, per_gpu: float) -> float:
        """Return the most tokens/s of a user at which so much per GPU is still reached."""
        return float(np.where(self.per_gpu >= per_gpu, self.user, 0.0).max())


def _curve(
    domains: Record, side: Record, draft_tokens: Sequence[int], models: Models, catalog: Catalog
) -> Curve:
    rows = [_row(record, catalog) for record in _records(domains, side, draft_tokens)]
    model = models.without(group_of(rows[0]), (rows[0].isl, rows[0].osl))
    results = closed_loops(model, [_loop(row) for row in rows])
    found = [
        (
            1e3 / result.tpot_ms,
            result.rate_req_per_s * (row.isl + row.osl) / row.replica.gpus,
            result.decode.relative_error_p90,
        )
        for row, result in zip(rows, results, strict=True)
        if isinstance(result, LoopResult)
    ]
    return Curve(*np.array(found).T)


def predicted_domains(points: Record, models: Models, catalog: Catalog) -> list[Domains]:
    """Predict host and rack at the tokens/s of a user that each claim is made for."""
    domains = points["domains"]
    found = []
    for claim in domains["claims"]:
        curves = {
            side: _curve(domains, domains[side], claim["draft_tokens"], models, catalog) for side in SIDES
        }
        public = {side: float(claim[f"{side}_tok_per_s_per_gpu"]) for side in SIDES}
        equal = claim.get("equal_at")
        user = float(curves[equal].user_at(public[equal]) if equal else claim["user_tok_per_s"])
        figures = {
            side: Figure(domains[side]["name"], "total_tok_per_s_per_gpu", public[side], *curve.best(user))
            for side, curve in curves.items()
        }
        found.append(Domains(claim["name"], user, **figures))
    return found
