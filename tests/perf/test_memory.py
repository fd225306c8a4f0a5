"""Bytes by hand against bytes by the module."""

from __future__ import annotations

import pytest

from fleet.layout import ParallelismLayout, Precision
from fleet.perf.memory import (
    fits,
    held_tokens,
    kv_bytes_per_sequence,
    kv_bytes_per_token,
    weight_bytes_per_gpu,
    worker_memory,
)

from .parts import CATALOG, engine, worker

GB = 1e9


@pytest.mark.parametrize(
    ("model", "weights", "dense", "layout", "expected_gb"),
    [
        pytest.param("llama-3.3-70b", "fp8", "fp8", {}, 69.503 + 2 * 1.0507, id="fp8 dense weights are one byte, embeddings two"),
        pytest.param("llama-3.3-70b", "bf16", "bf16", {"tp": 4}, 141.107 / 4, id="tensor parallelism divides everything"),
        pytest.param("llama-3.3-70b", "bf16", "bf16", {"pp": 2}, 139.006 / 2 + 2.1013, id="a stage holds half the layers and the embedding"),
        pytest.param("deepseek-r1", "fp8", "fp8", {"dp": 8, "ep": 8}, 16.1909 + 2 * 0.92668 + 653.9088 / 8, id="attention ranks repeat the dense part and share the experts"),
        pytest.param("deepseek-r1", "nvfp4", "bf16", {"tp": 8}, (2 * 16.1909 + 2 * 0.92668 + 653.9088 * 0.5625) / 8, id="experts in nvfp4 beside bf16 attention"),
    ],
)  # fmt: skip
def test_weights_per_gpu(
    model: str, weights: str, dense: str, layout: dict[str, int], expected_gb: float
) -> None:
    card = CATALOG.models[model]
    got = weight_bytes_per_gpu(card, ParallelismLayout(**layout), Precision(weights), Precision(dense))
    assert got / GB == pytest.approx(expected_gb, rel=2e-4)


@pytest.mark.parametrize(
    ("model", "kv", "layout", "expected"),
    [
        pytest.param("llama-3.3-70b", "fp8", {"tp": 4}, 80 * 2 * 8 * 128, id="grouped heads are sharded up to their number"),
        pytest.param("llama-3.3-70b", "bf16", {"tp": 8}, 2 * 80 * 2 * 8 * 128, id="eight ranks, eight heads, one copy"),
        pytest.param("qwen3-235b-a22b", "bf16", {"tp": 8}, 2 * 2 * 94 * 2 * 4 * 128, id="eight ranks, four heads, two copies"),
        pytest.param("deepseek-r1", "fp8", {"tp": 8}, 8 * 61 * 576, id="the latent cache is copied to every rank"),
        pytest.param("deepseek-r1", "fp8", {"dp": 8, "ep": 8}, 61 * 576, id="attention ranks keep their own sequences only"),
        pytest.param("glm-5", "fp8", {}, 78 * (576 + 132), id="an indexer key and its scale beside the latent cache"),
        pytest.param("gpt-oss-120b", "bf16", {}, 2 * 18 * 2 * 8 * 64, id="only every second layer grows"),
    ],
)  # fmt: skip
def test_kv_bytes_per_token(model: str, kv: str, layout: dict[str, int], expected: float) -> None:
    assert kv_bytes_per_token(CATALOG.models[model], ParallelismLayout(**layout), Precision(kv)) == expected


def test_windows_and_linear_state_are_counted_by_the_sequence() -> None:
    windows = kv_bytes_per_sequence(CATALOG.models["gpt-oss-120b"], ParallelismLayout(), Precision.BF16)
    assert windows == 2 * 18 * 128 * 2 * 8 * 64
    state = kv_bytes_per_sequence(CATALOG.models["qwen3.5-397b-a17b"], ParallelismLayout(), Precision.BF16)
    assert state == CATALOG.models["qwen3.5-397b-a17b"].linear_state_bytes > 1e8


def test_each_engine_counts_its_own_fraction() -> None:
    """70B in FP8 leaves little on one H100: a fraction of the total leaves less than a fraction of the rest."""
    gpu = CATALOG.accelerators["h100-sxm"].hbm_bytes.value
    for name in ("vllm", "trtllm"):
        w = worker(engine_name=name)
        release = w.engine
        memory = worker_memory(w.model, w.accelerator, release, w.layout, w.weights, w.dense_weights, w.kv)
        fraction, reserve = release.kv_memory_fraction.value, release.reserve_bytes.value
        rest = gpu - memory.weight_bytes_per_gpu - reserve
        by_rule = (
            fraction * rest if name == "trtllm" else fraction * gpu - memory.weight_bytes_per_gpu - reserve
        )
        assert memory.kv_capacity_bytes == pytest.approx(by_rule)
        assert 0 < by_rule < rest


def test_tensorrt_reserves_the_whole_answer() -> None:
    assert held_tokens(engine("trtllm").id, 1000, 500) == 1500
    assert held_tokens(engine("vllm").id, 1000, 500) == 1300


def test_weights_larger_than_the_memory_do_not_fit() -> None:
    w = worker("deepseek-r1", "h100-sxm", tp=8)
    fault = fits(w.model, w.accelerator, w.engine, w.layout, w.weights, w.dense_weights, w.kv, 1000)
    assert fault is not None
    assert fault.reason == "does-not-fit"
    assert "84" in fault.detail


def test_every_attention_rank_needs_room_for_one_request() -> None:
    w = worker("deepseek-r1", "h200-sxm", dp=8, ep=8)
    args = (w.model, w.accelerator, w.engine, w.layout, w.weights, w.dense_weights, w.kv)
    capacity = worker_memory(*args).kv_capacity_tokens
    assert fits(*args, capacity / 8 * 0.99) is None
    assert fits(*args, capacity / 8 * 1.01) is not None
