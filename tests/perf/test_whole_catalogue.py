"""Every model on every accelerator with every engine: no estimate beats physics, and times grow where physics says so."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest

from fleet.catalog.records import EngineId
from fleet.layout import ParallelismLayout, Role
from fleet.perf.calibrated import Calibrated
from fleet.perf.interface import Estimate, Point, Unsupported
from fleet.perf.memory import weight_bytes_per_gpu, worker_memory
from fleet.perf.roofline import Roofline

from .parts import CATALOG, engine

LAYOUTS = tuple(
    ParallelismLayout(**widths)
    for widths in (
        {"tp": 1}, {"tp": 2}, {"tp": 4}, {"tp": 8}, {"tp": 16}, {"tp": 8, "pp": 2}, {"tp": 8, "ep": 8}, {"dp": 4}, {"dp": 8, "ep": 8},
        {"dp": 16, "ep": 16}, {"tp": 2, "dp": 4, "ep": 8}, {"dp": 32, "ep": 32},
    )
)  # fmt: skip
BATCHES = (1.0, 7.0, 64.0, 512.0, 4096.0)
LENGTHS = ((128.0, 1.0, 0.0), (1000.0, 1000.0, 0.0), (8000.0, 1000.0, 6000.0))
TINY = 1.0 + 2e-5
"""Estimates have six digits."""


@cache
def asked(engine_name: str) -> list[Point]:
    """Every supported form at every batch and length, prompts and answers apart: a few ten thousand points."""
    points = []
    for model in CATALOG.models.values():
        for gpu in CATALOG.accelerators.values():
            for checkpoint in model.checkpoints:
                for layout in LAYOUTS:
                    for role in Role:
                        first = Point(
                            model, gpu, engine(engine_name), role, layout, checkpoint.precision,
                            checkpoint.dense_precision or checkpoint.precision, model.checkpoints[0].precision, 1.0, 1.0, 1.0,
                        )  # fmt: skip
                        kv = next(p for p in first.engine.kv_precisions if p.bits == 16)
                        points += [
                            replace(first, kv=kv, batch=b, isl=isl, osl=osl, cached_prefix=cached)
                            for b in BATCHES
                            for isl, osl, cached in LENGTHS
                        ]
    return points


@cache
def answers(engine_name: str) -> tuple[list[Estimate | Unsupported], list[Estimate | Unsupported]]:
    return Calibrated().estimate(asked(engine_name)), Roofline().estimate(asked(engine_name))


@pytest.mark.parametrize("engine_name", [e.value for e in EngineId])
def test_no_estimate_is_faster_than_dense_peak(engine_name: str) -> None:
    compared = 0
    for point, own, floor in zip(asked(engine_name), *answers(engine_name), strict=True):
        assert isinstance(own, Unsupported) == isinstance(floor, Unsupported), (point.model.id, own, floor)
        if isinstance(own, Unsupported) or isinstance(floor, Unsupported):
            continue
        compared += 1
        where = (point.model.id, point.accelerator.id, point.layout.label, point.role, point.batch)
        assert own.decode_step_ms * TINY >= floor.decode_step_ms > 0, where
        assert own.prefill_ms * TINY >= floor.prefill_ms > 0, where
        assert own.prefill_latency_ms * TINY >= floor.prefill_latency_ms, where
        assert own.relative_error_p90 > 0, where
    assert compared > 15_000


@pytest.mark.parametrize("engine_name", [e.value for e in EngineId])
def test_steps_grow_with_the_batch_and_prefills_with_the_prompt(engine_name: str) -> None:
    points, (own, floors) = asked(engine_name), answers(engine_name)
    each = len(LENGTHS)
    checked = 0
    for estimates in (own, floors):
        for i in range(0, len(points), each * len(BATCHES)):
            grid = [estimates[i + k : i + k + each] for k in range(0, each * len(BATCHES), each)]
            for small, large in pairwise(grid):
                for a, b in zip(small, large, strict=True):
                    if isinstance(a, Estimate) and isinstance(b, Estimate):
                        checked += 1
                        assert b.decode_step_ms * TINY >= a.decode_step_ms, points[i]
            for row in grid:
                a, b = row[0], row[1]
                if isinstance(a, Estimate) and isinstance(b, Estimate):
                    assert b.prefill_ms * TINY >= a.prefill_ms, points[i]
                    assert b.decode_step_ms * TINY >= a.decode_step_ms, (points[i], "context")
    assert checked > 15_000


def test_wider_workers_hold_less_weight_on_each_gpu_and_more_context() -> None:
    for model in CATALOG.models.values():
        for gpu in CATALOG.accelerators.values():
            checkpoint = model.checkpoints[-1]
            formats = (checkpoint.precision, checkpoint.dense_precision or checkpoint.precision)
            kv = next(p for p in engine("vllm").kv_precisions if p.bits == 16)
            for widths in ([1, 2, 4, 8, 16], [2, 4, 8, 16, 32]):
                made = [
                    ParallelismLayout(tp=n) if widths[0] == 1 else ParallelismLayout(dp=n, ep=n)
                    for n in widths
                    if widths[0] == 1 or (model.is_moe and model.experts % n == 0)
                ]
                held = [weight_bytes_per_gpu(model, layout, *formats) for layout in made]
                assert held == sorted(held, reverse=True), (model.id, gpu.id)
                rooms = [
                    worker_memory(model, gpu, engine("vllm"), layout, *formats, kv).kv_capacity_bytes
                    for layout in made
                ]
                assert rooms == sorted(rooms), (model.id, gpu.id)


@pytest.mark.parametrize("batch", [1.0, 64.0])
def test_the_floor_of_a_step_falls_with_the_width_inside_a_domain(batch: float) -> None:
    """Weights are read and products computed by more GPUs; only the links could take longer, and their floor is small."""
    for model in CATALOG.models.values():
        for gpu in CATALOG.accelerators.values():
            checkpoint = model.checkpoints[-1]
            kv = next(p for p in engine("vllm").kv_precisions if p.bits == 16)
            steps = []
            for tp in (1, 2, 4, 8):
                if model.heads % tp:
                    continue
                point = Point(
                    model, gpu, engine("vllm"), Role.DECODE, ParallelismLayout(tp=tp), checkpoint.precision,
                    checkpoint.dense_precision or checkpoint.precision, kv, batch, 1000.0, 200.0,
                )  # fmt: skip
                answer = Roofline().estimate([point])[0]
                if isinstance(answer, Estimate):
                    steps.append(answer.decode_step_ms)
            assert steps == sorted(steps, reverse=True), (model.id, gpu.id, steps)
