"""One Kubernetes object of the resource graph as a Pulumi resource."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from functools import cache
from typing import Any

import pulumi

from fleet.render.graph import ResourceId

# (API group, kind) -> all versions that served the kind. The version is part of a resource's URN, so without an alias
# a move to a new version would be a delete and a create. Only versions of one group stand here: the API server stores
# those as one object, while the same kind in another group is another object.
SERVED_VERSIONS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("gateway.networking.k8s.io", "HTTPRoute"): ("v1beta1", "v1"),
    ("nvidia.com", "DynamoGraphDeployment"): ("v1alpha1", "v1beta1"),
    ("resource.k8s.io", "ResourceClaimTemplate"): ("v1beta1", "v1beta2", "v1"),
}


def type_token(api_version: str, kind: str) -> str:
    """Return the type under which the Kubernetes provider knows a kind.

    >>> type_token("v1", "Service")
    'kubernetes:core/v1:Service'
    >>> type_token("apps/v1", "Deployment")
    'kubernetes:apps/v1:Deployment'
    """
    return f"kubernetes:{api_version if '/' in api_version else 'core/' + api_version}:{kind}"


def other_types(api_version: str, kind: str) -> tuple[str, ...]:
    """Return the type tokens of the same object under its other versions."""
    group, _, version = api_version.rpartition("/")
    versions = SERVED_VERSIONS.get((group, kind), ())
    return tuple(type_token(f"{group}/{other}", kind) for other in versions if other != version)


@cache
def provider_version() -> str:
    """Return the version of the Kubernetes SDK that is installed: the provider must match it."""
    return importlib.metadata.version("pulumi_kubernetes")


def resource_name(rid: ResourceId) -> str:
    """Return the object's name in the state: its identity, never its position or its content.

    >>> resource_name(ResourceId("v1", "Service", "serving", "chat"))
    'serving/chat'
    """
    return f"{rid.namespace}/{rid.name}" if rid.namespace else rid.name


class KubernetesObject(pulumi.CustomResource):
    """An object of any kind, sent to the Kubernetes provider exactly as it stands in the GitOps tree.

    The SDK's classes rename fields and know no custom resource; the provider itself takes the whole object under the
    type token of its kind.
    """

    def __init__(self, rid: ResourceId, body: Mapping[str, Any], opts: pulumi.ResourceOptions) -> None:
        own = pulumi.ResourceOptions(
            version=provider_version(),
            aliases=[pulumi.Alias(type_=token) for token in other_types(rid.api_version, rid.kind)],
        )
        super().__init__(
            type_token(rid.api_version, rid.kind),
            resource_name(rid),
            dict(body),
            pulumi.ResourceOptions.merge(own, opts),
        )
