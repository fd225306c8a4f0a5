"""Parts of sample plans: models, offerings, workers, workloads and deployments with plausible figures."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

from fleet.layout import ParallelismLayout, Precision, Role
from fleet.plan.document import (
    Answered,
    BoundLine,
    DemandSummary,
    Deployment,
    DeploymentMode,
    Dropped,
    Engine,
    EstimateLine,
    LengthSummary,
    LimitLine,
    PlannedModel,
    PlannedOffering,
    PlannedWorkload,
    PriceLine,
    ProvenanceLine,
    Quantiles,
    Served,
    Target,
    WorkerGroup,
)

Metric = Literal["ttft", "tpot", "e2e"]
SPEC_LIMITS: dict[str, tuple[tuple[Metric, int, float], ...]] = {
    "interactive": (("ttft", 95, 800.0), ("tpot", 95, 50.0)),
    "documents": (("ttft", 95, 6000.0), ("tpot", 95, 80.0)),
    "offline": (("e2e", 99, 120_000.0),),
}
QUESTIONS: tuple[tuple[str, str | None], ...] = (
    (
        "Is it memory-, compute- or communication-bound at its target concurrency?",
        "decode: memory-bandwidth (62 % of a step); prefill: compute (81 %)",
    ),
    (
        "Which precisions keep the stated quality?",
        "bf16 as published; fp8 and nvfp4 have no record of this fleet",
    ),
    (
        "Does it gain from a larger NVLink domain?",
        "no: communication takes 21 % of a decode step inside one host",
    ),
    (
        "How much of the cost is recomputing prefixes?",
        "30 % of prompt tokens come from the cache; the rest is not known without a trace",
    ),
    (
        "Which metrics prove that the hardware helps, and does the engine expose them?",
        "vllm:time_to_first_token_seconds and 3 more, all exposed",
    ),
    ("Is the gateway ready to route by model, precision, cache locality and SLO class?", "yes: by all four"),
    ("What does a useful token cost at the target TTFT and TPOT?", "see the cost line of each deployment"),
    ("Which parallelism matches prefill, decode and expert communication?", "tensor parallel; no experts"),
    ("Which stack has the best realised economics, and what moves first?", None),
)
ENGINES = {
    "vllm": Engine(id="vllm", version="0.33.0", image="vllm/vllm-openai:v0.33.0", memory_fraction=0.9),
    "dynamo": Engine(
        id="vllm",
        version="0.31.0",
        dynamo_version="1.6.1",
        image="nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.6.1",
        memory_fraction=0.9,
    ),
}


def model(name: str, card: str, total: float, active: float, precision: Precision) -> PlannedModel:
    return PlannedModel(
        name=name,
        served_name=name,
        card=card,
        architecture="DeepseekV3ForCausalLM" if total > active else "LlamaForCausalLM",
        total_params=int(total),
        active_params=int(active),
        is_moe=total > active,
        native_precision=precision,
    )


QWEN = model("qwen3-32b", "qwen3-32b", 32.8e9, 32.8e9, Precision.BF16)
LLAMA = model("llama-70b", "llama-3.3-70b", 70.6e9, 70.6e9, Precision.BF16)
DEEPSEEK = model("deepseek-r1", "deepseek-r1", 671.0e9, 37.0e9, Precision.FP8)


def offering(
    name: str, accelerator: str, price: float, kw: float, available: int, **update: Any
) -> PlannedOffering:
    """An offering with nothing bought yet; NVL72 accelerators are bought by the rack."""
    is_rack = accelerator.endswith("nvl72")
    provider, label = (
        ("coreweave", "ds.coreweave.com/nvlink.domain") if is_rack else ("gke", "kubernetes.io/hostname")
    )
    machine_type = (
        "gb200-4x"
        if is_rack
        else {"h100": "a3-megagpu-8g", "h200": "a3-ultragpu-8g", "b200": "a4-highgpu-8g"}[accelerator[:4]]
    )
    return PlannedOffering(
        name=name,
        accelerator=accelerator,
        accelerator_name=accelerator.split("-")[0].upper() + (" NVL72" if is_rack else " SXM"),
        provider=provider,
        region="us-east1",
        zone="us-east1-b",
        machine_type=machine_type,
        cpu_arch="arm64" if is_rack else "amd64",
        domain="rack" if is_rack else "host",
        domain_gpus=72 if is_rack else 8,
        gpus_per_host=4 if is_rack else 8,
        hosts_per_domain=18 if is_rack else 1,
        spare_hosts_per_domain=1 if is_rack else 0,
        domains_per_rack=1,
        unit_domains=1,
        available_units=available,
        bought_units=0,
        hosts=0,
        gpus_bought=0,
        gpus_used=0,
        price=PriceLine(
            usd_per_gpu_hour=price, kind="on-demand", as_of=date(2026, 9, 19), source=f"{provider} price list"
        ),
        usd_per_hour=0.0,
        power_kw=kw * (72 if is_rack else 8),  # of one domain until `assemble` counts what is bought
        domain_label=label,
        node_selector={"nvidia.com/gpu.product": accelerator},
        tolerations=({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},),
    ).model_copy(update=update)


def group(
    role: Role,
    layout: ParallelismLayout,
    workers: int,
    host_gpus: int,
    seqs: int,
    tokens: int,
    weights_gb: float,
) -> WorkerGroup:
    hosts = -(-layout.gpus // host_gpus)
    return WorkerGroup(
        role=role,
        layout=layout,
        workers_per_replica=workers,
        gpus_per_worker=layout.gpus,
        hosts_per_worker=hosts,
        gpus_per_host_used=layout.gpus // hosts,
        max_num_seqs=seqs,
        max_num_batched_tokens=tokens,
        weight_bytes_per_gpu=weights_gb * 1e9 / layout.gpus,
        kv_capacity_tokens=seqs * 4096.0,
    )


def mixed(
    layout: ParallelismLayout, host_gpus: int, weights_gb: float, seqs: int = 128
) -> tuple[WorkerGroup, ...]:
    return (group(Role.MIXED, layout, 1, host_gpus, seqs, 8192, weights_gb),)


def spread_of(p95: float) -> Quantiles:
    return Quantiles(mean=p95 * 0.55, p50=p95 * 0.5, p90=p95 * 0.85, p95=p95, p99=p95 * 1.3)


def limit(metric: Metric, quantile: int, limit_ms: float, predicted_ms: float, error: float) -> LimitLine:
    return LimitLine(
        metric=metric,
        quantile=quantile,
        limit_ms=limit_ms,
        predicted_ms=predicted_ms,
        error_low_ms=predicted_ms * (1 - error),
        error_high_ms=predicted_ms * (1 + error),
        margin=(limit_ms - predicted_ms) / limit_ms,
    )


def useful_share(load: PlannedWorkload) -> float:
    """Share of output tokens inside the SLO, not cancelled and not a retry's."""
    attained = min(quantile for _, quantile, _ in load.limits_as_written) / 100
    return attained * (1 - load.demand.cancellation) / (1 + load.demand.retries)


def served(
    load: PlannedWorkload, share: int, capacity_req_per_s: float, used_share: float, error: float
) -> Served:
    """The workload's share; each predicted quantile stands at `used_share` of its limit."""
    at = {(metric, quantile): limit_ms * used_share for metric, quantile, limit_ms in load.limits_as_written}
    ttft, tpot = at.get(("ttft", 95), 9000.0), at.get(("tpot", 95), 60.0)
    e2e99 = at.get(("e2e", 99), 1.3 * (ttft + tpot * load.demand.output_tokens.p90))
    return Served(
        workload=load.name,
        share=share,
        rate_req_per_s=load.demand.planning_req_per_s * share / 1e6,
        capacity_req_per_s=capacity_req_per_s,
        limits=tuple(limit(m, q, ms, at[m, q], error) for m, q, ms in load.limits_as_written),
        ttft_ms=spread_of(ttft),
        tpot_ms=spread_of(tpot),
        e2e_ms=spread_of(e2e99 / 1.3),
        binding="tpot_p95" if ("tpot", 95) in at else "e2e_p99",
    )


def deployment(
    load: PlannedWorkload,
    on: PlannedOffering,
    workers: tuple[WorkerGroup, ...],
    replicas: int,
    per_replica_req_per_s: float,
    *,
    weights: Precision = Precision.FP8,
    checkpoint: str = "hf://RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic",
    target: Target = Target.DEPLOYMENT,
    share: int = 1_000_000,
    domains: int = 0,
    kv_link: Literal["none", "nvlink", "network"] = "none",
    used_share: float = 0.85,
    **update: Any,
) -> Deployment:
    gpus_per_replica = sum(g.gpus_per_replica for g in workers)
    gpus = replicas * gpus_per_replica
    usable = on.domain_gpus - on.spare_hosts_per_domain * on.gpus_per_host
    usd_per_hour = round(gpus * on.price.usd_per_gpu_hour * on.domain_gpus / usable, 6)
    rate = load.demand.planning_req_per_s * share / 1e6
    usd_per_million = usd_per_hour / (rate * load.demand.output_tokens.mean * 3600) * 1e6
    memory = {"memory-bandwidth": 0.62, "communication": 0.21, "compute": 0.09, "fixed-cost": 0.08}
    return Deployment(
        id=f"{load.name}-{on.name}",
        model=load.model,
        offering=on.name,
        mode=DeploymentMode.DISAGGREGATED if len(workers) > 1 else DeploymentMode.AGGREGATED,
        target=target,
        engine=ENGINES["dynamo" if target is Target.DYNAMO else "vllm"],
        weights=weights,
        checkpoint_uri=checkpoint,
        kv_cache=Precision.BF16,
        max_model_len=16_384,
        workers=workers,
        domains_per_replica=domains,
        replicas=replicas,
        gpus_per_replica=gpus_per_replica,
        gpus=gpus,
        served=(served(load, share, replicas * per_replica_req_per_s, used_share, 0.12),),
        utilisation=min(1.0, 0.85 * rate / (replicas * per_replica_req_per_s)),
        mean_batch_per_replica=workers[-1].max_num_seqs * 0.6,
        decode=BoundLine(bound="memory-bandwidth", shares=memory),
        prefill=BoundLine(
            bound="compute",
            shares={"compute": 0.81, "communication": 0.12, "memory-bandwidth": 0.04, "fixed-cost": 0.03},
        ),
        provenance=ProvenanceLine(
            backend="calibrated",
            version="1d0c7a52",
            basis="fitted",
            relative_error_p90=0.12,
            ttft_relative_error_p90=0.3,
        ),
        estimate=EstimateLine(
            decode_step_ms_alone=12.5,
            decode_step_ms_of_64=21.0,
            prefill_ms=40.0,
            prefill_latency_ms=48.0,
            constant_ms=25.0,
        ),
        usd_per_hour=usd_per_hour,
        usd_per_million_output_tokens=usd_per_million,
        usd_per_million_useful_tokens=usd_per_million / useful_share(load),
        power_kw=gpus * on.power_kw / on.domain_gpus,
        kv_link=kv_link,
        kv_transfer_ms_mean={"none": 0.0, "nvlink": 3.5, "network": 41.0}[kv_link],
        weight_load_s=workers[-1].weight_bytes_per_gpu * workers[-1].gpus_per_host_used / 1e9,
    ).model_copy(update=update)


def lengths(mean: float) -> LengthSummary:
    return LengthSummary(mean=mean, p50=mean * 0.8, p90=mean * 1.9, p99=mean * 3.2, max=mean * 4)


def workload(
    name: str, of: PlannedModel, slo: str, peak: float, isl: float, osl: float, **demand: Any
) -> PlannedWorkload:
    summary = DemandSummary(
        peak_req_per_s=peak,
        planning_req_per_s=peak * 1.1,
        mean_req_per_s=peak * 0.6,
        input_tokens=lengths(isl),
        output_tokens=lengths(osl),
        cached_prefix_fraction=0.3,
        burstiness_cv=1.4,
        cancellation=0.04,
        retries=0.1,
        basis="measured",
        source="gateway logs of 2026-10",
    ).model_copy(update=demand)
    return PlannedWorkload(
        name=name,
        model=of.name,
        slo=slo,
        priority=10 if slo == "interactive" else 0,
        demand=summary,
        limits_as_written=SPEC_LIMITS[slo],
        deployments=(),
        capacity_req_per_s=0.0,
        survives={},
        candidates=24,
        dropped=(
            Dropped(reason="does-not-fit", count=31, example="h100 TP1 bf16: weights 141 GB, 72 GB usable"),
            Dropped(reason="slo-cannot-be-met", count=9, example="h200 TP1 fp8: TPOT p95 91 ms at batch 1"),
        ),
        alternatives=(),
        questions=tuple(
            Answered(
                number=n,
                question=question,
                answer=answer or "not known: needs a measurement of your own",
                known=answer is not None,
            )
            for n, (question, answer) in enumerate(QUESTIONS, start=1)
        ),
    )
