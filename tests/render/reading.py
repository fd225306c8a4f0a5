"""Reading rendered graphs in tests."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fleet.plan.document import Deployment, FleetPlan
from fleet.render.graph import ResourceGraph

SHARED = Path(os.environ.get("FLEETC_SHARED", Path(__file__).resolve().parents[3] / "shared"))


def shared(path: str) -> Path:
    """A file of the developers' shared folder, which a clone does not have."""
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"needs {path} of the shared folder beside the checkout, which is not here")
    return found


def body_of(graph: ResourceGraph, kind: str, name: str) -> Mapping[str, Any]:
    """The object of this kind and name."""
    (found,) = [item.body for item in graph if item.id.kind == kind and item.id.name == name]
    return found


def bodies(graph: ResourceGraph, kind: str) -> list[Mapping[str, Any]]:
    return [item.body for item in graph if item.id.kind == kind]


def pod_templates(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The pod templates of any controller."""
    spec = body.get("spec", {})
    match body["kind"]:
        case "Deployment":
            return [spec["template"]]
        case "LeaderWorkerSet":
            group = spec["leaderWorkerTemplate"]
            return [group[name] for name in ("leaderTemplate", "workerTemplate") if name in group]
        case "DynamoGraphDeployment":
            return [component["podTemplate"] for component in spec["components"]]
        case _:
            return []


def with_deployment(plan: FleetPlan, deployment_id: str, **update: Any) -> FleetPlan:
    """The plan with one deployment changed, and nothing else adjusted."""
    changed = tuple(d.model_copy(update=update) if d.id == deployment_id else d for d in plan.deployments)
    assert any(d.id == deployment_id for d in plan.deployments)
    return plan.model_copy(update={"deployments": changed})


def deployment_of(plan: FleetPlan, deployment_id: str) -> Deployment:
    return next(d for d in plan.deployments if d.id == deployment_id)
