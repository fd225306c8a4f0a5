"""`fleetc catalog`: the catalogue with its sources."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import yaml

from fleet.catalog.load import load_catalog
from fleet.catalog.records import Catalog, Record
from fleet.cli.trouble import Stop
from fleet.diagnostics import did_you_mean


def run(name: str | None, as_json: bool) -> None:
    """Print an overview, a section, or one record with the source of every figure."""
    catalog = load_catalog()
    sections = _sections(catalog)
    if name is None:
        _print({section: sorted(records) for section, records in sections.items()}, as_json)
        return
    if name in sections:
        _print({key: _plain(record) for key, record in sections[name].items()}, as_json)
        return
    found = {section: _plain(records[name]) for section, records in sections.items() if name in records}
    if not found:
        known = [*sections, *(key for records in sections.values() for key in records)]
        raise Stop(f"the catalogue has no '{name[:80]}'", did_you_mean(name, known))
    _print(found, as_json)


def _sections(catalog: Catalog) -> dict[str, Mapping[str, Record]]:
    return {
        "accelerators": catalog.accelerators,
        "machines": catalog.machines,
        "models": catalog.models,
        "engines": {f"{e.id.value}-{e.version}": e for e in catalog.engines},
        "prices": {f"{p.provider}/{p.machine_type}/{p.kind}": p for p in catalog.prices},
    }


def _plain(record: Record) -> dict[str, Any]:
    return record.model_dump(mode="json", exclude_defaults=True)


def _print(value: Any, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110))
