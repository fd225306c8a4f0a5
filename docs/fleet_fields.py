"""The reference of the fleet file: every field, from the JSON Schema of the types that check it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from fleet.spec.model import FleetFile


def fields_page(note: str) -> str:
    """Return the reference of every field of the fleet file."""
    schema = FleetFile.model_json_schema()
    lines = ["# Fields of a fleet file", "", note, ""]
    lines += [
        "Every field, from the types that check it. [Write a fleet file](../how-to/write-a-fleet-file.md) says what each section",
        "changes in a plan, and lists the units; a default is a plain number in the unit of its quantity. `<name>` is a name of yours.",
    ]
    for path, name in _parts("", "FleetFile", schema, []):
        lines += ["", f"## {path or 'top'}".replace("<", "&lt;"), ""]
        part = schema if name == "FleetFile" else schema["$defs"][name]
        lines += [prose(part["description"]), "", "| field | written as | default | |", "|---|---|---|---|"]
        required = part.get("required", [])
        for field, value in part["properties"].items():
            default = "required" if field in required else _default(value.get("default", None))
            lines.append(
                f"| `{field}` | {_written(value, schema['$defs'])} | {default} | {_says(value, schema['$defs'])} |"
            )
    return "\n".join([*lines, ""])


def _parts(path: str, name: str, schema: dict[str, Any], seen: list[str]) -> Iterator[tuple[str, str]]:
    """Yield every mapping of the file once, outermost first, with the path of its first use."""
    if name in seen:
        return
    seen.append(name)
    yield path, name
    part = schema if name == "FleetFile" else schema["$defs"][name]
    for field, value in part["properties"].items():
        below = f"{path}.{field}".lstrip(".")
        if named := _by_name(value):
            below, value = f"{below}.<name>", named
        elif value.get("type") == "array":
            below, value = f"{below}[]", value["items"]
        for inner in _references(value):
            if "properties" in schema["$defs"][inner]:
                yield from _parts(below, inner, schema, seen)


def _by_name(value: dict[str, Any]) -> dict[str, Any] | None:
    """Return the schema of the values of a mapping whose keys are the user's own names."""
    patterns = value.get("patternProperties") or {"": value.get("additionalProperties")}
    schema = next(iter(patterns.values()))
    return schema if isinstance(schema, dict) else None


def _says(value: dict[str, Any], defs: dict[str, Any]) -> str:
    """Return a field's description; a field of a type that says the same has it there."""
    inner = defs.get(value.get("$ref", "").rpartition("/")[2], {})
    text = value.get("description") or inner.get("description", "")
    return prose(text).replace("|", "\\|") if text else ""


def _references(value: dict[str, Any]) -> Iterator[str]:
    if "$ref" in value:
        yield value["$ref"].rpartition("/")[2]
    for key in ("anyOf", "oneOf", "allOf"):
        for choice in value.get(key, ()):
            yield from _references(choice)


def _written(value: dict[str, Any], defs: dict[str, Any]) -> str:
    """Say in a few words what may be written for a field."""
    if "examples" in value:
        return " or ".join(f"`{example}`" for example in value["examples"])
    if "enum" in value or "const" in value:
        return ", ".join(f"`{_plain(word)}`" for word in value.get("enum", [value.get("const")]))
    if "$ref" in value:
        inner = defs[value["$ref"].rpartition("/")[2]]
        return _written(inner, defs) if "enum" in inner else "mapping"
    for key in ("anyOf", "oneOf"):
        choices = [_written(c, defs) for c in value.get(key, ()) if c.get("type") != "null"]
        if choices:
            return ", or ".join(dict.fromkeys(choices))
    if value.get("type") == "array":
        if "prefixItems" in value.get("items", {}):
            return "list of pairs"
        inner = _written(value.get("items", {}), defs)
        return f"list of {'mappings' if inner == 'mapping' else inner}"
    if named := _by_name(value):
        return "mapping by name" if "$ref" in named else f"mapping to {_written(named, defs)}"
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`"}
    return {"date": "`2026-11-24`"}.get(value.get("format", ""), words.get(value.get("type", ""), "mapping"))


def _default(value: object) -> str:
    if value in (None, [], {}, ""):
        return ""
    if isinstance(value, dict):
        return "as below"
    items = value if isinstance(value, list) else [value]
    return ", ".join(f"`{_plain(item)}`" for item in items)


def _plain(value: object) -> str:
    return (
        str(value).lower()
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def prose(text: str) -> str:
    """Return a sentence that Markdown shows as written: pointed brackets outside code would be taken for HTML."""
    parts = re.split(r"(`[^`]*`)", text)
    whole = "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in parts)
    return whole[:1].upper() + whole[1:].rstrip(".") + "."
