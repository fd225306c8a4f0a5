"""Tensor-parallel experts under data-parallel attention gather and scatter the tokens of all ranks."""

from __future__ import annotations

import pytest

from fleet.layout import Precision, Role
from fleet.perf.terms import decode_terms, latency_terms, prefill_terms
from fleet.perf.workers import batch_of

from .parts import CATALOG, point

LINKS = ("layer_tp", "layer_tp_log", "allreduce", "ep_layer", "ep_bytes")


def decode(batch: float = 64, model: str = "deepseek-r1", **layout: int) -> dict[str, float]:
    p = point(Role.MIXED, batch, model=model, gpu="h200-sxm", weights=Precision.FP8, **layout)
    return {name: float(term[0]) for name, term in decode_terms(batch_of([p]).table).items() if name in LINKS}


def prefill(model: str = "deepseek-r1", **layout: int) -> tuple[float, float]:
    """All-reduce of a prompt as it occupies the worker and as it takes alone, ms."""
    table = batch_of([point(Role.MIXED, 8, model=model, gpu="h200-sxm", **layout)]).table
    return float(prefill_terms(table)["allreduce"][0]), float(latency_terms(table)["allreduce"][0])


def test_a_gather_and_a_scatter_are_one_all_reduce_of_all_tokens_at_every_moe_layer() -> None:
    card = CATALOG.models["deepseek-r1"]
    tensor, data = decode(tp=8), decode(dp=8)
    share = card.moe_layers / (2 * card.layers)
    for name in ("layer_tp", "layer_tp_log", "allreduce"):
        assert data[name] == pytest.approx(share * tensor[name])
    assert data["ep_layer"] == data["ep_bytes"] == 0.0


def test_a_prompt_is_gathered_too() -> None:
    card = CATALOG.models["deepseek-r1"]
    share = card.moe_layers / (2 * card.layers)
    for gathered, reduced in zip(prefill(dp=8), prefill(tp=8), strict=True):
        assert gathered == pytest.approx(share * reduced)


@pytest.mark.parametrize(
    ("model", "layout"),
    [("qwen3-30b-a3b", {"tp": 1}), ("deepseek-r1", {"dp": 8, "ep": 8}), ("llama-3.3-70b", {"dp": 8})],
    ids=["one GPU", "expert-parallel", "dense"],
)
def test_nothing_is_gathered_where_no_expert_is_shared(model: str, layout: dict[str, int]) -> None:
    terms = decode(model=model, **layout)
    assert terms["layer_tp"] == terms["layer_tp_log"] == terms["allreduce"] == 0.0
    assert prefill(model, **layout) == (0.0, 0.0)


def test_attention_in_ranks_of_two_reduces_inside_and_gathers_outside() -> None:
    mixed, reduced = decode(tp=2, dp=4), decode(tp=2, dp=4, ep=8)
    assert mixed["layer_tp"] == reduced["layer_tp"]
    assert mixed["layer_tp_log"] > reduced["layer_tp_log"] == 0.0
    assert mixed["allreduce"] > reduced["allreduce"] > 0.0


def test_gathered_bytes_grow_with_the_batch_and_with_the_ranks() -> None:
    sent = {
        (batch, ranks): decode(batch, "qwen3-30b-a3b", dp=ranks)["allreduce"]
        for batch, ranks in ((64, 2), (64, 4), (64, 8), (128, 8))
    }
    assert sent[128, 8] == pytest.approx(2 * sent[64, 8])
    assert sent[64, 8] > sent[64, 4] > sent[64, 2] > 0.0
