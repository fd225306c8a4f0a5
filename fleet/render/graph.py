"""The typed resource graph that the file writer, the Pulumi components and the review all read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import networkx as nx


@dataclass(frozen=True, slots=True)
class ResourceId:
    """A Kubernetes object's identity; `namespace` is empty for cluster-scoped kinds."""

    api_version: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace + '/' if self.namespace else ''}{self.name}"


@dataclass(frozen=True, slots=True)
class Resource:
    """One object to create, with what the sinks need beside its body.

    `body` is the whole object (apiVersion, kind, metadata, spec); sinks do not change it. `component` is the stable name of the group it belongs to
    (a deployment's id, `gateway`, `fleet`). `wave` is its Argo CD sync wave. `gpus` counts the GPUs its pods will
    hold when it is applied. `is_capacity` marks what must be protected from deletion.
    """

    id: ResourceId
    body: Mapping[str, Any]
    component: str
    wave: int = 1
    gpus: int = 0
    is_capacity: bool = False
    engine_files: Mapping[str, str] = field(default_factory=dict)


class ResourceGraph:
    """Resources and what must exist before what, in one canonical order."""

    def __init__(self) -> None:
        self._graph: nx.DiGraph[ResourceId] = nx.DiGraph()

    def add(self, resource: Resource, *, after: tuple[ResourceId, ...] = ()) -> ResourceId:
        """Add a resource that needs the resources `after` to exist.

        Raises:
            ValueError: the identity is taken, or `after` names an unknown resource.
        """
        if resource.id in self._graph:
            raise ValueError(f"two resources are called {resource.id}")
        unknown = [str(other) for other in after if other not in self._graph]
        if unknown:
            raise ValueError(f"{resource.id} depends on {', '.join(unknown)}, which is not in the graph")
        self._graph.add_node(resource.id, resource=resource)
        self._graph.add_edges_from((other, resource.id) for other in after)
        return resource.id

    def __iter__(self) -> Iterator[Resource]:
        """Resources in dependency order, ties by wave, kind, namespace and name."""
        order = nx.lexicographical_topological_sort(
            self._graph, key=lambda rid: (self[rid].wave, rid.kind, rid.namespace, rid.name)
        )
        return iter([self[rid] for rid in order])

    def __getitem__(self, rid: ResourceId) -> Resource:
        resource: Resource = self._graph.nodes[rid]["resource"]
        return resource

    def __len__(self) -> int:
        return len(self._graph)

    def dependencies(self, rid: ResourceId) -> tuple[ResourceId, ...]:
        """What `rid` needs, sorted."""
        return tuple(sorted(self._graph.predecessors(rid), key=str))

    def components(self) -> tuple[str, ...]:
        """The component names, sorted."""
        return tuple(sorted({resource.component for resource in self}))
