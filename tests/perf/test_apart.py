"""Workers apart: the fitted formula is the served one, and a prediction knows nothing of what was measured."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fleet.perf.calibrated import Calibrated
from fleet.perf.closed_loop import Loop, LoopResult, closed_loops
from fleet.perf.coefficients import APART_LEVELS, committed
from fleet.perf.interface import Draft, Estimate
from fleet.perf.levels import apart_levels_of
from fleet.perf.replica import ReplicaSpec
from fleet.perf.roofline import Roofline

from .parts import CATALOG, worker

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT.parent / "shared" / "bench" / "calibration.csv"
sys.path.insert(0, str(ROOT / "tools"))

if TYPE_CHECKING:
    from calibration.dataset import Dataset


@pytest.fixture(scope="module")
def rows() -> Dataset:
    """The disaggregated rows that have one label."""
    if not TABLE.is_file():
        pytest.skip(f"{TABLE} is not there: the fit cannot be held against the product")
    from calibration.dataset import load

    data = load(TABLE, TABLE.parent / "labels", CATALOG)
    return data.take(np.flatnonzero(~data.is_mixed))


def test_the_ttft_that_is_fitted_is_the_one_that_a_closed_loop_shows(rows: Dataset) -> None:
    """The fit does not know the physical floor of a prefill's latency, which binds for short prompts."""
    from calibration.apart import _columns, _ttft
    from calibration.model import predict_apart

    tpot, shown = predict_apart(Calibrated(), rows)
    known = committed()
    effects = np.array(
        [
            sum((known.apart[level].get(levels[level], np.zeros(2)) for level in APART_LEVELS), np.zeros(2))
            for levels in map(apart_levels_of, rows.prefill)
        ]
    )
    columns = _columns(replace(rows, tpot_ms=tpot))
    fitted = _ttft(columns, known.apart_base, np.exp(effects[:, 0]), np.exp(effects[:, 1]))[0]
    apart = np.abs(fitted / shown - 1.0)
    asked = list(rows.prefill)
    floor = np.array([e.prefill_latency_ms for e in Roofline().estimate(asked) if isinstance(e, Estimate)])
    served = np.array([e.prefill_latency_ms for e in Calibrated().estimate(asked) if isinstance(e, Estimate)])
    is_free = served > 1.0001 * floor
    assert np.count_nonzero(is_free) > 200
    assert apart[is_free].max() < 1e-3
    assert apart.max() < 0.1


def test_a_prediction_uses_nothing_that_was_measured(rows: Dataset) -> None:
    from calibration.model import predict_apart

    few = rows.take(np.arange(0, len(rows), 9))
    other = replace(
        few,
        rows=tuple(replace(row, tpot_ms=1.0, ttft_ms=1e6) for row in few.rows),
        points=tuple(replace(point, batch=1.0) for point in few.points),
        tpot_ms=np.ones(len(few)),
        ttft_ms=np.full(len(few), 1e6),
    )
    for before, after in zip(
        predict_apart(Calibrated(), few), predict_apart(Calibrated(), other), strict=True
    ):
        assert np.array_equal(before, after)


def test_rows_that_were_fitted_come_out_near_what_was_measured(rows: Dataset) -> None:
    """Medians, for a few labels are wrong."""
    from calibration.model import predict_apart

    tpot, ttft = predict_apart(Calibrated(), rows)
    assert np.median(np.abs(tpot / rows.tpot_ms - 1.0)) < 0.06
    assert np.median(np.abs(ttft / rows.ttft_ms - 1.0)) < 0.25


def deepseek(concurrency: float, prefill_workers: int = 2, draft: Draft | None = None) -> Loop:
    wide = {"model": "deepseek-r1", "gpu": "gb200-nvl72", "engine_name": "trtllm"}
    replica = ReplicaSpec(
        prefill=worker(**wide, dp=4, ep=4),
        prefill_workers=prefill_workers,
        decode=worker(**wide, draft=draft, dp=32, ep=32),
        decode_workers=1,
        kv_link_bytes_per_s=4 * 900e9,
    )
    return Loop(replica, 1000.0, 1000.0, concurrency, batch_limit=1024.0)


def shown(loops: list[Loop]) -> list[LoopResult]:
    results = closed_loops(Calibrated(), loops)
    assert all(isinstance(r, LoopResult) for r in results), results
    return [r for r in results if isinstance(r, LoopResult)]


def test_more_in_flight_is_slower_and_brings_no_less() -> None:
    results = shown([deepseek(c) for c in (1, 8, 64, 256, 512, 1024, 2048)])
    for fewer, more in pairwise(results):
        assert more.tpot_ms >= fewer.tpot_ms
        assert more.ttft_ms > fewer.ttft_ms
        assert more.rate_req_per_s > 0.99 * fewer.rate_req_per_s


def test_another_prefill_worker_shortens_the_first_token() -> None:
    results = shown([deepseek(512, workers) for workers in (1, 2, 4, 8)])
    for fewer, more in pairwise(results):
        assert more.ttft_ms < fewer.ttft_ms


def test_beyond_the_batch_limit_a_request_waits_its_share_of_lives() -> None:
    within, beyond = shown([replace(deepseek(1536, 8), batch_limit=inf), deepseek(1536, 8)])
    assert within.ttft_ms < beyond.ttft_ms
    assert beyond.ttft_ms == pytest.approx(0.5 * 1000.0 * beyond.tpot_ms, rel=0.2)


def test_drafts_save_time_where_few_decode_together() -> None:
    plain, drafting = shown([deepseek(64), deepseek(64, draft=Draft(3, 2.8))])
    assert 0.4 * plain.tpot_ms < drafting.tpot_ms < 0.8 * plain.tpot_ms
