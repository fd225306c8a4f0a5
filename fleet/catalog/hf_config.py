"""A model card from a Hugging Face config.json, its parameters counted from the shapes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NoReturn

from fleet.catalog.architectures import SHAPES, Shape
from fleet.catalog.fields import Fields, UnsupportedConfigError
from fleet.catalog.records import ModelCard
from fleet.layout import Precision

__all__ = ["SUPPORTED_ARCHITECTURES", "UnsupportedConfigError", "card_from_hf_config"]

SUPPORTED_ARCHITECTURES = tuple(SHAPES)
"""Hugging Face architecture classes that `card_from_hf_config` can count."""

LARGEST_TEXT = 4_000_000
"""Characters; a published config.json has a few thousand, with long quantisation lists a few hundred thousand."""

_PRECISION_BY_WORDS = (
    ({"nvfp4"}, Precision.NVFP4),
    ({"mxfp4"}, Precision.MXFP4),
    ({"fp8"}, Precision.FP8),
    ({"mxfp8"}, Precision.FP8),
    ({"float", "quantized"}, Precision.FP8),  # compressed-tensors' name of it
)
"""Words of a quantisation section that name the precision of the weights; the first line that is contained counts."""


def card_from_hf_config(text: str, name: str) -> ModelCard:
    """Return the card of the model that a config.json describes.

    Multimodal configurations are read through their `text_config`: the card is of the language model alone.
    The card has no checkpoints; where the weights lie is the user's to say.

    Args:
        text: The file's text, JSON.
        name: What to call the model; becomes the card's id and opens every message.

    Raises:
        UnsupportedConfigError: not JSON, an architecture that is not counted, a missing or impossible field.

    Source:
        Shapes as in the architectures' reference implementations (Hugging Face transformers); DeepSeek-V3,
        arXiv 2412.19437, sections 2.1 and 4.2.
    """
    config = Fields(_parse(text, name), name)
    architecture, count_shape = _find_architecture(config)
    body = config.find_section("text_config") or config
    shape = count_shape(body)
    hidden, vocab, layers = body.count("hidden_size"), body.count("vocab_size"), body.layers()
    tied = _read_tied(config, body)
    table, experts = vocab * hidden, shape.experts
    always = shape.block_params + hidden + table  # the final norm, and the output head (its own or the table)
    routed = experts.layers * experts.count * experts.params
    precision, note = _read_precision(config, body)
    return ModelCard(
        id=name,
        name=name,
        architecture=architecture,
        family=shape.family,
        total_params=always + routed + (0 if tied else table),
        active_params=always + experts.layers * experts.per_token * experts.params,
        embedding_params=0 if tied else table,
        layers=layers,
        moe_layers=experts.layers,
        hidden=hidden,
        **_shape_fields(shape),
        vocab=vocab,
        max_context_tokens=body.count("max_position_embeddings"),
        native_precision=precision,
        source=f"counted from the config.json of {name}",
        note=note,
    )


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _parse(text: str, name: str) -> dict[str, object]:
    if len(text) > LARGEST_TEXT:
        raise UnsupportedConfigError(f"{name}: the file has more than {LARGEST_TEXT} characters")
    try:
        parsed = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise UnsupportedConfigError(f"{name}: the file is nested too deeply") from None
    except ValueError as error:  # JSONDecodeError, refused constants, integers of thousands of digits
        raise UnsupportedConfigError(f"{name}: the file is not JSON ({error})") from None
    if not isinstance(parsed, dict):
        raise UnsupportedConfigError(f"{name}: the file holds no JSON object")
    return parsed


def _find_architecture(config: Fields) -> tuple[str, Callable[[Fields], Shape]]:
    listed = config.find_strings("architectures")
    if not listed:
        raise config.fault("architectures", "is missing")
    if listed[0] not in SHAPES:
        known = ", ".join(sorted(SHAPES))
        raise config.fault(
            "architectures", f"names {listed[0][:80]!r}, which is not among those counted: {known}"
        )
    return listed[0], SHAPES[listed[0]]


def _read_tied(config: Fields, body: Fields) -> bool:
    """A multimodal configuration may say it outside its text_config."""
    return body.flag("tie_word_embeddings", default=config.flag("tie_word_embeddings", default=False))


def _read_precision(config: Fields, body: Fields) -> tuple[Precision, str]:
    """Return the precision that the weights are published in, and a note where it is not one fleetc plans with."""
    section = config.find_section("quantization_config") or body.find_section("quantization_config")
    if section is None:
        return Precision.BF16, ""
    found = (section.find_string(key) for key in ("quant_method", "quant_algo", "format"))
    named = " ".join(name for name in found if name)
    words = set(re.findall("[a-z0-9]+", named.lower()))
    for needed, precision in _PRECISION_BY_WORDS:
        if needed <= words:
            return precision, ""
    return (
        Precision.BF16,
        f"published as {named[:60]!r}, which is not planned with; bf16 stands for the other layers",
    )


def _shape_fields(shape: Shape) -> dict[str, Any]:
    return {
        "heads": shape.heads,
        "kv_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "value_head_dim": shape.value_head_dim,
        "attention": shape.attention,
        "kv_lora_rank": shape.kv_lora_rank,
        "rope_head_dim": shape.rope_head_dim,
        "window": shape.window,
        "full_attention_layers": shape.full_attention_layers,
        "linear_state_bytes": shape.linear_state_bytes,
        "indexer_topk": shape.indexer_topk,
        "indexer_head_dim": shape.indexer_head_dim,
        "experts": shape.experts.count,
        "experts_per_token": shape.experts.per_token,
        "expert_params": shape.experts.params,
    }
