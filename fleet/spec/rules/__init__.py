"""One check for each rule over the typed file; what needs the catalogue is checked by the pipeline."""

from __future__ import annotations

from fleet.diagnostics import Check, Diagnostic
from fleet.spec.model import FleetFile
from fleet.spec.rules import demand, gateway, hardware, lengths, names, performance, serving

CHECKS: tuple[Check[FleetFile], ...] = (
    *names.CHECKS,
    *serving.CHECKS,
    *demand.CHECKS,
    *lengths.CHECKS,
    *hardware.CHECKS,
    *performance.CHECKS,
    *gateway.CHECKS,
)


def check_spec(file: FleetFile) -> tuple[Diagnostic, ...]:
    """Return everything that the rules have to say about a file, of every severity, with spec paths."""
    return tuple(diagnostic for check in CHECKS for diagnostic in check.find(file))
