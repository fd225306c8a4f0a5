"""Model cards against the public parameter table and against their own configurations."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from fleet.catalog.hf_config import card_from_hf_config
from fleet.catalog.load import load_catalog
from fleet.catalog.records import Attention, ModelCard
from fleet.layout import Precision

MODELS = load_catalog().models
CONFIGS = Path(__file__).parent / "configs"
TABLE = Path(__file__).parents[3] / "shared" / "facts" / "model_params.csv"

REPOSITORIES = {
    "llama-3.1-8b": "meta-llama/Meta-Llama-3.1-8B",
    "llama-3.3-70b": "meta-llama/Meta-Llama-3.1-70B",
    "llama-3.1-405b": "meta-llama/Meta-Llama-3.1-405B",
    "qwen3-8b": "Qwen/Qwen3-8B",
    "qwen3-32b": "Qwen/Qwen3-32B",
    "qwen3-30b-a3b": "Qwen/Qwen3-30B-A3B",
    "qwen3-235b-a22b": "Qwen/Qwen3-235B-A22B",
    "qwen3.5-397b-a17b": "Qwen/Qwen3.5-397B-A17B",
    "deepseek-v3": "deepseek-ai/DeepSeek-V3",
    "deepseek-r1": "deepseek-ai/DeepSeek-R1",
    "deepseek-v3.2": "deepseek-ai/DeepSeek-V3.2",
    "gpt-oss-20b": "openai/gpt-oss-20b",
    "gpt-oss-120b": "openai/gpt-oss-120b",
    "kimi-k2": "moonshotai/Kimi-K2-Instruct",
    "kimi-k2.5": "moonshotai/Kimi-K2.5",
    "glm-5": "zai-org/GLM-5",
    "minimax-m2.5": "MiniMaxAI/MiniMax-M2.5",
}

COLUMNS = [
    ("layers", "layers"),
    ("hidden", "hidden"),
    ("heads", "heads"),
    ("vocab", "vocab"),
    ("experts", "experts"),
    ("experts_per_token", "top_k"),
]


def published(model_id: str) -> dict[str, str]:
    if not TABLE.exists():
        pytest.skip("model_params.csv, the published parameter table, is not beside this checkout")
    with TABLE.open() as file:
        return next(row for row in csv.DictReader(file) if row["model"] == REPOSITORIES[model_id])


def read_config(model_id: str) -> str:
    return (CONFIGS / f"{model_id}.json").read_text()


def test_the_catalogue_has_the_models_that_have_a_row() -> None:
    assert set(MODELS) == set(REPOSITORIES)


@pytest.mark.parametrize("model_id", sorted(REPOSITORIES))
def test_parameters_are_within_1_percent_of_the_published_table(model_id: str) -> None:
    card, row = MODELS[model_id], published(model_id)
    assert card.total_params == pytest.approx(float(row["total_B"]) * 1e9, rel=0.01)
    assert card.active_params == pytest.approx(float(row["active_B"]) * 1e9, rel=0.01)
    assert card.active_params + card.embedding_params == pytest.approx(
        float(row["active_plus_embed_B"]) * 1e9, rel=0.01
    )


@pytest.mark.parametrize("model_id", sorted(REPOSITORIES))
def test_shapes_are_those_of_the_published_table(model_id: str) -> None:
    card, row = MODELS[model_id], published(model_id)
    assert {ours: getattr(card, ours) for ours, _ in COLUMNS} == {
        ours: int(row[theirs]) for ours, theirs in COLUMNS
    }


@pytest.mark.parametrize("model_id", sorted(REPOSITORIES))
def test_kv_elements_agree_with_the_published_table(model_id: str) -> None:
    card, row = MODELS[model_id], published(model_id)
    if card.attention is Attention.SLIDING:
        # The table counts every layer; the layers with a window stop growing at the window and are counted apart.
        assert card.window_kv_elements == (card.layers - card.full_attention_layers) * 128 * 2 * 8 * 64
        assert card.kv_elements_per_token + card.window_kv_elements // card.window == int(
            row["kv_elems_per_token"]
        )
    else:
        assert card.kv_elements_per_token == int(row["kv_elems_per_token"])


@pytest.mark.parametrize("model_id", sorted(REPOSITORIES))
def test_a_card_equals_what_is_counted_from_the_configuration(model_id: str) -> None:
    own = {"id", "name", "source", "license", "note", "checkpoints"}
    counted = card_from_hf_config(read_config(model_id), model_id)
    assert MODELS[model_id].model_dump(exclude=own) == counted.model_dump(exclude=own)


@pytest.mark.parametrize("model_id", sorted(REPOSITORIES))
def test_the_parts_add_up_exactly(model_id: str) -> None:
    card = MODELS[model_id]
    assert card.dense_params + card.moe_layers * card.experts * card.expert_params == card.total_params
    assert card.active_dense_params + card.active_routed_params == card.active_params
    assert card.active_dense_params + card.embedding_params == card.dense_params


ATTENTION = [  # model, kind, layers with full attention, KV elements per token
    ("llama-3.3-70b", Attention.GQA, 80, 163840),
    ("deepseek-r1", Attention.MLA, 61, 35136),
    ("deepseek-v3.2", Attention.SPARSE, 61, 35136),
    ("gpt-oss-120b", Attention.SLIDING, 18, 18432),
    ("gpt-oss-20b", Attention.SLIDING, 12, 12288),
    ("qwen3.5-397b-a17b", Attention.LINEAR, 15, 15360),
]


@pytest.mark.parametrize(("model_id", "kind", "full_layers", "elements"), ATTENTION)
def test_attention_is_of_the_right_kind(
    model_id: str, kind: Attention, full_layers: int, elements: int
) -> None:
    card = MODELS[model_id]
    assert (card.attention, card.full_attention_layers, card.kv_elements_per_token) == (
        kind,
        full_layers,
        elements,
    )


def test_linear_attention_keeps_a_state_of_fixed_size() -> None:
    recurrent, convolution = 64 * 128 * 128 * 4, (2 * 16 * 128 + 64 * 128) * 3 * 2
    assert MODELS["qwen3.5-397b-a17b"].linear_state_bytes == 45 * (recurrent + convolution)


def test_sparse_attention_keeps_an_indexer_key_beside_the_cache() -> None:
    assert MODELS["deepseek-v3.2"].indexer_elements_per_token == 61 * 128
    assert MODELS["deepseek-r1"].indexer_elements_per_token == 0


@pytest.mark.parametrize("card", MODELS.values(), ids=lambda card: card.id)
def test_checkpoints_are_one_for_each_precision_and_sourced(card: ModelCard) -> None:
    precisions = [checkpoint.precision for checkpoint in card.checkpoints]
    assert precisions
    assert len(precisions) == len(set(precisions))
    for checkpoint in card.checkpoints:
        assert checkpoint.uri.startswith("hf://")
        assert checkpoint.uri.count("/") == 3
        assert checkpoint.uri.removeprefix("hf://") in checkpoint.source


@pytest.mark.parametrize("card", [c for c in MODELS.values() if c.is_moe], ids=lambda card: card.id)
def test_a_four_bit_mixture_of_experts_says_what_its_other_layers_keep(card: ModelCard) -> None:
    four_bit = [c for c in card.checkpoints if c.precision in {Precision.NVFP4, Precision.MXFP4}]
    assert all(c.dense_precision is Precision.BF16 for c in four_bit)


NATIVE = [
    ("deepseek-r1", Precision.FP8),
    ("kimi-k2", Precision.FP8),
    ("minimax-m2.5", Precision.FP8),
    ("gpt-oss-120b", Precision.MXFP4),
    ("llama-3.3-70b", Precision.BF16),
]


@pytest.mark.parametrize(("model_id", "precision"), NATIVE)
def test_the_native_precision_has_its_checkpoint(model_id: str, precision: Precision) -> None:
    card = MODELS[model_id]
    assert card.native_precision is precision
    assert precision in {checkpoint.precision for checkpoint in card.checkpoints}


def test_the_int4_checkpoint_of_kimi_k2_5_is_left_out_and_said_so() -> None:
    card = MODELS["kimi-k2.5"]
    assert [c.uri for c in card.checkpoints] == ["hf://nvidia/Kimi-K2.5-NVFP4"]
    assert "int4" in card.note


SIZES: list[
    tuple[str, Any, float]
] = [  # gigabytes of weights as the checkpoints' cards or file lists give them
    ("llama-3.3-70b", Precision.BF16, 141.1),
    ("deepseek-r1", Precision.FP8, 671.0),
]


@pytest.mark.parametrize(("model_id", "precision", "gigabytes"), SIZES)
def test_weights_are_as_large_as_published(model_id: str, precision: Precision, gigabytes: float) -> None:
    assert MODELS[model_id].total_params * precision.bits / 8 / 1e9 == pytest.approx(gigabytes, rel=0.01)
