"""What a plan says that its rendered objects cannot say, so that nobody takes it for done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fleet.plan.document import FleetPlan, PlannedOffering, Target
from fleet.render.benchmark.job import has_benchmark
from fleet.render.endpoint_picker import PICKER_CPUS
from fleet.render.gateway import MODEL_HEADER
from fleet.render.identity import DEPLOYMENT_LABEL
from fleet.render.kubernetes.dynamo import FRONTEND_CPUS, frontend_replicas
from fleet.render.kubernetes.placement import most_on_one_host
from fleet.render.kubernetes.pods import CPUS_PER_GPU
from fleet.render.kubernetes.priority import is_chain, sizes_on
from fleet.render.view import DeploymentView, views
from fleet.units import format_tokens

SPARE_TAINT = "fleetc.dev/spare"


@dataclass(frozen=True, slots=True)
class Omission:
    """One thing that is left to the reader: what of whom is not in the objects, and what to do about it."""

    subject: str
    missing: str
    instead: str


def omissions(plan: FleetPlan) -> tuple[Omission, ...]:
    """List what the objects of this plan leave out, in a fixed order.

    Raises:
        UnrenderablePlan: the plan has no objects.
    """
    found = views(plan)
    return (
        *_of_gateway(plan),
        *_of_tenants(plan),
        *_of_nodes(plan, found),
        *_of_packing(plan),
        *(omission for offering in plan.offerings for omission in _of_offering(plan, offering)),
        *(omission for view in found for omission in _of_deployment(view)),
        *_of_delivery(plan),
    )


def _of_gateway(plan: FleetPlan) -> Iterator[Omission]:
    yield Omission(
        "gateway",
        f"the header {MODEL_HEADER}: every route matches on it, and without it no request is routed",
        "install the gateway's body-based routing, which copies `model` from the body into it, or let clients send it",
    )
    yield Omission(
        "gateway",
        "TLS: the Gateway listens on HTTP",
        "terminate TLS in front of it, or add a listener with your certificate",
    )
    without = ", ".join(
        deployment.id for deployment in plan.deployments if deployment.target is not Target.DYNAMO
    )
    if plan.gateway.retry_attempts and without:
        missing = f"{plan.gateway.retry_attempts} retries for {without}: the standard channel of HTTPRoute has no retry"
        yield Omission("gateway", missing, "set them in the gateway's own policy, or let clients retry")


def _of_tenants(plan: FleetPlan) -> Iterator[Omission]:
    for tenant in plan.gateway.tenants:
        if tenant.token_budget_per_minute is not None:
            missing = f"its budget of {format_tokens(tenant.token_budget_per_minute)} tokens/min"
            yield Omission(
                f"tenant {tenant.name}", missing, "enforce it in the gateway's own rate limit by tenant"
            )
        if tenant.priority:
            instead = "only the priorities of SLO classes reach the endpoint picker"
            yield Omission(f"tenant {tenant.name}", f"its priority {tenant.priority}", instead)


def _of_nodes(plan: FleetPlan, found: tuple[DeploymentView, ...]) -> Iterator[Omission]:
    """CPU that pods request: the plan knows no host's cores."""
    if not found:
        return
    pickers = sum(view.deployment.target is not Target.DYNAMO for view in found)
    frontends = sum(
        frontend_replicas(view, group)
        for view in found
        if view.deployment.target is Target.DYNAMO
        for group in view.groups
    )
    engines = CPUS_PER_GPU * plan.summary.gpus_used
    beside = PICKER_CPUS * pickers + FRONTEND_CPUS * frontends
    each = [f"{pickers} x {PICKER_CPUS} for endpoint pickers"] if pickers else []
    each += [f"{frontends} x {FRONTEND_CPUS} for frontends"] if frontends else []
    yield Omission(
        "nodes",
        f"the CPUs that pods request: {engines:,} for engines, {CPUS_PER_GPU} beside each GPU, and {beside:,} on any "
        f"node ({' and '.join(each)})",
        "see that the nodes have them to allocate, or pods stay Pending",
    )


def _of_packing(plan: FleetPlan) -> Iterator[Omission]:
    packed = [
        offering.name
        for offering in plan.offerings
        if any(size < offering.gpus_per_host for size in sizes_on(plan, offering))
    ]
    if packed:
        yield Omission(
            f"offerings {', '.join(packed)}",
            "which tray or host a small pod takes: it prefers those with pods of its size, and gives way to larger pods",
            "so that fewer pods move, let the scheduler pack: NodeResourcesFit with MostAllocated on nvidia.com/gpu",
        )


def _of_offering(plan: FleetPlan, offering: PlannedOffering) -> Iterator[Omission]:
    subject, sizes = f"offering {offering.name}", sizes_on(plan, offering)
    domains = sum(domain.offering == offering.name for domain in plan.domains)
    if offering.spare_hosts_per_domain and domains:
        spare = offering.spare_hosts_per_domain
        yield Omission(
            subject,
            f"{spare} spare {'tray' if spare == 1 else 'trays'} in each of {domains} NVLink domains: "
            "no object keeps a node free",
            f"in each domain cordon {spare}, or `kubectl taint nodes NODE {SPARE_TAINT}=true:NoSchedule`; when another "
            f"fails, `kubectl taint nodes NODE {SPARE_TAINT}-`",
        )
    if not is_chain(sizes, offering.gpus_per_host):
        yield Omission(
            subject,
            f"a place for every pod: pods of {', '.join(map(str, sizes))} GPUs do not fill hosts of "
            f"{offering.gpus_per_host} in every order, whatever their priorities",
            "watch for Pending pods, and delete smaller ones that stand in the way",
        )


def _of_deployment(view: DeploymentView) -> Iterator[Omission]:
    deployment, offering = view.deployment, view.offering
    subject = f"deployment {deployment.id}"
    if deployment.kv_link == "network":
        missing = "RDMA devices for KV transfers, which each provider names differently"
        yield Omission(
            subject,
            missing,
            "add your provider's device resource to its pods; without it KV goes over TCP",
        )
    takes_trays = all(group.gpus_per_host_used == offering.gpus_per_host for group in deployment.workers)
    if deployment.kv_link == "nvlink" and not (offering.domain == "rack" and takes_trays):
        missing = "NVLink between pods of one host: each sees its own GPUs only"
        yield Omission(subject, missing, "expect KV over the host's network")
    is_known = offering.gpu_product if offering.provider == "on-premises" else offering.machine_type
    if not offering.node_selector and not is_known:
        instead = "write hardware.offerings.*.node_selector, or its pods may land on other GPUs"
        yield Omission(subject, f"which nodes are {offering.name}", instead)
    yield from _of_spread(view, subject)
    if view.checkpoint.load_format and not has_benchmark(view):
        missing = "its benchmark job: the client reads no tokenizer out of object storage"
        yield Omission(subject, missing, "run `vllm bench serve` with --tokenizer by hand")


def _of_spread(view: DeploymentView, subject: str) -> Iterator[Omission]:
    """What the required spread leaves open: a host over the rack map's count, or a pod that finds no host under it."""
    if "host" not in view.plan.policy.survive:
        return
    seen = f"look with `kubectl get pods -o wide -l {DEPLOYMENT_LABEL}={view.name}`"
    for group in view.groups:
        planned, most = group.max_workers_per_host, most_on_one_host(view, group)
        if most > planned:
            yield Omission(
                subject,
                f"at most {planned} of its pods on one host, as surviving a host counts on: the spread lets up to {most} "
                "on one, once every host has some",
                f"{seen}, and delete pods of a host with more",
            )
            return


def _of_delivery(plan: FleetPlan) -> Iterator[Omission]:
    if plan.deployments and plan.delivery.model_cache_claim is None:
        missing = "a shared cache of weights: every pod downloads its checkpoint to its node's disk"
        yield Omission("delivery", missing, "write delivery.model_cache_claim")
