"""DynamoGraphDeployments: a frontend that routes, and prefill and decode (or mixed) workers, as one graph.

On hosts a deployment is one graph: replicas of its components are the plan's replicas times the workers of each. On
racks there is one graph for each NVLink domain, so that a prefill worker can only meet decode workers of its own rack.
One Service stands before the frontends of all graphs of a deployment; each graph has frontends in proportion to its
replicas, so that equal shares of the frontends are equal shares of the replicas.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from fleet.layout import Role
from fleet.plan.document import WorkerGroup
from fleet.render.engines.launch import (
    API_PORT,
    SYSTEM_PORT,
    Launch,
    dynamo_frontend_launch,
    dynamo_worker_launch,
)
from fleet.render.errors import UnrenderablePlan
from fleet.render.gpus import check_worker
from fleet.render.graph import Resource
from fleet.render.identity import (
    DEPLOYMENT_LABEL,
    DYNAMO_NAME_LIMIT,
    ENDPOINT_LABEL,
    ROLE_LABEL,
    deployment_labels,
    dns_label,
    pod_labels,
    rack_group_name,
    workloads_annotation,
)
from fleet.render.kubernetes.compute_domain import claim_template_name
from fleet.render.kubernetes.placement import ARM64_TOLERATION, domain_labels, scheduling, size_labels, spread
from fleet.render.kubernetes.pods import (
    environment,
    resource_claims,
    resources,
    security,
    shared_memory,
    volumes,
)
from fleet.render.objects import Wave, resource, serving_wave
from fleet.render.racks import RackGroup
from fleet.render.view import AFTER_DRAIN_S, PROBE_PERIOD_S, DeploymentView

COMPONENT_NAMES = {Role.MIXED: "worker", Role.PREFILL: "prefill", Role.DECODE: "decode"}
FRONTEND_CPUS = 4
FRONTEND_MEMORY = "8Gi"


def graph_name(view: DeploymentView, group: RackGroup) -> str:
    """Name of the graph of a rack group, short enough for the names that Grove makes of it."""
    if group.is_pinned:
        return rack_group_name(view.deployment, group.domain_index, DYNAMO_NAME_LIMIT)
    return dns_label(view.deployment.id, DYNAMO_NAME_LIMIT)


def frontend_service_name(view: DeploymentView) -> str:
    """Name of the Service before all frontends; the operator calls its own after the graph, with `-frontend`."""
    return f"{view.name}-api"


def frontend_service(view: DeploymentView) -> Resource:
    """The Service before the frontends of all graphs of a deployment."""
    spec = {
        "ports": [{"name": "http", "port": API_PORT, "protocol": "TCP", "targetPort": API_PORT}],
        "selector": {"app.kubernetes.io/component": "frontend", DEPLOYMENT_LABEL: view.name},
        "type": "ClusterIP",
    }
    labels = deployment_labels(view.plan, view.deployment, "frontend")
    name = frontend_service_name(view)
    return resource(
        "v1", "Service", name, view.namespace, labels, {"spec": spec}, component=view.name, wave=Wave.CONFIG
    )


def frontend_replicas(view: DeploymentView, group: RackGroup) -> int:
    """Two where the plan must survive the loss of anything, else one; for each replica where there are several graphs."""
    return (2 if view.plan.policy.survive else 1) * (group.replicas if group.is_pinned else 1)


def graph_deployments(view: DeploymentView) -> Iterator[Resource]:
    """One DynamoGraphDeployment, or one for each NVLink domain."""
    for group in view.groups:
        yield _graph_deployment(view, group)


def _graph_deployment(view: DeploymentView, group: RackGroup) -> Resource:
    frontend = dynamo_frontend_launch(
        frontend_replicas(view, group),
        cache_locality=view.plan.gateway.cache_locality,
        migration_limit=view.plan.gateway.retry_attempts,
    )
    launches = {workers.role: _worker_launch(view, workers) for workers in view.deployment.workers}
    components = [
        _frontend(view, group, frontend),
        *(_worker(view, group, workers, launches[workers.role]) for workers in view.deployment.workers),
    ]
    files = {"frontend": frontend, **{COMPONENT_NAMES[role]: launch for role, launch in launches.items()}}
    return resource(
        "nvidia.com/v1beta1",
        "DynamoGraphDeployment",
        graph_name(view, group),
        view.namespace,
        {**deployment_labels(view.plan, view.deployment, "engine"), **domain_labels(group)},
        {"spec": {"backendFramework": view.deployment.engine.id, "components": components}},
        component=view.name,
        wave=serving_wave(view.largest_pod_gpus),
        annotations=workloads_annotation(view.deployment),
        engine_files={name: shlex.join([*launch.command, *launch.args]) for name, launch in files.items()},
    )


def _worker_launch(view: DeploymentView, workers: WorkerGroup) -> Launch:
    if workers.layout.cp > 1 and workers.hosts_per_worker > 1:
        raise UnrenderablePlan(
            f"deployment {view.deployment.id}: Dynamo's operator does not know context parallelism across hosts."
        )
    return dynamo_worker_launch(
        view.deployment,
        workers,
        view.model.served_name,
        view.checkpoint,
        publishes_kv_events=view.plan.gateway.cache_locality,
    )


def _frontend(view: DeploymentView, group: RackGroup, launch: Launch) -> dict[str, Any]:
    """The frontend: no GPU, on any node; on clusters of Grace hosts only, it tolerates their taint."""
    container = {
        "name": "main",
        "image": view.deployment.engine.image,
        "command": list(launch.command),
        "args": list(launch.args),
        "env": [
            {"name": "DYN_HTTP_GRACEFUL_SHUTDOWN_TIMEOUT_SECS", "value": str(view.drain_s)},
            *(
                [
                    {
                        "name": "HF_TOKEN",
                        "valueFrom": {
                            "secretKeyRef": {"name": view.plan.delivery.hf_token_secret, "key": "HF_TOKEN"}
                        },
                    }
                ]
                if view.checkpoint.needs_hf_token
                else []
            ),
            {"name": "PYTHONHASHSEED", "value": "0"},
        ],
        "resources": {"requests": {"cpu": str(FRONTEND_CPUS), "memory": FRONTEND_MEMORY}},
    }
    spec: dict[str, Any] = {
        "containers": [container],
        "terminationGracePeriodSeconds": view.drain_s + AFTER_DRAIN_S,
    }
    if view.offering.cpu_arch == "arm64":
        spec["tolerations"] = [ARM64_TOLERATION]
    labels = {**pod_labels(view.deployment, "frontend"), ENDPOINT_LABEL: "true"}
    return {
        "name": "frontend",
        "type": "frontend",
        "replicas": frontend_replicas(view, group),
        "podTemplate": {"metadata": {"labels": labels}, "spec": spec},
    }


def _worker(view: DeploymentView, group: RackGroup, workers: WorkerGroup, launch: Launch) -> dict[str, Any]:
    hosts = workers.hosts_per_worker
    # The operator adds the ports, liveness and readiness; it adds node ranks by this executor's rules.
    annotations = {"nvidia.com/vllm-distributed-executor-backend": "mp"} if hosts > 1 else {}
    labels = {
        **pod_labels(view.deployment, "engine"),
        **domain_labels(group),
        **size_labels(workers),
        ROLE_LABEL: str(workers.role),
    }
    pod = _worker_pod(view, group, workers, launch)
    check_worker(f"deployment {view.deployment.id}", workers, launch.argv, pod)
    return {
        "name": COMPONENT_NAMES[workers.role],
        "type": "worker" if workers.role is Role.MIXED else str(workers.role),
        "replicas": group.workers[workers.role],
        "sharedMemorySize": shared_memory(workers),
        "podTemplate": {
            "metadata": {"labels": labels, "annotations": annotations} if annotations else {"labels": labels},
            "spec": pod,
        },
        **({"multinode": {"nodeCount": hosts}} if hosts > 1 else {}),
    }


def _worker_pod(
    view: DeploymentView, group: RackGroup, workers: WorkerGroup, launch: Launch
) -> dict[str, Any]:
    """The pod of a worker on one host. Dynamo drains for 900 s by default, longer than a pod lives: it is told ours."""
    container = {
        "name": "main",
        "image": view.deployment.engine.image,
        "command": list(launch.command),
        "args": list(launch.args),
        "env": environment(view, workers, {"DYN_RUNTIME_GRACEFUL_SHUTDOWN_TIMEOUT_SECS": str(view.drain_s)}),
        "resources": resources(view, workers),
        "securityContext": security(view),
        "startupProbe": {
            "failureThreshold": view.startup_probes,
            "httpGet": {"path": "/health", "port": SYSTEM_PORT},
            "periodSeconds": PROBE_PERIOD_S,
            "timeoutSeconds": 5,
        },
        "volumeMounts": volumes(view)[1],
    }
    spread_constraints = (
        {"topologySpreadConstraints": spread(view, group)} if workers.hosts_per_worker == 1 else {}
    )
    return {
        "containers": [container],
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": view.grace_s,
        "volumes": volumes(view)[0],
        **resource_claims(view, workers, claim_template_name(view, group)),
        **scheduling(view, group, workers),
        **spread_constraints,
    }
