"""All layouts of a workload's model on an offering: every parallelism, precision, engine and serving mode that could be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import gcd

from fleet.candidates.need import Drop, Limits, Need, Place, Shape, Weights
from fleet.catalog.records import DomainKind, EngineRelease, ModelCard
from fleet.layout import ParallelismLayout, Precision
from fleet.perf.memory import fits
from fleet.perf.replica import ReplicaSpec, WorkerSpec

_TENSOR_WIDTHS = (1, 2, 4, 8, 16, 32, 64)
_EXPERT_WIDTHS = (2, 4, 8, 12, 16, 24, 32, 36, 48, 56, 64)
_RATIOS = tuple((p, d) for p in range(1, 5) for d in range(1, 5) if gcd(p, d) == 1)
"""Prefill to decode workers of one replica; multiples of a ratio are more replicas of it."""

_MOST_PREFILL_LAYOUTS = 3
_MOST_DECODE_LAYOUTS = 8


@dataclass(frozen=True, slots=True)
class _Form:
    """One engine, checkpoint and KV format at one place."""

    need: Need
    place: Place
    engine: EngineRelease
    weights: Weights
    kv: Precision

    def shape(self, replica: ReplicaSpec, whole_domains: int = 0, *, kv_over_nvlink: bool = False) -> Shape:
        return Shape(
            self.place,
            self.engine,
            self.weights,
            self.kv,
            replica,
            replica.gpus,
            whole_domains,
            kv_over_nvlink,
        )


def enumerate_shapes(need: Need, place: Place) -> tuple[list[Shape], list[Drop]]:
    """Return every shape that fits memory, topology and the engine, and the drops with their reason."""
    shapes: list[Shape] = []
    drops: list[Drop] = []
    for engine in need.engines:
        if problem := _engine_problem(engine, need.card):
            detail = f"{engine.name} {engine.version} on {place.offering}: {problem}"
            drops.append(Drop("engine-cannot-serve", detail))
            continue
        for weights in need.weights:
            if problem := _precision_problem(engine, weights, place):
                detail = f"{weights.precision} on {place.offering}: {problem}"
                drops.append(Drop("no-hardware-precision", detail))
                continue
            for kv in need.kv_precisions:
                if kv in engine.kv_precisions:
                    _of_one_form(_Form(need, place, engine, weights, kv), shapes, drops)
                else:
                    detail = f"{engine.name} {engine.version} has no {kv} KV cache"
                    drops.append(Drop("engine-cannot-serve", detail))
    return shapes, drops


def _of_one_form(form: _Form, shapes: list[Shape], drops: list[Drop]) -> None:
    need, place, engine = form.need, form.place, form.engine
    formats = (form.weights.precision, form.weights.dense_precision, form.kv)
    workers = []
    for layout in layouts(need.card, place, engine, need.limits):
        refusal = fits(need.card, place.accelerator, engine, layout, *formats, float(need.max_model_len))
        if refusal is None:
            workers.append(WorkerSpec(need.card, place.accelerator, engine, layout, *formats, need.draft))
        else:
            detail = f"{form.weights.precision} as {layout.label} on {place.offering}: {refusal.detail}"
            drops.append(Drop(refusal.reason, detail))
    if need.limits.allow_aggregated and "kubernetes" in engine.targets:
        shapes += [form.shape(ReplicaSpec(mixed=worker)) for worker in workers]
    if need.limits.allow_disaggregated and engine.supports_disaggregation and "dynamo" in engine.targets:
        shapes += _disaggregated(form, workers)


def layouts(
    card: ModelCard, place: Place, engine: EngineRelease, limits: Limits
) -> Iterator[ParallelismLayout]:
    """Every layout of one worker inside one NVLink domain of the place."""
    for layout in _raw_layouts(card, engine, limits):
        gpus = layout.gpus
        if gpus > min(place.usable_domain_gpus, limits.max_gpus_per_replica) or layout.tp > limits.max_tp:
            continue
        host = place.accelerator.gpus_per_host
        if gpus > host and gpus % host:
            continue
        if gpus <= host and host % gpus:
            continue
        yield layout


def _raw_layouts(card: ModelCard, engine: EngineRelease, limits: Limits) -> Iterator[ParallelismLayout]:
    for tp in (t for t in _TENSOR_WIDTHS if card.heads % t == 0):
        yield ParallelismLayout(tp=tp)
        if engine.supports_pipeline_parallel and limits.allow_pipeline:
            for pp in (p for p in (2, 4) if card.layers >= 2 * p):
                yield ParallelismLayout(tp=tp, pp=pp)
    if not (card.is_moe and engine.supports_expert_parallel):
        return
    for ep in (e for e in _EXPERT_WIDTHS if card.experts % e == 0):
        if card.heads % ep == 0:
            yield ParallelismLayout(tp=ep, ep=ep)
        if engine.supports_attention_dp:
            yield ParallelismLayout(dp=ep, ep=ep)
            if ep % 2 == 0 and ep >= 4:
                yield ParallelismLayout(tp=2, dp=ep // 2, ep=ep)


def _disaggregated(form: _Form, workers: list[WorkerSpec]) -> Iterator[Shape]:
    """Pair prefill and decode layouts in small whole-number ratios.

    Prefill is compute-bound, so only the narrowest layouts that fit are tried for it. A replica stays inside one NVLink
    domain, or each of its workers fills a host. KV moves over NVLink where both roles hold whole trays of a rack (pods
    that share a host do not see each other's GPUs), else over the network.
    """
    plain = [w for w in workers if w.layout.pp == 1]
    narrowest = sorted(plain, key=lambda w: (w.layout.gpus, w.layout.tp))[:_MOST_PREFILL_LAYOUTS]
    decoders = plain if form.need.card.is_moe else plain[:_MOST_DECODE_LAYOUTS]
    for prefill, decode, (np, nd) in product(narrowest, decoders, _RATIOS):
        if shape := _pair(form, prefill, np, decode, nd):
            yield shape


def _pair(form: _Form, prefill: WorkerSpec, np: int, decode: WorkerSpec, nd: int) -> Shape | None:
    place = form.place
    host, is_rack = place.accelerator.gpus_per_host, place.accelerator.domain is DomainKind.RACK
    parts = [prefill.layout.gpus] * np + [decode.layout.gpus] * nd
    total = sum(parts)
    if total > form.need.limits.max_gpus_per_replica:
        return None
    is_tidy = host % total == 0 if total <= host else total % host == 0  # no part of a host is left over
    if total <= place.usable_domain_gpus:
        if not is_tidy:
            return None
        whole_domains = 0
    elif is_rack or any(g != host for g in parts) or len(parts) > place.available_domains:
        return None
    else:
        whole_domains = len(parts)
    over_nvlink = is_rack and all(g % host == 0 for g in parts)
    link = place.accelerator.nvlink_bytes_per_s.value if over_nvlink else place.nic_bytes_per_s
    replica = ReplicaSpec(
        prefill=prefill,
        prefill_workers=np,
        decode=decode,
        decode_workers=nd,
        kv_link_bytes_per_s=link * prefill.layout.gpus,
    )
    return form.shape(replica, whole_domains, kv_over_nvlink=over_nvlink)


def _engine_problem(engine: EngineRelease, card: ModelCard) -> str | None:
    if not engine.targets:
        return "this version of fleetc does not render it yet"
    if card.architecture not in engine.architectures:
        return f"it is not known to run {card.architecture}"
    return None


def _precision_problem(engine: EngineRelease, weights: Weights, place: Place) -> str | None:
    if weights.precision not in engine.weight_precisions:
        return f"{engine.name} {engine.version} does not run it"
    if weights.precision not in place.accelerator.dense_flops and weights.precision is not Precision.MXFP4:
        return f"{place.accelerator.name} has no {weights.precision} in hardware"
    return None
