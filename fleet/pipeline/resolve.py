"""Turns a fleet file into a resolved fleet: every name looked up, every amount in one unit, all problems in one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fleet.catalog.records import Catalog
from fleet.diagnostics import Rejected, Severity
from fleet.pipeline.demand import Report, resolve_workloads
from fleet.pipeline.hardware import resolve_offerings
from fleet.pipeline.models import resolve_models
from fleet.pipeline.resolved import ResolvedFleet
from fleet.spec.model import FleetFile, TraceSpec
from fleet.spec.traces import TraceSummary


def resolve(
    file: FleetFile,
    catalog: Catalog,
    read_text: Callable[[str], str],
    traces: Mapping[TraceSpec, TraceSummary],
) -> ResolvedFleet:
    """Look every name up and bring every amount into one unit.

    Args:
        read_text: Reads a small text file by its path as the fleet file writes it.
        traces: Every trace that the file names, summarised.

    Raises:
        Rejected: something is unknown or impossible; carries every such diagnostic, and the warnings.
    """
    found: Report = []
    models = resolve_models(file.spec, catalog, read_text, found)
    offerings = resolve_offerings(file.spec, catalog, found)
    workloads = resolve_workloads(file.spec, models, tuple(file.spec.hardware.offerings), traces, found)
    if any(diagnostic.severity is Severity.ERROR for diagnostic in found):
        raise Rejected(found)
    return ResolvedFleet(file, catalog, models, offerings, workloads, tuple(found))
