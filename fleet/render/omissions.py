"""What a plan says that its rendered objects cannot say, so that nobody takes it for done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fleet.plan.document import FleetPlan, Target


@dataclass(frozen=True, slots=True)
class Omission:
    """One thing that is left to the reader: what of whom is not in the objects, and what to do about it."""

    subject: str
    missing: str
    instead: str


def omissions(plan: FleetPlan) -> tuple[Omission, ...]:
    """List what the objects of this plan leave out, in a fixed order."""
    return (*_of_gateway(plan), *_of_tenants(plan), *_of_deployments(plan))


def _of_gateway(plan: FleetPlan) -> Iterator[Omission]:
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
            missing = f"its budget of {tenant.token_budget_per_minute:g} tokens/min"
            yield Omission(
                f"tenant {tenant.name}", missing, "enforce it in the gateway's own rate limit by tenant"
            )
        if tenant.priority:
            instead = "only the priorities of SLO classes reach the endpoint picker"
            yield Omission(f"tenant {tenant.name}", f"its priority {tenant.priority}", instead)


def _of_deployments(plan: FleetPlan) -> Iterator[Omission]:
    offerings = {offering.name: offering for offering in plan.offerings}
    for deployment in plan.deployments:
        subject, offering = f"deployment {deployment.id}", offerings[deployment.offering]
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
    if plan.deployments and plan.delivery.model_cache_claim is None:
        missing = "a shared cache of weights: every pod downloads its checkpoint to its node's disk"
        yield Omission("delivery", missing, "write delivery.model_cache_claim")
