"""The workers that could serve a need at a place: every engine, checkpoint, KV format and parallelism layout that fits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fleet.candidates.need import Drop, Limits, Need, Place, Shape, Weights
from fleet.catalog.records import DomainKind, EngineId, EngineRelease, ModelCard
from fleet.layout import ParallelismLayout, Precision
from fleet.perf.memory import fits
from fleet.perf.replica import ReplicaSpec, WorkerSpec

_TENSOR_WIDTHS = (1, 2, 4, 8, 16, 32, 64)
_RANK_WIDTHS = (2, 4, 8, 12, 16, 24, 32, 36, 40, 48, 56, 64)
"""Widths of expert parallelism: engines spread experts that do not divide evenly, or hold some twice."""
_MOST_RANKS_WITH_SHARED_EXPERTS = 8
"""Attention-data-parallel ranks whose experts are tensor parallel: every token goes to every rank, so one host's worth."""
_PARTLY_EXPERT_PARALLEL = (EngineId.SGLANG, EngineId.TRTLLM)
"""Engines whose experts may be both tensor and expert parallel; vLLM spreads them over all GPUs of a worker."""


@dataclass(frozen=True, slots=True)
class Form:
    """One engine, checkpoint and KV format at one place."""

    need: Need
    place: Place
    engine: EngineRelease
    weights: Weights
    kv: Precision

    @property
    def serves_mixed(self) -> bool:
        return self.need.limits.allow_aggregated and "kubernetes" in self.engine.targets

    @property
    def serves_apart(self) -> bool:
        engine = self.engine
        is_rendered = engine.supports_disaggregation and "dynamo" in engine.targets
        return self.need.limits.allow_disaggregated and is_rendered

    def shape(self, replica: ReplicaSpec, whole_domains: int = 0, *, kv_over_nvlink: bool = False) -> Shape:
        gpus, host = replica.gpus, self.place.accelerator.gpus_per_host
        return Shape(
            self.place,
            self.engine,
            self.weights,
            self.kv,
            replica,
            gpus,
            reserved_gpus(gpus, host),
            whole_domains,
            kv_over_nvlink,
        )


def reserved_gpus(gpus: int, host: int) -> int:
    """Return the GPUs that a replica keeps from others: the least divisor of a host that holds it, or whole hosts.

    >>> [reserved_gpus(gpus, 8) for gpus in (1, 3, 8, 12)]
    [1, 4, 8, 16]
    """
    if gpus > host:
        return -(-gpus // host) * host
    return next(g for g in range(gpus, host + 1) if host % g == 0)


def forms_of(need: Need, place: Place) -> tuple[list[Form], list[Drop]]:
    """Return every form that the place's hardware and the engines have, and the drops with their reason."""
    forms: list[Form] = []
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
                    forms.append(Form(need, place, engine, weights, kv))
                else:
                    detail = f"{engine.name} {engine.version} has no {kv} KV cache"
                    drops.append(Drop("engine-cannot-serve", detail))
    return forms, drops


def workers_of(form: Form) -> tuple[list[WorkerSpec], list[Drop]]:
    """Return a form's workers, those that hold their weights and the longest context, and the drops."""
    need, place, engine = form.need, form.place, form.engine
    formats = (form.weights.precision, form.weights.dense_precision, form.kv)
    workers: list[WorkerSpec] = []
    drops: list[Drop] = []
    for layout in layouts(need.card, place, engine, need.limits):
        refusal = fits(need.card, place.accelerator, engine, layout, *formats, float(need.max_model_len))
        if refusal is None:
            workers.append(WorkerSpec(need.card, place.accelerator, engine, layout, *formats, need.draft))
        else:
            detail = f"{form.weights.precision} as {layout.label} on {place.offering}: {refusal.detail}"
            drops.append(Drop(refusal.reason, detail))
    return workers, drops


def whole_domains_of(worker: WorkerSpec, place: Place) -> int:
    """Return how many whole NVLink domains one worker takes, 0 where it is inside one."""
    inside = worker.layout.gpus <= place.usable_domain_gpus
    return 0 if inside else worker.layout.gpus // place.accelerator.gpus_per_host


def layouts(
    card: ModelCard, place: Place, engine: EngineRelease, limits: Limits
) -> Iterator[ParallelismLayout]:
    """Every layout of one worker: inside one NVLink domain of the place, or over several hosts that are their own."""
    host = place.accelerator.gpus_per_host
    most = place.usable_domain_gpus
    if place.accelerator.domain is DomainKind.HOST and place.usable_domain_gpus == host:
        most = host * place.available_domains
    for layout in _raw_layouts(card, engine, limits):
        gpus = layout.gpus
        if gpus > min(most, limits.max_gpus_per_replica) or layout.tp > limits.max_tp:
            continue
        if gpus % host if gpus > host else host % gpus:
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
    for n in (n for n in _RANK_WIDTHS if n <= card.experts):
        if card.heads % n == 0:
            yield ParallelismLayout(tp=n, ep=n)
            if engine.id in _PARTLY_EXPERT_PARALLEL:
                yield from (ParallelismLayout(tp=n, ep=ep) for ep in (2, 4) if ep < n)
        if engine.supports_attention_dp:
            yield ParallelismLayout(dp=n, ep=n)
            if n in _TENSOR_WIDTHS and n <= _MOST_RANKS_WITH_SHARED_EXPERTS:
                yield ParallelismLayout(dp=n)
            if n % 2 == 0 and n >= 4:
                yield ParallelismLayout(tp=2, dp=n // 2, ep=n)


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
