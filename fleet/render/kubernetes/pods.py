"""Pods of engines: containers, volumes, environment and probes.

GPUs are limits. CPU and memory are requests only, 4 cores and 32 GiB for each GPU: the plan knows no host's cores or
memory, every machine of the catalogue has more than that for each GPU, and a request keeps the pod from the first
eviction when a node runs short.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleet.plan.document import WorkerGroup
from fleet.render.engines.checkpoint import CLAIM_MOUNT
from fleet.render.engines.launch import API_PORT, Launch
from fleet.render.gpus import GPU_RESOURCE
from fleet.render.view import PRE_STOP_S, PROBE_PERIOD_S, DeploymentView

MODEL_CACHE = "/model-cache"
CPUS_PER_GPU = 4
MEMORY_GIB_PER_GPU = 32
SHARED_MEMORY_GIB_PER_GPU = 2
CLAIM_NAME = "compute-domain-channel"

# Collectives over NVLink between hosts, and KV transfers over it; UCX needs tcp beside cuda_ipc for active messages.
NCCL_OVER_NVLINK = {"NCCL_CUMEM_ENABLE": "1", "NCCL_MNNVL_ENABLE": "1", "NCCL_NVLS_ENABLE": "1"}
UCX_OVER_NVLINK = {
    "UCX_CUDA_IPC_ENABLE_MNNVL": "y",
    "UCX_MEMTYPE_CACHE": "n",
    "UCX_TLS": "cuda_copy,cuda_ipc,tcp",
}


def environment(
    view: DeploymentView, group: WorkerGroup, extra: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Environment of an engine's container, sorted by name.

    PYTHONHASHSEED is fixed because vLLM's prefix-cache hashes must agree between replicas and with the router.
    """
    plain = {"HF_HOME": MODEL_CACHE, "PYTHONHASHSEED": "0", **(extra or {})}
    if view.claims_channel(group):
        plain |= NCCL_OVER_NVLINK | (UCX_OVER_NVLINK if view.has_kv_over_nvlink else {})
    rows: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in plain.items()]
    if view.checkpoint.needs_hf_token:
        secret = {"name": view.plan.delivery.hf_token_secret, "key": "HF_TOKEN"}
        rows.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": secret}})
    if view.deployment.kv_link != "none":
        rows.append(
            {"name": "VLLM_NIXL_SIDE_CHANNEL_HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
        )
    return sorted(rows, key=lambda row: str(row["name"]))


def shared_memory(group: WorkerGroup) -> str:
    """Size of /dev/shm of a pod."""
    return f"{max(8, SHARED_MEMORY_GIB_PER_GPU * group.gpus_per_host_used)}Gi"


def volumes(view: DeploymentView) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes of a pod for weights, and their mounts. Without a claim the weights are downloaded to the node's disk."""
    claim = view.plan.delivery.model_cache_claim
    cache: dict[str, Any] = {"persistentVolumeClaim": {"claimName": claim}} if claim else {"emptyDir": {}}
    held: list[dict[str, Any]] = [{"name": "model-cache", **cache}]
    mounts: list[dict[str, Any]] = [{"name": "model-cache", "mountPath": MODEL_CACHE}]
    if view.checkpoint.claim:
        held.append(
            {
                "name": "checkpoint",
                "persistentVolumeClaim": {"claimName": view.checkpoint.claim, "readOnly": True},
            }
        )
        mounts.append({"name": "checkpoint", "mountPath": CLAIM_MOUNT, "readOnly": True})
    return held, mounts


def resources(view: DeploymentView, group: WorkerGroup) -> dict[str, Any]:
    """Resources of a worker's container on one host."""
    gpus = group.gpus_per_host_used
    wanted: dict[str, Any] = {
        "limits": {GPU_RESOURCE: str(gpus)},
        "requests": {
            "cpu": str(CPUS_PER_GPU * gpus),
            "memory": f"{MEMORY_GIB_PER_GPU * gpus}Gi",
            GPU_RESOURCE: str(gpus),
        },
    }
    if view.claims_channel(group):
        wanted["claims"] = [{"name": CLAIM_NAME}]
    return wanted


def resource_claims(view: DeploymentView, group: WorkerGroup, template: str) -> dict[str, Any]:
    """The pod's claim on its ComputeDomain; empty where it needs none."""
    return (
        {"resourceClaims": [{"name": CLAIM_NAME, "resourceClaimTemplateName": template}]}
        if view.claims_channel(group)
        else {}
    )


def security(view: DeploymentView) -> dict[str, Any]:
    """The engines' images run as root. RDMA registers memory, which needs IPC_LOCK."""
    context: dict[str, Any] = {"allowPrivilegeEscalation": False}
    if view.deployment.kv_link != "none" and not view.has_kv_over_nvlink:
        context["capabilities"] = {"add": ["IPC_LOCK"]}
    return context


def http_probes(view: DeploymentView) -> dict[str, Any]:
    """Probes of an engine that serves HTTP. Start-up has its own budget, so that liveness can be strict after it."""

    def probe(failures: int) -> dict[str, Any]:
        return {
            "failureThreshold": failures,
            "httpGet": {"path": "/health", "port": "http"},
            "periodSeconds": PROBE_PERIOD_S,
            "timeoutSeconds": 5,
        }

    return {"livenessProbe": probe(6), "readinessProbe": probe(3), "startupProbe": probe(view.startup_probes)}


def serve_container(
    view: DeploymentView, group: WorkerGroup, launch: Launch, *, answers_http: bool
) -> dict[str, Any]:
    """The container of `vllm serve` on one host of a worker."""
    container: dict[str, Any] = {
        "name": "engine",
        "image": view.deployment.engine.image,
        "command": list(launch.command),
        "args": list(launch.args),
        "env": environment(view, group),
        "resources": resources(view, group),
        "securityContext": security(view),
        "volumeMounts": [*volumes(view)[1], {"name": "shared-memory", "mountPath": "/dev/shm"}],  # noqa: S108
    }
    if answers_http:
        container["ports"] = [{"name": "http", "containerPort": API_PORT, "protocol": "TCP"}]
        container["lifecycle"] = {"preStop": {"sleep": {"seconds": PRE_STOP_S}}}
        container.update(http_probes(view))
    return container


def serve_pod(
    view: DeploymentView,
    group: WorkerGroup,
    launch: Launch,
    where: Mapping[str, Any],
    claim_template: str,
    *,
    answers_http: bool = True,
) -> dict[str, Any]:
    """The pod of `vllm serve` on one host of a worker; `where` is its scheduling."""
    shared = {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": shared_memory(group)}}
    return {
        "automountServiceAccountToken": False,
        "containers": [serve_container(view, group, launch, answers_http=answers_http)],
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": view.grace_s,
        "volumes": [*volumes(view)[0], shared],
        **resource_claims(view, group, claim_template),
        **where,
    }
