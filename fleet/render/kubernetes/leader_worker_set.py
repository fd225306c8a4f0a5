"""LeaderWorkerSets: workers that span several hosts of one NVLink domain, one group of pods for each worker."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from fleet.plan.document import WorkerGroup
from fleet.render.engines.launch import Launch, serve_launch
from fleet.render.gpus import check_worker
from fleet.render.graph import Resource
from fleet.render.identity import (
    ENDPOINT_LABEL,
    ROLE_LABEL,
    deployment_labels,
    pod_labels,
    workloads_annotation,
)
from fleet.render.kubernetes.compute_domain import claim_template_name
from fleet.render.kubernetes.deployment import group_name
from fleet.render.kubernetes.placement import domain_labels, scheduling, size_labels
from fleet.render.kubernetes.pods import serve_pod
from fleet.render.objects import resource, serving_wave
from fleet.render.racks import RackGroup
from fleet.render.view import DeploymentView


def leader_worker_sets(view: DeploymentView) -> Iterator[Resource]:
    """One LeaderWorkerSet for each NVLink domain of the rack map."""
    for group in view.groups:
        yield _leader_worker_set(view, group)


def _leader_worker_set(view: DeploymentView, group: RackGroup) -> Resource:
    (workers,) = view.deployment.workers
    leader = _launch(view, workers, is_follower=False)
    template: dict[str, Any] = {
        "restartPolicy": "RecreateGroupOnPodRestart",
        "size": workers.hosts_per_worker,
    }
    if workers.layout.dp > 1:
        # Every pod runs the same command and serves: its ranks are told apart by LWS_WORKER_INDEX.
        template["workerTemplate"] = _pod(view, workers, group, leader, answers_http=True)
    else:
        template["leaderTemplate"] = _pod(view, workers, group, leader, answers_http=True)
        template["workerTemplate"] = _pod(
            view, workers, group, _launch(view, workers, is_follower=True), answers_http=False
        )
    spec = {
        "leaderWorkerTemplate": template,
        "replicas": group.workers[workers.role],
        # As for Deployments: no GPUs are left for a group more than the plan's.
        "rolloutStrategy": {
            "type": "RollingUpdate",
            "rollingUpdateConfiguration": {"maxSurge": 0, "maxUnavailable": 1},
        },
        # Followers must start while the leader waits for them: LeaderReady would never come.
        "startupPolicy": "LeaderCreated",
    }
    return resource(
        "leaderworkerset.x-k8s.io/v1",
        "LeaderWorkerSet",
        group_name(view, group),
        view.namespace,
        {**deployment_labels(view.plan, view.deployment, "engine"), **domain_labels(group)},
        {"spec": spec},
        component=view.name,
        wave=serving_wave(view.largest_pod_gpus),
        annotations=workloads_annotation(view.deployment),
        engine_files={"launch": shlex.join([*leader.command, *leader.args])},
    )


def _launch(view: DeploymentView, workers: WorkerGroup, *, is_follower: bool) -> Launch:
    return serve_launch(
        view.deployment,
        workers,
        view.model.served_name,
        view.checkpoint,
        view.drain_s,
        is_follower=is_follower,
    )


def _pod(
    view: DeploymentView, workers: WorkerGroup, group: RackGroup, launch: Launch, *, answers_http: bool
) -> dict[str, Any]:
    pod = serve_pod(
        view,
        workers,
        launch,
        scheduling(view, group, workers),
        claim_template_name(view, group),
        answers_http=answers_http,
    )
    check_worker(f"deployment {view.deployment.id}", workers, launch.argv, pod)
    serves = {ENDPOINT_LABEL: "true"} if answers_http else {}
    labels = {
        **pod_labels(view.deployment, "engine"),
        **domain_labels(group),
        **size_labels(workers),
        **serves,
        ROLE_LABEL: str(workers.role),
    }
    return {"metadata": {"labels": labels}, "spec": pod}
