"""InferencePools and their endpoint pickers: which pod of a deployment serves a request.

One pool and one picker for each deployment on a Kubernetes target. The picker is one replica, because its prefix index
lives in memory; the pool fails open, so that requests still reach some pod while it is away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from fleet.render.engines.launch import API_PORT
from fleet.render.engines.templates import read_versions, render_template
from fleet.render.graph import Resource
from fleet.render.identity import (
    DEPLOYMENT_LABEL,
    ENDPOINT_LABEL,
    WORKLOAD_LABEL,
    content_hash,
    deployment_labels,
    dns_label,
    pod_labels,
)
from fleet.render.objects import Wave, resource
from fleet.render.view import DeploymentView

GRPC_PORT = 9002
HEALTH_PORT = 9003
METRICS_PORT = 9090
CONFIG_FILE = "endpoint-picker.yaml"
PICKER_CPUS = 1
"""Requested; without a limit it takes more when it has to."""
POOL_GROUP = "inference.networking.k8s.io"


def picker_name(view: DeploymentView) -> str:
    return f"{view.name}-epp"


def objective_name(view: DeploymentView, workload: str) -> str:
    """Name of a workload's objective in a pool: an objective belongs to one pool."""
    return f"{dns_label(workload, 63)}.{view.name}"


def inference_pool(view: DeploymentView) -> Resource:
    """The pool of the deployment's pods that answer HTTP."""
    spec = {
        "endpointPickerRef": {
            "name": picker_name(view),
            "kind": "Service",
            "port": {"number": GRPC_PORT},
            "failureMode": "FailOpen",
        },
        "selector": {"matchLabels": {DEPLOYMENT_LABEL: view.name, ENDPOINT_LABEL: "true"}},
        "targetPorts": [{"number": API_PORT}],
    }
    return _of(view, f"{POOL_GROUP}/v1", "InferencePool", view.name, {"spec": spec}, Wave.CONFIG)


def inference_objectives(view: DeploymentView) -> list[Resource]:
    """The priority of each workload in this pool, under the name that its route sends as a header."""
    priorities = {workload.name: workload.priority for workload in view.plan.workloads}
    found = []
    for served in sorted(view.deployment.served, key=lambda served: served.workload):
        spec = {
            "poolRef": {"group": POOL_GROUP, "kind": "InferencePool", "name": view.name},
            "priority": priorities[served.workload],
        }
        labels = {WORKLOAD_LABEL: dns_label(served.workload, 63)}
        found.append(
            _of(
                view,
                "llm-d.ai/v1alpha2",
                "InferenceObjective",
                objective_name(view, served.workload),
                {"spec": spec},
                Wave.CONFIG,
                labels,
            )
        )
    return found


def picker_config(view: DeploymentView) -> Resource:
    """The picker's configuration, in a ConfigMap named after its content: a change is a new object and a clean rollout."""
    text = render_template(
        "llm-d/endpoint-picker.yaml.j2", {"cache_locality": view.plan.gateway.cache_locality}
    )
    _check_config(yaml.safe_load(text))
    name = f"{picker_name(view)}-{content_hash(text)}"
    return _of(view, "v1", "ConfigMap", name, {"data": {CONFIG_FILE: text}, "immutable": True}, Wave.CONFIG)


def _check_config(config: Mapping[str, Any]) -> None:
    """Every plugin that a profile refers to is declared."""
    declared = {plugin.get("name", plugin["type"]) for plugin in config["plugins"]}
    used = {plugin["pluginRef"] for profile in config["schedulingProfiles"] for plugin in profile["plugins"]}
    if not used <= declared:
        raise ValueError(
            f"the endpoint picker's profile refers to {sorted(used - declared)}, which it does not declare"
        )


def picker_service(view: DeploymentView) -> Resource:
    spec = {
        "ports": [
            {"name": "grpc-ext-proc", "port": GRPC_PORT, "protocol": "TCP", "targetPort": "grpc"},
            {"name": "metrics", "port": METRICS_PORT, "protocol": "TCP", "targetPort": "metrics"},
        ],
        "selector": _picker_pods(view),
        "type": "ClusterIP",
    }
    return _of(view, "v1", "Service", picker_name(view), {"spec": spec}, Wave.CONFIG)


def picker_access(view: DeploymentView) -> tuple[Resource, Resource, Resource]:
    """The picker's ServiceAccount, and a Role to watch pods, its pool and objectives in its own namespace."""
    name = picker_name(view)
    verbs = ["get", "list", "watch"]
    rules = [
        {"apiGroups": [""], "resources": ["pods"], "verbs": verbs},
        {"apiGroups": [POOL_GROUP], "resources": ["inferencepools"], "verbs": verbs},
        {
            "apiGroups": ["llm-d.ai"],
            "resources": ["inferencemodelrewrites", "inferenceobjectives"],
            "verbs": verbs,
        },
    ]
    binding = {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": view.namespace}],
    }
    return (
        _of(view, "v1", "ServiceAccount", name, {}, Wave.CONFIG),
        _of(view, "rbac.authorization.k8s.io/v1", "Role", name, {"rules": rules}, Wave.CONFIG),
        _of(view, "rbac.authorization.k8s.io/v1", "RoleBinding", name, binding, Wave.CONFIG),
    )


def picker_deployment(view: DeploymentView, config_name: str) -> Resource:
    """The picker. Its strategy is Recreate: two at once would each know half of the prefixes."""
    pods = _picker_pods(view)
    spec = {
        "replicas": 1,
        "revisionHistoryLimit": 3,
        "selector": {"matchLabels": pods},
        "strategy": {"type": "Recreate"},
        "template": {
            "metadata": {"labels": {**pod_labels(view.deployment, "endpoint-picker"), **pods}},
            "spec": _picker_pod(view, config_name),
        },
    }
    return _of(view, "apps/v1", "Deployment", picker_name(view), {"spec": spec}, Wave.SERVING)


def _picker_pod(view: DeploymentView, config_name: str) -> dict[str, Any]:
    def probe(period_s: int) -> dict[str, Any]:
        return {
            "grpc": {"port": HEALTH_PORT, "service": "inference-extension"},
            "initialDelaySeconds": 5,
            "periodSeconds": period_s,
        }

    container = {
        "name": "epp",
        "image": read_versions("llm-d")["image"],
        "args": [
            "--pool-name",
            view.name,
            "--pool-namespace",
            view.namespace,
            "--pool-group",
            POOL_GROUP,
            "--config-file",
            f"/config/{CONFIG_FILE}",
            "--grpc-health-port",
            str(HEALTH_PORT),
            # Without token reviews the picker needs no cluster-wide role; its metrics hold no secrets.
            "--metrics-endpoint-auth=false",
            "--tracing=false",
        ],
        "env": [
            {"name": "NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        "livenessProbe": probe(10),
        "ports": [
            {"name": "grpc", "containerPort": GRPC_PORT},
            {"name": "grpc-health", "containerPort": HEALTH_PORT},
            {"name": "metrics", "containerPort": METRICS_PORT},
        ],
        "readinessProbe": probe(2),
        "resources": {"limits": {"memory": "16Gi"}, "requests": {"cpu": str(PICKER_CPUS), "memory": "8Gi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "config", "mountPath": "/config", "readOnly": True}],
    }
    return {
        "containers": [container],
        "serviceAccountName": picker_name(view),
        "terminationGracePeriodSeconds": view.grace_s,
        "volumes": [{"name": "config", "configMap": {"name": config_name}}],
    }


def _picker_pods(view: DeploymentView) -> dict[str, str]:
    return {"app.kubernetes.io/component": "endpoint-picker", DEPLOYMENT_LABEL: view.name}


def _of(
    view: DeploymentView,
    api_version: str,
    kind: str,
    name: str,
    content: Mapping[str, Any],
    wave: Wave,
    labels: Mapping[str, str] | None = None,
) -> Resource:
    own = {**deployment_labels(view.plan, view.deployment, "endpoint-picker"), **(labels or {})}
    return resource(api_version, kind, name, view.namespace, own, content, component=view.name, wave=wave)
