"""What the tables call a worker: system, checkpoint, precisions and widths; what they have no word for is a reason."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from fleet.catalog.load import load_catalog
from fleet.catalog.records import EngineId, ModelCard
from fleet.layout import Precision
from fleet.perf.interface import Point, Unsupported
from fleet.perf.levels import build_of

SYSTEMS = {
    "h100-sxm": "h100_sxm",
    "h200-sxm": "h200_sxm",
    "b200-hgx": "b200_sxm",
    "b300-hgx": "b300_sxm",
    "gb200-nvl72": "gb200",
    "gb300-nvl72": "gb300",
}

NODE_GPUS = {"gb200": 4, "gb300": 4}
"""GPUs of what the tables take for one node; 8 elsewhere. An NVL72 is 18 trays of 4 to them."""

BF16, FP8, NVFP4, MXFP4 = Precision.BF16, Precision.FP8, Precision.NVFP4, Precision.MXFP4

CHECKPOINTS: dict[str, dict[Precision, str]] = {
    "llama-3.1-8b": {BF16: "meta-llama/Meta-Llama-3.1-8B"},
    "llama-3.3-70b": {BF16: "meta-llama/Meta-Llama-3.1-70B", FP8: "nvidia/Llama-3.1-70B-Instruct-FP8"},
    "llama-3.1-405b": {BF16: "meta-llama/Meta-Llama-3.1-405B"},
    "qwen3-8b": {BF16: "Qwen/Qwen3-8B"},
    "qwen3-32b": {BF16: "Qwen/Qwen3-32B", FP8: "Qwen/Qwen3-32B-FP8"},
    "qwen3-30b-a3b": {BF16: "Qwen/Qwen3-30B-A3B", FP8: "Qwen/Qwen3-30B-A3B-FP8"},
    "qwen3-235b-a22b": {
        BF16: "Qwen/Qwen3-235B-A22B",
        FP8: "Qwen/Qwen3-235B-A22B-FP8",
        NVFP4: "nvidia/Qwen3-235B-A22B-NVFP4",
    },
    "qwen3.5-397b-a17b": {BF16: "Qwen/Qwen3.5-397B-A17B", NVFP4: "nvidia/Qwen3.5-397B-A17B-NVFP4"},
    "deepseek-v3": {FP8: "deepseek-ai/DeepSeek-V3", NVFP4: "nvidia/DeepSeek-V3.1-NVFP4"},
    "deepseek-v3.2": {FP8: "deepseek-ai/DeepSeek-V3.2", NVFP4: "nvidia/DeepSeek-V3.2-NVFP4"},
    "gpt-oss-20b": {MXFP4: "openai/gpt-oss-20b"},
    "gpt-oss-120b": {MXFP4: "openai/gpt-oss-120b"},
    "kimi-k2": {FP8: "moonshotai/Kimi-K2-Instruct", MXFP4: "moonshotai/Kimi-K2.5", NVFP4: "nvidia/Kimi-K2.5-NVFP4"},
    "glm-5": {BF16: "zai-org/GLM-5", FP8: "zai-org/GLM-5-FP8", NVFP4: "nvidia/GLM-5-NVFP4"},
    "minimax-m2.5": {FP8: "MiniMaxAI/MiniMax-M2.5", NVFP4: "nvidia/MiniMax-M2.5-NVFP4"},
}  # fmt: skip
"""Catalogue model -> precision of its experts (or of everything) -> checkpoint that the tables know.

A precision without a checkpoint of its own takes the first one, its precisions overridden.
"""

MIXTURES = (
    ("deepseek-ai/DeepSeek-V3", "fp8_block", "fp8_block"),
    ("nvidia/DeepSeek-V3.1-NVFP4", "bfloat16", "nvfp4"),
    ("Qwen/Qwen3-235B-A22B-FP8", "fp8_block", "fp8_block"),
    ("openai/gpt-oss-120b", "bfloat16", "w4a16_mxfp4"),
    ("MiniMaxAI/MiniMax-M2.5", "fp8_block", "fp8_block"),
)
"""Checkpoints of which the linter checks whole steps, with the precisions of their dense layers and experts."""

PER_TENSOR_FP8 = frozenset({"llama-3.1-8b", "llama-3.3-70b", "llama-3.1-405b"})
"""Models whose published FP8 checkpoints have one scale for each tensor; the others have one for each block."""


@dataclass(frozen=True, slots=True)
class TableKey:
    """One worker in the words of the tables: what an engine handle is compiled from."""

    checkpoint: str
    system: str
    engine: str
    gemm: str
    moe: str
    kv: str
    tp: int
    pp: int
    dp: int
    moe_tp: int
    moe_ep: int
    draft_tokens: int

    @property
    def spans_nodes(self) -> bool:
        """Whether the experts are spread over more GPUs than the tables take for one node."""
        return self.moe_ep > NODE_GPUS.get(self.system, 8)


@cache
def _by_build() -> dict[str, str]:
    models = load_catalog().models
    return {build_of(models[name]): name for name in CHECKPOINTS if name in models}


def known_as(model: ModelCard) -> str | None:
    """Return the name in CHECKPOINTS of a model or of another one of the same build, or None."""
    return model.id if model.id in CHECKPOINTS else _by_build().get(build_of(model))


def _gemm(name: str, precision: Precision) -> str:
    if precision is FP8:
        return "fp8_static" if name in PER_TENSOR_FP8 else "fp8_block"
    return {BF16: "bfloat16", NVFP4: "nvfp4", MXFP4: "bfloat16"}[precision]


def _moe(name: str, point: Point) -> str:
    if point.weights is not MXFP4:
        return {BF16: "bfloat16", FP8: "fp8_block", NVFP4: "nvfp4"}[point.weights]
    if not name.startswith("gpt-oss"):
        return "int4_wo"
    is_hopper = point.accelerator.generation == "hopper"
    return "w4a16_mxfp4" if is_hopper or point.engine.id is EngineId.VLLM else "w4a8_mxfp4_mxfp8"


def table_key(point: Point) -> TableKey | Unsupported:
    """Return how the tables call a point's worker, or why they have no word for it."""
    system = SYSTEMS.get(point.accelerator.id)
    if system is None:
        return Unsupported("tables-lack-system", f"no kernel tables of {point.accelerator.id}")
    name = known_as(point.model)
    if name is None:
        return Unsupported(
            "tables-lack-model", f"the kernel tables do not know the shape of {point.model.id}"
        )
    layout = point.layout
    if layout.cp > 1:
        return Unsupported(
            "tables-lack-layout", f"{layout.label}: context parallelism is not in the kernel tables"
        )
    checkpoints = CHECKPOINTS[name]
    dense = point.dense_weights
    is_moe = point.model.is_moe
    ep = layout.ep if is_moe else 1
    return TableKey(
        checkpoint=checkpoints.get(point.weights) or next(iter(checkpoints.values())),
        system=system,
        engine=point.engine.id.value,
        gemm=_gemm(name, dense),
        moe=_moe(name, point) if is_moe else "bfloat16",
        kv="fp8" if point.kv is FP8 else "bfloat16",
        tp=layout.tp,
        pp=layout.pp,
        dp=layout.dp,
        moe_tp=layout.stage_gpus // ep if is_moe else 1,
        moe_ep=ep,
        draft_tokens=point.draft.tokens if point.draft else 0,
    )
