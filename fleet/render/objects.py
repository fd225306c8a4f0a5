"""Assembly of a resource: metadata, Argo CD's waves, and the object's identity."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from fleet.render.gpus import gpus_of
from fleet.render.graph import Resource, ResourceId

Body = dict[str, Any]

BUILT_IN_GROUPS = ("apps/v1", "v1", "policy/v1", "rbac.authorization.k8s.io/v1")


class Wave(IntEnum):
    """Argo CD sync waves. An endpoint picker becomes ready only when its pool exists, so pools come before what serves."""

    NAMESPACE = -2
    COMPUTE_DOMAIN = -1
    CONFIG = 0
    SERVING = 1
    ROUTING = 2


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
