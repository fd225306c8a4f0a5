"""The kernel tables as columns: one timing for each kernel, precision, shape and batch, and the least it can take.

    GEMM        max( 2 m n k / peak ,  n k w / bandwidth )                                 m rows of n x k weights
    MoE         max( 6 t (k / ep) h i / tp / peak ,  touched 3 h (i / tp) w / bandwidth )  t tokens, k of E experts
    decode      B s 2 h_kv d κ / bandwidth                                                 B requests, s tokens each
    prefill     4 h d B Σ context / peak                                                   causal, windows as they are

w bytes of a weight, κ of a cached element. Bytes count only where they exceed what the L2 cache can keep.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleet.catalog.records import Accelerator
from fleet.layout import Precision

Columns = NDArray[np.float64]

WEIGHT_BYTES = {
    "bfloat16": 2.0, "fp8": 1.0, "fp8_block": 1.0, "nvfp4": 0.5625, "int4_wo": 0.5,
    "w4a16_mxfp4": 0.53125, "w4a8_mxfp4_mxfp8": 0.53125,
}  # fmt: skip
"""Bytes of one weight by the tables' precision, block scales included; precisions that are not here are not read."""

MULTIPLIED_AS = {
    "bfloat16": Precision.BF16, "fp8": Precision.FP8, "fp8_block": Precision.FP8, "nvfp4": Precision.NVFP4,
    "int4_wo": Precision.BF16, "w4a16_mxfp4": Precision.BF16, "w4a8_mxfp4_mxfp8": Precision.FP8,
}  # fmt: skip

L2_BYTES = {"hopper": 50e6, "blackwell": 126e6, "blackwell-ultra": 126e6}
"""L2 cache by generation: NVIDIA H100 whitepaper (50 MB), Blackwell tuning guide (126 MB)."""

L2_REUSE = 2.0
"""Weights above this many L2 caches are taken to come from memory: a benchmark loop re-reads them otherwise."""

LEAST_TOUCHED = 0.6
"""Least share of min(E, tokens k) experts that balanced routing touches: 1 - 1/e of them, rounded down."""

KINDS = {
    "gemm": ("gemm_perf.parquet", "gemm"),
    "moe": ("moe_perf.parquet", "moe"),
    "generation_attention": ("generation_attention_perf.parquet", "attention"),
    "context_attention": ("context_attention_perf.parquet", "attention"),
}
"""Kind of table -> its file and the folder it lies in."""


@dataclass(frozen=True)
class Table:
    """One kind of table of one system, engine and precision; arrays have shape (N,).

    `curve` numbers what is the same but for the batch; `shape` what is the same but for precision and kernel.
    """

    name: str  # folder: system/kind/engine/version
    kind: str
    precision: str
    curve: NDArray[np.intp]
    shape: tuple[tuple[Any, ...], ...]
    batch: Columns
    latency_ms: Columns
    floor_ms: Columns


def newest(root: Path, system: str, engine: str, kind: str) -> Path | None:
    """Return the newest file of a kind of table, or None where the library has none."""
    file, folder = KINDS[kind]
    found = (root / system / folder / engine).glob(f"*/{file}")
    return max(found, key=lambda path: version_key(path.parent.name), default=None)


def read_tables(root: Path, system: str, engine: str, kind: str, accelerator: Accelerator) -> list[Table]:
    """Return the newest table of a kind by precision, or none where the library has none."""
    path = newest(root, system, engine, kind)
    if path is None:
        return []
    folder = KINDS[kind][1]
    read = import_module("pyarrow.parquet").read_table(path)
    columns = {c: read[c].to_numpy(zero_copy_only=False) for c in read.column_names}
    precision = columns["kv_cache_dtype" if folder == "attention" else f"{kind}_dtype"]
    known = {str(v) for v in precision} & (
        set(WEIGHT_BYTES) if folder != "attention" else {"bfloat16", "fp8"}
    )
    name = str(path.parent.relative_to(root))
    return [
        _table(name, kind, value, {c: v[precision == value] for c, v in columns.items()}, accelerator)
        for value in sorted(known)
    ]


def version_key(version: str) -> tuple[int, ...]:
    """Order versions by their numbers; release candidates and post releases follow in theirs.

    >>> sorted(["0.5.14", "0.5.6.post2", "1.3.0rc20", "1.3.0rc10"], key=version_key)
    ['0.5.6.post2', '0.5.14', '1.3.0rc10', '1.3.0rc20']
    """
    numbers = "".join(c if c.isdigit() else " " for c in version).split()
    return tuple(int(n) for n in numbers)


SHAPES = {
    "gemm": ("n", "k"),
    "moe": ("hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size", "distribution"),
    "generation_attention": ("num_heads", "num_key_value_heads", "head_dim", "window_size", "isl", "step"),
    "context_attention": (
        "num_heads",
        "num_key_value_heads",
        "head_dim",
        "window_size",
        "isl",
        "step",
        "attn_dtype",
    ),
}
BATCHES = {
    "gemm": "m",
    "moe": "num_tokens",
    "generation_attention": "batch_size",
    "context_attention": "batch_size",
}


def _table(name: str, kind: str, precision: str, columns: dict[str, NDArray[Any]], gpu: Accelerator) -> Table:
    shape = tuple(zip(*(columns[c].tolist() for c in SHAPES[kind]), strict=True))
    kernels = list(zip(shape, columns["kernel_source"].tolist(), strict=True))
    number = {k: i for i, k in enumerate(dict.fromkeys(kernels))}
    numeric = {c: v.astype(np.float64) for c, v in columns.items() if v.dtype != object}
    return Table(
        name=name,
        kind=kind,
        precision=precision,
        curve=np.array([number[k] for k in kernels], dtype=np.intp),
        shape=shape,
        batch=numeric[BATCHES[kind]],
        latency_ms=numeric["latency"],
        floor_ms=FLOORS[kind](numeric, precision, columns, gpu),
    )


def _peak(gpu: Accelerator, precision: Precision) -> float:
    rate = gpu.dense_flops.get(precision)
    return rate.value if rate else np.inf


def _from_memory_ms(weight_bytes: Columns, gpu: Accelerator) -> Columns:
    kept = L2_REUSE * L2_BYTES.get(gpu.generation, max(L2_BYTES.values()))
    return np.where(weight_bytes > kept, weight_bytes / gpu.hbm_bytes_per_s.value * 1e3, 0.0)


def _gemm_floor(
    c: dict[str, Columns], precision: str, _: dict[str, NDArray[Any]], gpu: Accelerator
) -> Columns:
    flops_ms = 2e3 * c["m"] * c["n"] * c["k"] / _peak(gpu, MULTIPLIED_AS[precision])
    return np.maximum(flops_ms, _from_memory_ms(c["n"] * c["k"] * WEIGHT_BYTES[precision], gpu))


def _moe_floor(
    c: dict[str, Columns], precision: str, text: dict[str, NDArray[Any]], gpu: Accelerator
) -> Columns:
    """Only balanced routing has a floor: elsewhere the busiest rank's share is not in the table."""
    routed = c["num_tokens"] * c["topk"] / c["moe_ep_size"]
    weights = 3.0 * c["hidden_size"] * c["inter_size"] / c["moe_tp_size"]
    touched = LEAST_TOUCHED * np.minimum(c["num_experts"] / c["moe_ep_size"], routed)
    flops_ms = 2e3 * routed * weights / _peak(gpu, MULTIPLIED_AS[precision])
    floor = np.maximum(flops_ms, _from_memory_ms(touched * weights * WEIGHT_BYTES[precision], gpu))
    return np.where(text["distribution"] == "balanced", floor, 0.0)


def _seen(c: dict[str, Columns], context: Columns) -> Columns:
    return np.where(c["window_size"] > 0, np.minimum(context, c["window_size"]), context)


def _decode_floor(
    c: dict[str, Columns], precision: str, _: dict[str, NDArray[Any]], gpu: Accelerator
) -> Columns:
    element_bytes = 2.0 if precision == "bfloat16" else 1.0
    cached = c["batch_size"] * _seen(c, c["isl"] + c["step"]) * 2.0 * c["num_key_value_heads"] * c["head_dim"]
    return _from_memory_ms(cached * element_bytes, gpu)


def _prefill_floor(c: dict[str, Columns], _: str, text: dict[str, NDArray[Any]], gpu: Accelerator) -> Columns:
    """Σ over new tokens of min(position, window) keys, as an integral over the positions."""
    first, last = c["step"], c["step"] + c["isl"]
    window = np.where(c["window_size"] > 0, np.maximum(c["window_size"], first), last)
    inside = np.minimum(window, last)
    keys = (inside**2 - first**2) / 2.0 + _seen(c, last) * (last - inside)
    context = keys / c["isl"]
    flops = 4.0 * c["num_heads"] * c["head_dim"] * c["batch_size"] * c["isl"] * context
    is_fp8 = text["attn_dtype"] == "fp8"
    peak = np.where(is_fp8, _peak(gpu, Precision.FP8), _peak(gpu, Precision.BF16))
    return flops / peak * 1e3


FLOORS = {
    "gemm": _gemm_floor,
    "moe": _moe_floor,
    "generation_attention": _decode_floor,
    "context_attention": _prefill_floor,
}
