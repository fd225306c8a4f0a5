"""Bytes of one worker: weights for each GPU, KV cache for each token, and the room each engine's own rule leaves.

weights   w  = (dense / tp + routed / stage) · layers of the largest stage / layers + embedding / tp
per token    κ = n_full · width · bytes · copies          copies = tp / min(tp, kv heads); tp for MLA
per sequence σ = (window layers · width · bytes · window + linear state) · copies
room      C  = GPUs · (f · M - w - r)                     fraction of the total (vLLM, SGLang)
          C  = GPUs · f · (M - w - r)                     fraction of what the weights leave (TensorRT-LLM)

M bytes of HBM, f the engine's fraction, r its reserve (activations, graphs, NCCL) for each GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from fleet.catalog.records import Accelerator, EngineId, EngineRelease, KvMemoryRule, ModelCard
from fleet.layout import ParallelismLayout, Precision
from fleet.perf.interface import Unsupported

INDEXER_SCALE_BYTES = 4.0
"""Beside its 8-bit key the sparse-attention indexer keeps one FP32 scale (DeepSeek-V3.2-Exp report, section 2)."""

GROWING_SHARE = 0.6
"""Share of the answer that a running request holds when the cache is full, for engines that grow it page by page."""


@dataclass(frozen=True, slots=True)
class WorkerMemory:
    """What one worker's GPUs hold. `kv_*` describe the whole worker, copies included; sizes are bytes."""

    weight_bytes_per_gpu: float
    kv_bytes_per_token: float
    kv_bytes_per_sequence: float
    kv_capacity_bytes: float

    @property
    def kv_capacity_tokens(self) -> float:
        """Tokens of context that fit if no sequence had fixed state; models without a growing cache have no limit."""
        return (
            self.kv_capacity_bytes / self.kv_bytes_per_token if self.kv_bytes_per_token > 0 else float("inf")
        )

    def sequences(self, context_tokens: float) -> float:
        """Requests of this context that fit together (a real number, below 1 when not even one does)."""
        return self.kv_capacity_bytes / (
            self.kv_bytes_per_token * context_tokens + self.kv_bytes_per_sequence
        )


def kv_bytes(kv: Precision) -> float:
    """Bytes of one KV cache element (its block scales are below 1 % and left out)."""
    return 1.0 if kv is Precision.FP8 else 2.0


def weight_bytes_per_gpu(
    model: ModelCard, layout: ParallelismLayout, weights: Precision, dense_weights: Precision
) -> float:
    """Return the weight bytes on the fullest GPU of a worker.

    Dense parts are sharded by tp and pp and replicated over attention-data-parallel ranks; experts are
    spread over all GPUs of a stage, whether by expert or by tensor parallelism. The fullest rank of experts that do
    not divide evenly holds one more. Embeddings stay BF16.
    """
    stage_share = ceil(model.layers / layout.pp) / model.layers
    dense = (model.dense_params - model.embedding_params) * dense_weights.bits / 8 / layout.tp
    unevenness = ceil(model.experts / layout.ep) * layout.ep / model.experts if model.experts else 1.0
    routed = model.routed_params * weights.bits / 8 / layout.stage_gpus * unevenness
    return (dense + routed) * stage_share + model.embedding_params * 2.0 / layout.tp


def kv_copies(model: ModelCard, layout: ParallelismLayout) -> float:
    """How many tensor-parallel ranks hold the same KV element: all for MLA, beyond the KV heads for GQA."""
    return float(layout.tp) if model.kv_lora_rank else layout.tp / min(layout.tp, model.kv_heads)


def kv_bytes_per_token(model: ModelCard, layout: ParallelismLayout, kv: Precision) -> float:
    """Return the bytes one more token of context takes in a worker, over all its GPUs."""
    element_bytes = model.kv_elements_per_token * kv_bytes(kv)
    return (element_bytes + indexer_bytes_per_token(model)) * kv_copies(model, layout)


def indexer_bytes_per_token(model: ModelCard) -> float:
    """Return the bytes of the indexer's keys for one token over all layers, 0 without sparse attention."""
    scales = model.full_attention_layers * INDEXER_SCALE_BYTES if model.indexer_head_dim else 0.0
    return model.indexer_elements_per_token + scales


def kv_bytes_per_sequence(model: ModelCard, layout: ParallelismLayout, kv: Precision) -> float:
    """Return the bytes a sequence takes in a worker whatever its length: full windows and linear-attention state."""
    return model.window_kv_elements * kv_bytes(kv) * kv_copies(model, layout) + model.linear_state_bytes


def kv_capacity_bytes(
    accelerator: Accelerator, engine: EngineRelease, layout: ParallelismLayout, weight_bytes: float
) -> float:
    """Return the bytes an engine gives to the KV cache of a worker, by its own rule; 0 when weights leave none.

    Args:
        weight_bytes: Of the fullest GPU.
    """
    fraction, reserve = engine.kv_memory_fraction.value, engine.reserve_bytes.value
    total = accelerator.hbm_bytes.value
    if engine.kv_memory_rule is KvMemoryRule.OF_TOTAL:
        per_gpu = fraction * total - weight_bytes - reserve
    else:
        per_gpu = fraction * (total - weight_bytes - reserve)
    return max(per_gpu, 0.0) * layout.gpus


def held_tokens(engine: EngineId, isl: float, osl: float) -> float:
    """Return the tokens of cache that count for one running request.

    TensorRT-LLM reserves prompt and answer when it admits a request; vLLM and SGLang grow the cache as the
    answer grows, so that a full cache holds requests at about six tenths of their answers.
    """
    return isl + osl * (1.0 if engine is EngineId.TRTLLM else GROWING_SHARE)


def worker_memory(
    model: ModelCard,
    accelerator: Accelerator,
    engine: EngineRelease,
    layout: ParallelismLayout,
    weights: Precision,
    dense_weights: Precision,
    kv: Precision,
) -> WorkerMemory:
    """Return what the GPUs of one worker hold."""
    per_gpu = weight_bytes_per_gpu(model, layout, weights, dense_weights)
    return WorkerMemory(
        weight_bytes_per_gpu=per_gpu,
        kv_bytes_per_token=kv_bytes_per_token(model, layout, kv),
        kv_bytes_per_sequence=kv_bytes_per_sequence(model, layout, kv),
        kv_capacity_bytes=kv_capacity_bytes(accelerator, engine, layout, per_gpu),
    )


def fits(
    model: ModelCard,
    accelerator: Accelerator,
    engine: EngineRelease,
    layout: ParallelismLayout,
    weights: Precision,
    dense_weights: Precision,
    kv: Precision,
    context_tokens: float,
) -> Unsupported | None:
    """Return None when each attention rank has room for one request of this context, else why not."""
    memory = worker_memory(model, accelerator, engine, layout, weights, dense_weights, kv)
    if memory.sequences(context_tokens) >= layout.dp:
        return None
    weights_gb = memory.weight_bytes_per_gpu / 1e9
    total_gb = accelerator.hbm_bytes.value / 1e9
    if memory.kv_capacity_bytes <= 0:
        detail = f"weights take {weights_gb:.1f} GB of {total_gb:.1f} GB on each GPU and leave none for the KV cache"
    else:
        detail = (
            f"beside {weights_gb:.1f} GB of weights the KV cache of a rank holds "
            f"{memory.kv_capacity_tokens / layout.dp:.0f} tokens, one request needs {context_tokens:.0f}"
        )
    return Unsupported("does-not-fit", f"{model.id} as {layout.label} on {accelerator.id}: {detail}")
