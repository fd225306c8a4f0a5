"""Parameter counts of the transformer architectures, from the shapes of their published configurations.

    total  = V h + A + L_moe E e            V  vocabulary, h  hidden width
    active = A + L_moe k e                  A  parameters that every token multiplies: attention, dense and
                                               shared MLPs, routers, norms, output head
    e      = 3 h m                          e  one routed expert of one layer, m  its inner width
    GQA    = h d (2 H + 2 K)                H  query heads, K  key-value heads, d  head width
    MLA    = h q + q H (n + r) + h (c + r) + c H (n + v) + H v h
                                            q, c  ranks of the query and key-value compressions,
                                            n, r  key widths without and with rotary position, v  value width

Where the output head shares the embedding table, V h is counted once and belongs to A. Draft (multi-token
prediction) layers and vision towers are not counted: neither runs when a text token is decoded plainly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from fleet.catalog.fields import Fields
from fleet.catalog.records import Attention

FP32_BYTES = 4
BF16_BYTES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """Routed experts: `layers` layers hold `count` experts of `params` each, of which a token uses `per_token`."""

    layers: int = 0
    count: int = 0
    per_token: int = 0
    params: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What one architecture needs beside the fields all of them share."""

    attention: Attention
    family: str
    block_params: int  # all layers together, outside routed experts
    heads: int
    kv_heads: int
    head_dim: int
    full_attention_layers: int
    experts: Experts = Experts()
    value_head_dim: int = 0
    kv_lora_rank: int = 0
    rope_head_dim: int = 0
    window: int = 0
    linear_state_bytes: int = 0
    indexer_topk: int = 0
    indexer_head_dim: int = 0


@dataclass(frozen=True, slots=True)
class _Heads:
    """Grouped-query attention of one layer."""

    heads: int
    kv_heads: int
    head_dim: int

    def params(self, hidden: int, *, qkv_bias: bool = False, output_bias: bool = False) -> int:
        query, key_value = self.heads * self.head_dim, 2 * self.kv_heads * self.head_dim
        bias = (query + key_value if qkv_bias else 0) + (hidden if output_bias else 0)
        return hidden * (2 * query + key_value) + bias


def _read_heads(fields: Fields) -> _Heads:
    heads = fields.count("num_attention_heads")
    kv_heads = fields.count("num_key_value_heads", default=heads)
    if heads % kv_heads:
        raise fields.fault("num_key_value_heads", f"{kv_heads} does not divide the {heads} attention heads")
    head_dim = fields.find_count("head_dim")
    if head_dim is None:
        hidden = fields.count("hidden_size")
        if hidden % heads:
            raise fields.fault("head_dim", f"is missing and {heads} heads do not divide hidden_size {hidden}")
        head_dim = hidden // heads
    return _Heads(heads, kv_heads, head_dim)


def _gated_mlp(hidden: int, inner: int) -> int:
    return 3 * hidden * inner


def _dense(
    fields: Fields,
    *,
    qkv_bias: bool = False,
    output_bias: bool = False,
    qk_norm: bool = False,
    has_window_by_default: bool = False,
) -> Shape:
    """Grouped-query attention and a gated MLP in every layer."""
    hidden, layers = fields.count("hidden_size"), fields.layers()
    heads = _read_heads(fields)
    attention = heads.params(hidden, qkv_bias=qkv_bias, output_bias=output_bias)
    norms = 2 * hidden + (2 * heads.head_dim if qk_norm else 0)
    layer = attention + _gated_mlp(hidden, fields.count("intermediate_size")) + norms
    window, full_layers = _read_window(fields, layers, has_window_by_default)
    return Shape(
        attention=Attention.SLIDING if window else Attention.GQA,
        family="sliding" if window else "dense",
        block_params=layers * layer,
        heads=heads.heads,
        kv_heads=heads.kv_heads,
        head_dim=heads.head_dim,
        full_attention_layers=full_layers,
        window=window,
    )


def _read_window(fields: Fields, layers: int, has_window_by_default: bool) -> tuple[int, int]:
    """Return the window in tokens (0: none) and the number of layers that attend to the whole context."""
    window = fields.find_count("sliding_window") or 0
    if not window or not fields.flag("use_sliding_window", default=has_window_by_default):
        return 0, layers
    if (listed := _find_full_layers(fields, layers)) is not None:
        return window, listed
    return window, min(fields.count("max_window_layers", default=0, minimum=0), layers)


def _find_full_layers(fields: Fields, layers: int) -> int | None:
    """Return how many layers `layer_types` lists as full attention, or None where it lists nothing."""
    listed = fields.find_strings("layer_types")
    if listed is None:
        return None
    if len(listed) != layers:
        raise fields.fault("layer_types", f"lists {len(listed)} layers where num_hidden_layers is {layers}")
    return listed.count("full_attention")


def _llama(fields: Fields) -> Shape:
    bias = fields.flag("attention_bias", default=False)
    return _dense(fields, qkv_bias=bias, output_bias=bias)


def _mistral(fields: Fields) -> Shape:
    return _dense(fields, has_window_by_default=True)


def _qwen2(fields: Fields) -> Shape:
    return _dense(fields, qkv_bias=True)


def _qwen3(fields: Fields) -> Shape:
    bias = fields.flag("attention_bias", default=False)
    return _dense(fields, qkv_bias=bias, output_bias=bias, qk_norm=True)


def _read_experts(fields: Fields, count_key: str, inner_key: str, moe_layers: int) -> Experts:
    count, per_token = fields.count(count_key), fields.count("num_experts_per_tok")
    if per_token > count:
        raise fields.fault("num_experts_per_tok", f"{per_token} is more than the {count} experts")
    expert = _gated_mlp(fields.count("hidden_size"), fields.count(inner_key))
    return Experts(layers=moe_layers, count=count, per_token=per_token, params=expert)


def _moe(fields: Fields, experts: Experts, *, qk_norm_params: int, router_bias: bool) -> Shape:
    """Grouped-query attention with routed experts; layers without experts have a gated MLP."""
    hidden, layers = fields.count("hidden_size"), fields.layers()
    heads = _read_heads(fields)
    block = layers * (heads.params(hidden) + 2 * hidden + qk_norm_params)
    block += experts.layers * experts.count * (hidden + (1 if router_bias else 0))
    if experts.layers < layers:
        block += (layers - experts.layers) * _gated_mlp(hidden, fields.count("intermediate_size"))
    return Shape(
        attention=Attention.GQA,
        family="moe",
        block_params=block,
        heads=heads.heads,
        kv_heads=heads.kv_heads,
        head_dim=heads.head_dim,
        full_attention_layers=layers,
        experts=experts,
    )


def _qwen3_moe(fields: Fields) -> Shape:
    layers = fields.layers()
    step = fields.count("decoder_sparse_step", default=1)
    dense = fields.find_layer_indices("mlp_only_layers", layers)
    moe_layers = sum((i + 1) % step == 0 and i not in dense for i in range(layers))
    experts = _read_experts(fields, "num_experts", "moe_intermediate_size", moe_layers)
    return _moe(fields, experts, qk_norm_params=2 * _read_heads(fields).head_dim, router_bias=False)


def _mixtral(fields: Fields) -> Shape:
    if fields.find_count("sliding_window"):
        raise fields.fault("sliding_window", "is not supported for this architecture")
    experts = _read_experts(fields, "num_local_experts", "intermediate_size", fields.layers())
    return _moe(fields, experts, qk_norm_params=0, router_bias=False)


def _minimax_m2(fields: Fields) -> Shape:
    heads = _read_heads(fields)
    norm = (heads.heads + heads.kv_heads) * heads.head_dim if fields.flag("use_qk_norm", default=True) else 0
    experts = _read_experts(fields, "num_local_experts", "intermediate_size", fields.layers())
    return _moe(fields, experts, qk_norm_params=norm, router_bias=True)


def _gpt_oss(fields: Fields) -> Shape:
    """Every linear layer has a bias, every head an attention sink; sliding windows alternate with full attention."""
    hidden, layers = fields.count("hidden_size"), fields.layers()
    heads, window = _read_heads(fields), fields.count("sliding_window")
    plain = _read_experts(fields, "num_local_experts", "intermediate_size", layers)
    bias = 2 * fields.count("intermediate_size") + hidden
    attention = heads.params(hidden, qkv_bias=True, output_bias=True) + heads.heads
    listed = _find_full_layers(fields, layers)
    return Shape(
        attention=Attention.SLIDING,
        family="sliding",
        block_params=layers * (attention + 2 * hidden + plain.count * (hidden + 1)),
        heads=heads.heads,
        kv_heads=heads.kv_heads,
        head_dim=heads.head_dim,
        full_attention_layers=layers // 2 if listed is None else listed,
        window=window,
        experts=Experts(
            layers=layers, count=plain.count, per_token=plain.per_token, params=plain.params + bias
        ),
    )


def _deepseek(fields: Fields) -> Shape:
    """Latent attention; the first layers are dense, the others have shared and routed experts."""
    hidden, layers = fields.count("hidden_size"), fields.layers()
    heads, rope = fields.count("num_attention_heads"), fields.count("qk_rope_head_dim")
    nope, value = fields.count("qk_nope_head_dim"), fields.count("v_head_dim")
    query_rank, kv_rank = fields.find_count("q_lora_rank"), fields.count("kv_lora_rank")
    query_width = heads * (nope + rope)
    query = hidden * query_width if query_rank is None else query_rank * (hidden + 1 + query_width)
    key_value = hidden * (kv_rank + rope) + kv_rank + kv_rank * heads * (nope + value)
    attention = query + key_value + heads * value * hidden
    dense_layers = min(fields.count("first_k_dense_replace", default=0, minimum=0), layers)
    if fields.count("moe_layer_freq", default=1) != 1:
        raise fields.fault("moe_layer_freq", "is supported with the value 1 only")
    experts = _read_experts(fields, "n_routed_experts", "moe_intermediate_size", layers - dense_layers)
    shared = fields.count("n_shared_experts", default=0, minimum=0) * experts.params
    block = layers * (attention + 2 * hidden) + experts.layers * (shared + experts.count * (hidden + 1))
    if dense_layers:
        block += dense_layers * _gated_mlp(hidden, fields.count("intermediate_size"))
    return Shape(
        attention=Attention.MLA,
        family="mla",
        block_params=block,
        heads=heads,
        kv_heads=1,
        head_dim=nope + rope,
        value_head_dim=value,
        full_attention_layers=layers,
        kv_lora_rank=kv_rank,
        rope_head_dim=rope,
        experts=experts,
    )


def _deepseek_sparse(fields: Fields) -> Shape:
    """Latent attention over the tokens that an indexer with its own small heads has picked."""
    latent, hidden = _deepseek(fields), fields.count("hidden_size")
    heads, width = fields.count("index_n_heads"), fields.count("index_head_dim")
    layer = fields.count("q_lora_rank") * heads * width + hidden * (width + heads) + 2 * width
    return replace(
        latent,
        attention=Attention.SPARSE,
        family="sparse",
        block_params=latent.block_params + latent.full_attention_layers * layer,
        indexer_topk=fields.count("index_topk"),
        indexer_head_dim=width,
    )


def _qwen3_5_moe(fields: Fields) -> Shape:
    """Gated delta networks in most layers, gated full attention in the rest, a gated shared expert everywhere."""
    hidden, layers = fields.count("hidden_size"), fields.layers()
    heads = _read_heads(fields)
    listed = _find_full_layers(fields, layers)
    full_layers = layers // fields.count("full_attention_interval", default=4) if listed is None else listed
    gate = hidden * heads.heads * heads.head_dim
    full = heads.params(hidden) + gate + 2 * heads.head_dim
    key_heads, value_heads = fields.count("linear_num_key_heads"), fields.count("linear_num_value_heads")
    key_dim, value_dim = fields.count("linear_key_head_dim"), fields.count("linear_value_head_dim")
    taps = fields.count("linear_conv_kernel_dim")
    mixed = 2 * key_heads * key_dim + value_heads * value_dim
    value_width = value_heads * value_dim
    linear = hidden * (mixed + 2 * value_width + 2 * value_heads) + mixed * taps + 2 * value_heads + value_dim
    experts = _read_experts(fields, "num_experts", "moe_intermediate_size", layers)
    shared = _gated_mlp(hidden, fields.count("shared_expert_intermediate_size")) + hidden
    state = value_heads * key_dim * value_dim * FP32_BYTES + mixed * (taps - 1) * BF16_BYTES
    block = full_layers * full + (layers - full_layers) * linear
    return Shape(
        attention=Attention.LINEAR,
        family="linear",
        block_params=block + layers * (2 * hidden + hidden * experts.count + shared),
        heads=heads.heads,
        kv_heads=heads.kv_heads,
        head_dim=heads.head_dim,
        full_attention_layers=full_layers,
        linear_state_bytes=(layers - full_layers) * state,
        experts=experts,
    )


SHAPES: Mapping[str, Callable[[Fields], Shape]] = {
    "LlamaForCausalLM": _llama,
    "MistralForCausalLM": _mistral,
    "Qwen2ForCausalLM": _qwen2,
    "Qwen3ForCausalLM": _qwen3,
    "Qwen3MoeForCausalLM": _qwen3_moe,
    "MixtralForCausalLM": _mixtral,
    "MiniMaxM2ForCausalLM": _minimax_m2,
    "GptOssForCausalLM": _gpt_oss,
    "DeepseekV3ForCausalLM": _deepseek,
    "KimiK25ForConditionalGeneration": _deepseek,
    "DeepseekV32ForCausalLM": _deepseek_sparse,
    "GlmMoeDsaForCausalLM": _deepseek_sparse,
    "Qwen3_5MoeForConditionalGeneration": _qwen3_5_moe,
}
"""The architectures that can be counted, by Hugging Face class."""
