"""A scheduler for tests: it reads rendered pods and hosts of the rack map, spreads by default, and preempts by priority.

What it has of kube-scheduler: GPUs, the spread constraint over hosts, preferred affinity to pods on a host, least
allocated first, preemption of lower priorities where that makes room. Planned NVLink domains are taken as found: what
is tested is where pods land inside them. A pod that finds no host waits; one that was preempted comes again.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleet.plan.document import FleetPlan
from fleet.render.gpus import pod_gpus
from fleet.render.graph import ResourceGraph
from fleet.render.identity import NVLINK_DOMAIN_LABEL
from tests.render.reading import bodies, pod_templates


@dataclass(frozen=True)
class Pod:
    """A rendered pod that holds GPUs."""

    number: int
    offering: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]
    priority: int

    @property
    def gpus(self) -> int:
        return pod_gpus(self.spec)


@dataclass
class Node:
    """A host of the rack map."""

    name: str
    domain: str
    gpus: int
    pods: list[Pod]

    def free(self, below: int = 0) -> int:
        """GPUs that are free, or held by pods of a lower priority than `below`."""
        return self.gpus - sum(pod.gpus for pod in self.pods if pod.priority >= below)


def pods_of(
    plan: FleetPlan,
    graph: ResourceGraph,
) -> list[Pod]:
    """Every pod with GPUs."""
    values = {body["metadata"]["name"]: body["value"] for body in bodies(graph, "PriorityClass")}
    offerings = {deployment.id: deployment.offering for deployment in plan.deployments}
    found: list[Pod] = []
    for item in graph:
        for template, count in with_counts(item.body):
            if pod_gpus(template["spec"]):
                value = values[template["spec"]["priorityClassName"]]
                labels = template["metadata"]["labels"]
                for _ in range(count):
                    found.append(Pod(len(found), offerings[item.component], labels, template["spec"], value))
    return found


def with_counts(body: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], int]]:
    """The pod templates of an object, and how many pods each becomes."""
    spec, templates = body.get("spec", {}), pod_templates(body)
    match body["kind"]:
        case "Deployment":
            return [(templates[0], spec["replicas"])]
        case "LeaderWorkerSet":
            size = spec["leaderWorkerTemplate"]["size"]
            counts = [size] if len(templates) == 1 else [1, size - 1]
            return [(t, spec["replicas"] * n) for t, n in zip(templates, counts, strict=True)]
        case "DynamoGraphDeployment":
            return [
                (c["podTemplate"], c["replicas"] * c.get("multinode", {}).get("nodeCount", 1))
                for c in spec["components"]
            ]
        case _:
            return []


class Cluster:
    """The hosts of an offering that a plan bought; spare ones too, unless they are tainted."""

    def __init__(self, plan: FleetPlan, offering: str, *, with_spares: bool) -> None:
        per_host = next(o.gpus_per_host for o in plan.offerings if o.name == offering)
        self.nodes = [
            Node(f"{domain.id}/{host.index}", domain.id, per_host, [])
            for domain in plan.domains
            if domain.offering == offering
            for host in domain.hosts
            if with_spares or not host.is_spare
        ]
        self.preempted = 0

    def schedule(self, pods: Sequence[Pod], seed: int) -> list[Pod]:
        """Place pods in a random order of arrival; return those that wait for ever."""
        shuffled = list(pods)
        random.Random(seed).shuffle(shuffled)
        waiting = shuffled
        while True:
            waiting.sort(key=lambda pod: -pod.priority)
            left: list[Pod] = []
            for pod in waiting:
                evicted = self._place(pod)
                left += [pod] if evicted is None else evicted
            if {pod.number for pod in left} == {pod.number for pod in waiting}:
                return left
            waiting = left

    def _place(self, pod: Pod) -> list[Pod] | None:
        """The pods that had to go for it, or None where no host can have it."""
        free = [node for node in self._allowed(pod) if node.free() >= pod.gpus]
        if free:
            max(free, key=lambda node: (self._preference(pod, node), node.free(), node.name)).pods.append(pod)
            return []
        for node in self._allowed(pod):
            if node.free(below=pod.priority) >= pod.gpus:
                evicted: list[Pod] = []
                for victim in sorted(node.pods, key=lambda other: other.priority):
                    if node.free() < pod.gpus:
                        node.pods.remove(victim)
                        evicted.append(victim)
                node.pods.append(pod)
                self.preempted += len(evicted)
                return evicted
        return None

    def _allowed(self, pod: Pod) -> list[Node]:
        domain = pod.labels.get(NVLINK_DOMAIN_LABEL)
        nodes = [node for node in self.nodes if domain in (None, node.domain)]
        for constraint in pod.spec.get("topologySpreadConstraints", []):
            selector = constraint["labelSelector"]["matchLabels"]
            counts = {node.name: self._matching(selector, node) for node in self.nodes}
            least = min(counts.values())
            nodes = [node for node in nodes if counts[node.name] + 1 - least <= constraint["maxSkew"]]
        return nodes

    def _preference(self, pod: Pod, node: Node) -> int:
        near = pod.spec.get("affinity", {}).get("podAffinity", {})
        return sum(
            term["weight"] * self._matching(term["podAffinityTerm"]["labelSelector"]["matchLabels"], node)
            for term in near.get("preferredDuringSchedulingIgnoredDuringExecution", [])
        )

    @staticmethod
    def _matching(selector: Mapping[str, str], node: Node) -> int:
        return sum(selector.items() <= pod.labels.items() for pod in node.pods)
