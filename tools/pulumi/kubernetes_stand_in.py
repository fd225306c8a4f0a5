"""A stand-in for the Kubernetes provider: put it on PATH as `pulumi-resource-kubernetes`.

It records the objects it receives (see stub_provider.py) and replaces where the real provider replaces. For tests
only: it has no API server, waits for nothing and imports nothing.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Mapping
from typing import Any

from pulumi.provider.experimental.server import main
from stub_provider import StubProvider

# Kind -> dotted paths whose change replaces the object; metadata.name and .namespace always do.
REPLACES: Mapping[str, tuple[str, ...]] = {
    "ClusterRoleBinding": ("roleRef",),
    "ConfigMap": ("data", "binaryData"),
    "DaemonSet": ("spec.selector",),
    "Deployment": ("spec.selector",),
    "Job": ("spec.template", "spec.selector", "spec.completions", "spec.parallelism"),
    "PersistentVolumeClaim": ("spec.accessModes", "spec.storageClassName"),
    "RoleBinding": ("roleRef",),
    "Secret": ("data", "stringData", "type"),
    "Service": ("spec.clusterIP",),
    "StatefulSet": (
        "spec.selector",
        "spec.serviceName",
        "spec.podManagementPolicy",
        "spec.volumeClaimTemplates",
    ),
}


class KubernetesStandIn(StubProvider):
    """Takes whole objects, as the real provider does."""

    def replacing_paths(self, urn: str, inputs: Any) -> tuple[str, ...]:
        return ("metadata.name", "metadata.namespace", *REPLACES.get(inputs["kind"], ()))

    def resource_id(self, urn: str, inputs: Any) -> str:
        metadata = inputs["metadata"]
        return "/".join(part for part in (metadata.get("namespace"), metadata["name"]) if part)


if __name__ == "__main__":
    main(sys.argv[1:], importlib.metadata.version("pulumi_kubernetes"), KubernetesStandIn())
