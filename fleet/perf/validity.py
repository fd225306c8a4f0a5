"""Which points no backend can price, each with the rule it breaks."""

from __future__ import annotations

from math import isfinite

from fleet.perf.interface import Point, Unsupported
from fleet.perf.memory import worker_memory
from fleet.perf.terms import compute_flops


def layout_fault(point: Point) -> Unsupported | None:
    """Return why this layout cannot run this model on this accelerator, or None."""
    model, gpu, layout = point.model, point.accelerator, point.layout
    if model.heads % layout.tp:
        return Unsupported(
            "tp-does-not-divide-heads", f"{model.id} has {model.heads} heads, tp is {layout.tp}"
        )
    if layout.pp > model.layers:
        return Unsupported(
            "more-stages-than-layers", f"{model.id} has {model.layers} layers, pp is {layout.pp}"
        )
    if layout.ep > 1 and not model.is_moe:
        return Unsupported("ep-without-experts", f"{model.id} has no experts, ep is {layout.ep}")
    if layout.ep > 1 and layout.stage_gpus % layout.ep:
        return Unsupported(
            "ep-does-not-divide-stage", f"a stage has {layout.stage_gpus} GPUs, ep is {layout.ep}"
        )
    if layout.ep > max(model.experts, 1):
        return Unsupported(
            "more-ranks-than-experts", f"{model.id} has {model.experts} experts, ep is {layout.ep}"
        )
    if layout.tp > gpu.domain_gpus and layout.tp % gpu.domain_gpus:
        detail = f"tp {layout.tp} takes part of an NVLink domain of {gpu.domain_gpus} GPUs of {gpu.id} beside whole ones"
        return Unsupported("tp-crosses-nvlink-domain", detail)
    return None


def precision_fault(point: Point) -> Unsupported | None:
    """Return which precision the accelerator cannot multiply, or None."""
    for precision in (point.weights, point.dense_weights):
        if compute_flops(point.accelerator, precision) is None:
            detail = f"{point.accelerator.id} has no {precision.value} in hardware"
            return Unsupported("no-hardware-precision", detail)
    if point.kv.bits not in (8.0, 16.0):
        return Unsupported("no-such-kv-precision", f"a KV cache is bf16 or fp8, not {point.kv.value}")
    return None


def numbers_fault(point: Point) -> Unsupported | None:
    """Return which number of a point is out of its range, or None."""
    numbers = (point.batch, point.isl, point.osl, point.cached_prefix)
    draft = point.draft
    if not all(isfinite(x) for x in numbers):
        return Unsupported("not-a-number", "batch and lengths must be finite")
    if point.batch < 1 or point.isl < 1 or point.osl < 1:
        return Unsupported(
            "below-one", f"batch {point.batch:g}, isl {point.isl:g}, osl {point.osl:g}: each is 1 or more"
        )
    if not 0 <= point.cached_prefix <= point.isl:
        return Unsupported(
            "prefix-beyond-prompt", f"cached prefix {point.cached_prefix:g} of a prompt of {point.isl:g}"
        )
    if point.isl + point.osl > point.model.max_context_tokens:
        limit = point.model.max_context_tokens
        return Unsupported(
            "context-too-long", f"{point.isl + point.osl:g} tokens, {point.model.id} takes {limit}"
        )
    if draft and not (draft.tokens >= 1 and 1 <= draft.acceptance_length <= draft.tokens + 1):
        detail = f"{draft.tokens} draft tokens cannot emit {draft.acceptance_length:g} tokens a step"
        return Unsupported("draft-out-of-range", detail)
    return None


def worker_fault(point: Point) -> Unsupported | None:
    """Return why no estimate exists for any point of this worker, or None. Lengths and batch are not looked at."""
    fault = layout_fault(point) or precision_fault(point)
    if fault:
        return fault
    memory = worker_memory(
        point.model,
        point.accelerator,
        point.engine,
        point.layout,
        point.weights,
        point.dense_weights,
        point.kv,
    )
    if memory.kv_capacity_bytes > 0:
        return None
    detail = (
        f"{point.model.id} as {point.layout.label} in {point.weights.value} takes {memory.weight_bytes_per_gpu / 1e9:.1f} GB "
        f"of {point.accelerator.hbm_bytes.value / 1e9:.1f} GB on each {point.accelerator.id} and leaves no KV cache"
    )
    return Unsupported("does-not-fit", detail)
