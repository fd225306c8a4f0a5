"""apps/v1 Deployments: workers that fit one host."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from fleet.render.engines.launch import serve_launch
from fleet.render.gpus import check_worker
from fleet.render.graph import Resource
from fleet.render.identity import (
    DEPLOYMENT_LABEL,
    ENDPOINT_LABEL,
    ROLE_LABEL,
    deployment_labels,
    pod_labels,
    rack_group_name,
    workloads_annotation,
)
from fleet.render.kubernetes.compute_domain import claim_template_name
from fleet.render.kubernetes.placement import ENGINE_PODS, domain_labels, scheduling, size_labels, spread
from fleet.render.kubernetes.pods import serve_pod
from fleet.render.objects import resource, serving_wave
from fleet.render.racks import RackGroup
from fleet.render.view import PROBE_PERIOD_S, DeploymentView


def group_name(view: DeploymentView, group: RackGroup) -> str:
    """Name of the object that carries a rack group: the deployment's, with the domain's index where pods are pinned."""
    return rack_group_name(view.deployment, group.domain_index) if group.is_pinned else view.name


def deployments(view: DeploymentView) -> Iterator[Resource]:
    """One Deployment, or on racks one for each NVLink domain."""
    for group in view.groups:
        yield _deployment(view, group)


def _deployment(view: DeploymentView, group: RackGroup) -> Resource:
    (workers,) = view.deployment.workers
    launch = serve_launch(view.deployment, workers, view.model.served_name, view.checkpoint, view.drain_s)
    where = {**scheduling(view, group, workers), "topologySpreadConstraints": spread(view, group)}
    pod = serve_pod(view, workers, launch, where, claim_template_name(view, group))
    check_worker(f"deployment {view.deployment.id}", workers, launch.argv, pod)
    selected = {**ENGINE_PODS, DEPLOYMENT_LABEL: view.name, **domain_labels(group)}
    labels = {
        **selected,
        **pod_labels(view.deployment, "engine"),
        **size_labels(workers),
        ENDPOINT_LABEL: "true",
        ROLE_LABEL: str(workers.role),
    }
    spec = {
        "progressDeadlineSeconds": view.startup_probes * PROBE_PERIOD_S + view.grace_s + 600,
        "replicas": group.workers[workers.role],
        "revisionHistoryLimit": 3,
        "selector": {"matchLabels": selected},
        # The plan leaves no free GPUs for a pod more than its replicas: a rollout that creates before it deletes
        # would wait for ever. So one pod goes first, and the capacity of one replica is missing during a rollout.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    return resource(
        "apps/v1",
        "Deployment",
        group_name(view, group),
        view.namespace,
        {**deployment_labels(view.plan, view.deployment, "engine"), **domain_labels(group)},
        {"spec": spec},
        component=view.name,
        wave=serving_wave(view.largest_pod_gpus),
        annotations=workloads_annotation(view.deployment),
        engine_files={"launch": shlex.join([*launch.command, *launch.args])},
    )
