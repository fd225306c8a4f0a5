"""The Job that offers a deployment its planned load, the Service that it is offered at, and the plan's digest beside them.

Nothing of it is part of the resource graph: a sync must not load what serves users. Applying the folder of a deployment
starts its benchmark. The Job holds no GPU, so that rendered GPUs still equal solved GPUs; where it is checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any

from fleet.plan.document import FleetPlan, Served, Target
from fleet.plan.file import plan_digest
from fleet.render.benchmark.load import BenchmarkLoad, benchmark_load
from fleet.render.benchmark.script import READY_TIMEOUT_S, RESULTS, describe, script
from fleet.render.engines.checkpoint import CLAIM_MOUNT
from fleet.render.engines.launch import API_PORT
from fleet.render.errors import RenderedGpusDiffer
from fleet.render.graph import Resource
from fleet.render.identity import (
    DEPLOYMENT_LABEL,
    ENDPOINT_LABEL,
    deployment_labels,
    dns_label,
    object_labels,
    pod_labels,
)
from fleet.render.kubernetes.dynamo import frontend_service_name
from fleet.render.kubernetes.placement import ENGINE_PODS, HOST_LABEL, tolerations
from fleet.render.objects import Wave, resource
from fleet.render.view import DeploymentView, views

PART = "benchmark"
CLIENT_CPUS = 2
CLIENT_MEMORY_GIB = 8
BYTES_PER_TOKEN = 64
"""Of prompts that wait to be sent: a list's entry, its copy in the cache of pieces, and the body as JSON."""
START_S = 900.0
"""Allowance to pull the image, load the tokenizer and make the requests."""
KEPT_S = 24 * 3600
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Benchmark:
    """The objects of one deployment's benchmark, without the plan's digest that all share."""

    folder: str
    resources: tuple[Resource, ...]


def plan_config(plan: FleetPlan) -> Resource:
    """The ConfigMap with the plan's digest: the one object of all benchmarks that changes with every plan."""
    return resource(
        "v1",
        "ConfigMap",
        _plan_config_name(plan),
        plan.delivery.namespace,
        object_labels(plan, PART, dns_label(plan.fleet, 63), PART),
        {"data": {"plan": plan_digest(plan)}},
        component=PART,
        wave=Wave.CONFIG,
    )


def benchmarks(plan: FleetPlan) -> tuple[Benchmark, ...]:
    """Return the benchmark of every deployment that has a rate and whose tokenizer can be read.

    Raises:
        UnrenderablePlan: the plan has no objects.
        RenderedGpusDiffer: a benchmark would hold GPUs (a fault of fleetc).
    """
    return tuple(_benchmark(view) for view in views(plan) if has_benchmark(view))


def has_benchmark(view: DeploymentView) -> bool:
    """Whether there is a load, and a tokenizer that `vllm bench serve` reads: it does not look into object storage."""
    return not view.checkpoint.load_format and any(s.rate_req_per_s > 0 for s in view.deployment.served)


def _benchmark(view: DeploymentView) -> Benchmark:
    found = (_job(view),) if view.deployment.target is Target.DYNAMO else (_job(view), _service(view))
    if held := sum(item.gpus for item in found):
        raise RenderedGpusDiffer(f"benchmark of {view.deployment.id}", held, 0, "clients hold no GPU")
    return Benchmark(view.name, found)


def _name(view: DeploymentView) -> str:
    return f"{view.name}-{PART}"


def _plan_config_name(plan: FleetPlan) -> str:
    return f"{dns_label(plan.fleet)}-{PART}-plan"


def _service(view: DeploymentView) -> Resource:
    """Reaches the pods of one deployment past the gateway, whose routes spread a workload over all of its deployments."""
    spec = {
        "ports": [{"name": "http", "port": API_PORT, "protocol": "TCP", "targetPort": API_PORT}],
        "selector": {DEPLOYMENT_LABEL: view.name, ENDPOINT_LABEL: "true"},
        "type": "ClusterIP",
    }
    return _of(view, "v1", "Service", {"spec": spec}, {})


def _job(view: DeploymentView) -> Resource:
    loads = list(_loads(view))
    clients = max(load.clients for _, load in loads)
    longest_s = max(3.0 * load.seconds + 10.0 * served.e2e_ms.p99 / 1e3 for served, load in loads)
    spec = {
        "activeDeadlineSeconds": ceil(START_S + READY_TIMEOUT_S + longest_s),
        "backoffLimit": 0,  # a second run after a failed one would be of a warm cache, and hide the failure
        "completionMode": "Indexed",
        "completions": clients,
        "parallelism": clients,
        "template": {"metadata": {"labels": pod_labels(view.deployment, PART)}, "spec": _pod(view, loads)},
        "ttlSecondsAfterFinished": KEPT_S,
    }
    said = {
        f"fleetc.dev/benchmark-load.{dns_label(served.workload)}": describe(load) for served, load in loads
    }
    return _of(view, "batch/v1", "Job", {"spec": spec}, said)


def _loads(view: DeploymentView) -> Iterator[tuple[Served, BenchmarkLoad]]:
    workloads = {workload.name: workload for workload in view.plan.workloads}
    for served in sorted(view.deployment.served, key=lambda served: served.workload):
        if served.rate_req_per_s > 0:
            yield served, benchmark_load(view.deployment, served, workloads[served.workload])


def _pod(view: DeploymentView, loads: list[tuple[Served, BenchmarkLoad]]) -> dict[str, Any]:
    """The pod of one client: a container for each workload, so that they run at once as they do in service."""
    volumes: list[dict[str, Any]] = [{"name": "results", "emptyDir": {}}]
    if view.checkpoint.claim:
        claim = {"claimName": view.checkpoint.claim, "readOnly": True}
        volumes.append({"name": "checkpoint", "persistentVolumeClaim": claim})
    pod: dict[str, Any] = {
        "affinity": {"podAntiAffinity": _away_from_engines()},
        "automountServiceAccountToken": False,
        "containers": [_container(view, served, load) for served, load in loads],
        "enableServiceLinks": False,
        "nodeSelector": {"kubernetes.io/arch": view.offering.cpu_arch},
        "restartPolicy": "Never",
        "volumes": volumes,
    }
    if view.offering.cpu_arch == "arm64":
        # Grace hosts are often the only arm64 nodes of a cluster, and the image is for their architecture.
        pod["tolerations"] = tolerations(view.offering)
    return pod


def _away_from_engines() -> dict[str, Any]:
    term = {"labelSelector": {"matchLabels": ENGINE_PODS}, "topologyKey": HOST_LABEL}
    return {"preferredDuringSchedulingIgnoredDuringExecution": [{"podAffinityTerm": term, "weight": 100}]}


def _container(view: DeploymentView, served: Served, load: BenchmarkLoad) -> dict[str, Any]:
    service = frontend_service_name(view) if view.deployment.target is Target.DYNAMO else _name(view)
    base_url = f"http://{service}.{view.namespace}.svc:{API_PORT}"
    tokens = load.requests * (load.input_tokens_mean + load.output_tokens_mean)
    memory_gib = CLIENT_MEMORY_GIB + ceil(tokens * BYTES_PER_TOKEN / GIB)
    mounts: list[dict[str, Any]] = [{"name": "results", "mountPath": RESULTS}]
    if view.checkpoint.claim:
        mounts.append({"name": "checkpoint", "mountPath": CLAIM_MOUNT, "readOnly": True})
    return {
        "name": dns_label(served.workload, 63),
        "image": view.deployment.engine.image,
        "command": ["/bin/sh", "-c"],
        "args": [script(view, served.workload, load, base_url)],
        "env": _environment(view),
        "resources": {"requests": {"cpu": str(CLIENT_CPUS), "memory": f"{memory_gib}Gi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": mounts,
    }


def _environment(view: DeploymentView) -> list[dict[str, Any]]:
    """PYTHONHASHSEED makes the pieces that prompts share the same in all clients; no GPU of the node is shown."""
    plan = {"name": _plan_config_name(view.plan), "key": "plan"}
    rows: list[dict[str, Any]] = [
        {"name": "FLEETC_PLAN", "valueFrom": {"configMapKeyRef": plan}},
        {"name": "HF_HOME", "value": f"{RESULTS}/huggingface"},
        {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"},
        {"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        {"name": "PYTHONHASHSEED", "value": "0"},
    ]
    if view.checkpoint.needs_hf_token:
        secret = {"name": view.plan.delivery.hf_token_secret, "key": "HF_TOKEN"}
        rows.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": secret}})
    return sorted(rows, key=lambda row: str(row["name"]))


def _of(
    view: DeploymentView, api_version: str, kind: str, content: dict[str, Any], annotations: dict[str, str]
) -> Resource:
    return resource(
        api_version,
        kind,
        _name(view),
        view.namespace,
        deployment_labels(view.plan, view.deployment, PART),
        content,
        component=view.name,
        wave=Wave.ROUTING,
        annotations=annotations,
    )
