"""Rendered GPUs equal solved GPUs: counted from the objects' bodies under each target's own rule.

Data        r_o replicas, n_o hosts of a worker, l_o GPU limit of a pod, read from the body of object o
Deployment  g_o = r_o l_o
LWS         g_o = r_o (l_leader + (size - 1) l_worker)
DGD         g_o = Σ_components r nodeCount l
(worker)    hosts_per_worker x limit = gpus_per_worker = TP x PP x PCP x DP of the launch command
(deployment) Σ_o g_o = gpus of the deployment in the plan
(total)     Σ_deployments = gpus_used of the plan's summary

A DynamoGraphDeployment counts GPUs for each node of a worker, a LeaderWorkerSet for each pod of a group: taking one
rule for the other is wrong by the number of hosts. So each body is read again, after it is made.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from fleet.plan.document import Deployment, FleetPlan, WorkerGroup
from fleet.render.errors import RenderedGpusDiffer
from fleet.render.graph import ResourceGraph

GPU_RESOURCE = "nvidia.com/gpu"
WORLD_FLAGS = (
    "--tensor-parallel-size",
    "--pipeline-parallel-size",
    "--prefill-context-parallel-size",
    "--data-parallel-size",
)


def pod_gpus(pod_spec: Mapping[str, Any]) -> int:
    """GPUs that the containers of a pod hold together."""
    limits = (
        container.get("resources", {}).get("limits", {}) for container in pod_spec.get("containers", [])
    )
    return sum(int(limit.get(GPU_RESOURCE, 0)) for limit in limits)


def gpus_of(body: Mapping[str, Any]) -> int:
    """GPUs that an object's pods hold when it is applied; 0 for kinds without pods."""
    spec = body.get("spec", {})
    match body["kind"]:
        case "Deployment":
            return int(spec["replicas"]) * pod_gpus(spec["template"]["spec"])
        case "Job":
            return int(spec["parallelism"]) * pod_gpus(spec["template"]["spec"])
        case "LeaderWorkerSet":
            group = spec["leaderWorkerTemplate"]
            follower = pod_gpus(group["workerTemplate"]["spec"])
            leader = pod_gpus(group["leaderTemplate"]["spec"]) if "leaderTemplate" in group else follower
            return int(spec["replicas"]) * (leader + (int(group["size"]) - 1) * follower)
        case "DynamoGraphDeployment":
            return sum(_component_gpus(component) for component in spec["components"])
        case _:
            return 0


def _component_gpus(component: Mapping[str, Any]) -> int:
    nodes = int(component.get("multinode", {}).get("nodeCount", 1))
    return int(component["replicas"]) * nodes * pod_gpus(component["podTemplate"]["spec"])


def world_size(argv: Sequence[str]) -> int:
    """GPUs of one worker as its launch command states them: TP x PP x PCP x DP."""
    sizes = dict.fromkeys(WORLD_FLAGS, 1)
    sizes.update({flag: int(value) for flag, value in pairwise(argv) if flag in sizes})
    return math.prod(sizes.values())


def check_worker(where: str, group: WorkerGroup, argv: Sequence[str], pod_spec: Mapping[str, Any]) -> None:
    """Compare a worker's pods and launch command with the plan.

    Raises:
        RenderedGpusDiffer: either gives another number than the plan's GPUs of a worker.
    """
    held = group.hosts_per_worker * pod_gpus(pod_spec)
    if held != group.gpus_per_worker:
        raise RenderedGpusDiffer(
            f"{where}: a {group.role} worker", held, group.gpus_per_worker, "hosts x GPU limit of a pod"
        )
    if (world := world_size(argv)) != group.gpus_per_worker:
        raise RenderedGpusDiffer(
            f"{where}: a {group.role} worker",
            world,
            group.gpus_per_worker,
            "TP x PP x PCP x DP of the launch command",
        )


def check_graph(plan: FleetPlan, graph: ResourceGraph, component_names: Mapping[str, str]) -> None:
    """Compare every deployment's objects, and all together, with the plan; bodies are read, not `Resource.gpus`.

    Args:
        component_names: Deployment id to the graph's component name.

    Raises:
        RenderedGpusDiffer: a deployment or the total differs.
    """
    counted: dict[str, int] = {}
    for item in graph:
        counted[item.component] = counted.get(item.component, 0) + gpus_of(item.body)
    for deployment in plan.deployments:
        _compare(deployment, counted.get(component_names[deployment.id], 0))
    total = sum(counted.values())
    for solved, rule in (
        (_solved(plan.deployments), "sum over deployments"),
        (plan.summary.gpus_used, "summary.gpus_used"),
    ):
        if total != solved:
            raise RenderedGpusDiffer("the fleet", total, solved, rule)


def _compare(deployment: Deployment, rendered: int) -> None:
    if rendered != deployment.gpus:
        raise RenderedGpusDiffer(
            f"deployment {deployment.id}", rendered, deployment.gpus, f"rule of {deployment.target}"
        )


def _solved(deployments: Iterable[Deployment]) -> int:
    return sum(deployment.gpus for deployment in deployments)
