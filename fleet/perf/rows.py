"""Rows of a benchmark table: labels repaired, names mapped to the catalogue, each row as a replica under a closed loop."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date

from fleet.catalog.records import Accelerator, Catalog, EngineId, EngineRelease, ModelCard
from fleet.layout import ParallelismLayout, Precision
from fleet.perf.interface import Draft, Unsupported
from fleet.perf.replica import ReplicaSpec, WorkerSpec

ACCELERATOR_NAMES = {
    "h100-sxm-80gb": "h100-sxm",
    "h200-sxm-141gb": "h200-sxm",
    "b200-sxm-180gb": "b200-hgx",
    "b300-sxm-270gb": "b300-hgx",
    "gb200-nvl72": "gb200-nvl72",
    "gb300-nvl72": "gb300-nvl72",
}

MODEL_NAMES = {
    "minimaxai/minimax-m2.5": "minimax-m2.5",
    "qwen/qwen3-235b-a22b-fp8": "qwen3-235b-a22b",
    "qwen/qwen3-32b": "qwen3-32b",
    "nvidia/qwen3-32b-nvfp4": "qwen3-32b",
    "qwen/qwen3.5-397b-a17b": "qwen3.5-397b-a17b",
    "deepseek-ai/deepseek-r1": "deepseek-r1",
    "deepseek-ai/deepseek-v3": "deepseek-r1",
    "nvidia/deepseek-r1-nvfp4": "deepseek-r1",
    "nvidia/deepseek-v3.1-nvfp4": "deepseek-r1",
    "meta-llama/llama-3.1-70b": "llama-3.3-70b",
    "meta-llama/llama-3.1-8b-instruct": "llama-3.1-8b",
    "nvidia/llama-3.1-8b-instruct-fp8": "llama-3.1-8b",
    "moonshotai/kimi-k2.5": "kimi-k2.5",
    "openai/gpt-oss-120b": "gpt-oss-120b",
    "zhipuai/glm-5": "glm-5",
}

PRECISION_NAMES = {
    "": Precision.BF16,
    "bf16": Precision.BF16,
    "fp8": Precision.FP8,
    "fp4": Precision.NVFP4,
    "nvfp4": Precision.NVFP4,
    "mxfp4": Precision.MXFP4,
    "int4": Precision.MXFP4,  # group-32 integers: the same bytes and the same widening before the product
}

REAL_OF_NOMINAL_LENGTH = 0.9
"""InferenceX draws lengths uniformly in 0.8 to 1.0 of the nominal ones (its benchmark_serving.py, random range ratio)."""

_AGGREGATED = re.compile(r"TP(\d{1,6}) PP(\d{1,6}) attnDP(\d{1,6}) moeTP(\d{1,6}) moeEP(\d{1,6})")
_SIDE = r"TP(\d{1,6})(?:\.0)? DP(\d{1,6})(?:\.0)? EP(\d{1,6})(?:\.0)?"
_DISAGGREGATED = re.compile(rf"P: {_SIDE} \| D: {_SIDE}")

MTP_ACCEPTANCE = (1.0, 1.8, 2.4, 2.8)
"""Tokens of one step by draft depth 0 to 3, where a row says that it drafts but not how well."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row that can be priced: the replica, its closed loop, and what was measured (None: not given)."""

    replica: ReplicaSpec
    concurrency: float
    isl: float
    osl: float
    ttft_ms: float | None
    tpot_ms: float | None
    batch_limit: float | None = None  # of one decode (or mixed) worker


class RowFault(ValueError):
    """A row that cannot be priced; carries the reason."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.unsupported = Unsupported(reason, detail)


def repaired_layout(label: str) -> ParallelismLayout:
    """Return the layout of an aggregated row's label, its known faults repaired.

    - "TPn attnDPn" (vLLM with expert parallelism) counts the GPUs twice: it is n GPUs as TPn EPn.
    - "TP1 attnDPk² moeTPk moeEPk" (TensorRT-LLM) is k GPUs as DPk EPk.
    - Experts over more GPUs than attention has ("TP1 attnDP1 moeTP2") hide data-parallel attention.

    >>> repaired_layout("TP4 PP1 attnDP4 moeTP1 moeEP16").label
    'TP4 EP4'
    >>> repaired_layout("TP1 PP1 attnDP64 moeTP8 moeEP8").label
    'DP8 EP8'
    >>> repaired_layout("TP1 PP1 attnDP1 moeTP2 moeEP1").label
    'DP2'
    """
    match = _AGGREGATED.fullmatch(label.strip())
    if not match:
        raise RowFault("unreadable-parallelism", f"{label!r} is not 'TPa PPb attnDPc moeTPd moeEPe'")
    tp, pp, dp, moe_tp, moe_ep = (max(int(x), 1) for x in match.groups())
    if dp > 1 and tp == dp:
        return ParallelismLayout(tp=tp, pp=pp, ep=tp)
    if tp == 1 and dp > 1 and dp == moe_tp * moe_ep and moe_tp == moe_ep:
        return ParallelismLayout(pp=pp, dp=moe_ep, ep=moe_ep)
    if moe_tp * moe_ep > tp * dp:
        return ParallelismLayout(tp=tp, pp=pp, dp=moe_tp * moe_ep // tp, ep=moe_ep)
    return ParallelismLayout(tp=tp, pp=pp, dp=dp, ep=moe_ep)


def _number(row: Mapping[str, str], column: str) -> float:
    text = (row.get(column) or "").strip()
    try:
        value = float(text)
    except ValueError:
        raise RowFault("not-a-number", f"{column} is {text!r}") from None
    if not 0 < value < 1e9:
        raise RowFault(
            "not-a-number", f"{column} is {text!r}, it must be above 0 and below a thousand million"
        )
    return value


def _count(row: Mapping[str, str], column: str) -> int:
    value = _number(row, column)
    if value != int(value):
        raise RowFault("not-a-number", f"{column} is {value:g}, it must be whole")
    return int(value)


def _optional(row: Mapping[str, str], column: str) -> float | None:
    return _number(row, column) if (row.get(column) or "").strip() else None


def _accelerator(row: Mapping[str, str], catalog: Catalog) -> Accelerator:
    name = (row.get("gpu") or "").strip().lower()
    found = catalog.accelerators.get(ACCELERATOR_NAMES.get(name, name))
    if found is None:
        raise RowFault("unknown-accelerator", f"{row.get('gpu')!r} is not in the catalogue")
    return found


def _model(row: Mapping[str, str], catalog: Catalog) -> ModelCard:
    name = (row.get("model") or "").strip().lower()
    found = catalog.models.get(MODEL_NAMES.get(name, name))
    if found is None:
        uri = f"hf://{name}"
        found = next(
            (m for m in catalog.models.values() if any(c.uri.lower() == uri for c in m.checkpoints)),
            None,
        )
    if found is None:
        raise RowFault("unknown-model", f"{row.get('model')!r} is not in the catalogue")
    return found


def _engine(row: Mapping[str, str], catalog: Catalog) -> EngineRelease:
    name = (row.get("engine") or "").strip().lower()
    releases = [e for e in catalog.engines if e.id == name]
    if not releases:
        raise RowFault("unknown-engine", f"{row.get('engine')!r} is not in the catalogue")
    version = (row.get("engine_version") or "").strip()
    day = (row.get("date") or "").strip()
    try:
        released = date.fromisoformat(day) if day else date.min
    except ValueError:
        raise RowFault("unreadable-date", f"{day!r} is no date") from None
    return releases[-1].model_copy(update={"version": version, "released": released})


def _precisions(
    row: Mapping[str, str], model: ModelCard, gpu: Accelerator, engine: EngineId
) -> tuple[Precision, ...]:
    """Return the precision of experts (or of everything), of dense layers and of the KV cache.

    A row names the weights only. Dense layers follow the checkpoint; the cache is FP8 where saturated rows show
    that it was: TensorRT-LLM beyond BF16 weights, and any engine on Blackwell.
    """
    name = (row.get("precision") or "").strip().lower()
    if name not in PRECISION_NAMES:
        raise RowFault(
            "unknown-precision", f"{name!r} is not one of {', '.join(filter(None, PRECISION_NAMES))}"
        )
    weights = PRECISION_NAMES[name]
    native = model.native_precision
    if native is Precision.MXFP4:
        weights = native
    dense = weights
    if model.is_moe and weights in (Precision.NVFP4, Precision.MXFP4):
        found = next((c.dense_precision for c in model.checkpoints if c.precision is weights), None)
        dense = found or Precision.BF16
    low = weights is not Precision.BF16 and name != "int4"
    kv_is_fp8 = low and (engine is EngineId.TRTLLM or gpu.generation != "hopper")
    return weights, dense, Precision.FP8 if kv_is_fp8 else Precision.BF16


def read_row(row: Mapping[str, str], catalog: Catalog) -> Row:
    """Return a row as a replica under a closed loop.

    Columns: those of the calibration table; for disaggregated rows also `p_workers`, `d_workers`; optionally
    `p_dp_attn` and `d_dp_attn` (True or False), `draft_tokens`, `batch_limit` (requests of one attention rank).

    Raises:
        RowFault: the row cannot be priced.
    """
    gpu, model, engine = _accelerator(row, catalog), _model(row, catalog), _engine(row, catalog)
    weights, dense, kv = _precisions(row, model, gpu, engine.id)
    scale = REAL_OF_NOMINAL_LENGTH if "InferenceX" in (row.get("source") or "") else 1.0
    depth = _count(row, "draft_tokens") if (row.get("draft_tokens") or "0").strip() not in ("", "0") else 0
    if depth >= len(MTP_ACCEPTANCE):
        raise RowFault("draft-out-of-range", f"{depth} draft tokens, acceptance is known up to 3")
    draft = Draft(depth, MTP_ACCEPTANCE[depth]) if depth else None

    replica = _replica(row, WorkerSpec(model, gpu, engine, ParallelismLayout(), weights, dense, kv, draft))
    concurrency = _number(row, "concurrency_or_batch")
    if concurrency < 1:
        raise RowFault(
            "below-one", f"concurrency_or_batch is {concurrency:g}, a loop has one request or more"
        )
    rank_limit = _optional(row, "batch_limit")
    return Row(
        replica=replica,
        concurrency=concurrency,
        isl=_number(row, "isl") * scale,
        osl=_number(row, "osl") * scale,
        ttft_ms=_optional(row, "ttft_ms"),
        tpot_ms=_optional(row, "tpot_ms"),
        batch_limit=None if rank_limit is None else rank_limit * replica.decoder.layout.dp,
    )


def _replica(row: Mapping[str, str], worker: WorkerSpec) -> ReplicaSpec:
    """Return the replica of a row: workers like this one in the layouts that its label says."""
    mode, label = (row.get("mode") or "").strip(), row.get("parallelism") or ""
    if mode == "agg":
        return ReplicaSpec(mixed=replace(worker, layout=repaired_layout(label)))
    if mode != "disagg":
        raise RowFault("unknown-mode", f"mode is {mode!r}, it must be 'agg' or 'disagg'")
    prefill, decode, prefill_workers, decode_workers = _apart(row, label)
    gpu = worker.accelerator
    inside = prefill.gpus * prefill_workers + decode.gpus * decode_workers <= gpu.domain_gpus
    link = (gpu.nvlink_bytes_per_s if inside else gpu.nic_bytes_per_s).value
    return ReplicaSpec(
        prefill=replace(worker, layout=prefill, draft=None),
        prefill_workers=prefill_workers,
        decode=replace(worker, layout=decode),
        decode_workers=decode_workers,
        kv_link_bytes_per_s=link * prefill.gpus,
    )


def _apart(row: Mapping[str, str], label: str) -> tuple[ParallelismLayout, ParallelismLayout, int, int]:
    """Return the prefill and decode layouts of a disaggregated row and how many workers of each it has."""
    match = _DISAGGREGATED.fullmatch(label.strip())
    if not match:
        raise RowFault("unreadable-parallelism", f"{label!r} is not 'P: TPa DPb EPc | D: TPd DPe EPf'")
    widths = [max(int(x), 1) for x in match.groups()]
    layouts = []
    for (tp, dp, ep), ranks in zip((widths[:3], widths[3:]), ("p_dp_attn", "d_dp_attn"), strict=True):
        attention = (row.get(ranks) or "").strip().lower()
        gpus = max(tp * dp, ep) if attention else tp * dp
        if attention == "true":
            tp, dp = 1, gpus
        elif attention == "false":
            tp, dp = gpus, 1
        layouts.append(ParallelismLayout(tp=tp, dp=dp, ep=gpus if ep > 1 else 1))
    if not (row.get("p_workers") or "").strip() or not (row.get("d_workers") or "").strip():
        raise RowFault("worker-counts-missing", "a disaggregated row needs p_workers and d_workers")
    return layouts[0], layouts[1], _count(row, "p_workers"), _count(row, "d_workers")
