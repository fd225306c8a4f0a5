"""What the plan stands on: capacity and prices, the rack map, the certificate, warnings, inputs."""

from __future__ import annotations

from fleet.plan.document import AttemptLine, FleetPlan, PlannedOffering
from fleet.plan.inputs import gpu_price
from fleet.review.format import count, counted, latency, listed, units
from fleet.review.rackmap import KEY, rack_map
from fleet.review.report import Block, Facts, Item, Items, Mark, Section, Table, columns
from fleet.units import format_kilowatts, format_share, format_tokens, format_usd_per_hour

DIGEST_DIGITS = 12


def spare_gpus(offering: PlannedOffering) -> int:
    """GPUs of the trays that are kept free in every domain bought."""
    return (
        offering.bought_units
        * offering.unit_domains
        * offering.spare_hosts_per_domain
        * offering.gpus_per_host
    )


def capacity_section(plan: FleetPlan, importance: int) -> Section:
    """Return every offering: what is bought of what exists, held and idle, at which price and of which day."""
    rows = tuple(
        (
            o.name,
            f"{o.accelerator_name}, {o.zone}",
            f"{o.bought_units:,} of {units(o, o.available_units)}",
            f"{o.gpus_used:,}/{spare_gpus(o):,}/{o.gpus_bought - o.gpus_used - spare_gpus(o):,}",
            gpu_price(o.price.usd_per_gpu_hour),
            format_usd_per_hour(o.usd_per_hour),
            format_kilowatts(o.power_kw),
        )
        for o in plan.offerings
    )
    names = columns(
        "Offering", "What, where", ">Bought", ">GPUs held/spare/idle", ">Per GPU-h", ">Cost", ">Power"
    )
    prices = tuple(
        Item(
            f"{o.name}: {o.price.kind} of {o.price.as_of.isoformat()} ({counted((plan.as_of - o.price.as_of).days, 'day')} old), {o.price.source}"
        )
        for o in plan.offerings
    )
    return Section(
        "Capacity and prices", (Table(names, rows), Items(prices, title="Where prices come from")), importance
    )


def map_section(plan: FleetPlan, importance: int) -> Section:
    blocks: list[Block] = [Items((Item(KEY),)), *rack_map(plan)]
    return Section("Rack map", tuple(blocks), importance)


def certificate_section(plan: FleetPlan, importance: int) -> Section:
    """Return cost, bound, gap, floors, and who found what."""
    c = plan.certificate
    rows = [
        ("objective", f"{c.objective}, in {c.unit}"),
        ("plan", amount(c.cost, c.unit)),
        ("bound", f"{amount(c.bound, c.unit)}: no plan under these rules and estimates is below"),
        (
            "gap",
            f"{format_share(c.gap)}: at most {amount(max(0.0, c.cost - c.bound), c.unit)} could be saved{', proven optimal' if c.proven_optimal else ''}",
        ),
        ("floor", f"{amount(c.floor, c.unit)} by plain arithmetic"),
        (
            "verified",
            f"{counted(len(c.rules_checked), 'rule')} recomputed by arithmetic: {', '.join(c.rules_checked) or 'none'}",
        ),
        ("solver", c.solver),
    ]
    used = {w.name: sum(d.gpus for d in plan.deployments if d.id in w.deployments) for w in plan.workloads}
    floors = tuple(
        Item(
            f"{name}: no plan may use fewer than {count(gpus)} GPUs (dense peak of the best accelerator); its deployments hold {used.get(name, 0):,}"
        )
        for name, gpus in sorted(c.physical_floor_gpus.items())
    )
    blocks: list[Block] = [Facts(tuple(rows))]
    if floors:
        blocks.append(Items(floors, title="Physical floor"))
    attempts = tuple(_attempt(a, c.unit) for a in c.attempts)
    if attempts:
        blocks.append(
            Table(columns("Formulation", ">Answer", ">Bound", "Effort"), attempts, title="Attempts")
        )
    if c.notes:
        blocks.append(Items(tuple(Item(note) for note in c.notes), title="Notes"))
    return Section("Certificate", tuple(blocks), importance)


def _attempt(a: AttemptLine, unit: str) -> tuple[str, ...]:
    shown = ("none" if value is None else amount(value, unit) for value in (a.usd_per_hour, a.bound))
    return (a.formulation, *shown, a.effort)


def amount(value: float, unit: str) -> str:
    """Return an amount of the objective: dollars an hour, GPUs or watts."""
    return format_usd_per_hour(value) if unit == "USD/h" else f"{count(value)} {unit}"


def warnings_section(plan: FleetPlan, importance: int) -> Section:
    """Return every diagnostic that stands in the plan, with the one thing to do."""
    items = tuple(
        Item(
            f"{line.severity}[{line.rule}] {line.subject}: {line.message}",
            Mark.WARN if line.severity == "warning" else Mark.NONE,
            (f"help: {line.help}",) if line.help else (),
        )
        for line in plan.warnings
    )
    return Section("Warnings", (Items(items or (Item("none"),)),), importance)


def inputs_section(plan: FleetPlan, importance: int) -> Section:
    """Return the rules of the plan and short digests of what it was made from."""
    p, d = plan.policy, plan.digests
    policy = (
        f"survive the loss of one {' or one '.join(p.survive)}" if p.survive else "survive nothing",
        f"{counted(p.spare_trays_per_rack, 'spare tray')} per rack",
        f"at most {format_share(p.max_utilisation)} of the busiest resource",
        f"planned on the p{100 * p.error_quantile:.0f} of the prediction error",
        f"budget {format_usd_per_hour(p.budget_usd_per_hour)}"
        if p.budget_usd_per_hour is not None
        else "no budget",
        f"power limit {format_kilowatts(p.power_limit_kw)}"
        if p.power_limit_kw is not None
        else "no power limit",
        f"quality record {p.quality_record}",
    )
    made = {
        "spec": d.spec,
        "catalogue": d.catalog,
        "prices": d.prices,
        "performance": d.performance,
        "previous plan": d.previous or "",
    }
    digests = ", ".join(f"{name} {digest[:DIGEST_DIGITS]}" for name, digest in made.items() if digest)
    rows = [
        ("policy", "; ".join(policy)),
        ("judged on", f"{plan.as_of.isoformat()}, by {plan.compiled_by}"),
        ("digests", digests),
    ]
    if plan.labels:
        rows.append(("labels", listed([f"{k}={v}" for k, v in sorted(plan.labels.items())])))
    return Section("Inputs", (Facts(tuple(rows)), _gateway(plan)), importance)


def _gateway(plan: FleetPlan) -> Facts:
    g = plan.gateway
    routing = f"cache locality {_on(g.cache_locality)}, SLO class {_on(g.slo_class)}, cancellation {_on(g.cancellation)}"
    retries = f"{counted(g.retry_attempts, 'retry', 'retries')} after {latency(g.retry_backoff_ms)}, requests end after {latency(g.request_timeout_ms)}"
    rows = [("hostnames", listed(g.hostnames)), ("routing", routing), ("retries", retries)]
    for tenant in g.tenants:
        budget = (
            "no token budget"
            if tenant.token_budget_per_minute is None
            else f"{format_tokens(tenant.token_budget_per_minute)} tokens/min"
        )
        rows.append(
            (
                f"tenant {tenant.name}",
                f"{budget}, priority {tenant.priority}: {listed(tenant.workloads) or 'all workloads'}",
            )
        )
    return Facts(tuple(rows), title=f"Gateway {g.gateway} in namespace {g.namespace}")


def _on(is_on: bool) -> str:
    return "on" if is_on else "off"
