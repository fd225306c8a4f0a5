"""Overlays: a stack's own changes to its base file, merged as JSON merge patches (RFC 7396)."""

from __future__ import annotations

from dataclasses import replace

from fleet.diagnostics import Diagnostic, Rejected, at
from fleet.source import rules
from fleet.source.tree import Document, Node

API_VERSION = "fleetc.dev/v1"
KIND = "FleetOverlay"
_PATCHED = ("metadata", "spec")


def merge(base: Document, overlay: Document) -> Document:
    """Return the base with an overlay's values in place of its own; each keeps the place it came from.

    Mappings are merged name by name, anything else is replaced, and null removes.

    Raises:
        Rejected: the overlay does not say that it is one, or patches more than `metadata` and `spec`.
    """
    problems = overlay.locate(_header_faults(overlay))
    if problems:
        raise Rejected(problems, overlay.files)
    assert isinstance(overlay.root.value, dict)
    patch = replace(overlay.root, value={k: v for k, v in overlay.root.value.items() if k in _PATCHED})
    return Document(_patched(base.root, patch), base.sources + overlay.sources)


def _header_faults(overlay: Document) -> list[Diagnostic]:
    faults = []
    for name, expected in (("apiVersion", API_VERSION), ("kind", KIND)):
        if name not in overlay.data:
            faults.append(rules.NOT_AN_OVERLAY.report(f"the overlay has no {name}", at()))
        elif overlay.data[name] != expected:
            message = f"the {name} of an overlay is {expected}"
            faults.append(rules.NOT_AN_OVERLAY.report(message, at(name, text=f"expected {expected}")))
    for name in overlay.data:
        if name not in ("apiVersion", "kind", *_PATCHED):
            message = f"an overlay may change `metadata` and `spec`, not '{name[:64]}'"
            faults.append(rules.NOT_AN_OVERLAY.report(message, at(name, on_key=True)))
    return faults


def _patched(target: Node | None, patch: Node) -> Node:
    if not isinstance(patch.value, dict):
        return patch
    if target is None or not isinstance(target.value, dict):
        target = replace(patch, value={})
    assert isinstance(target.value, dict)
    merged = dict(target.value)
    for key, change in patch.value.items():
        if change.value is None:
            merged.pop(key, None)
        else:
            merged[key] = _patched(merged.get(key), change)
    return replace(target, value=merged)
