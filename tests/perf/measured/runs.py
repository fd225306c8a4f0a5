"""Measurements made up from what the model predicts."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

from fleet.catalog.load import load_catalog
from fleet.catalog.records import ModelCard
from fleet.layout import ParallelismLayout, Precision
from fleet.perf.calibrated import Calibrated
from fleet.perf.closed_loop import Loop, LoopResult, closed_loops
from fleet.perf.measured.measurement import Measurement
from fleet.perf.replica import ReplicaSpec, WorkerSpec


def worker(tp: int = 1, model: ModelCard | None = None) -> WorkerSpec:
    """Llama-3.1-8B in BF16 with vLLM on H100: a cell that the calibration data does not have."""
    catalog = load_catalog()
    card = model or catalog.models["llama-3.1-8b"]
    engine = next(e for e in catalog.engines if e.id.value == "vllm")
    layout = ParallelismLayout(tp=tp)
    bf16 = Precision.BF16
    return WorkerSpec(card, catalog.accelerators["h100-sxm"], engine, layout, bf16, bf16, bf16)


def mixed(concurrency: float, tp: int = 1, model: ModelCard | None = None) -> Loop:
    return Loop(ReplicaSpec(mixed=worker(tp, model)), 2000.0, 300.0, concurrency, batch_limit=256.0)


def apart(concurrency: float) -> Loop:
    """DeepSeek-R1 in FP8, four prefill workers and one wide decode worker, on GB200."""
    catalog = load_catalog()
    engine = next(e for e in catalog.engines if e.id.value == "trtllm")
    form = WorkerSpec(
        catalog.models["deepseek-r1"],
        catalog.accelerators["gb200-nvl72"],
        engine,
        ParallelismLayout(dp=8, ep=8),
        Precision.FP8,
        Precision.FP8,
        Precision.FP8,
    )
    replica = ReplicaSpec(
        prefill=form,
        prefill_workers=4,
        decode=replace(form, layout=ParallelismLayout(dp=32, ep=32)),
        decode_workers=1,
        kv_link_bytes_per_s=9e11 * 8,
    )
    return Loop(replica, 8000.0, 1000.0, concurrency, batch_limit=2048.0)


def predicted(loop: Loop, model: Calibrated | None = None) -> LoopResult:
    [result] = closed_loops(model or Calibrated(), [loop])
    assert isinstance(result, LoopResult), result
    return result


def measured(loop: Loop, tpot: float = 1.0, ttft: float = 1.0, name: str = "run.json") -> Measurement:
    """A run that showed so many times what is predicted."""
    result = predicted(loop)
    digest = sha256(f"{name} {loop.concurrency} {tpot} {ttft}".encode()).hexdigest()
    return Measurement(loop, result.tpot_ms * tpot, result.ttft_ms * ttft, name, digest)
