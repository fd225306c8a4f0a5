"""Warnings that need the estimates and the answer: what is extrapolated, unmeasured, unproven or near its limit."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.candidates.need import Candidate
from fleet.diagnostics import Diagnostic, Severity, at, register
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
    """Return the warnings about an answer, in the order of its deployments."""
    found: list[Diagnostic] = []
    for candidate in sorted(used.values(), key=lambda c: c.id):
        estimate = candidate.capacity.decode
        where = at("spec", "workloads", candidate.workload, on_key=True)
        place = candidate.shape.place.offering
        if estimate.provenance.basis is Basis.EXTRAPOLATED:
            message = f"'{candidate.workload}' on '{place}' is predicted from neighbouring cells (error at 90 %: {format_share(estimate.relative_error_p90)})"
            found.append(
                EXTRAPOLATED.report(
                    message, where, notes=(estimate.provenance.note,) if estimate.provenance.note else ()
                )
            )
        elif estimate.provenance.basis is not Basis.MEASURED:
            message = f"'{candidate.workload}' on '{place}' is predicted from public benchmarks (error at 90 %: {format_share(estimate.relative_error_p90)})"
            found.append(NOT_MEASURED.report(message, where))
    if certificate.gap > _GAP_WARNED:
        message = f"the plan costs at most {format_share(certificate.gap)} more than the cheapest possible"
        found.append(GAP.report(message, at("spec", "policy")))
    return found
