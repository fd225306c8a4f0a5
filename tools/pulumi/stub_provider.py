"""A stand-in for a cloud's provider: put it on PATH as `pulumi-resource-gcp` (or -aws, -azure-native).

It answers the engine's own protocol, returns inputs as outputs, knows which inputs replace a resource, and appends
every operation that is not a preview to the file named by FLEETC_TEST_RECORD, one JSON object a line. For tests only.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pulumi.provider.experimental import provider as p
from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.provider.experimental.server import main

# Type token -> dotted input paths whose change replaces the resource.
REPLACES: Mapping[str, tuple[str, ...]] = {
    "gcp:container/nodePool:NodePool": (
        "name",
        "cluster",
        "location",
        "placementPolicy",
        "initialNodeCount",
    ),
    "aws:eks/nodeGroup:NodeGroup": (
        "nodeGroupName",
        "clusterName",
        "instanceTypes",
        "capacityType",
        "amiType",
        "subnetIds",
        "nodeRoleArn",
        "diskSize",
    ),
}


def plain(value: Any) -> Any:
    """Return a property value as the JSON value it stands for."""
    inner = value.value if isinstance(value, PropertyValue) else value
    if isinstance(inner, Mapping):
        return {key: plain(item) for key, item in inner.items()}
    if isinstance(inner, (list, tuple)):
        return [plain(item) for item in inner]
    return int(inner) if isinstance(inner, float) and inner.is_integer() else inner


def at(value: Any, path: str) -> Any:
    """Return what stands at a dotted path, or None."""
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def record(operation: str, urn: str, inputs: Any) -> None:
    """Append one operation to the record."""
    line = json.dumps({"operation": operation, "urn": urn, "inputs": inputs}, sort_keys=True)
    with Path(os.environ["FLEETC_TEST_RECORD"]).open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")


class StubProvider(p.Provider):
    """Keeps nothing but the engine's own state: a resource is its inputs."""

    def replacing_paths(self, urn: str, inputs: Any) -> tuple[str, ...]:
        """Return the input paths whose change replaces this resource."""
        return REPLACES.get(urn.split("::")[2].split("$")[-1], ())

    def resource_id(self, urn: str, inputs: Any) -> str:
        """Return the id that the cloud would give."""
        return hashlib.sha256(urn.encode()).hexdigest()[:12]

    async def check_config(self, request: p.CheckRequest) -> p.CheckResponse:
        return p.CheckResponse(inputs=request.new_inputs)

    async def diff_config(self, request: p.DiffRequest) -> p.DiffResponse:
        return p.DiffResponse(changes=False)

    async def configure(self, request: p.ConfigureRequest) -> p.ConfigureResponse:
        return p.ConfigureResponse(
            accept_secrets=True, supports_preview=True, accept_resources=True, accept_outputs=True
        )

    async def check(self, request: p.CheckRequest) -> p.CheckResponse:
        return p.CheckResponse(inputs=request.new_inputs)

    async def diff(self, request: p.DiffRequest) -> p.DiffResponse:
        new, old = plain(request.new_inputs), plain(request.old_state)
        changed = sorted(key for key in set(new) | set(old) if new.get(key) != old.get(key))
        paths = self.replacing_paths(request.urn, new)
        replaces = [path for path in paths if at(new, path) != at(old, path)]
        return p.DiffResponse(
            changes=bool(changed), diffs=changed, replaces=replaces, delete_before_replace=bool(replaces)
        )

    async def create(self, request: p.CreateRequest) -> p.CreateResponse:
        inputs = plain(request.properties)
        if not request.preview:
            record("create", request.urn, inputs)
        return p.CreateResponse(
            resource_id=self.resource_id(request.urn, inputs), properties=request.properties
        )

    async def update(self, request: p.UpdateRequest) -> p.UpdateResponse:
        if not request.preview:
            record("update", request.urn, plain(request.news))
        return p.UpdateResponse(properties=request.news)

    async def delete(self, request: p.DeleteRequest) -> None:
        record("delete", request.urn, plain(request.properties))


if __name__ == "__main__":
    main(sys.argv[1:], "10.2.0", StubProvider())
