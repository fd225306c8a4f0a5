"""PodDisruptionBudgets: a drain takes one pod of a deployment at a time."""

from __future__ import annotations

from typing import Any

from fleet.plan.document import Target
from fleet.render.graph import Resource
from fleet.render.identity import DEPLOYMENT_LABEL, deployment_labels
from fleet.render.kubernetes.placement import ENGINE_PODS
from fleet.render.objects import Wave, resource
from fleet.render.view import DeploymentView


def disruption_budget(view: DeploymentView) -> Resource:
    """The budget of a deployment's engine pods.

    `maxUnavailable` needs controllers that have a scale; those that Dynamo makes need not, so there the pods that
    must stay are counted. Losing one pod of a LeaderWorkerSet restarts its group, and the budget then waits for it.
    """
    deployment = view.deployment
    pods = deployment.replicas * sum(
        group.workers_per_replica * group.hosts_per_worker for group in deployment.workers
    )
    limit: dict[str, Any] = (
        {"minAvailable": pods - 1} if deployment.target is Target.DYNAMO else {"maxUnavailable": 1}
    )
    return resource(
        "policy/v1",
        "PodDisruptionBudget",
        view.name,
        view.namespace,
        deployment_labels(view.plan, deployment, "engine"),
        {"spec": {**limit, "selector": {"matchLabels": {**ENGINE_PODS, DEPLOYMENT_LABEL: view.name}}}},
        component=view.name,
        wave=Wave.SERVING,
    )
