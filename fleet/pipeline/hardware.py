"""Resolves offerings: accelerators, machine types, amounts in domains, prices."""

from __future__ import annotations

from fleet.catalog.records import Accelerator, Catalog, DomainKind, Machine
from fleet.diagnostics import Diagnostic, Severity, at, did_you_mean, enumerated, register
from fleet.pipeline.resolved import ResolvedOffering, ResolvedPrice
from fleet.spec.model import Amount, FleetSpec, OfferingSpec, PolicySpec, SurviveLevel

UNKNOWN_ACCELERATOR = register(
    "unknown-accelerator",
    what="An offering names an accelerator that the catalogue does not have.",
    why="Memory, bandwidth, FLOPS and the NVLink domain all come from it.",
    fix="use an id that `fleetc catalog accelerators` prints",
)
UNKNOWN_MACHINE = register(
    "unknown-machine-type",
    what="An offering names a machine type that the catalogue does not have for the provider and accelerator.",
    why="A wrong machine type renders nodes that do not exist, or that carry another GPU.",
    fix="use a machine type that `fleetc catalog machines` prints, or leave machine_type out",
)
WRONG_AMOUNT = register(
    "amount-in-wrong-unit",
    what="An amount is in hosts where the hardware comes in racks, or in racks where it comes in hosts.",
    why="An NVL72 is bought, placed and lost as a rack of 72 GPUs, an HGX host as 8.",
    fix="count NVL72 offerings in racks and HGX offerings in hosts",
)
NO_CATALOG_PRICE = register(
    "price-not-in-catalogue",
    what="The catalogue has no price of this kind for the offering's machine type.",
    why="A missing price is never read as 0 or guessed.",
    fix="give per_gpu, per_host or per_rack with as_of and source",
)
COOLING = register(
    "cooling-does-not-fit",
    what="An offering is said to be air-cooled, and its accelerator needs liquid.",
    why="An NVL72 cannot run on air.",
    fix="set cooling: liquid or any, or choose another accelerator",
)
RACKS_UNKNOWN = register(
    "racks-of-hosts-unknown",
    severity=Severity.WARNING,
    what="Losing a rack has to be survived, and it is not said how many hosts share a physical rack.",
    why="Each host is then counted as a rack of its own, and the loss of a real rack may take several.",
    fix="give hosts_per_rack",
)
STALE_PRICE = register(
    "price-past-its-use-by-date",
    severity=Severity.WARNING,
    what="A price is older than policy.price_use_by_days on the day of the plan.",
    why="GPU prices move by tens of per cent in a year.",
    fix="get a new price and set as_of",
)

Report = list[Diagnostic]


def resolve_offerings(spec: FleetSpec, catalog: Catalog, found: Report) -> dict[str, ResolvedOffering]:
    """Return the offerings that could be resolved; problems are added to `found`."""
    resolved: dict[str, ResolvedOffering] = {}
    for name, offering in spec.hardware.offerings.items():
        accelerator = catalog.accelerators.get(offering.accelerator)
        if accelerator is None:
            hint = did_you_mean(offering.accelerator, catalog.accelerators)
            found.append(
                UNKNOWN_ACCELERATOR.report(
                    f"the catalogue has no accelerator '{offering.accelerator[:80]}'",
                    at(*_path(name), "accelerator", text=hint),
                )
            )
            continue
        before = len(found)
        one = _resolve(name, offering, accelerator, spec, catalog, found)
        if one and not any(d.severity is Severity.ERROR for d in found[before:]):
            resolved[name] = one
    return resolved


def _path(name: str) -> tuple[str, ...]:
    return ("spec", "hardware", "offerings", name)


def _resolve(
    name: str,
    offering: OfferingSpec,
    accelerator: Accelerator,
    spec: FleetSpec,
    catalog: Catalog,
    found: Report,
) -> ResolvedOffering | None:
    machine = _machine(name, offering, accelerator, catalog, found)
    unit = _domains(name, "unit", offering.unit, accelerator, found) or 1
    available = _domains(name, "available", offering.available, accelerator, found) or 0
    committed = _domains(name, "committed", offering.committed, accelerator, found) or 0
    price = _price(name, offering, accelerator, machine, spec, catalog, found)
    is_rack = accelerator.domain is DomainKind.RACK
    spares = spec.policy.spare_trays_per_rack if is_rack else 0
    if offering.cooling == "air" and is_rack:
        found.append(COOLING.report(f"{accelerator.name} needs liquid cooling", at(*_path(name), "cooling")))
    if offering.hosts_per_rack is None and not is_rack and SurviveLevel.RACK in spec.policy.survive:
        found.append(
            RACKS_UNKNOWN.report(
                f"offering '{name}': each host is counted as a rack of its own", at(*_path(name), on_key=True)
            )
        )
    if price is None:
        return None
    nic = machine.nic_bytes_per_s_per_gpu if machine else None
    return ResolvedOffering(
        name=name,
        spec=offering,
        accelerator=accelerator,
        machine_type=machine.machine_type if machine else offering.machine_type,
        domain_label=machine.domain_label if machine else "nvidia.com/gpu.clique",
        nic_bytes_per_s=offering.network_per_gpu or (nic.value if nic else accelerator.nic_bytes_per_s.value),
        price=price,
        unit_domains=unit,
        available_units=available // unit,
        committed_units=-(-committed // unit),
        domains_per_rack=1 if is_rack else offering.hosts_per_rack or 1,
        spare_hosts_per_domain=spares,
    )


def _machine(
    name: str, offering: OfferingSpec, accelerator: Accelerator, catalog: Catalog, found: Report
) -> Machine | None:
    fitting = [
        m
        for m in catalog.machines.values()
        if m.provider == offering.provider and m.accelerator == accelerator.id
    ]
    if not offering.machine_type:
        return fitting[0] if fitting else None
    chosen = next((m for m in fitting if m.machine_type == offering.machine_type), None)
    if chosen is None and offering.provider != "on-premises":
        hint = did_you_mean(offering.machine_type, [m.machine_type for m in fitting])
        message = f"{offering.provider} has no machine type '{offering.machine_type[:80]}' with {accelerator.name} in the catalogue"
        found.append(UNKNOWN_MACHINE.report(message, at(*_path(name), "machine_type", text=hint)))
    return chosen


def _domains(name: str, field: str, amount: Amount, accelerator: Accelerator, found: Report) -> int | None:
    """Return an amount in NVLink domains: hosts of an HGX offering, racks of an NVL72 offering."""
    is_rack = accelerator.domain is DomainKind.RACK
    right, wrong = (amount.racks, amount.hosts) if is_rack else (amount.hosts, amount.racks)
    if wrong is not None:
        words = ("racks", "hosts") if is_rack else ("hosts", "racks")
        message = f"offering '{name}': {accelerator.name} comes in {words[0]}, not in {words[1]}"
        found.append(
            WRONG_AMOUNT.report(
                message, at(*_path(name), field, words[1], text=f"write {words[0]}", on_key=True)
            )
        )
    return right


def _price(
    name: str,
    offering: OfferingSpec,
    accelerator: Accelerator,
    machine: Machine | None,
    spec: FleetSpec,
    catalog: Catalog,
    found: Report,
) -> ResolvedPrice | None:
    price, where = offering.price, at(*_path(name), "price")
    for amount, gpus in (
        (price.per_gpu, 1),
        (price.per_host, accelerator.gpus_per_host),
        (price.per_rack, accelerator.domain_gpus),
    ):
        if amount is not None and price.as_of is not None:
            resolved = ResolvedPrice(amount / gpus, "stated", price.as_of, price.source or "fleet file")
            break
    else:
        machine_type = machine.machine_type if machine else offering.machine_type
        rows = [
            p for p in catalog.prices if p.provider == offering.provider and p.accelerator == accelerator.id
        ]
        row = next((p for p in rows if p.kind == price.catalog and p.machine_type == machine_type), None)
        row = row or next((p for p in rows if p.kind == price.catalog), None)
        if row is None:
            kinds = enumerated(sorted({p.kind for p in rows})) if rows else "none"
            message = f"no {price.catalog} price of {accelerator.name} at {offering.provider} is known"
            found.append(NO_CATALOG_PRICE.report(message, where, notes=(f"known kinds there: {kinds}",)))
            return None
        dated = row.usd_per_gpu_hour.as_of
        assert dated is not None, "the record's validator asks for the date"
        resolved = ResolvedPrice(row.usd_per_gpu_hour.value, row.kind, dated, row.usd_per_gpu_hour.source)
    _warn_if_stale(name, resolved, spec, spec.policy, found)
    return resolved


def _warn_if_stale(
    name: str, price: ResolvedPrice, spec: FleetSpec, policy: PolicySpec, found: Report
) -> None:
    age = (spec.as_of - price.as_of).days
    if age > policy.price_use_by_days:
        message = f"offering '{name}': the price is {age} days old on {spec.as_of}, more than {policy.price_use_by_days}"
        found.append(STALE_PRICE.report(message, at(*_path(name), "price")))
