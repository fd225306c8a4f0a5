"""Every rendered object against the real schemas, and every launch command against the engines' real flags."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from fleet.render.build import build_graph
from fleet.render.graph import Resource
from fleet.render.write import write_tree
from tests.plans import dev_plan, prod_plan
from tests.render.reading import shared
from tests.render.wide import wide_plan

CUSTOM = ("coreos.com", "networking.k8s.io/", "llm-d.ai", "nvidia.com", "x-k8s.io")


PLANS = {"dev": dev_plan, "prod": prod_plan, "wide": wide_plan}


def _is_custom(item: Resource) -> bool:
    return any(group in item.id.api_version for group in CUSTOM)


@pytest.mark.parametrize("name", PLANS)
def test_built_in_objects_are_valid_to_the_letter(name: str) -> None:
    checked = 0
    for item in build_graph(PLANS[name]()):
        if not _is_custom(item):
            kubernetes_validate.validate(dict(item.body), "1.34", strict=True)
            checked += 1
    assert checked > 5


@pytest.mark.parametrize("name", PLANS)
def test_custom_objects_have_no_field_that_their_definition_lacks(name: str) -> None:
    folder = shared("crds/jsonschema")
    schemas = {
        (row["apiVersion"], row["kind"]): folder / row["schema"]
        for row in json.loads((folder / "manifest.json").read_text())
    }
    for item in build_graph(PLANS[name]()):
        if _is_custom(item):
            schema = json.loads(schemas[item.id.api_version, item.id.kind].read_text())
            assert not list(_unknown(schema, dict(item.body), "")), item.id


def _unknown(schema: dict[str, Any], value: Any, path: str) -> list[str]:
    if schema.get("x-kubernetes-preserve-unknown-fields") or path == ".metadata":
        return []
    if isinstance(value, list):
        return [fault for item in value for fault in _unknown(schema.get("items", {}), item, path + "[]")]
    if not isinstance(value, dict) or "properties" not in schema:
        return []
    known = schema["properties"]
    missing = [f"{path}.{name} is missing" for name in schema.get("required", []) if name not in value]
    return missing + [
        fault
        for key, item in value.items()
        for fault in ([f"{path}.{key}"] if key not in known else _unknown(known[key], item, f"{path}.{key}"))
    ]


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trees")
    for name, make in PLANS.items():
        plan = make()
        write_tree(plan, build_graph(plan), folder / name)
    return folder


@pytest.mark.parametrize("vllm", ["0.24.0", "0.33.0"])
def test_the_project_s_own_validator_finds_no_fault(trees: Path, vllm: str) -> None:
    """Both versions: of the engine that Dynamo 1.6.1 ships, 0.31.0, there is no table, but it lies between them."""
    script = shared("tools/validate_rendered.py")
    command = [sys.executable, str(script), str(trees), "--vllm", vllm, "--dynamo", "1.6.1"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert " 0 faults" in run.stdout.splitlines()[-1]
    assert "not checked" not in run.stdout
