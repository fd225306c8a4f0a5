"""The JSON Schema: what editors are told is what the loader does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from fleet.diagnostics import Rejected
from fleet.source import SourceText, parse, read_document
from fleet.spec.load import load_spec
from fleet.spec.schema import EXAMPLE, SCHEMA_HEADER, schema_text, spec_json_schema

ROOT = Path(__file__).parents[2]
FULL = Path(__file__).parent / "files" / "full.yaml"


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = spec_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def as_json(path: Path) -> Any:
    return json.loads(json.dumps(read_document(path).data, default=str))


def test_the_published_schema_is_the_one_of_the_types() -> None:
    published = (ROOT / "docs" / "reference" / "fleet.schema.json").read_text(encoding="utf-8")
    assert published == schema_text(), (
        "write docs/reference/fleet.schema.json again with `fleetc schema spec`"
    )


def test_the_full_file_and_the_example_are_valid(validator: jsonschema.Draft202012Validator) -> None:
    validator.validate(as_json(FULL))
    validator.validate(EXAMPLE)


def test_the_example_is_a_file_that_loads() -> None:
    load_spec(parse(SourceText("f", yaml.safe_dump(EXAMPLE))))


def test_every_committed_stack_is_valid(validator: jsonschema.Draft202012Validator) -> None:
    for path in sorted((ROOT / "stacks").glob("*/fleet.yaml")):
        validator.validate(as_json(path))


def test_every_field_is_described() -> None:
    schema = spec_json_schema()
    bare = []
    for model in (schema, *schema["$defs"].values()):
        for name, field in model.get("properties", {}).items():
            shared = schema["$defs"].get(field.get("$ref", "").removeprefix("#/$defs/"), {})
            if len(field.get("description", shared.get("description", ""))) < 8:
                bare.append(f"{model['title']}.{name}")
    assert bare == []


@pytest.mark.parametrize(
    ("good", "wrong"),
    [
        ("card: llama-3.3-70b", "crd: llama-3.3-70b"),
        ("p95: 800ms", "p95: 800 req/s"),
        ("p95: 800ms", "p95: 0"),
        ("provider: gke", "provider: gkee"),
        ("min_replicas: 2", "min_replicas: 0"),
        ("min_replicas: 2", "min_replicas: '2'"),
        ("cancellation: 3%", "cancellation: 3"),
        ("- [64, 20%]", "- [64]"),
        ("hourly: [0, 0,", "hourly: [0,"),
        ("        basis: forecast\n", ""),
        ("rate: {mean: 90 req/min, peak: 24 req/s}", "rate: {peek: 24 req/s}"),
        ("namespace: serving", "namespace: Serving_X"),
        ("as_of: 2026-11-24", "as_of: [2026]"),
    ],
)
def test_what_the_loader_refuses_the_schema_refuses_too(
    good: str, wrong: str, full_text: str, validator: jsonschema.Draft202012Validator, tmp_path: Path
) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(full_text.replace(good, wrong, 1), encoding="utf-8")
    with pytest.raises(Rejected):
        load_spec(read_document(path))
    assert not validator.is_valid(as_json(path))


def test_the_full_file_carries_the_header_that_editors_look_for(full_text: str) -> None:
    assert full_text.startswith(SCHEMA_HEADER.split("=")[0] + "=")
