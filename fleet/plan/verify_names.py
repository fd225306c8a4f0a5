"""Checks that a plan's numbers are numbers and its names resolve, on which every other check builds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from math import isfinite

from pydantic import BaseModel

from fleet.plan.document import FleetPlan
from fleet.plan.verify_ledger import Ledger, Violation, usable_domain_gpus

FOUNDATION_RULES = ("numbers", "identity", "reference")
RULES = ("cross-reference",)

_MAY_BE_NEGATIVE = frozenset({"priority", "margin", "speculative", "standard_score"})
"""Priorities and standard scores have a sign, a margin that is negative breaks the rule `slo`, and `speculative` holds what
the engine takes."""

_AT_LEAST_ONE = frozenset(
    {
        "replicas", "gpus", "gpus_per_replica", "workers_per_replica", "gpus_per_worker", "hosts_per_worker", "gpus_per_host_used",
        "max_num_seqs", "max_num_batched_tokens", "max_model_len", "total_params", "active_params",
        "tp", "pp", "dp", "ep", "cp", "domain_gpus", "gpus_per_host", "hosts_per_domain", "domains_per_rack", "unit_domains",
        "concurrency", "requests",
    }
)  # fmt: skip
_ABOVE_ZERO = frozenset({"limit_ms", "weight_bytes_per_gpu", "kv_capacity_tokens", "max_utilisation"})

_FLOAT_NOISE = 1e-9
"""A difference of equal sums may come out this far below zero."""


def foundations(plan: FleetPlan) -> Iterator[Violation]:
    """Yield what is wrong with numbers, identities and references; the other checks need a plan without any of it."""
    yield from _numbers(plan)
    yield from _identities(plan)
    yield from _references(plan)


def cross_references(ledger: Ledger) -> Iterator[Violation]:
    """Yield deployments and workloads that do not agree on who serves whom with which model."""
    for workload in ledger.plan.workloads:
        lines = [d.id for d, _ in ledger.served[workload.name]]
        for name in sorted({*lines} ^ {*workload.deployments}):
            has, lacks = (
                ("the deployment", "the workload") if name in lines else ("the workload", "the deployment")
            )
            yield Violation(
                "cross-reference",
                workload.name,
                f"{has} names the other and {lacks} does not: '{name}'; both must",
            )
        for deployment, _ in ledger.served[workload.name]:
            if deployment.model != workload.model:
                yield Violation(
                    "cross-reference",
                    deployment.id,
                    f"runs model '{deployment.model}', its workload '{workload.name}' needs '{workload.model}'",
                )
    for deployment in ledger.plan.deployments:
        if not deployment.served:
            yield Violation("cross-reference", deployment.id, "serves no workload, needed is at least 1")


def _numbers(plan: FleetPlan) -> Iterator[Violation]:
    for path, field, value in _figures(plan, "plan", ""):
        if not isfinite(value):
            yield Violation("numbers", path, f"{value} found, allowed are finite numbers")
        elif field in _AT_LEAST_ONE and value < 1:
            yield Violation("numbers", path, f"{value} found, allowed is 1 or more")
        elif field in _ABOVE_ZERO and value <= 0:
            yield Violation("numbers", path, f"{value:.10g} found, allowed is more than 0")
        elif field not in _MAY_BE_NEGATIVE and value < -_FLOAT_NOISE:
            yield Violation("numbers", path, f"{value:.10g} found, allowed is 0 or more")
    for offering in plan.offerings:
        if usable_domain_gpus(offering) < 1:
            yield Violation(
                "numbers",
                offering.name,
                f"{offering.spare_hosts_per_domain} spare hosts leave {usable_domain_gpus(offering)} GPUs of a domain, needed is 1 or more",
            )


def _figures(value: object, path: str, field: str) -> Iterator[tuple[str, str, float]]:
    """Yield every number inside a part of the plan with its path and the name of the field that holds it."""
    if isinstance(value, bool | str):
        return
    if isinstance(value, int | float):
        yield path, field, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _figures(getattr(value, name), f"{path}.{name}", name)
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _figures(item, f"{path}[{index}]", field)
    elif isinstance(value, dict):
        for key in sorted(value):
            yield from _figures(value[key], f"{path}[{key}]", field)


def _identities(plan: FleetPlan) -> Iterator[Violation]:
    groups: list[tuple[str, Iterable[str]]] = [
        ("models", (m.name for m in plan.models)),
        ("workloads", (w.name for w in plan.workloads)),
        ("offerings", (o.name for o in plan.offerings)),
        ("deployments", (d.id for d in plan.deployments)),
        ("domains", (d.id for d in plan.domains)),
        ("tenants", (t.name for t in plan.gateway.tenants)),
        *((f"deployments of '{w.name}'", w.deployments) for w in plan.workloads),
        *((f"workloads of '{d.id}'", (s.workload for s in d.served)) for d in plan.deployments),
    ]
    for kind, names in groups:
        for name, times in Counter(names).items():
            if times > 1:
                yield Violation("identity", kind, f"'{name}' stands {times} times, allowed is 1")


def _references(plan: FleetPlan) -> Iterator[Violation]:
    models, offerings = {m.name for m in plan.models}, {o.name for o in plan.offerings}
    workloads, deployments = {w.name for w in plan.workloads}, {d.id for d in plan.deployments}
    groups: list[tuple[str, str, set[str], Iterable[str]]] = [
        *((w.name, "model", models, (w.model,)) for w in plan.workloads),
        *((w.name, "deployment", deployments, w.deployments) for w in plan.workloads),
        *(
            (f"{w.name}, alternatives", "offering", offerings, (a.offering for a in w.alternatives))
            for w in plan.workloads
        ),
        *((d.id, "model", models, (d.model,)) for d in plan.deployments),
        *((d.id, "offering", offerings, (d.offering,)) for d in plan.deployments),
        *((d.id, "workload", workloads, (s.workload for s in d.served)) for d in plan.deployments),
        *((d.id, "offering", offerings, (d.offering,)) for d in plan.domains),
        *(
            (d.id, "deployment", deployments, (s.deployment for h in d.hosts for s in h.slots))
            for d in plan.domains
        ),
        *((f"tenant {t.name}", "workload", workloads, t.workloads) for t in plan.gateway.tenants),
        ("certificate", "workload", workloads, plan.certificate.physical_floor_gpus),
        *(("measure_next", "workload", workloads, (r.workload, *r.also_decides)) for r in plan.measure_next),
        *(("measure_next", "offering", offerings, (r.offering,)) for r in plan.measure_next),
        *(
            ("measure_next", "deployment", deployments, (r.deployment,) if r.deployment else ())
            for r in plan.measure_next
        ),
    ]
    for subject, kind, known, names in groups:
        for name in dict.fromkeys(names):
            if name not in known:
                yield Violation(
                    "reference", subject, f"names the {kind} '{name}', which the plan does not have"
                )
