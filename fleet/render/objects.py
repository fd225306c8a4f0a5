"""Assembly of a resource: metadata, Argo CD's waves, and the object's identity."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from fleet.render.gpus import gpus_of
from fleet.render.graph import Resource, ResourceId

Body = dict[str, Any]

BUILT_IN_GROUPS = (
    "apps/v1", "batch/v1", "v1", "policy/v1", "rbac.authorization.k8s.io/v1", "scheduling.k8s.io/v1",
)  # fmt: skip


class Wave(IntEnum):
    """Argo CD sync waves.

    An endpoint picker becomes ready only when its pool exists, so pools come before what serves. Engines come by falling
    size, each when the larger ones are ready: on empty hosts nothing has to be preempted, which would load its weights
    twice. What routes comes after all engines.
    """

    NAMESPACE = -2
    COMPUTE_DOMAIN = -1
    CONFIG = 0
    SERVING = 1  # and pods of eight GPUs and more
    SERVING_4_GPUS = 2  # in a pod: four to seven
    SERVING_2_GPUS = 3  # two or three
    SERVING_1_GPU = 4
    ROUTING = 5


def serving_wave(gpus_per_pod: int) -> Wave:
    """The wave of an engine by the GPUs of its largest pod.

    >>> [serving_wave(gpus).value for gpus in (8, 4, 3, 2, 1)]
    [1, 2, 3, 3, 4]
    """
    return Wave(max(Wave.SERVING, Wave.SERVING_1_GPU + 1 - gpus_per_pod.bit_length()))


def resource(
    api_version: str,
    kind: str,
    name: str,
    namespace: str,
    labels: Mapping[str, str],
    content: Mapping[str, Any],
    *,
    component: str,
    wave: Wave,
    annotations: Mapping[str, str] | None = None,
    is_capacity: bool = False,
    engine_files: Mapping[str, str] | None = None,
) -> Resource:
    """An object with its metadata. `content` is everything beside apiVersion, kind and metadata (`spec`, `data`, …)."""
    argo = {"argocd.argoproj.io/sync-wave": str(int(wave))}
    options = [] if api_version in BUILT_IN_GROUPS else ["SkipDryRunOnMissingResource=true"]
    options += ["Prune=confirm", "Delete=confirm"] if is_capacity else []
    if options:
        argo["argocd.argoproj.io/sync-options"] = ",".join(options)
    metadata: Body = {"name": name, "labels": dict(labels), "annotations": {**argo, **(annotations or {})}}
    if namespace:
        metadata["namespace"] = namespace
    body: Body = {"apiVersion": api_version, "kind": kind, "metadata": metadata, **content}
    return Resource(
        id=ResourceId(api_version, kind, namespace, name),
        body=body,
        component=component,
        wave=int(wave),
        gpus=gpus_of(body),
        is_capacity=is_capacity,
        engine_files=dict(engine_files or {}),
    )
