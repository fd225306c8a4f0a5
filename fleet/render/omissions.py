"""What a plan says that its rendered objects cannot say, so that nobody takes it for done."""

from __future__ import annotations

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
    found = [
        Omission(
            "gateway",
            "TLS: the Gateway listens on HTTP",
            "terminate TLS in front of it, or add a listener with your certificate",
        )
    ]
    on_kubernetes = [
        deployment.id for deployment in plan.deployments if deployment.target is not Target.DYNAMO
    ]
    if plan.gateway.retry_attempts and on_kubernetes:
        found.append(
            Omission(
                "gateway",
                f"{plan.gateway.retry_attempts} retries for {', '.join(on_kubernetes)}: the standard channel of HTTPRoute has no retry",
                "set them in the gateway's own policy, or let clients retry",
            )
        )
    for tenant in plan.gateway.tenants:
        if tenant.token_budget_per_minute is not None:
            found.append(
                Omission(
                    f"tenant {tenant.name}",
                    f"its budget of {tenant.token_budget_per_minute:g} tokens/min",
                    "enforce it in the gateway's own rate limit by tenant",
                )
            )
        if tenant.priority:
            found.append(
                Omission(
                    f"tenant {tenant.name}",
                    f"its priority {tenant.priority}",
                    "only the priorities of SLO classes reach the endpoint picker",
                )
            )
    offerings = {offering.name: offering for offering in plan.offerings}
    for deployment in plan.deployments:
        offering = offerings[deployment.offering]
        if deployment.kv_link == "network":
            found.append(
                Omission(
                    f"deployment {deployment.id}",
                    "RDMA devices for KV transfers, which each provider names differently",
                    "add your provider's device resource to its pods; without it KV goes over TCP",
                )
            )
        if deployment.kv_link == "nvlink" and offering.domain == "host":
            found.append(
                Omission(
                    f"deployment {deployment.id}",
                    "NVLink between pods of one host: a pod sees its own GPUs only",
                    "expect KV over the host's network",
                )
            )
        is_known = offering.gpu_product if offering.provider == "on-premises" else offering.machine_type
        if not offering.node_selector and not is_known:
            found.append(
                Omission(
                    f"deployment {deployment.id}",
                    f"which nodes are {offering.name}",
                    "write hardware.offerings.*.node_selector, or its pods may land on other GPUs",
                )
            )
    if plan.deployments and plan.delivery.model_cache_claim is None:
        found.append(
            Omission(
                "delivery",
                "a shared cache of weights: every pod downloads its checkpoint to its node's disk",
                "write delivery.model_cache_claim",
            )
        )
    return tuple(found)
