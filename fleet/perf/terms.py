"""The physical terms of a worker's time, each at the hardware's peak: what the roofline bounds and the fit scales.

Symbols: B requests in the worker, b = B / dp of one attention rank, v = 1 + draft tokens verified in a step,
A tokens emitted by a step, n = GPUs of a stage, c mean context of a running request, p new prompt tokens.

decode, for each emitted token                              prefill of one request
    dense weights    W_d / tp / bw · r                          compute     p · 2 (a_d / tp dp + a_e / n) / peak
    expert weights   W_e · touched(B v) / n / bw · r            attention   QK and AV over the causal half
    kv, state        b · bytes(c) / shard / bw · r              all-reduce  p · (2 L - g) · ring(tp) / link
    compute          B v · 2 (a_d / tp dp + a_e / n) / peak · r    all-to-all  p · L_moe · ranks(k) · hidden · 1.5 bytes / link
    attention        b v · QK and AV over c / peak · r          weights     every weight once
    all-reduce       b v · (2 L - g) · ring(tp) / link · r         gather, scatter  p · g · ring(n) / link
    gather, scatter  B v · g · ring(n) / link · r
    all-to-all       b v · L_moe · ranks(k) · hidden · 1.5 bytes / link · r
    counts           steps, layers, layers with collectives, MoE layers, layers with all-to-all, sequences

    touched(x) = 1 - (1 - k / E)^x        r = (1 + draft / L) / A        ring(m) = 2 (m - 1) / m · hidden · 2 bytes
    g = L_moe where experts are tensor-parallel over more GPUs than attention (ep = 1, n > tp), else 0

Pipeline stages pass pp micro-batches round: a token meets every layer once, with B / pp requests beside it.
Terms in bytes or FLOPs are milliseconds at peak; counts are in thousands, so that a coefficient reads as microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from fleet.catalog.records import Accelerator, ModelCard
from fleet.layout import ParallelismLayout, Precision
from fleet.perf.interface import Bound, Point
from fleet.perf.memory import indexer_bytes_per_token, kv_bytes

Columns = NDArray[np.float64]

DECODE_TERMS = (
    "dense_weights", "expert_weights", "kv", "state", "compute", "attention", "step", "layer", "layer_tp",
    "layer_tp_log", "allreduce", "moe_layer", "ep_layer", "ep_bytes", "sequence", "draft",
)  # fmt: skip
BESIDE_TERMS = ("beside_compute", "beside_attention", "beside_allreduce", "beside_layer")
STEP_TERMS = DECODE_TERMS + BESIDE_TERMS
PREFILL_TERMS = ("compute", "attention", "allreduce", "alltoall", "weights")

TERM_BOUND = {
    "dense_weights": Bound.MEMORY, "expert_weights": Bound.MEMORY, "kv": Bound.MEMORY, "state": Bound.MEMORY,
    "weights": Bound.MEMORY,
    "compute": Bound.COMPUTE, "attention": Bound.COMPUTE,
    "allreduce": Bound.COMMUNICATION, "layer_tp": Bound.COMMUNICATION, "layer_tp_log": Bound.COMMUNICATION,
    "ep_layer": Bound.COMMUNICATION, "ep_bytes": Bound.COMMUNICATION, "alltoall": Bound.COMMUNICATION,
    "step": Bound.FIXED, "layer": Bound.FIXED, "moe_layer": Bound.FIXED, "sequence": Bound.FIXED,
    "draft": Bound.FIXED, "constant": Bound.FIXED,
}  # fmt: skip

INDEXER_HEADS = 32
"""Least number of indexer heads of a published sparse-attention model (GLM-5 config.json; DeepSeek-V3.2 has 64)."""

DISPATCH_AND_COMBINE_BYTES = 1.5
"""Bytes of one activation element to an expert's rank and back, the least an engine offers: FP4 out, FP8 back."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One worker's constants: whatever does not depend on batch and lengths. Times are ms at peak, for one unit."""

    dense_weights_ms: float  # all dense weights of a rank read once
    expert_weights_ms: float  # all routed weights of a GPU read once
    kv_ms_per_token: float  # of growing context, one sequence
    window_ms_per_token: float  # of context inside the window, one sequence
    topk_ms_per_token: float  # of context inside the sparse attention's choice, one sequence
    state_ms: float  # linear-attention state read and written, one sequence
    compute_ms_per_token: float  # one token through the whole worker
    routed_ms_per_token: float  # of which experts, which all GPUs of the worker share
    attend_ms: float  # one query token against one key, all layers that see everything
    attend_window_ms: float
    attend_topk_ms: float
    index_ms: float
    prefill_attend_scale: float  # prefill attends with uncompressed keys: its cost against attend_ms
    allreduce_ms_per_token: float  # of a token's own rank
    gather_ms_per_token: float  # of any token of the stage
    alltoall_ms_per_token: float
    window: float
    topk: float
    layers: float
    moe_layers: float
    expert_share: float  # k / E, 0 for dense models
    joined_layers: float  # layers whose two all-reduces join GPUs; half ones where one of the two does
    joined_layers_log: float  # the same, each times log2(GPUs) - 1
    ep_log: float
    pp: float
    dp: float
    cp: float
    verified: float  # 1 + draft tokens
    emitted: float  # tokens of one step of a sequence
    draft: float


SHAPE_FIELDS = tuple(f.name for f in fields(Shape))


def compute_flops(accelerator: Accelerator, precision: Precision) -> float | None:
    """Return the dense FLOP/s at which weights of this precision are multiplied; None when the hardware cannot.

    MXFP4 weights are widened to the fastest format at hand (gpt-oss experts: FP8 on Blackwell, BF16 on Hopper).
    """
    rates = accelerator.dense_flops
    if precision is Precision.MXFP4:
        wide = Precision.BF16 if accelerator.generation == "hopper" else Precision.FP8
        return (rates.get(Precision.MXFP4) or rates[wide]).value
    rate = rates.get(precision)
    return None if rate is None else rate.value


def stage_link(accelerator: Accelerator, gpus: int) -> float:
    """Return the bytes/s one way that join so many GPUs: NVLink inside a domain, the NIC beyond it."""
    inside = gpus <= accelerator.domain_gpus
    return (accelerator.nvlink_bytes_per_s if inside else accelerator.nic_bytes_per_s).value


@dataclass(frozen=True, slots=True)
class _Attend:
    """FLOPs of one query token against one key, by what the layer sees, whole model; and prefill's cost against decode's."""

    full: float
    window: float
    topk: float
    index: float
    prefill_scale: float


def _attend_flops(model: ModelCard) -> _Attend:
    if not model.kv_lora_rank:
        per_layer = 4.0 * model.heads * model.head_dim
        window_layers = model.layers - model.full_attention_layers if model.window else 0
        return _Attend(per_layer * model.full_attention_layers, per_layer * window_layers, 0.0, 0.0, 1.0)
    absorbed = 2.0 * model.heads * (2 * model.kv_lora_rank + model.rope_head_dim)
    expanded = 2.0 * model.heads * (model.head_dim + model.value_head_dim)
    everything = absorbed * model.layers
    if not model.indexer_topk:
        return _Attend(everything, 0.0, 0.0, 0.0, expanded / absorbed)
    index = 2.0 * INDEXER_HEADS * model.indexer_head_dim * model.layers
    return _Attend(0.0, 0.0, everything, index, expanded / absorbed)


@dataclass(frozen=True, slots=True)
class _CacheBytes:
    """Bytes of KV cache read for one token of context by one rank, by what the layer sees."""

    full: float
    window: float
    topk: float


def _cache_bytes(model: ModelCard, layout: ParallelismLayout, kv: Precision) -> _CacheBytes:
    shard = 1 if model.kv_lora_rank else min(layout.tp, model.kv_heads)
    element_bytes = kv_bytes(kv) / shard / layout.cp
    everything = model.kv_elements_per_token * element_bytes
    if not model.indexer_topk:
        window = model.window_kv_elements / model.window * element_bytes if model.window else 0.0
        return _CacheBytes(everything, window, 0.0)
    return _CacheBytes(indexer_bytes_per_token(model) / layout.cp, 0.0, everything)


@dataclass(frozen=True, slots=True)
class _Collectives:
    """Two collectives of every layer: all-reduces under tensor parallelism, or a gather and scatter round its experts.

    Tensor-parallel experts under data-parallel attention need every rank's tokens: all-gather before, reduce-scatter
    after, together as much as one all-reduce of the tokens of the whole stage.
    """

    allreduces: int
    gathers: int
    allreduce_gpus: int
    gather_gpus: int

    @property
    def joined(self) -> tuple[float, float]:
        """Return the pairs of collectives that join GPUs, and the same weighted by log2(GPUs) - 1."""
        of_each = ((self.allreduces, self.allreduce_gpus), (self.gathers, self.gather_gpus))
        pairs = [(count / 2.0, float(np.log2(gpus))) for count, gpus in of_each if gpus > 1]
        return sum(n for n, _ in pairs), sum(n * max(log - 1.0, 0.0) for n, log in pairs)


def _collectives(point: Point) -> _Collectives:
    layout = point.layout
    gathers = point.model.moe_layers if layout.ep == 1 and layout.stage_gpus > layout.tp else 0
    return _Collectives(2 * point.model.layers - gathers, gathers, layout.tp, layout.stage_gpus)


def _ring_ms(point: Point, gpus: int) -> float:
    """Return what the all-reduce of one token takes on the links that join so many GPUs."""
    sent = 2.0 * (gpus - 1) / gpus * point.model.hidden * 2.0
    return 1e3 * sent / stage_link(point.accelerator, gpus)


def _alltoall_ms(point: Point) -> float:
    """Return what one token takes on the links of its rank: it goes once to each other rank that has one of its experts."""
    model, layout = point.model, point.layout
    remote_ranks = (layout.ep - 1) * (1.0 - (1.0 - 1.0 / layout.ep) ** model.experts_per_token)
    sent = model.moe_layers * remote_ranks * model.hidden * DISPATCH_AND_COMBINE_BYTES
    return 1e3 * sent / stage_link(point.accelerator, layout.stage_gpus if layout.ep > 1 else 1)


def shape_of(point: Point) -> Shape:
    """Return the constants of a point's worker; its precisions must exist on the accelerator."""
    model, gpu, layout = point.model, point.accelerator, point.layout
    ms_per_byte = 1e3 / gpu.hbm_bytes_per_s.value
    dense_flops = compute_flops(gpu, point.dense_weights)
    expert_flops = compute_flops(gpu, point.weights)
    bf16_flops = compute_flops(gpu, Precision.BF16)
    assert dense_flops
    assert expert_flops
    assert bf16_flops
    # Two FLOPs for each parameter and token.
    dense_ms = 2e3 * model.active_dense_params / dense_flops / layout.tp
    routed_ms = 2e3 * model.active_routed_params / expert_flops / layout.stage_gpus
    attend = _attend_flops(model)
    cache = _cache_bytes(model, layout, point.kv)
    attend_ms = 1e3 / bf16_flops / layout.tp
    collectives = _collectives(point)
    joined_layers, joined_layers_log = collectives.joined
    return Shape(
        dense_weights_ms=model.active_dense_params * point.dense_weights.bits / 8 / layout.tp * ms_per_byte,
        expert_weights_ms=model.routed_params * point.weights.bits / 8 / layout.stage_gpus * ms_per_byte,
        kv_ms_per_token=cache.full * ms_per_byte,
        window_ms_per_token=cache.window * ms_per_byte,
        topk_ms_per_token=cache.topk * ms_per_byte,
        state_ms=2.0 * model.linear_state_bytes / layout.tp * ms_per_byte,
        compute_ms_per_token=dense_ms / layout.dp / layout.cp + routed_ms,
        routed_ms_per_token=routed_ms,
        attend_ms=attend.full * attend_ms,
        attend_window_ms=attend.window * attend_ms,
        attend_topk_ms=attend.topk * attend_ms,
        index_ms=attend.index * 1e3 / (compute_flops(gpu, Precision.FP8) or bf16_flops) / layout.tp,
        prefill_attend_scale=attend.prefill_scale,
        allreduce_ms_per_token=collectives.allreduces * _ring_ms(point, layout.tp),
        gather_ms_per_token=collectives.gathers * _ring_ms(point, layout.stage_gpus),
        alltoall_ms_per_token=_alltoall_ms(point),
        window=float(model.window),
        topk=float(model.indexer_topk),
        layers=float(model.layers),
        moe_layers=float(model.moe_layers),
        expert_share=model.experts_per_token / model.experts if model.experts else 0.0,
        joined_layers=joined_layers,
        joined_layers_log=joined_layers_log,
        ep_log=float(np.log2(layout.ep)),
        pp=float(layout.pp),
        dp=float(layout.dp),
        cp=float(layout.cp),
        verified=1.0 + (point.draft.tokens if point.draft else 0),
        emitted=point.draft.acceptance_length if point.draft else 1.0,
        draft=float(point.draft.tokens) if point.draft else 0.0,
    )


@dataclass(frozen=True, slots=True)
class Table:
    """Points as columns, each of shape (N,): their workers' constants and what varies within a worker."""

    shape: dict[str, Columns]
    batch: Columns
    isl: Columns
    osl: Columns
    cached: Columns

    @property
    def context(self) -> Columns:
        """Mean context of a running request: its prompt and half its answer."""
        return self.isl + self.osl / 2.0


def table_of(points: Sequence[Point], shapes: Sequence[Shape], worker: NDArray[np.intp]) -> Table:
    """Spread the constants of `shapes` over points; `worker[i]` is the shape of point i."""
    rows = np.array([[getattr(s, name) for name in SHAPE_FIELDS] for s in shapes], dtype=np.float64)
    spread = rows.reshape(len(shapes), len(SHAPE_FIELDS)).T[:, worker]
    lengths = np.array([(p.batch, p.isl, p.osl, p.cached_prefix) for p in points], dtype=np.float64)
    batch, isl, osl, cached = np.ascontiguousarray(lengths.reshape(len(points), 4).T)
    return Table(dict(zip(SHAPE_FIELDS, spread, strict=True)), batch, isl, osl, cached)


def touched_share(expert_share: Columns, tokens: Columns) -> Columns:
    """Expected share of experts that `tokens` tokens with independent uniform routing touch, 0 for dense models."""
    return np.where(expert_share > 0, -np.expm1(tokens * np.log1p(-np.minimum(expert_share, 1 - 1e-12))), 0.0)


def decode_terms(t: Table) -> dict[str, Columns]:
    """Return DECODE_TERMS of one emitted token of `batch` requests, each of shape (N,)."""
    s = t.shape
    repeat = (1.0 + s["draft"] / s["layers"]) / s["emitted"]
    together = t.batch / s["pp"]  # requests in one pass through a stage
    rank = together / s["dp"]
    context = t.context
    seen_window, seen_topk = np.minimum(context, s["window"]), np.minimum(context, s["topk"])
    cache = s["kv_ms_per_token"] * context + s["window_ms_per_token"] * seen_window
    cache = cache + s["topk_ms_per_token"] * seen_topk
    attend = s["attend_ms"] * context + s["attend_window_ms"] * seen_window
    attend = attend + s["attend_topk_ms"] * seen_topk + s["index_ms"] * context
    sent = rank * s["allreduce_ms_per_token"] + together * s["gather_ms_per_token"]
    verified, thousand_layers = together * s["verified"], s["layers"] * 1e-3 * repeat
    moe_layers = s["moe_layers"] * 1e-3 * repeat
    return {
        "dense_weights": s["dense_weights_ms"] * repeat,
        "expert_weights": s["expert_weights_ms"] * touched_share(s["expert_share"], verified) * repeat,
        "kv": rank * cache * repeat,
        "state": rank * s["state_ms"] * repeat,
        "compute": verified * s["compute_ms_per_token"] * repeat,
        "attention": rank * s["verified"] * attend * repeat,
        "step": 1.0 / s["emitted"],
        "layer": thousand_layers,
        "layer_tp": s["joined_layers"] * 1e-3 * repeat,
        "layer_tp_log": s["joined_layers_log"] * 1e-3 * repeat,
        "allreduce": sent * s["verified"] * repeat,
        "moe_layer": moe_layers,
        "ep_layer": s["ep_log"] * moe_layers,
        "ep_bytes": rank * s["verified"] * s["alltoall_ms_per_token"] * repeat,
        "sequence": t.batch / s["dp"] * 1e-3 / s["emitted"],
        "draft": s["draft"] / s["emitted"],
    }


def attended_ms(t: Table) -> Columns:
    """Return the attention time of one prompt on its rank at peak: new tokens against cached and earlier ones."""
    s = t.shape
    new = np.maximum(t.isl - t.cached, 1.0)
    seen = t.cached + new / 2.0
    keys = s["attend_ms"] * seen + s["attend_window_ms"] * np.minimum(seen, s["window"])
    keys = keys + s["attend_topk_ms"] * np.minimum(seen, s["topk"])
    return new * (keys * s["prefill_attend_scale"] + s["index_ms"] * seen) / s["cp"]


def prefill_terms(t: Table) -> dict[str, Columns]:
    """Return PREFILL_TERMS of one request as the time its prefill occupies the whole worker, each of shape (N,).

    Attention ranks prefill side by side, pipeline stages one behind the other: both divide the occupied time.
    """
    s = t.shape
    new = np.maximum(t.isl - t.cached, 1.0)
    return {
        "compute": new * s["compute_ms_per_token"] / s["pp"],
        "attention": attended_ms(t) / s["dp"] / s["pp"],
        "allreduce": new
        * (s["allreduce_ms_per_token"] / s["dp"] / s["cp"] + s["gather_ms_per_token"])
        / s["pp"],
        "alltoall": new * s["alltoall_ms_per_token"] / s["dp"] / s["cp"] / s["pp"],
        "weights": (s["dense_weights_ms"] + s["expert_weights_ms"] * touched_share(s["expert_share"], new))
        / s["pp"],
    }


def latency_terms(t: Table) -> dict[str, Columns]:
    """Return PREFILL_TERMS of one request alone: its own rank computes attention, all GPUs share the experts."""
    s = t.shape
    new = np.maximum(t.isl - t.cached, 1.0)
    return {
        "compute": new
        * ((s["compute_ms_per_token"] - s["routed_ms_per_token"]) * s["dp"] + s["routed_ms_per_token"]),
        "attention": attended_ms(t),
        "allreduce": new * (s["allreduce_ms_per_token"] / s["cp"] + s["gather_ms_per_token"]),
        "alltoall": new * s["alltoall_ms_per_token"] / s["cp"],
        "weights": s["dense_weights_ms"] + s["expert_weights_ms"] * touched_share(s["expert_share"], new),
    }


def beside_terms(t: Table) -> dict[str, Columns]:
    """Return BESIDE_TERMS: what one request's prefill can add to the decoding of the others, each of shape (N,)."""
    occupied = prefill_terms(t)
    return {
        "beside_compute": occupied["compute"],
        "beside_attention": occupied["attention"],
        "beside_allreduce": occupied["allreduce"],
        "beside_layer": t.shape["layers"] * 1e-3 / t.shape["dp"],
    }
