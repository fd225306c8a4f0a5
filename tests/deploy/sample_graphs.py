"""A small resource graph written by hand: a namespace, a claim that holds weights, a server and its route."""

from __future__ import annotations

from typing import Any

from fleet.render.graph import Resource, ResourceGraph, ResourceId

NAMESPACE = ResourceId("v1", "Namespace", "", "inference")
CLAIM = ResourceId("v1", "PersistentVolumeClaim", "inference", "weights")
SERVER = ResourceId("apps/v1", "Deployment", "inference", "chat-h100-dev")
ROUTE = ResourceId("gateway.networking.k8s.io/v1", "HTTPRoute", "inference", "chat")


def body(rid: ResourceId, **rest: Any) -> dict[str, Any]:
    """Return a whole object with this identity."""
    namespace = {"namespace": rid.namespace} if rid.namespace else {}
    return {
        "apiVersion": rid.api_version,
        "kind": rid.kind,
        "metadata": {"name": rid.name, **namespace},
        **rest,
    }


def small_graph(replicas: int = 2) -> ResourceGraph:
    """The objects of `tests.plans.dev_plan`, much simplified; every component has one."""
    graph = ResourceGraph()
    graph.add(Resource(NAMESPACE, body(NAMESPACE), "fleet", wave=-2))
    claim = body(CLAIM, spec={"accessModes": ["ReadWriteMany"]})
    graph.add(Resource(CLAIM, claim, "fleet", wave=-1, is_capacity=True), after=(NAMESPACE,))
    server = body(SERVER, spec={"replicas": replicas, "template": {"spec": {"volumes": [{"emptyDir": {}}]}}})
    graph.add(Resource(SERVER, server, SERVER.name, gpus=2 * replicas), after=(NAMESPACE, CLAIM))
    graph.add(Resource(ROUTE, body(ROUTE, spec={"rules": []}), "gateway", wave=2), after=(SERVER,))
    return graph
