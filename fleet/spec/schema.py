"""The JSON Schema of the fleet file, for editors and for the reference."""

from __future__ import annotations

import json
from typing import Any, Final

from fleet.spec.model import FleetFile

SCHEMA_HEADER: Final = "# yaml-language-server: $schema=<path or URL of fleet.schema.json>"
"""First line of a fleet file that lets editors with the YAML language server complete and check it."""

EXAMPLE: Final[dict[str, Any]] = {
    "apiVersion": "fleetc.dev/v1",
    "kind": "Fleet",
    "metadata": {"name": "dev"},
    "spec": {
        "as_of": "2026-11-24",
        "models": {"llama": {"card": "llama-3.1-8b"}},
        "slos": {"interactive": {"ttft": {"p95": "800ms"}, "tpot": {"p95": "40ms"}}},
        "workloads": {
            "chat": {
                "model": "llama",
                "slo": "interactive",
                "demand": {
                    "rate": {"mean": "4 req/s", "peak": "8 req/s"},
                    "input": {"mean": 1155, "p50": 1020, "p99": "4k"},
                    "output": {"mean": 211, "p50": 129, "p99": 601},
                    "basis": "measured",
                },
            }
        },
        "hardware": {
            "offerings": {
                "h100": {
                    "accelerator": "h100-sxm",
                    "provider": "gke",
                    "zone": "us-central1-a",
                    "available": {"hosts": 1},
                    "price": {"per_gpu": "$2.10/h", "as_of": "2026-11-01"},
                }
            }
        },
    },
}
"""The least that a fleet file says."""


def spec_json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a fleet file, with descriptions and examples."""
    schema = FleetFile.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "fleet.yaml",
        "description": "A fleet of language models: what is served, to which targets, for which demand, on which hardware.",
        "examples": [EXAMPLE],
    }


def schema_text() -> str:
    """Return the schema as docs/reference/fleet.schema.json holds it."""
    return json.dumps(spec_json_schema(), indent=2, sort_keys=True) + "\n"
