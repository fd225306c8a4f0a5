"""The floor lies below every calibrated estimate and below nearly every measurement."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.layout import Precision, Role
from fleet.perf.calibrated import Calibrated
from fleet.perf.coefficients import committed
from fleet.perf.interface import Basis, Bound, Estimate, Point
from fleet.perf.memory import held_tokens
from fleet.perf.roofline import Roofline
from fleet.perf.rows import RowFault, read_row

from .parts import CATALOG, TABLE, WITHOUT_TABLE, point, worker

LAYOUTS = ({"tp": 1}, {"tp": 2}, {"tp": 8}, {"tp": 4, "pp": 2}, {"tp": 8, "ep": 8}, {"dp": 8, "ep": 8}, {"tp": 2, "dp": 4, "ep": 8}, {"dp": 32, "ep": 32})  # fmt: skip


@st.composite
def points(draw: st.DrawFn) -> Point:
    model = draw(st.sampled_from(sorted(CATALOG.models)))
    spec = worker(
        model,
        draw(st.sampled_from(sorted(CATALOG.accelerators))),
        draw(st.sampled_from(["vllm", "sglang", "trtllm"])),
        draw(st.sampled_from(list(Precision))),
        draw(st.sampled_from([Precision.BF16, Precision.FP8])),
        draw(st.sampled_from([Precision.BF16, Precision.FP8])),
        **draw(st.sampled_from(LAYOUTS)),
    )
    isl = draw(st.floats(1, 30_000))
    return spec.point(
        draw(st.sampled_from(list(Role))),
        batch=draw(st.floats(1, 4096)),
        isl=isl,
        osl=draw(st.floats(1, 8000)),
        cached_prefix=draw(st.floats(0, 1)) * isl,
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(points(), min_size=1, max_size=20))
def test_no_calibrated_time_is_below_the_floor(asked: list[Point]) -> None:
    least, priced = Roofline().estimate(asked), Calibrated().estimate(asked)
    for p, floor, estimate in zip(asked, least, priced, strict=True):
        assert isinstance(floor, Estimate) == isinstance(estimate, Estimate), p
        if isinstance(floor, Estimate) and isinstance(estimate, Estimate):
            assert estimate.decode_step_ms >= floor.decode_step_ms
            assert estimate.prefill_ms >= floor.prefill_ms
            assert estimate.prefill_latency_ms >= floor.prefill_latency_ms
            assert floor.provenance.basis is Basis.FLOOR


@pytest.mark.parametrize("role", list(Role))
def test_the_floor_binds_where_coefficients_would_beat_it(role: Role) -> None:
    true = committed()
    impossible = replace(
        true,
        step_base=true.step_base - 20.0,
        first_token_base=true.first_token_base - 20.0,
        apart_base=true.apart_base - 20.0,
    )
    asked = [
        point(role, model="deepseek-r1", gpu="b200-hgx", engine_name="trtllm", dp=8, ep=8),
        point(role, tp=2),
    ]
    for floor, estimate in zip(
        Roofline().estimate(asked), Calibrated(impossible).estimate(asked), strict=True
    ):
        assert isinstance(floor, Estimate)
        assert isinstance(estimate, Estimate)
        assert estimate.decode_step_ms == floor.decode_step_ms > 0
        assert estimate.prefill_ms == floor.prefill_ms > 0
        assert estimate.prefill_latency_ms == floor.prefill_latency_ms


def test_a_step_of_one_request_reads_the_weights_and_a_large_one_computes() -> None:
    small, large = Roofline().estimate(
        [point(batch=1, isl=10, osl=2, tp=4), point(batch=4000, isl=10, osl=2, tp=4)]
    )
    assert isinstance(small, Estimate)
    assert isinstance(large, Estimate)
    assert small.decode_bound is Bound.MEMORY
    assert small.decode_step_ms == pytest.approx(69.503e9 / 4 / 3.35e12 * 1e3, rel=1e-3)
    assert large.decode_bound is Bound.COMPUTE
    assert large.decode_step_ms == pytest.approx(4000 * 2 * 69.503e9 / 4 / 1979e12 * 1e3, rel=1e-2)


def test_measurements_do_not_beat_the_floor() -> None:
    """Rows below it have a batch smaller than their label says (out of KV cache) or are known to be wrong: under 1 %."""
    if not TABLE.is_file():
        pytest.skip(WITHOUT_TABLE)
    asked, measured = [], []
    with TABLE.open(newline="") as file:
        for record in csv.DictReader(file):
            try:
                row = read_row(record, CATALOG)
            except RowFault:
                continue
            decoder = row.replica.decoder
            first = Roofline().estimate([decoder.point(Role.MIXED, batch=1, isl=row.isl, osl=row.osl)])[0]
            if isinstance(first, Estimate) and row.tpot_ms:
                held = (
                    held_tokens(decoder.engine.id, row.isl, row.osl)
                    + first.kv_bytes_per_sequence / first.kv_bytes_per_token
                )
                batch = max(min(row.concurrency, first.kv_capacity_tokens / held), 1.0)
                asked.append(decoder.point(Role.MIXED, batch=batch, isl=row.isl, osl=row.osl))
                measured.append(row.tpot_ms)
    least = [e.decode_step_ms for e in Roofline().estimate(asked) if isinstance(e, Estimate)]
    below = np.array(measured) < np.array(least)
    assert len(measured) > 1900
    assert below.mean() < 0.01
