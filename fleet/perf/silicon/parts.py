"""Kernels of a step gathered into the parts that every backend names: shares of its time that add up to 1.

Attention is `kv`, all-reduces and exchanges are theirs, norms, activations and routing are `fixed`. GEMMs and experts
read weights and multiply: their time is divided as the roofline divides it, weights at memory speed to compute at peak.
"""

from __future__ import annotations

from fleet.perf.calibrated import DECODE_PARTS, PREFILL_NAMES
from fleet.perf.interface import Bound
from fleet.perf.silicon.kernels import Kernels

BOUNDS = {
    "weights": Bound.MEMORY, "kv": Bound.MEMORY, "compute": Bound.COMPUTE, "attention": Bound.COMPUTE,
    "all-reduce": Bound.COMMUNICATION, "all-to-all": Bound.COMMUNICATION, "fixed": Bound.FIXED,
}  # fmt: skip


def part_of(name: str, *, has_ranks: bool) -> str:
    """Return the part that a kernel belongs to; `multiply` is weights and compute together.

    >>> [part_of(f"generation_{x}", has_ranks=False) for x in ("qkv_gemm", "attention", "ar_1", "add_norm_1")]
    ['multiply', 'kv', 'all-reduce', 'fixed']
    """
    if "dispatch" in name or "combine" in name or "all_to_all" in name or "alltoall" in name:
        return "all-to-all" if has_ranks else "all-reduce"
    if "_ar" in name or "allreduce" in name:
        return "all-reduce"
    if name.endswith("_gemm") or "moe" in name or "_ffn" in name or "bmm" in name:
        return "multiply"
    if "attention" in name or "mla" in name or "dsa" in name or "gdn" in name or "kda" in name:
        return "kv"
    return "fixed"


def _gathered(kernels: Kernels, *, has_ranks: bool) -> dict[str, float]:
    parts: dict[str, float] = {}
    for name, latency_ms, _ in kernels:
        part = part_of(name, has_ranks=has_ranks)
        parts[part] = parts.get(part, 0.0) + latency_ms
    return parts


def decode_shares(
    kernels: Kernels, *, has_ranks: bool, weights_ms: float, compute_ms: float
) -> dict[str, float]:
    """Return the share of every part of DECODE_PARTS in a decode step.

    Args:
        weights_ms: Roofline time of the step's weights.
        compute_ms: Roofline time of its multiplications.
    """
    parts = _gathered(kernels, has_ranks=has_ranks)
    multiply = parts.pop("multiply", 0.0)
    of_weights = weights_ms / (weights_ms + compute_ms)
    parts |= {"weights": multiply * of_weights, "compute": multiply * (1.0 - of_weights)}
    return _shares(parts, tuple(DECODE_PARTS))


def prefill_shares(kernels: Kernels, *, has_ranks: bool) -> dict[str, float]:
    """Return the share of every part of PREFILL_NAMES in a prefill: exchanges count as all-reduce."""
    parts = _gathered(kernels, has_ranks=has_ranks)
    named = {
        "compute": parts.get("multiply", 0.0),
        "attention": parts.get("kv", 0.0),
        "all-reduce": parts.get("all-reduce", 0.0) + parts.get("all-to-all", 0.0),
        "fixed": parts.get("fixed", 0.0),
    }
    return _shares(named, PREFILL_NAMES)


def _shares(parts: dict[str, float], names: tuple[str, ...]) -> dict[str, float]:
    total = sum(parts.values())
    return {name: round(parts.get(name, 0.0) / total, 6) for name in names}


def bound_of(shares: dict[str, float]) -> Bound:
    """Return the resource that takes most of a step, by its parts."""
    by_bound = {bound: sum(s for name, s in shares.items() if BOUNDS[name] is bound) for bound in Bound}
    return max(Bound, key=lambda bound: by_bound[bound])
