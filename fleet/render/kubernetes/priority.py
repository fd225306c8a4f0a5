"""PriorityClasses by the size of a pod: a larger pod takes the place of smaller ones that stand in its way.

Data    G GPUs of a host; sizes g_1 < … < g_k of pods, each a divisor of the next and of G, larger is higher priority
Claim   pods that fit the hosts in number of GPUs all get a place, wherever the scheduler put the smaller ones first
Proof   Let a pod of g GPUs wait. Larger and equal pods hold a multiple of g on each host, so what they leave there is a
        multiple of g too. They and the waiting pod fit together, so some host has g left; what is on it is free or held
        by smaller pods, which the scheduler preempts. Those wait then, and the claim holds for them.

So no fragmentation keeps a pod of a whole tray waiting, and pods on a spare tray are in nobody's way. Sizes that are no
such chain are named in the omissions. There is a class for every power of two that a host can hold, used or not:
classes are the cluster's, and a pod cannot be made again without its class, so a plan does not take one away.
"""

from __future__ import annotations

from itertools import pairwise

from fleet.plan.document import FleetPlan, PlannedOffering, WorkerGroup
from fleet.render.errors import UnrenderablePlan
from fleet.render.graph import Resource
from fleet.render.identity import dns_label, object_labels
from fleet.render.objects import Wave, resource

PRIORITY_PER_GPU = 1000
"""Above 0, the priority of pods without a class; room between the sizes for classes of the cluster's own."""
FLEET = "fleet"
RESERVED_PREFIX = "system-"


def priority_class_name(plan: FleetPlan, gpus: int) -> str:
    """Name of the class of pods of so many GPUs.

    Raises:
        UnrenderablePlan: the fleet's name begins as only Kubernetes' own classes may.
    """
    name = f"{dns_label(plan.fleet)}-gpu-{gpus}"
    if name.startswith(RESERVED_PREFIX):
        raise UnrenderablePlan(
            f"fleet {plan.fleet}: Kubernetes keeps names of PriorityClasses that begin with "
            f"{RESERVED_PREFIX!r} to itself. Rename the fleet."
        )
    return name


def priority_class(workers: WorkerGroup, plan: FleetPlan) -> dict[str, str]:
    """The class as a part of a pod's spec."""
    return {"priorityClassName": priority_class_name(plan, workers.gpus_per_host_used)}


def priority_classes(plan: FleetPlan) -> list[Resource]:
    """The fleet's classes, by falling size."""
    return [_class(plan, gpus) for gpus in sorted(_sizes(plan), reverse=True)]


def sizes_on(plan: FleetPlan, offering: PlannedOffering) -> list[int]:
    """GPUs of the pods of an offering, rising, each size once."""
    return sorted(
        {
            workers.gpus_per_host_used
            for deployment in plan.deployments
            if deployment.offering == offering.name
            for workers in deployment.workers
        }
    )


def is_chain(sizes: list[int], gpus_per_host: int) -> bool:
    """Whether each size divides the next, and the last one a host.

    >>> is_chain([1, 2, 4], 8), is_chain([2, 3], 8), is_chain([3], 8)
    (True, False, False)
    """
    return all(larger % smaller == 0 for smaller, larger in pairwise([*sizes, gpus_per_host]))


def _sizes(plan: FleetPlan) -> set[int]:
    most = max((offering.gpus_per_host for offering in plan.offerings), default=0)
    powers = {1 << exponent for exponent in range(most.bit_length())}
    return powers.union(*(sizes_on(plan, offering) for offering in plan.offerings))


def _class(plan: FleetPlan, gpus: int) -> Resource:
    name = priority_class_name(plan, gpus)
    return resource(
        "scheduling.k8s.io/v1",
        "PriorityClass",
        name,
        "",
        object_labels(plan, "priority", name, FLEET),
        {
            "description": f"Engines of fleet {plan.fleet} with {gpus} GPUs in a pod: they take the place of smaller ones.",
            "globalDefault": False,
            "preemptionPolicy": "PreemptLowerPriority",
            "value": PRIORITY_PER_GPU * gpus,
        },
        component=FLEET,
        wave=Wave.NAMESPACE,
    )
