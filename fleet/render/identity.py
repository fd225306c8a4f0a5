"""Names, labels and annotations of rendered objects: from identity alone, never from a count or a layout."""

from __future__ import annotations

import hashlib
import re

from fleet.plan.document import Deployment, FleetPlan
from fleet.render.errors import UnrenderablePlan

DEPLOYMENT_LABEL = "fleetc.dev/deployment"
WORKLOAD_LABEL = "fleetc.dev/workload"
ROLE_LABEL = "fleetc.dev/role"
ENDPOINT_LABEL = "fleetc.dev/endpoint"
"""`true` on pods that answer HTTP requests for the model: what an InferencePool selects."""
NVLINK_DOMAIN_LABEL = "fleetc.dev/nvlink-domain"
"""The planned NVLink domain of a pod; see `placement.py`."""

GPUS_LABEL = "fleetc.dev/gpus-per-pod"
"""The size of an engine's pod: pods of one size pack together; see `placement.py`."""

NAME_LIMIT = 46
"""Longest name of a workload object: room for `-frontend`, `-00` and the suffixes of controllers within 63."""
DYNAMO_NAME_LIMIT = 26
"""Grove allows 45 characters for the names of a set, a scaling group and a clique together; ours need 18 of them."""


def dns_label(identity: str, limit: int = NAME_LIMIT) -> str:
    """A DNS label for an identity: itself where it is one, else made one with a digest that keeps it unique.

    >>> dns_label("chat-h100-east")
    'chat-h100-east'
    >>> dns_label("chat.v2-h100")
    'chat-v2-h100-b3c664be'
    """
    label = re.sub(r"[^a-z0-9-]", "-", identity.lower()).strip("-")
    if label == identity and len(label) <= limit:
        return label
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    return f"{label[: limit - 9].rstrip('-') or 'x'}-{digest}"


def content_hash(text: str) -> str:
    """Eight hexadecimal digits of a file's content, for the name of its ConfigMap."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def component_of(deployment: Deployment) -> str:
    """The stable name of everything that belongs to a deployment."""
    return dns_label(deployment.id)


def rack_group_name(deployment: Deployment, domain_index: int, limit: int = NAME_LIMIT) -> str:
    """The name of a deployment's part in one NVLink domain: the domain's index is its identity in the rack map."""
    return f"{dns_label(deployment.id, limit - 3)}-{domain_index:02d}"


def object_labels(plan: FleetPlan, name: str, instance: str, part: str) -> dict[str, str]:
    """Labels of an object's own metadata; the plan's labels are here and not on pods, whose change restarts them."""
    return {
        **plan.labels,
        "app.kubernetes.io/component": part,
        "app.kubernetes.io/instance": instance,
        "app.kubernetes.io/managed-by": "fleetc",
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/part-of": dns_label(plan.fleet, 63),
    }


def deployment_labels(plan: FleetPlan, deployment: Deployment, part: str) -> dict[str, str]:
    """Labels of the objects of a deployment."""
    instance = component_of(deployment)
    return {**object_labels(plan, deployment.engine.id, instance, part), DEPLOYMENT_LABEL: instance}


def workloads_annotation(deployment: Deployment) -> dict[str, str]:
    """The workloads served, as an annotation: a label cannot hold a list, and on a pod its change would restart it."""
    return {"fleetc.dev/workloads": ",".join(sorted(served.workload for served in deployment.served))}


def pod_labels(deployment: Deployment, part: str) -> dict[str, str]:
    """Labels of a pod: only what never changes while the deployment lives, since a change replaces every pod."""
    name = component_of(deployment)
    return {
        DEPLOYMENT_LABEL: name,
        "app.kubernetes.io/component": part,
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/managed-by": "fleetc",
        "app.kubernetes.io/name": deployment.engine.id,
    }


_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?")
_LABEL_KEY = re.compile(
    r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
)


def check_names(plan: FleetPlan) -> None:
    """Check what goes into objects as the user wrote it.

    Raises:
        UnrenderablePlan: Kubernetes would refuse a label or the namespace.
    """
    namespace = plan.delivery.namespace
    if dns_label(namespace, 63) != namespace:
        raise UnrenderablePlan(
            f"delivery.namespace {namespace!r} is no namespace: only lower case, digits and dashes."
        )
    selectors = [offering.node_selector for offering in plan.offerings]
    for key, value in (pair for labels in (plan.labels, *selectors) for pair in labels.items()):
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value) or len(value) > 63:
            raise UnrenderablePlan(
                f"{key}: {value} is no label of Kubernetes: at most 63 letters, digits, '-', '_' and '.'."
            )
