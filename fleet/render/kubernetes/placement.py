"""Where pods may run: node selection, tolerations, NVLink domains and spreading.

Placement on NVL72 racks. A ComputeDomain gives reach, not placement, and Kubernetes has no gang scheduler of its own.
Pods of the planned domain d carry the label `fleetc.dev/nvlink-domain: d` and two required terms over the node label
of the NVLink fabric: affinity to pods of d, and anti-affinity to pods of every other planned domain. So the first pod
of d claims a rack that no other planned domain holds, all others of d follow it, and the solver's rack map comes true
up to the racks' names, which are interchangeable. LeaderWorkerSet's own `exclusive-topology` annotation would give each
group a whole rack for itself; a plan puts several groups into one rack.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleet.plan.document import FleetPlan, PlannedOffering
from fleet.render.errors import UnrenderablePlan
from fleet.render.identity import DEPLOYMENT_LABEL, NVLINK_DOMAIN_LABEL
from fleet.render.racks import RackGroup
from fleet.render.view import DeploymentView

GPU_TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
TOLERATION_PARTS = ("effect", "key", "operator", "value")
ENGINE_PODS = {"app.kubernetes.io/component": "engine"}
ARM64_TOLERATION = {
    "key": "kubernetes.io/arch",
    "operator": "Equal",
    "value": "arm64",
    "effect": "NoSchedule",
}


def node_selector(plan: FleetPlan, offering: PlannedOffering) -> dict[str, str]:
    """The CPU architecture, and the offering's own selector.

    Without one, clouds label nodes with their machine type; where another offering has the same machines elsewhere, the
    zone tells them apart. On-premises nodes are told by GPU Feature Discovery's label, where the product is known.
    """
    selector = {"kubernetes.io/arch": offering.cpu_arch, **offering.node_selector}
    if offering.node_selector:
        return selector
    if offering.provider == "on-premises":
        return selector | ({"nvidia.com/gpu.product": offering.gpu_product} if offering.gpu_product else {})
    if offering.machine_type:
        selector["node.kubernetes.io/instance-type"] = offering.machine_type
        if any(
            other.machine_type == offering.machine_type and other.zone != offering.zone
            for other in plan.offerings
        ):
            selector["topology.kubernetes.io/zone"] = offering.zone
    return selector


def tolerations(offering: PlannedOffering) -> list[dict[str, str]]:
    """The offering's tolerations, the GPU taint's, and on Grace hosts the architecture taint's; each once.

    Raises:
        UnrenderablePlan: a toleration has a part that is none.
    """
    for name in (name for item in offering.tolerations for name in item if name not in TOLERATION_PARTS):
        raise UnrenderablePlan(
            f"offering {offering.name}: a toleration has {', '.join(TOLERATION_PARTS)}, not {name!r}."
        )
    wanted = (
        [dict(item) for item in offering.tolerations]
        + [GPU_TOLERATION]
        + ([ARM64_TOLERATION] if offering.cpu_arch == "arm64" else [])
    )
    return [dict(item) for number, item in enumerate(wanted) if item not in wanted[:number]]


def domain_labels(group: RackGroup) -> dict[str, str]:
    """The planned NVLink domain as a pod label."""
    return {NVLINK_DOMAIN_LABEL: group.domain_id} if group.is_pinned else {}


def domain_affinity(offering: PlannedOffering, group: RackGroup) -> dict[str, Any]:
    """The two terms that keep planned NVLink domains together and apart; empty where pods are not pinned."""
    if not group.is_pinned:
        return {}

    def term(*expressions: Mapping[str, Any]) -> dict[str, Any]:
        selector = {
            "matchExpressions": [{"key": NVLINK_DOMAIN_LABEL, **expression} for expression in expressions]
        }
        return {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": selector, "topologyKey": offering.domain_label}
            ]
        }

    return {
        "podAffinity": term({"operator": "In", "values": [group.domain_id]}),
        "podAntiAffinity": term({"operator": "Exists"}, {"operator": "NotIn", "values": [group.domain_id]}),
    }


def spread(view: DeploymentView, group: RackGroup) -> list[dict[str, Any]]:
    """Spread workers over hosts, with the rack map's largest number on one host as the skew.

    Where the plan must survive a host this is required: no host may hold more workers than the loss that was proven
    to be survived. Else it is preferred.
    """
    is_required = "host" in view.plan.policy.survive
    return [
        {
            "labelSelector": {
                "matchLabels": {**ENGINE_PODS, DEPLOYMENT_LABEL: view.name, **domain_labels(group)}
            },
            "maxSkew": group.max_workers_per_host,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "DoNotSchedule" if is_required else "ScheduleAnyway",
        }
    ]


def scheduling(view: DeploymentView, group: RackGroup) -> dict[str, Any]:
    """The part of a pod's spec that says where it may run."""
    spec: dict[str, Any] = {
        "nodeSelector": node_selector(view.plan, view.offering),
        "tolerations": tolerations(view.offering),
    }
    if affinity := domain_affinity(view.offering, group):
        spec["affinity"] = affinity
    if view.plan.delivery.runtime_class:
        spec["runtimeClassName"] = view.plan.delivery.runtime_class
    return spec
