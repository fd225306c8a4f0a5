"""`fleetc schema`: the JSON Schemas."""

from __future__ import annotations

import json
import sys


def run(document: str) -> None:
    """Print the JSON Schema of the fleet file or of the plan."""
    if document == "spec":
        from fleet.spec.schema import schema_text

        sys.stdout.write(schema_text())
    else:
        from fleet.plan.document import FleetPlan

        dialect = "https://json-schema.org/draft/2020-12/schema"
        schema = {"$schema": dialect, **FleetPlan.model_json_schema(mode="serialization")}
        sys.stdout.write(json.dumps(schema, indent=2, ensure_ascii=False) + "\n")
