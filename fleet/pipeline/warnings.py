"""Warnings that need the estimates and the answer: what is extrapolated, unmeasured, unproven or near its limit."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.candidates.need import Candidate
from fleet.diagnostics import Diagnostic, Severity, at, enumerated, register
from fleet.perf.interface import Basis
from fleet.pipeline.resolved import ResolvedFleet
from fleet.units import format_share
from solver.outcome import Certificate

EXTRAPOLATED = register(
    "estimate-outside-its-data",
    severity=Severity.WARNING,
    what="The plan rests on a prediction for a model, accelerator and engine that the calibration data does not hold.",
    why="The shape of such a prediction is good and its level is uncertain; the stated error is wider.",
    fix="measure the deployment at its operating point before you buy",
)
NOT_MEASURED = register(
    "no-measurement-of-your-own",
    severity=Severity.WARNING,
    what="No measurement of the user's own covers this deployment; the prediction rests on public benchmark results.",
    why="Public results come from other machines, other engine versions and other traffic.",
    fix="measure the deployment at its operating point",
)
GAP = register(
    "optimality-gap",
    severity=Severity.WARNING,
    what="The solver stopped with a gap above 1 % between the plan's cost and the proven bound.",
    why="A cheaper plan may exist; the certificate says by how much at most.",
    fix="raise --time-limit, or accept the stated gap",
)

_GAP_WARNED = 0.01


def plan_warnings(
    fleet: ResolvedFleet, used: Mapping[str, Candidate], certificate: Certificate
) -> list[Diagnostic]:
    """Return the warnings about an answer: one of each kind, which names its deployments."""
    found: list[Diagnostic] = []
    candidates = sorted(used.values(), key=lambda c: c.id)
    extrapolated = [c for c in candidates if _basis(c) is Basis.EXTRAPOLATED]
    public = [c for c in candidates if _basis(c) is Basis.FITTED]
    for rule, rows, origin in (
        (EXTRAPOLATED, extrapolated, "neighbouring cells of the calibration data"),
        (NOT_MEASURED, public, "public benchmarks"),
    ):
        if rows:
            names = enumerated([f"{c.workload} on {c.shape.place.offering}" for c in rows], shown=20)
            worst = max(c.capacity.decode.relative_error_p90 for c in rows)
            message = f"predicted from {origin}, 90 % error up to {format_share(worst)}: {names}"
            found.append(rule.report(message, at("spec", "workloads", rows[0].workload, on_key=True)))
    if certificate.gap > _GAP_WARNED:
        message = f"the plan costs at most {format_share(certificate.gap)} more than the cheapest possible"
        found.append(GAP.report(message, at("spec", "policy")))
    return found


def _basis(candidate: Candidate) -> Basis:
    return candidate.capacity.decode.provenance.basis
