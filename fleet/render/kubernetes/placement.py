"""Where pods may run: node selection, tolerations, NVLink domains, packing and spreading.

Placement on NVL72 racks. A ComputeDomain gives reach, not placement, and Kubernetes has no gang scheduler of its own.
Pods of the planned domain d carry the label `fleetc.dev/nvlink-domain: d` and two required terms over the node label
of the NVLink fabric: affinity to pods of d, and anti-affinity to pods of every other planned domain. So the first pod
of d claims a rack that no other planned domain holds, all others of d follow it, and the solver's rack map comes true
up to the racks' names, which are interchangeable. LeaderWorkerSet's own `exclusive-topology` annotation would give each
group a whole rack for itself; a plan puts several groups into one rack.

Packing. The scheduler spreads by default, so that small pods break up trays. Pods smaller than a host prefer hosts with
pods of their own size (and planned domain), whichever deployment those are of. That is a preference; what is certain is
that larger pods take their places by priority (`priority.py`). How deployments of one size mix on a tray is left to the
scheduler, but for the spread that survival needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleet.plan.document import FleetPlan, PlannedOffering, WorkerGroup
from fleet.render.errors import UnrenderablePlan
from fleet.render.identity import DEPLOYMENT_LABEL, GPUS_LABEL, NVLINK_DOMAIN_LABEL
from fleet.render.kubernetes.priority import priority_class
from fleet.render.racks import RackGroup
from fleet.render.view import DeploymentView

GPU_TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
TOLERATION_PARTS = ("effect", "key", "operator", "value")
HOST_LABEL = "kubernetes.io/hostname"
PACKING_WEIGHT = 100
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


def size_labels(workers: WorkerGroup) -> dict[str, str]:
    """The pod's size as a label, by which pods of one size find each other."""
    return {GPUS_LABEL: str(workers.gpus_per_host_used)}


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


def packing(offering: PlannedOffering, group: RackGroup, workers: WorkerGroup) -> list[dict[str, Any]]:
    """The preference of a pod smaller than a host for hosts with pods of its size and domain; else empty."""
    if workers.gpus_per_host_used >= offering.gpus_per_host:
        return []
    selector = {"matchLabels": {**size_labels(workers), **domain_labels(group)}}
    term = {"labelSelector": selector, "topologyKey": HOST_LABEL}
    return [{"podAffinityTerm": term, "weight": PACKING_WEIGHT}]


def spread(view: DeploymentView, group: RackGroup) -> list[dict[str, Any]]:
    """How many more workers of a deployment one host may hold than the emptiest host of the offering.

    Where the plan must survive a host: as many as the rack map puts on one. While some host holds none, that is the
    most that any host holds, which is what the loss was proven for; a smaller skew would refuse the rack map itself.
    Else a bound that never binds: without a constraint of its own a pod gets the scheduler's default one, which
    spreads and so works against packing. A preferred constraint would spread too.
    """
    must_survive = "host" in view.plan.policy.survive
    return [
        {
            "labelSelector": {
                "matchLabels": {**ENGINE_PODS, DEPLOYMENT_LABEL: view.name, **domain_labels(group)}
            },
            "maxSkew": group.max_workers_per_host if must_survive else view.offering.gpus_per_host,
            "topologyKey": HOST_LABEL,
            "whenUnsatisfiable": "DoNotSchedule",
        }
    ]


def most_under_skew(workers: int, hosts: int, skew: int) -> int:
    """The most of N workers that a skew of M lets onto one of H hosts.

    With m on every other host one may hold M + m, which takes N ≥ M + m + (H - 1) m: so m ≤ (N - M) / H.

    >>> most_under_skew(10, 6, 4), most_under_skew(9, 6, 4), most_under_skew(2, 6, 4)
    (5, 4, 2)
    """
    return min(workers, skew + max(0, workers - skew) // hosts)


def most_on_one_host(view: DeploymentView, group: RackGroup) -> int:
    """The most workers of a group that `spread` lets onto one host where the plan must survive a host.

    Pods of one NVLink domain leave the hosts of the others empty, so where there are others the skew is the most.
    """
    domains = sum(domain.offering == view.offering.name for domain in view.plan.domains)
    if group.is_pinned and domains > 1:
        return group.max_workers_per_host
    smallest = min(workers.gpus_per_host_used for workers in view.deployment.workers)
    under_skew = most_under_skew(sum(group.workers.values()), view.offering.hosts, group.max_workers_per_host)
    return min(under_skew, view.offering.gpus_per_host // smallest)


def scheduling(view: DeploymentView, group: RackGroup, workers: WorkerGroup) -> dict[str, Any]:
    """The part of a pod's spec that says where it may run, and before which others."""
    spec: dict[str, Any] = {
        "nodeSelector": node_selector(view.plan, view.offering),
        "tolerations": tolerations(view.offering),
        **priority_class(workers, view.plan),
    }
    affinity = domain_affinity(view.offering, group)
    if preferred := packing(view.offering, group, workers):
        near = affinity.get("podAffinity", {})
        affinity["podAffinity"] = {**near, "preferredDuringSchedulingIgnoredDuringExecution": preferred}
    if affinity:
        spec["affinity"] = affinity
    if view.plan.delivery.runtime_class:
        spec["runtimeClassName"] = view.plan.delivery.runtime_class
    return spec
