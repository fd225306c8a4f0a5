"""Checks what is bought and what it costs: inventory, hardware, money, power, totals, the certificate and the physical floor.

With n_o the domains bought of offering o, p_o its price for a GPU and an hour, G_o GPUs and U_o usable GPUs of a domain:

    bought units ≤ available units                                                        (inventory)
    hosts, GPUs bought and GPUs used follow from n_o and the deployments                  (hardware)
    offering: n_o · G_o · p_o; deployment and alternative: GPUs · p_o · G_o / U_o         (cost)
    deployment: GPUs · W of one GPU bought of the offering                                (power)
    totals are the sums over offerings                                                    (summary)
    USD/h · 10⁶ / (Σ rate · mean answer · 3600), useful: each term times its useful share (token-cost)
    Σ USD/h ≤ budget, Σ kW ≤ power limit                                                  (budget, power-limit)
    floor ≤ cost, bound ≤ cost, gap = (cost - bound) / cost, cost is the plan's           (certificate)
    Σ GPUs of the deployments of workloads that share any ≥ Σ floors                      (physical-floor)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fleet.plan.document import (
    CertificateLine,
    Deployment,
    FleetPlan,
    PlannedOffering,
    PlannedWorkload,
    Served,
)
from fleet.plan.verify_ledger import (
    CENTS,
    DIGITS,
    EXACT,
    MILLION,
    ONE_MICRO,
    SUMS,
    Ledger,
    Tolerance,
    Violation,
    at_least,
    at_most,
    same,
    usable_domain_gpus,
    useful_share,
)
from fleet.units import HOURS_PER_MONTH, S_PER_H, W_PER_KW

RULES = (
    "inventory",
    "hardware",
    "cost",
    "power",
    "summary",
    "token-cost",
    "budget",
    "power-limit",
    "certificate",
    "physical-floor",
)

_UNITS = {"money": "USD/h", "cost-per-useful-token": "USD/h", "gpus": "GPUs", "watts": "W"}
_HALF_WATT = 0.5
"""The solver counts the power of a unit in whole watts."""


def purchases(ledger: Ledger) -> Iterator[Violation]:
    """Yield offerings whose counts, cost or power do not follow from what is bought and used."""
    for offering in ledger.plan.offerings:
        yield from at_most(
            "inventory", offering.name, "units bought", offering.bought_units, offering.available_units, EXACT
        )
        yield from _hardware(ledger, offering)
        usd = offering.gpus_bought * offering.price.usd_per_gpu_hour
        yield from same("cost", offering.name, "USD/h", offering.usd_per_hour, usd, SUMS)


def _hardware(ledger: Ledger, offering: PlannedOffering) -> Iterator[Violation]:
    domains = offering.bought_units * offering.unit_domains
    here = [d for d in ledger.plan.deployments if d.offering == offering.name]
    figures = (
        ("GPUs of a domain", offering.domain_gpus, offering.hosts_per_domain * offering.gpus_per_host),
        ("hosts bought", offering.hosts, domains * offering.hosts_per_domain),
        ("GPUs bought", offering.gpus_bought, domains * offering.domain_gpus),
        ("GPUs used", offering.gpus_used, sum(d.gpus for d in here)),
    )
    for figure, found, recomputed in figures:
        yield from same("hardware", offering.name, figure, found, recomputed, EXACT)
    yield from at_most(
        "hardware",
        offering.name,
        "GPUs used",
        offering.gpus_used,
        domains * usable_domain_gpus(offering),
        EXACT,
    )
    if offering.domain == "host":
        yield from same(
            "hardware", offering.name, "hosts of a domain that is a host", offering.hosts_per_domain, 1, EXACT
        )
    else:
        yield from same(
            "hardware",
            offering.name,
            "domains of a rack that is a domain",
            offering.domains_per_rack,
            1,
            EXACT,
        )


def deployments_priced(ledger: Ledger) -> Iterator[Violation]:
    """Yield deployments and alternatives whose cost or power is not that of their GPUs."""
    for deployment in ledger.plan.deployments:
        offering = ledger.offerings[deployment.offering]
        usd = deployment.gpus * _usd_per_usable_gpu_hour(offering)
        yield from same("cost", deployment.id, "USD/h", deployment.usd_per_hour, usd, SUMS)
        if offering.gpus_bought:
            kw = deployment.gpus * offering.power_kw / offering.gpus_bought
            yield from same("power", deployment.id, "kW", deployment.power_kw, kw, SUMS)
        lines = [(ledger.workloads[line.workload], line) for line in deployment.served]
        stated = (deployment.usd_per_million_output_tokens, deployment.usd_per_million_useful_tokens)
        yield from _token_cost(deployment.id, deployment.usd_per_hour, lines, stated)
    for workload in ledger.plan.workloads:
        for number, other in enumerate(workload.alternatives):
            subject = f"{workload.name}, alternative {number}"
            yield from same(
                "cost", subject, "GPUs", other.gpus, other.replicas * other.gpus_per_replica, EXACT
            )
            usd = other.gpus * _usd_per_usable_gpu_hour(ledger.offerings[other.offering])
            yield from same("cost", subject, "USD/h", other.usd_per_hour, usd, SUMS)


def _usd_per_usable_gpu_hour(offering: PlannedOffering) -> float:
    return offering.price.usd_per_gpu_hour * offering.domain_gpus / usable_domain_gpus(offering)


def _token_cost(
    subject: str,
    usd_per_hour: float,
    lines: Iterable[tuple[PlannedWorkload, Served]],
    stated: tuple[float, float],
) -> Iterator[Violation]:
    """Compare money for a million output tokens, and for a million useful ones, with what the lines generate.

    Rates are written in millionths of a request/s; of a small rate that is more than the last of six digits.
    """
    output = useful = unsure = 0.0
    for workload, line in lines:
        rate = line.share * workload.demand.planning_req_per_s / MILLION
        tokens_per_request = workload.demand.output_tokens.mean
        output += rate * tokens_per_request * S_PER_H
        useful += rate * tokens_per_request * S_PER_H * useful_share(workload, line)
        unsure += SUMS.absolute * tokens_per_request * S_PER_H
    for kind, tokens_per_h, usd in (("output", output, stated[0]), ("useful", useful, stated[1])):
        if tokens_per_h > 0:
            tolerance = Tolerance(DIGITS.relative + unsure / output, DIGITS.absolute)
            recomputed = usd_per_hour / tokens_per_h * MILLION
            yield from same(
                "token-cost", subject, f"USD for a million {kind} tokens", usd, recomputed, tolerance
            )


def totals(ledger: Ledger) -> Iterator[Violation]:
    """Yield totals that are not the sum of their parts, or above what policy allows."""
    plan, found = ledger.plan, ledger.plan.summary
    offerings, policy = plan.offerings, plan.policy
    figures = (
        ("USD/h", found.usd_per_hour, sum(o.usd_per_hour for o in offerings), SUMS),
        ("USD for a month", found.usd_per_month, found.usd_per_hour * HOURS_PER_MONTH, CENTS),
        ("kW", found.power_kw, sum(o.power_kw for o in offerings), SUMS),
        ("GPUs bought", found.gpus_bought, sum(o.gpus_bought for o in offerings), EXACT),
        ("GPUs used", found.gpus_used, sum(d.gpus for d in plan.deployments), EXACT),
        ("hosts", found.hosts, sum(len(d.hosts) for d in plan.domains), EXACT),
        (
            "NVL72 racks",
            found.racks,
            sum(ledger.offerings[d.offering].domain == "rack" for d in plan.domains),
            EXACT,
        ),
    )
    for figure, stated, recomputed, tolerance in figures:
        yield from same("summary", "summary", figure, stated, recomputed, tolerance)
    lines = [(w, line) for w in plan.workloads for _, line in ledger.served[w.name]]
    prices = (found.usd_per_million_output_tokens, found.usd_per_million_useful_tokens)
    yield from _token_cost("summary", found.usd_per_hour, lines, prices)
    if policy.budget_usd_per_hour is not None:
        yield from at_most("budget", "summary", "USD/h", found.usd_per_hour, policy.budget_usd_per_hour, SUMS)
    if policy.power_limit_kw is not None:
        yield from at_most("power-limit", "summary", "kW", found.power_kw, policy.power_limit_kw, SUMS)


# ---------------------------------------------------------------- certificate


def certificate(ledger: Ledger) -> Iterator[Violation]:
    """Yield claims of the certificate that its own figures or the plan contradict."""
    line = ledger.plan.certificate
    if line.unit != _UNITS[line.objective]:
        yield Violation(
            "certificate",
            "unit",
            f"the unit of {line.objective} is '{line.unit}', it must be '{_UNITS[line.objective]}'",
        )
    cost, tolerance = _cost(ledger.plan)
    yield from same("certificate", "cost", f"cost in {line.unit}", line.cost, cost, tolerance)
    yield from at_most("certificate", "bound", f"bound in {line.unit}", line.bound, line.cost, ONE_MICRO)
    yield from at_most("certificate", "floor", f"floor in {line.unit}", line.floor, line.cost, ONE_MICRO)
    gap = (line.cost - line.bound) / line.cost if line.cost > 0 else 0.0
    yield from same("certificate", "gap", "gap", line.gap, gap, DIGITS)
    is_met = line.cost - line.bound <= ONE_MICRO.of(line.cost)
    if line.proven_optimal != is_met:
        claim = "proven" if line.proven_optimal else "not proven"
        yield Violation(
            "certificate",
            "proven_optimal",
            f"optimality is said to be {claim}, and the bound is {line.bound:.10g} of {line.cost:.10g} {line.unit}",
        )
    yield from _attempts(line)


def _cost(plan: FleetPlan) -> tuple[float, Tolerance]:
    """Return the plan's own figure of what the objective counts."""
    if plan.certificate.objective == "gpus":
        return plan.summary.gpus_bought, EXACT
    if plan.certificate.objective == "watts":
        units = sum(o.bought_units for o in plan.offerings)
        return plan.summary.power_kw * W_PER_KW, Tolerance(SUMS.relative, _HALF_WATT * units)
    return plan.summary.usd_per_hour, SUMS


def _attempts(line: CertificateLine) -> Iterator[Violation]:
    """No attempt may prove more than an answer allows, or find less than the bound."""
    for number, attempt in enumerate(line.attempts):
        subject = f"attempt {number} ({attempt.formulation})"
        if attempt.bound is not None:
            yield from at_most(
                "certificate", subject, f"bound in {line.unit}", attempt.bound, line.cost, ONE_MICRO
            )
        if attempt.usd_per_hour is not None:
            yield from at_least(
                "certificate", subject, f"cost in {line.unit}", attempt.usd_per_hour, line.bound, ONE_MICRO
            )


# ---------------------------------------------------------------- physical floor


def physical_floor(ledger: Ledger) -> Iterator[Violation]:
    """Yield workloads with fewer GPUs than dense peak needs; those that share deployments also together."""
    floors = ledger.plan.certificate.physical_floor_gpus
    for workload in ledger.plan.workloads:
        if workload.name not in floors:
            yield Violation(
                "physical-floor", workload.name, "no floor is stated, needed is one for each workload"
            )
    groups = [(w.name,) for w in ledger.plan.workloads]
    for names in dict.fromkeys([*groups, *_sharing(ledger)]):
        held = {d.id: d.gpus for name in names for d, _ in ledger.served[name]}
        floor = sum(floors.get(name, 0.0) for name in names)
        yield from at_least(
            "physical-floor", ", ".join(names), "number of GPUs", sum(held.values()), floor, DIGITS
        )


def _sharing(ledger: Ledger) -> list[tuple[str, ...]]:
    """Return groups of workloads that deployments tie together, in the plan's order."""
    group: dict[str, tuple[str, ...]] = {w.name: (w.name,) for w in ledger.plan.workloads}
    for deployment in ledger.plan.deployments:
        _tie(group, deployment)
    order = {w.name: number for number, w in enumerate(ledger.plan.workloads)}
    return [tuple(sorted(names, key=order.__getitem__)) for names in dict.fromkeys(group.values())]


def _tie(group: dict[str, tuple[str, ...]], deployment: Deployment) -> None:
    tied = tuple(dict.fromkeys(name for line in deployment.served for name in group[line.workload]))
    for name in tied:
        group[name] = tied
