"""Lifts the solver's answer to the plan: deployments, rack map, costs, certificate and everything a reviewer asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleet.candidates.need import Candidate, Drop
from fleet.catalog.records import DomainKind
from fleet.diagnostics import Diagnostic
from fleet.perf.interface import PerformanceModel
from fleet.perf.rounding import six
from fleet.pipeline.alternatives import alternatives, drops_by_reason
from fleet.pipeline.deployments import Chosen, lift_deployment
from fleet.pipeline.floor import BeatsPhysics, floor_gpus
from fleet.pipeline.lengths import Marginal
from fleet.pipeline.lower import MICRO_USD, Trace
from fleet.pipeline.questions import answers
from fleet.pipeline.rackmap import rack_map, survivors
from fleet.pipeline.resolved import ResolvedFleet, ResolvedOffering, ResolvedWorkload
from fleet.plan.document import (
    AttemptLine,
    CertificateLine,
    DeliveryPlan,
    DemandSummary,
    Deployment,
    Digests,
    FleetPlan,
    GatewayPlan,
    LengthSummary,
    MappedDomain,
    PlannedModel,
    PlannedOffering,
    PlannedWorkload,
    PolicyLine,
    PriceLine,
    Summary,
    TenantLine,
    WarningLine,
)
from fleet.plan.verify import RULES_CHECKED
from fleet.spec.model import LengthSpec, Objective
from solver.outcome import Certificate, Solved

HOURS_PER_MONTH = 730.0
_UNITS = {Objective.GPUS: ("GPUs", 1.0), Objective.WATTS: ("W", 1.0)}


@dataclass(frozen=True, slots=True)
class Found:
    """What the stages before the solver hand to the plan, for each workload."""

    candidates: Mapping[str, list[Candidate]]
    drops: Mapping[str, list[Drop]]


def lift(
    fleet: ResolvedFleet,
    found: Found,
    solved: Solved,
    trace: Trace,
    perf: PerformanceModel,
    digests: Digests,
    compiled_by: str,
    diagnostics: Sequence[Diagnostic],
) -> FleetPlan:
    """Return the plan.

    Raises:
        BeatsPhysics: a workload got fewer GPUs than dense peak allows; our mistake, never the user's.
    """
    answer = solved.answer
    units = dict(answer.units)
    replicas = dict(answer.replicas)
    by_option: dict[str, Deployment] = {}
    for workload, option, share in answer.shares:
        if option in replicas and replicas[option] > 0:
            candidate = trace.candidates[option]
            offering = fleet.offerings[candidate.shape.place.offering]
            by_option[option] = lift_deployment(
                Chosen(candidate, replicas[option], share), fleet.workloads[workload], offering, perf
            )
    deployments = tuple(sorted(by_option.values(), key=lambda d: d.id))
    domains = rack_map(list(fleet.offerings.values()), units, answer.assignments, by_option)
    floors = {name: floor_gpus(workload, fleet) for name, workload in fleet.workloads.items()}
    _respect_physics(floors, deployments)
    offerings = tuple(_offering(o, units.get(o.name, 0), deployments) for o in fleet.offerings.values())
    spec = fleet.file.spec
    return FleetPlan(
        compiled_by=compiled_by,
        fleet=fleet.file.metadata.name,
        as_of=spec.as_of,
        labels=fleet.file.metadata.labels,
        digests=digests,
        summary=_summary(fleet, offerings, deployments),
        policy=_policy(fleet),
        models=tuple(
            _model(fleet, name) for name in sorted({w.model.name for w in fleet.workloads.values()})
        ),
        workloads=tuple(
            _workload(fleet, w, found, by_option, deployments, domains) for w in fleet.workloads.values()
        ),
        offerings=offerings,
        deployments=deployments,
        domains=domains,
        certificate=_certificate(fleet, solved.certificate, floors),
        gateway=_gateway(fleet),
        delivery=DeliveryPlan(**spec.delivery.model_dump()),
        warnings=tuple(map(warning_line, diagnostics)),
    )


def warning_line(diagnostic: Diagnostic) -> WarningLine:
    """Return a diagnostic as it stands in the plan."""
    return WarningLine(
        rule=diagnostic.rule,
        severity=diagnostic.severity.value,
        subject=".".join(str(part) for part in diagnostic.path[1:]),
        message=diagnostic.message,
        help=diagnostic.help,
    )


def _respect_physics(floors: Mapping[str, float], deployments: Sequence[Deployment]) -> None:
    for name, floor in floors.items():
        used = sum(d.gpus for d in deployments if any(s.workload == name for s in d.served))
        if used < floor:
            raise BeatsPhysics(f"workload '{name}' got {used} GPUs, and dense peak alone needs {floor:g}")


def _summary(
    fleet: ResolvedFleet, offerings: Sequence[PlannedOffering], deployments: Sequence[Deployment]
) -> Summary:
    usd = sum(o.usd_per_hour for o in offerings)
    output = sum(w.planning_req_per_s * w.output.mean for w in fleet.workloads.values()) * 3600 / 1e6
    useful = (
        sum(w.planning_req_per_s * w.output.mean * w.useful_share for w in fleet.workloads.values())
        * 3600
        / 1e6
    )
    return Summary(
        usd_per_hour=round(usd, 6),
        usd_per_month=round(usd * HOURS_PER_MONTH, 2),
        gpus_bought=sum(o.gpus_bought for o in offerings),
        gpus_used=sum(d.gpus for d in deployments),
        hosts=sum(o.hosts for o in offerings),
        racks=sum(o.bought_units * o.unit_domains for o in offerings if o.domain == "rack"),
        power_kw=round(sum(o.power_kw for o in offerings), 6),
        usd_per_million_output_tokens=six(usd / output),
        usd_per_million_useful_tokens=six(usd / useful),
    )


def _offering(offering: ResolvedOffering, units: int, deployments: Sequence[Deployment]) -> PlannedOffering:
    accelerator, spec = offering.accelerator, offering.spec
    domains = units * offering.unit_domains
    return PlannedOffering(
        name=offering.name,
        accelerator=accelerator.id,
        accelerator_name=accelerator.name,
        provider=spec.provider,
        region=spec.region,
        zone=spec.zone,
        machine_type=offering.machine_type,
        cpu_arch=accelerator.cpu_arch.value,
        gpu_product=next(iter(accelerator.gpu_product_labels), ""),
        domain="rack" if accelerator.domain is DomainKind.RACK else "host",
        domain_gpus=accelerator.domain_gpus,
        gpus_per_host=accelerator.gpus_per_host,
        hosts_per_domain=accelerator.hosts_per_domain,
        spare_hosts_per_domain=offering.spare_hosts_per_domain,
        domains_per_rack=offering.domains_per_rack,
        unit_domains=offering.unit_domains,
        available_units=offering.available_units,
        bought_units=units,
        hosts=domains * accelerator.hosts_per_domain,
        gpus_bought=units * offering.unit_gpus,
        gpus_used=sum(d.gpus for d in deployments if d.offering == offering.name),
        price=PriceLine(
            usd_per_gpu_hour=offering.price.usd_per_gpu_hour,
            kind=offering.price.kind,
            as_of=offering.price.as_of,
            source=offering.price.source,
        ),
        usd_per_hour=round(units * round(offering.usd_per_unit_hour * MICRO_USD) / MICRO_USD, 6),
        power_kw=round(units * offering.unit_watts / 1000, 6),
        domain_label=offering.domain_label,
        node_selector=spec.node_selector,
        tolerations=spec.tolerations,
    )


def _model(fleet: ResolvedFleet, name: str) -> PlannedModel:
    model = fleet.models[name]
    card = model.card
    return PlannedModel(
        name=name,
        served_name=model.served_name,
        card=model.card_name,
        architecture=card.architecture,
        total_params=card.total_params,
        active_params=card.active_params,
        is_moe=card.is_moe,
        native_precision=card.native_precision,
    )


def _workload(
    fleet: ResolvedFleet,
    workload: ResolvedWorkload,
    found: Found,
    by_option: Mapping[str, Deployment],
    deployments: Sequence[Deployment],
    domains: Sequence[MappedDomain],
) -> PlannedWorkload:
    mine = [d for d in deployments if any(s.workload == workload.name for s in d.served)]
    candidates, drops = found.candidates[workload.name], found.drops[workload.name]
    levels = [level.value for level in fleet.file.spec.policy.survive]
    left = {level: survivors(domains, fleet.offerings, deployments, level)[workload.name] for level in levels}
    return PlannedWorkload(
        name=workload.name,
        model=workload.model.name,
        slo=workload.spec.slo,
        priority=workload.slo.priority,
        demand=_demand(workload),
        limits_as_written=tuple(_written(workload)),
        deployments=tuple(d.id for d in mine),
        capacity_req_per_s=round(
            sum(s.capacity_req_per_s for d in mine for s in d.served if s.workload == workload.name), 6
        ),
        survives={level: round(value, 6) for level, value in left.items()},
        candidates=len(candidates),
        dropped=drops_by_reason([*workload.model.refused, *drops]),
        alternatives=alternatives(
            workload, fleet, candidates, frozenset(by_option), sum(d.usd_per_hour for d in mine)
        ),
        questions=answers(workload, fleet, mine, candidates),
    )


def _written(workload: ResolvedWorkload) -> list[tuple[str, int, float]]:
    rows = []
    for metric in ("ttft", "tpot", "itl", "e2e"):
        limits = getattr(workload.slo, metric)
        for quantile in (50, 90, 95, 99):
            limit = getattr(limits, f"p{quantile}") if limits else None
            if limit is not None:
                rows.append(("tpot" if metric == "itl" else metric, quantile, float(limit)))
    return rows


def _demand(workload: ResolvedWorkload) -> DemandSummary:
    demand = workload.spec.demand
    return DemandSummary(
        peak_req_per_s=round(workload.peak_req_per_s, 6),
        planning_req_per_s=round(workload.planning_req_per_s, 6),
        mean_req_per_s=round(workload.mean_req_per_s, 6),
        input_tokens=_length(workload.input, demand.input),
        output_tokens=_length(workload.output, demand.output),
        cached_prefix_fraction=workload.load.cached_prefix_fraction,
        burstiness_cv=six(workload.burstiness_cv),
        cancellation=demand.cancellation,
        retries=demand.retries,
        basis=demand.basis,
        source=demand.source,
    )


def _length(side: Marginal, written: LengthSpec | float | None) -> LengthSummary:
    """Percentiles as written where they are; else those of the distribution that was planned with."""
    figures = {
        "mean": side.mean,
        "p50": side.quantile(0.5),
        "p90": side.quantile(0.9),
        "p99": side.quantile(0.99),
        "max": side.values[-1],
    }
    if isinstance(written, LengthSpec):
        told = written.model_dump(include={"p50", "p90", "p99", "max"}, exclude_none=True)
        figures.update({name: float(value) for name, value in told.items()})
    return LengthSummary(**{name: six(value) for name, value in figures.items()})


def _certificate(
    fleet: ResolvedFleet, certificate: Certificate, floors: Mapping[str, float]
) -> CertificateLine:
    objective = fleet.file.spec.policy.objective
    unit, scale = _UNITS.get(objective, ("USD/h", float(MICRO_USD)))

    def amount(value: int) -> float:
        return round(value / scale, 6)

    return CertificateLine(
        objective=objective.value,
        unit=unit,
        cost=amount(certificate.cost),
        bound=amount(certificate.bound),
        gap=six(certificate.gap),
        proven_optimal=certificate.proven_optimal,
        floor=amount(certificate.floor),
        physical_floor_gpus=dict(floors),
        solver=certificate.solver,
        attempts=tuple(
            AttemptLine(
                formulation=a.formulation,
                usd_per_hour=None if a.cost is None else amount(a.cost),
                bound=None if a.bound is None else amount(a.bound),
                effort=a.effort,
            )
            for a in certificate.attempts
        ),
        rules_checked=RULES_CHECKED,
        notes=certificate.notes,
    )


def _policy(fleet: ResolvedFleet) -> PolicyLine:
    policy = fleet.file.spec.policy
    return PolicyLine(
        survive=tuple(level.value for level in policy.survive),
        spare_trays_per_rack=policy.spare_trays_per_rack,
        max_utilisation=policy.risk.max_utilisation,
        error_quantile=policy.risk.error_quantile,
        budget_usd_per_hour=policy.budget,
        power_limit_kw=policy.power_limit,
        quality_record=policy.precisions.quality_record,
    )


def _gateway(fleet: ResolvedFleet) -> GatewayPlan:
    gateway = fleet.file.spec.gateway
    return GatewayPlan(
        hostnames=gateway.hostnames,
        gateway=gateway.gateway,
        gateway_class=gateway.gateway_class,
        namespace=fleet.file.spec.delivery.namespace,
        cache_locality=gateway.routing.cache_locality,
        slo_class=gateway.routing.slo_class,
        retry_attempts=gateway.retries.attempts,
        retry_backoff_ms=gateway.retries.backoff,
        request_timeout_ms=gateway.request_timeout,
        cancellation=gateway.cancellation,
        tenants=tuple(
            TenantLine(
                name=name, token_budget_per_minute=t.token_budget, priority=t.priority, workloads=t.workloads
            )
            for name, t in sorted(gateway.tenants.items())
        ),
    )
