"""Sample plans for the tests of render, deploy and review: small, realistic, and consistent in counts, costs and rack map.

`dev_plan()` is one model on one H100 host; `prod_plan()` has one deployment of every shape that the compiler writes.
Both take what tests like to change, and assemble every total again, so that a changed plan is consistent too.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from typing import Any

from fleet.layout import ParallelismLayout, Precision, Role
from fleet.plan.document import (
    Alternative,
    AttemptLine,
    CertificateLine,
    DeliveryPlan,
    Deployment,
    DeploymentMode,
    Digests,
    FleetPlan,
    GatewayPlan,
    MappedDomain,
    MappedHost,
    PlannedModel,
    PlannedOffering,
    PlannedWorkload,
    PolicyLine,
    Slot,
    Summary,
    Target,
    TenantLine,
    WarningLine,
    WorkerGroup,
)
from fleet.plan.file import sha256_hex
from tests.plan_parts import DEEPSEEK, LLAMA, QWEN, deployment, group, mixed, offering, useful_share, workload


def place(on: PlannedOffering, deployments: list[Deployment]) -> tuple[MappedDomain, ...]:
    """Put every replica into the emptiest domain (lowest index first); a worker of several hosts takes whole hosts."""
    usable_hosts = on.hosts_per_domain - on.spare_hosts_per_domain
    free: list[list[int]] = [
        [on.gpus_per_host] * usable_hosts for _ in range(on.available_units * on.unit_domains)
    ]
    slots: dict[tuple[int, int], list[Slot]] = defaultdict(list)

    def put(d: Deployment, replica: int, g: WorkerGroup, worker: int, domain: int) -> None:
        needed = g.gpus_per_host_used if g.hosts_per_worker == 1 else on.gpus_per_host
        hosts = [h for h, gpus in enumerate(free[domain]) if gpus >= needed][: g.hosts_per_worker]
        assert len(hosts) == g.hosts_per_worker, f"{d.id} replica {replica} does not fit"
        for host in hosts:
            free[domain][host] -= g.gpus_per_host_used
            slots[domain, host].append(
                Slot(deployment=d.id, replica=replica, role=g.role, worker=worker, gpus=g.gpus_per_host_used)
            )

    used = 1
    for d in deployments:
        for replica in range(d.replicas):
            need = d.gpus_per_replica // max(1, d.domains_per_replica)
            if d.domains_per_replica:
                whole = [i for i, hosts in enumerate(free) if sum(hosts) == usable_hosts * on.gpus_per_host][
                    : d.domains_per_replica
                ]
            else:
                fitting = [i for i, hosts in enumerate(free[:used]) if sum(hosts) >= need]
                whole = [max(fitting, key=lambda i: sum(free[i]))] if fitting else [used]
            used = max(used, *(i + 1 for i in whole))
            members = [(g, w) for g in d.workers for w in range(g.workers_per_replica)]
            for number, (g, w) in enumerate(members):
                put(d, replica, g, w, whole[number * len(whole) // len(members)])
    return tuple(
        MappedDomain(
            id=f"{on.name}-{i:02d}",
            offering=on.name,
            index=i,
            hosts=tuple(
                MappedHost(index=h, slots=tuple(slots[i, h]), is_spare=h >= usable_hosts)
                for h in range(on.hosts_per_domain)
            ),
        )
        for i in range(used if deployments else 0)
    )


def _loaded(
    load: PlannedWorkload,
    deployments: tuple[Deployment, ...],
    domains: tuple[MappedDomain, ...],
    policy: PolicyLine,
    offering: PlannedOffering,
) -> PlannedWorkload:
    """The workload with what its deployments give it: capacity, what is left after the worst loss, an alternative on HGX."""
    here = {d.id: (d, s) for d in deployments for s in d.served if s.workload == load.name}
    capacity = sum(s.capacity_req_per_s for _, s in here.values())
    lost: dict[str, dict[str, set[tuple[str, int]]]] = {"host": defaultdict(set), "rack": defaultdict(set)}
    for domain in domains:
        for host in domain.hosts:
            for slot in host.slots:
                lost["host"][f"{domain.id}/{host.index}"].add((slot.deployment, slot.replica))
                lost["rack"][domain.id].add((slot.deployment, slot.replica))

    def worst(level: str) -> float:
        per_replica = {i: s.capacity_req_per_s / d.replicas for i, (d, s) in here.items()}
        return max(
            (sum(per_replica.get(i, 0.0) for i, _ in replicas) for replicas in lost[level].values()),
            default=0.0,
        )

    per_replica = 2 * offering.price.usd_per_gpu_hour
    replicas = 1 + int(1.21 * sum(d.usd_per_hour for d, _ in here.values()) / per_replica)
    other = Alternative(
        offering=offering.name,
        layout="TP2",
        engine="vllm 0.33.0",
        precision=Precision.FP8,
        mode=DeploymentMode.AGGREGATED,
        gpus_per_replica=2,
        replicas=replicas,
        gpus=2 * replicas,
        usd_per_hour=replicas * per_replica,
        why_lost="costs more for the same demand at the same SLO",
    )
    update = {"deployments": tuple(here), "capacity_req_per_s": capacity, "alternatives": (other,)}
    return load.model_copy(
        update={**update, "survives": {level: capacity - worst(level) for level in policy.survive}}
    )


def policy_line(*survive: str) -> PolicyLine:
    return PolicyLine(
        survive=survive, spare_trays_per_rack=1, max_utilisation=0.85, error_quantile=0.5, budget_usd_per_hour=2500.0, power_limit_kw=None, quality_record="warn"
    )  # fmt: skip


def assemble(
    fleet: str,
    models: tuple[PlannedModel, ...],
    workloads: tuple[PlannedWorkload, ...],
    offerings: tuple[PlannedOffering, ...],
    deployments: tuple[Deployment, ...],
    policy: PolicyLine,
    **update: Any,
) -> FleetPlan:
    """Lay out the rack map, buy what it uses, and add up every total."""
    domains: list[MappedDomain] = []
    bought: list[PlannedOffering] = []
    for on in offerings:
        here = [d for d in deployments if d.offering == on.name]
        mapped = place(on, here)
        domains.extend(mapped)
        gpus = len(mapped) * on.domain_gpus
        counts = {
            "bought_units": len(mapped) // on.unit_domains,
            "hosts": len(mapped) * on.hosts_per_domain,
            "gpus_bought": gpus,
        }
        money = {
            "usd_per_hour": round(gpus * on.price.usd_per_gpu_hour, 6),
            "power_kw": round(len(mapped) * on.power_kw, 6),
        }
        bought.append(on.model_copy(update={**counts, **money, "gpus_used": sum(d.gpus for d in here)}))
    loads = tuple(
        _loaded(load, deployments, tuple(domains), policy, offerings[min(1, len(offerings) - 1)])
        for load in workloads
    )
    usd = sum(o.usd_per_hour for o in bought)
    tokens = sum(w.demand.planning_req_per_s * w.demand.output_tokens.mean * 3600 for w in loads)
    useful = sum(
        w.demand.planning_req_per_s * w.demand.output_tokens.mean * 3600 * useful_share(w) for w in loads
    )
    plan = FleetPlan(
        compiled_by="fleetc 0.1.0",
        fleet=fleet,
        as_of=date(2026, 11, 20),
        labels={"team": "inference"},
        digests=Digests(
            **{name: sha256_hex(f"{fleet} {name}") for name in ("spec", "catalog", "prices", "performance")}
        ),
        summary=Summary(
            usd_per_hour=usd,
            usd_per_month=usd * 730,
            gpus_bought=sum(o.gpus_bought for o in bought),
            gpus_used=sum(o.gpus_used for o in bought),
            hosts=sum(o.hosts for o in bought),
            racks=sum(o.bought_units for o in bought if o.domain == "rack"),
            power_kw=sum(o.power_kw for o in bought),
            usd_per_million_output_tokens=usd / tokens * 1e6,
            usd_per_million_useful_tokens=usd / useful * 1e6,
        ),
        policy=policy,
        models=models,
        workloads=loads,
        offerings=tuple(bought),
        deployments=deployments,
        domains=tuple(domains),
        certificate=CertificateLine(
            objective="money",
            unit="USD/h",
            cost=usd,
            bound=usd * 0.996,
            gap=0.004,
            proven_optimal=False,
            floor=usd * 0.8,
            physical_floor_gpus={
                w.name: 0.2 * sum(d.gpus for d in deployments if d.id in w.deployments) for w in loads
            },
            solver="ortools 9.15.6755",
            attempts=(
                AttemptLine(formulation="compact", usd_per_hour=usd, bound=usd * 0.99, effort="1204 nodes"),
                AttemptLine(formulation="bundles", usd_per_hour=None, bound=usd * 0.996, effort="38 columns"),
            ),
            rules_checked=("cover", "capacity", "inventory", "survive", "placement"),
        ),
        gateway=GatewayPlan(
            hostnames=("llm.example.com",),
            gateway="inference-gateway",
            namespace="inference",
            cache_locality=True,
            slo_class=True,
            retry_attempts=1,
            retry_backoff_ms=250.0,
            request_timeout_ms=300_000.0,
            cancellation=True,
            tenants=(
                TenantLine(
                    name="web",
                    token_budget_per_minute=2e6,
                    priority=10,
                    workloads=tuple(w.name for w in loads),
                ),
            ),
        ),
        delivery=DeliveryPlan(
            namespace="inference",
            hf_token_secret="hf-token",
            model_cache_claim=None,
            runtime_class=None,
            protect_capacity=True,
        ),
        warnings=(),
    )
    return plan.model_copy(update=update)


def dev_plan(replicas: int = 2, **update: Any) -> FleetPlan:
    """One model on one H100 host: two replicas of TP2 by default, half of the host idle."""
    h100 = offering("h100-dev", "h100-sxm", 6.155, 1.37, 1)
    chat = workload("chat", QWEN, "interactive", 1.6, 1155, 211, basis="guessed", source="")
    serving = deployment(
        chat,
        h100,
        mixed(ParallelismLayout(tp=2), 8, 65.6),
        replicas,
        1.8,
        weights=Precision.BF16,
        checkpoint="hf://Qwen/Qwen3-32B",
        used_share=0.8,
    )
    guessed = WarningLine(
        rule="guessed-demand",
        severity="warning",
        subject="chat",
        message="the demand of 'chat' is guessed, not measured",
        help="replace it with a trace of your gateway",
    )
    return assemble(
        "dev", (QWEN,), (chat,), (h100,), (serving,), policy_line(), **{"warnings": (guessed,), **update}
    )


def prod_plan(
    chat_replicas: int = 5,
    without: tuple[str, ...] = (),
    demand: float = 1.0,
    chat_seqs: int = 128,
    documents_on_h200: bool = False,
    **update: Any,
) -> FleetPlan:
    """Every shape: HGX FP8 and NVFP4 sharing a workload, trays of an NVL72, Dynamo inside a rack, Dynamo over two hosts.

    `without` leaves out workloads; `demand` multiplies the request rate of 'chat', whose part on H100 has `chat_replicas`
    of `chat_seqs` running requests each; `documents_on_h200` moves 'documents' out of the racks.
    """
    h100 = offering("h100-east", "h100-sxm", 6.155, 1.37, 12)
    h200 = offering("h200-east", "h200-sxm", 6.305, 1.37, 8)
    b200 = offering("b200-west", "b200-hgx", 8.60, 1.95, 6, zone="us-west4-a", region="us-west4")
    gb200 = offering("gb200-east", "gb200-nvl72", 10.50, 1.87, 3)
    chat = workload("chat", LLAMA, "interactive", 24.0 * demand, 1155, 211)
    documents = workload("documents", LLAMA, "documents", 6.0, 12_000, 340)
    agents = workload("agents", DEEPSEEK, "interactive", 18.0, 8_000, 600)
    batch = workload(
        "batch", DEEPSEEK, "offline", 4.0, 3_000, 900, basis="forecast", source="plan of the data team"
    )
    dep = {n: ParallelismLayout(dp=n, ep=n) for n in (4, 32)}
    tp = {n: ParallelismLayout(tp=n) for n in (2, 4, 8)}
    r1_fp4 = (
        group(Role.PREFILL, dep[4], 2, 4, 64, 16_384, 390.0),
        group(Role.DECODE, dep[32], 1, 4, 2048, 4096, 640.0),
    )
    r1_fp8 = (
        group(Role.PREFILL, tp[8], 1, 8, 32, 16_384, 688.0),
        group(Role.DECODE, tp[8], 1, 8, 256, 4096, 688.0),
    )
    every = (
        deployment(
            agents,
            gb200,
            r1_fp4,
            2,
            20.0,
            target=Target.DYNAMO,
            kv_link="nvlink",
            checkpoint="hf://nvidia/DeepSeek-R1-0528-FP4",
            weights=Precision.NVFP4,
        ),
        deployment(
            batch,
            h200,
            r1_fp8,
            2,
            4.5,
            target=Target.DYNAMO,
            domains=2,
            kv_link="network",
            checkpoint="hf://deepseek-ai/DeepSeek-R1-0528",
        ),
        deployment(
            chat,
            b200,
            mixed(tp[2], 8, 42.0),
            3,
            3.3,
            share=300_000,
            checkpoint="hf://nvidia/Llama-3.3-70B-Instruct-FP4",
            used_share=0.97,
            weights=Precision.NVFP4,
        ),
        deployment(chat, h100, mixed(tp[4], 8, 72.7, chat_seqs), chat_replicas, 5.6, share=700_000),
        deployment(documents, h200, mixed(tp[8], 8, 72.7, 64), 3, 3.4)
        if documents_on_h200
        else deployment(documents, gb200, mixed(tp[8], 4, 72.7, 64), 3, 3.5, target=Target.LEADER_WORKER_SET),
    )
    kept = tuple(w for w in (agents, batch, chat, documents) if w.name not in without)
    deployments = tuple(d for d in every if d.served[0].workload not in without)
    models = tuple(m for m in (LLAMA, DEEPSEEK) if any(w.model == m.name for w in kept))
    return assemble(
        "prod", models, kept, (h100, h200, b200, gb200), deployments, policy_line("host"), **update
    )
