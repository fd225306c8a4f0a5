"""Model cards from config.json: every architecture, and files that are wrong in every way."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.catalog.hf_config import SUPPORTED_ARCHITECTURES, UnsupportedConfigError, card_from_hf_config
from fleet.catalog.records import Attention, ModelCard
from fleet.layout import Precision

CONFIGS = {
    path.stem: json.loads(path.read_text())
    for path in sorted((Path(__file__).parent / "configs").glob("*.json"))
}
LLAMA = CONFIGS["llama-3.1-8b"]

# Small shapes, with parameters counted by hand: hidden 8, 2 layers, 4 heads of width 2, vocabulary 10.
TINY = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 10,
    "max_position_embeddings": 100,
}
ATTENTION = 8 * 8 + 2 * 8 * 4 + 8 * 8  # q, k and v, o
MLP, NORMS, TABLE, FINAL = 3 * 8 * 16, 2 * 8, 10 * 8, 8

COUNTED: list[tuple[str, str, dict[str, Any], int, int]] = [  # architecture, what is special, fields, total, active
    ("LlamaForCausalLM", "plain", {}, 2 * (ATTENTION + MLP + NORMS) + FINAL + 2 * TABLE, 2 * (ATTENTION + MLP + NORMS) + FINAL + TABLE),
    ("LlamaForCausalLM", "tied", {"tie_word_embeddings": True}, 2 * (ATTENTION + MLP + NORMS) + FINAL + TABLE, 2 * (ATTENTION + MLP + NORMS) + FINAL + TABLE),
    ("MistralForCausalLM", "null head_dim", {"head_dim": None, "sliding_window": None}, 2 * (ATTENTION + MLP + NORMS) + FINAL + 2 * TABLE, 2 * (ATTENTION + MLP + NORMS) + FINAL + TABLE),
    ("Qwen2ForCausalLM", "biases on q, k, v", {}, 2 * (ATTENTION + 16 + MLP + NORMS) + FINAL + 2 * TABLE, 2 * (ATTENTION + 16 + MLP + NORMS) + FINAL + TABLE),
    ("Qwen3ForCausalLM", "norms on q and k", {}, 2 * (ATTENTION + 4 + MLP + NORMS) + FINAL + 2 * TABLE, 2 * (ATTENTION + 4 + MLP + NORMS) + FINAL + TABLE),
    ("MixtralForCausalLM", "3 experts, 2 used", {"num_local_experts": 3, "num_experts_per_tok": 2}, 2 * (ATTENTION + NORMS + 24 + 3 * MLP) + FINAL + 2 * TABLE, 2 * (ATTENTION + NORMS + 24 + 2 * MLP) + FINAL + TABLE),
    ("Qwen3MoeForCausalLM", "one dense layer", {"num_experts": 3, "num_experts_per_tok": 1, "moe_intermediate_size": 4, "mlp_only_layers": [0]}, 2 * (ATTENTION + NORMS + 4) + MLP + 24 + 3 * 96 + FINAL + 2 * TABLE, 2 * (ATTENTION + NORMS + 4) + MLP + 24 + 96 + FINAL + TABLE),
]  # fmt: skip


@pytest.mark.parametrize(
    ("architecture", "what", "fields", "total", "active"), COUNTED, ids=[f"{r[0]} {r[1]}" for r in COUNTED]
)
def test_small_shapes_are_counted_as_by_hand(
    architecture: str, what: str, fields: dict[str, Any], total: int, active: int
) -> None:
    card = card_from_hf_config(json.dumps({**TINY, "architectures": [architecture], **fields}), "tiny")
    assert (card.total_params, card.active_params) == (total, active), what


def test_every_supported_architecture_is_counted_in_some_test() -> None:
    shipped = {config["architectures"][0] for config in CONFIGS.values()}
    assert shipped | {row[0] for row in COUNTED} == set(SUPPORTED_ARCHITECTURES)


WINDOWS: list[tuple[str, str, dict[str, Any], int, int]] = [  # what, architecture, fields, window, full layers
    ("Mistral windows every layer", "MistralForCausalLM", {"sliding_window": 50}, 50, 0),
    ("Qwen2 ignores a window that is switched off", "Qwen2ForCausalLM", {"sliding_window": 50, "use_sliding_window": False}, 0, 2),
    ("Qwen2 keeps full attention below max_window_layers", "Qwen2ForCausalLM", {"sliding_window": 50, "use_sliding_window": True, "max_window_layers": 1}, 50, 1),
    ("layer_types come before max_window_layers", "Qwen3ForCausalLM", {"sliding_window": 50, "use_sliding_window": True, "layer_types": ["full_attention", "full_attention"]}, 50, 2),
]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "architecture", "fields", "window", "full_layers"), WINDOWS, ids=[r[0] for r in WINDOWS]
)
def test_sliding_windows_are_read(
    what: str, architecture: str, fields: dict[str, Any], window: int, full_layers: int
) -> None:
    card = card_from_hf_config(json.dumps({**TINY, "architectures": [architecture], **fields}), "tiny")
    assert (card.window, card.full_attention_layers) == (window, full_layers), what
    assert (card.attention is Attention.SLIDING) == (window > 0)
    assert card.window_kv_elements == (2 - full_layers) * window * 2 * 2 * 2


QUANTISED: list[tuple[dict[str, Any], Precision, bool]] = [  # section, precision, whether a note explains it
    ({"quant_method": "fp8", "fmt": "e4m3"}, Precision.FP8, False),
    ({"quant_method": "fbgemm_fp8"}, Precision.FP8, False),
    ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, Precision.NVFP4, False),
    ({"quant_method": "modelopt", "quant_algo": "FP8"}, Precision.FP8, False),
    ({"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"}, Precision.NVFP4, False),
    ({"quant_method": "compressed-tensors", "format": "float-quantized"}, Precision.FP8, False),
    ({"quant_method": "compressed-tensors", "format": "pack-quantized"}, Precision.BF16, True),
    ({"quant_method": "mxfp4"}, Precision.MXFP4, False),
    ({"quant_method": "awq"}, Precision.BF16, True),
    ({"quant_method": "w4afp8"}, Precision.BF16, True),
    ({}, Precision.BF16, True),
]


@pytest.mark.parametrize(
    ("section", "precision", "is_noted"), QUANTISED, ids=[json.dumps(r[0]) for r in QUANTISED]
)
def test_the_native_precision_is_read_and_never_guessed_silently(
    section: dict[str, Any], precision: Precision, is_noted: bool
) -> None:
    card = card_from_hf_config(json.dumps({**LLAMA, "quantization_config": section}), "llama")
    assert card.native_precision is precision
    assert bool(card.note) is is_noted


HOSTILE: list[tuple[str, str, str]] = [  # what, text, what the message says
    ("an empty file", "", "not JSON"),
    ("no JSON", "hidden_size: 4096", "not JSON"),
    ("a list", "[]", "no JSON object"),
    ("a number", "1", "no JSON object"),
    ("deep nesting", "[" * 100_000, "nested too deeply"),
    ("deep nesting inside", '{"a":' * 50_000 + "1" + "}" * 50_000, "nested too deeply"),
    ("a huge file", " " * 4_000_001, "more than 4000000 characters"),
    ("an integer of thousands of digits", '{"hidden_size": ' + "9" * 10_000 + "}", "not JSON"),
    ("NaN", '{"hidden_size": NaN}', "NaN is no JSON number"),
    ("infinity", '{"hidden_size": -Infinity}', "-Infinity is no JSON number"),
    ("no architecture", "{}", "architectures is missing"),
    ("an empty list of architectures", '{"architectures": []}', "architectures is missing"),
    ("an architecture that is a number", '{"architectures": [7]}', "must be a list of strings"),
    ("an architecture that is a string", '{"architectures": "LlamaForCausalLM"}', "must be a list"),
    ("an unknown architecture", '{"architectures": ["GPT2LMHeadModel"]}', "'GPT2LMHeadModel', which is not among"),
    ("a surrogate in a name", '{"architectures": ["\\ud800"]}', "not among"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "text", "message"), HOSTILE, ids=[row[0] for row in HOSTILE])
def test_a_file_that_is_no_configuration_is_refused_with_the_reason(
    what: str, text: str, message: str
) -> None:
    with pytest.raises(UnsupportedConfigError, match=message) as caught:
        card_from_hf_config(text, "x.json")
    assert str(caught.value).startswith("x.json: ")
    assert len(str(caught.value)) < 800


WRONG_FIELDS: list[tuple[str, str, dict[str, Any], str]] = [  # what, model, change, message
    ("a string where a number belongs", "llama-3.1-8b", {"hidden_size": "4096"}, "hidden_size must be a whole number, not '4096'"),
    ("a fraction", "llama-3.1-8b", {"hidden_size": 4096.5}, "hidden_size must be a whole number"),
    ("a truth value", "llama-3.1-8b", {"num_hidden_layers": True}, "num_hidden_layers must be a whole number"),
    ("negative layers", "llama-3.1-8b", {"num_hidden_layers": -2}, "num_hidden_layers must lie between 1 and 4096, not -2"),
    ("no layers", "llama-3.1-8b", {"num_hidden_layers": 0}, "must lie between 1"),
    ("a huge number", "llama-3.1-8b", {"vocab_size": 10**30}, "vocab_size must lie between 1 and 100000000, not a far larger number"),
    ("a nested list", "llama-3.1-8b", {"intermediate_size": [[1]]}, "intermediate_size must be a whole number, not a list"),
    ("a missing field", "llama-3.1-8b", {"intermediate_size": None}, "intermediate_size is missing"),
    ("heads that do not divide", "llama-3.1-8b", {"num_key_value_heads": 7}, "7 does not divide the 32 attention heads"),
    ("a width that heads do not divide", "llama-3.1-8b", {"hidden_size": 4097}, "head_dim is missing"),
    ("more experts used than there are", "qwen3-30b-a3b", {"num_experts_per_tok": 129}, "129 is more than the 128 experts"),
    ("a dense layer that does not exist", "qwen3-30b-a3b", {"mlp_only_layers": [48]}, "layer numbers from 0 to 47"),
    ("a dense layer twice", "qwen3-30b-a3b", {"mlp_only_layers": [1, 1]}, "different layer numbers"),
    ("layer types of another length", "gpt-oss-20b", {"layer_types": ["full_attention"]}, "lists 1 layers where num_hidden_layers is 24"),
    ("an unusual spacing of experts", "deepseek-r1", {"moe_layer_freq": 2}, "moe_layer_freq is supported with the value 1"),
    ("an indexer without query compression", "deepseek-v3.2", {"q_lora_rank": None}, "q_lora_rank is missing"),
    ("a text_config that is a list", "llama-3.1-8b", {"text_config": [1]}, "text_config must be a mapping"),
    ("a quantisation that is a string", "llama-3.1-8b", {"quantization_config": "fp8"}, "quantization_config must be a mapping"),
    ("a method that is a list", "llama-3.1-8b", {"quantization_config": {"quant_method": []}}, "quant_method must be a string"),
    ("a tie that is a number", "llama-3.1-8b", {"tie_word_embeddings": 1}, "tie_word_embeddings must be true or false"),
    ("a window on Mixtral", "llama-3.1-8b", {"architectures": ["MixtralForCausalLM"], "sliding_window": 9}, "sliding_window is not supported"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "model", "change", "message"), WRONG_FIELDS, ids=[row[0] for row in WRONG_FIELDS]
)
def test_a_wrong_field_is_named_with_what_was_found(
    what: str, model: str, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnsupportedConfigError, match=message):
        card_from_hf_config(json.dumps({**CONFIGS[model], **change}), what)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-3, 300) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_value_in_any_field_gives_a_card_or_the_reason(data: st.DataObject) -> None:
    config = json.loads(json.dumps(CONFIGS[data.draw(st.sampled_from(sorted(CONFIGS)))]))
    body = config.get("text_config", config)
    for key in data.draw(st.lists(st.sampled_from(sorted(body)), min_size=1, max_size=3)):
        body[key] = data.draw(JSON_VALUES)
    _gives_a_card_or_the_reason(json.dumps(config))


@settings(max_examples=200, deadline=None)
@given(text=st.text() | st.builds(json.dumps, JSON_VALUES))
def test_any_text_gives_a_card_or_the_reason(text: str) -> None:
    _gives_a_card_or_the_reason(text)


def _gives_a_card_or_the_reason(text: str) -> None:
    try:
        card = card_from_hf_config(text, "x")
    except UnsupportedConfigError:
        return
    assert isinstance(card, ModelCard)
    assert 0 < card.active_params <= card.total_params


def test_the_largest_numbers_that_are_allowed_take_no_time() -> None:
    config = {
        **CONFIGS["qwen3-30b-a3b"],
        "num_hidden_layers": 4096,
        "vocab_size": 10**8,
        "hidden_size": 10**8,
        "num_experts": 10**8,
    }
    begin = time.process_time()
    assert card_from_hf_config(json.dumps(config), "large").total_params > 10**20
    assert time.process_time() - begin < 1
