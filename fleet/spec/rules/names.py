"""Rules about names: what refers to what, and what is never referred to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fleet.diagnostics import Diagnostic, Severity, at, check, did_you_mean
from fleet.spec.model import FleetFile


@check()
def unknown_model(file: FleetFile) -> Iterator[Diagnostic]:
    """A workload refers to a model that is not declared.

    What: A workload's `model` is no key of `models`.
    Why: The workload cannot be planned without its model.
    Fix: Correct the name, or declare the model under `models`.
    """
    for name, workload in file.spec.workloads.items():
        if workload.model not in file.spec.models:
            hint = did_you_mean(workload.model, file.spec.models)
            yield unknown_model.report(
                f"workload '{name}' asks for model '{workload.model}', which is not declared",
                at("spec", "workloads", name, "model", text=hint),
            )


@check()
def unknown_slo(file: FleetFile) -> Iterator[Diagnostic]:
    """A workload refers to an SLO class that is not declared.

    What: A workload's `slo` is no key of `slos`.
    Why: Without targets there is nothing to size the fleet for.
    Fix: Correct the name, or declare the class under `slos`.
    """
    for name, workload in file.spec.workloads.items():
        if workload.slo not in file.spec.slos:
            hint = did_you_mean(workload.slo, file.spec.slos)
            yield unknown_slo.report(
                f"workload '{name}' asks for SLO '{workload.slo}', which is not declared",
                at("spec", "workloads", name, "slo", text=hint),
            )


@check()
def unknown_offering(file: FleetFile) -> Iterator[Diagnostic]:
    """A workload is restricted to an offering that is not declared.

    What: A name in a workload's `offerings` is no key of `hardware.offerings`.
    Why: The workload would be restricted to hardware that nobody can buy.
    Fix: Correct the name, or declare the offering under `hardware.offerings`.
    """
    for name, workload in file.spec.workloads.items():
        for index, offering in enumerate(workload.offerings):
            if offering not in file.spec.hardware.offerings:
                hint = did_you_mean(offering, file.spec.hardware.offerings)
                yield unknown_offering.report(
                    f"workload '{name}' names offering '{offering}', which is not declared",
                    at("spec", "workloads", name, "offerings", index, text=hint),
                )


@check()
def tenant_unknown_workload(file: FleetFile) -> Iterator[Diagnostic]:
    """A tenant is given a workload that is not declared.

    What: A name in a tenant's `workloads` is no key of `workloads`.
    Why: The gateway would route and count for a workload that does not exist.
    Fix: Correct the name, or remove it.
    """
    for name, tenant in file.spec.gateway.tenants.items():
        for index, workload in enumerate(tenant.workloads):
            if workload not in file.spec.workloads:
                hint = did_you_mean(workload, file.spec.workloads)
                yield tenant_unknown_workload.report(
                    f"tenant '{name}' names workload '{workload}', which is not declared",
                    at("spec", "gateway", "tenants", name, "workloads", index, text=hint),
                )


@check()
def empty_section(file: FleetFile) -> Iterator[Diagnostic]:
    """A section that a plan cannot do without is empty.

    What: `models`, `slos`, `workloads` or `hardware.offerings` declares nothing.
    Why: A plan needs something to serve, a target, a demand and hardware.
    Fix: Declare at least one entry; `fleetc init` writes an example of each.
    """
    sections: tuple[tuple[tuple[str, ...], Mapping[str, object]], ...] = (
        (("models",), file.spec.models),
        (("slos",), file.spec.slos),
        (("workloads",), file.spec.workloads),
        (("hardware", "offerings"), file.spec.hardware.offerings),
    )
    for path, entries in sections:
        if not entries:
            label = at("spec", *path, text="needs at least one entry")
            yield empty_section.report(f"{'.'.join(path)} is empty", label)


@check(Severity.WARNING)
def unused_model(file: FleetFile) -> Iterator[Diagnostic]:
    """A model is declared and no workload uses it.

    What: No workload names this model.
    Why: It gets no GPUs; if it was meant to be served, a workload is missing or names another model.
    Fix: Add a workload for it, or remove it.
    """
    used = {workload.model for workload in file.spec.workloads.values()}
    for name in file.spec.models:
        if name not in used:
            label = at("spec", "models", name, text="no workload names it", on_key=True)
            yield unused_model.report(f"model '{name}' is not used", label)


@check(Severity.WARNING)
def unused_slo(file: FleetFile) -> Iterator[Diagnostic]:
    """An SLO class is declared and no workload uses it.

    What: No workload names this class.
    Why: Its targets are not planned for.
    Fix: Name it in a workload, or remove it.
    """
    used = {workload.slo for workload in file.spec.workloads.values()}
    for name in file.spec.slos:
        if name not in used:
            label = at("spec", "slos", name, text="no workload names it", on_key=True)
            yield unused_slo.report(f"SLO '{name}' is not used", label)


@check()
def duplicate_served_name(file: FleetFile) -> Iterator[Diagnostic]:
    """Two models answer to one name.

    What: Two models have the same `served_name` (or a key that equals the other's served name).
    Why: The gateway routes by the model name of a request and could not tell them apart.
    Fix: Give one of them another served_name.
    """
    first: dict[str, str] = {}
    for name, model in file.spec.models.items():
        served = model.served_name or name
        other = first.setdefault(served, name)
        if other != name:
            yield duplicate_served_name.report(
                f"models '{other}' and '{name}' are both served as '{served}'",
                at("spec", "models", name, "served_name", text="the same name again"),
                at("spec", "models", other, "served_name", text="first here"),
            )


@check()
def names_collide(file: FleetFile) -> Iterator[Diagnostic]:
    """Two names differ only in dots and dashes.

    What: Two entries of one section have names that are equal once dots are replaced by dashes.
    Why: Names of most Kubernetes objects have no dots, so both would be rendered as the same object.
    Fix: Rename one of the two.
    """
    sections: tuple[tuple[tuple[str, ...], Mapping[str, object]], ...] = (
        (("models",), file.spec.models),
        (("slos",), file.spec.slos),
        (("workloads",), file.spec.workloads),
        (("hardware", "offerings"), file.spec.hardware.offerings),
        (("gateway", "tenants"), file.spec.gateway.tenants),
    )
    for path, entries in sections:
        first: dict[str, str] = {}
        for name in entries:
            other = first.setdefault(name.replace(".", "-"), name)
            if other != name:
                yield names_collide.report(
                    f"'{other}' and '{name}' would be rendered under one name",
                    at("spec", *path, name, text=f"becomes {name.replace('.', '-')}", on_key=True),
                    at("spec", *path, other, text="the same", on_key=True),
                )


CHECKS = (
    unknown_model,
    unknown_slo,
    unknown_offering,
    tenant_unknown_workload,
    empty_section,
    unused_model,
    unused_slo,
    duplicate_served_name,
    names_collide,
)
