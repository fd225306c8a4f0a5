"""Checks the rack map: every worker in its place once, in as few NVLink domains as hold it, and no host over its GPUs.

each worker of each replica: hosts_per_worker hosts, gpus_per_host_used GPUs on each     (placement)
a worker in 1 domain or, where wider, its whole ones; a replica in 1, or alone in its k  (domain)
Σ GPUs of a host's slots ≤ GPUs of the host                                              (host-capacity)
spare hosts empty, as many in each domain as promised                                    (spares)
domains = bought units · domains of a unit, numbered 0, 1, 2 …, each with all its hosts  (rack-map)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from fleet.plan.document import Deployment, MappedDomain, PlannedOffering
from fleet.plan.verify_ledger import (
    EXACT,
    Ledger,
    Violation,
    Worker,
    at_most,
    same,
    usable_domain_gpus,
)

RULES = ("placement", "host-capacity", "spares", "rack-map")


def rack_map(ledger: Ledger) -> Iterator[Violation]:
    """Yield what is wrong with domains, hosts, and the places of workers."""
    for offering in ledger.plan.offerings:
        yield from _numbering(offering, ledger.domains[offering.name])
        yield from _promised_spares(ledger, offering)
        for domain in ledger.domains[offering.name]:
            yield from _hosts(offering, domain)
    for deployment in ledger.plan.deployments:
        yield from _workers(ledger, deployment)
    yield from _strangers(ledger)
    yield from _domains_of_replicas(ledger)


def _numbering(offering: PlannedOffering, domains: list[MappedDomain]) -> Iterator[Violation]:
    bought = offering.bought_units * offering.unit_domains
    yield from same("rack-map", offering.name, "number of mapped domains", len(domains), bought, EXACT)
    indices = sorted(d.index for d in domains)
    if indices != list(range(len(domains))):
        wrong = next(i for i, index in enumerate(indices) if i != index)
        yield Violation(
            "rack-map",
            offering.name,
            f"domain indices skip or repeat at {wrong}, allowed are 0 to {len(domains) - 1}, each once",
        )
    for domain in domains:
        name = f"{offering.name}-{domain.index:02d}"
        if domain.id != name:
            yield Violation(
                "rack-map",
                domain.id,
                f"domain {domain.index} of '{offering.name}' has this id, it must be '{name}'",
            )
        hosts = [h.index for h in domain.hosts]
        if hosts != list(range(offering.hosts_per_domain)):
            yield Violation(
                "rack-map",
                domain.id,
                f"hosts are {hosts}, allowed are 0 to {offering.hosts_per_domain - 1} in order",
            )


def _promised_spares(ledger: Ledger, offering: PlannedOffering) -> Iterator[Violation]:
    promised = ledger.plan.policy.spare_trays_per_rack if offering.domain == "rack" else 0
    yield from same(
        "spares", offering.name, "spare hosts of a domain", offering.spare_hosts_per_domain, promised, EXACT
    )


def _hosts(offering: PlannedOffering, domain: MappedDomain) -> Iterator[Violation]:
    for host in domain.hosts:
        subject = f"{domain.id}/{host.index}"
        used = sum(slot.gpus for slot in host.slots)
        yield from at_most("host-capacity", subject, "GPUs used", used, offering.gpus_per_host, EXACT)
        if host.is_spare and host.slots:
            yield Violation("spares", subject, f"a spare host has {used} GPUs in use, allowed is 0")
    spares = sum(host.is_spare for host in domain.hosts)
    yield from same(
        "spares", domain.id, "number of spare hosts", spares, offering.spare_hosts_per_domain, EXACT
    )


def _workers(ledger: Ledger, deployment: Deployment) -> Iterator[Violation]:
    """Compare the places of each worker with what its group asks for."""
    for replica in range(deployment.replicas):
        for group in deployment.workers:
            for number in range(group.workers_per_replica):
                worker = Worker(deployment.id, replica, group.role, number)
                places = ledger.places.get(worker, [])
                subject = _name(worker)
                hosts = {(p.domain, p.host) for p in places}
                if len(places) != group.hosts_per_worker or len(hosts) != len(places):
                    yield Violation(
                        "placement",
                        subject,
                        f"has {len(places)} slots on {len(hosts)} hosts, needed is 1 on each of {group.hosts_per_worker}",
                    )
                for place in places:
                    where = f"{place.domain}/{place.host}"
                    yield from same(
                        "placement", subject, f"GPUs on {where}", place.gpus, group.gpus_per_host_used, EXACT
                    )
                    offering = ledger.domain[place.domain].offering
                    if offering != deployment.offering:
                        yield Violation(
                            "placement",
                            subject,
                            f"stands on {where} of '{offering}', allowed is '{deployment.offering}'",
                        )
                domains = len({p.domain for p in places})
                usable = usable_domain_gpus(ledger.offerings[deployment.offering])
                needed = -(-group.gpus_per_worker // max(usable, 1))
                yield from at_most(
                    "domain", subject, "number of NVLink domains of a worker", domains, needed, EXACT
                )


def _strangers(ledger: Ledger) -> Iterator[Violation]:
    """Yield slots of workers that no deployment has."""
    groups = {
        (d.id, g.role): (d.replicas, g.workers_per_replica)
        for d in ledger.plan.deployments
        for g in d.workers
    }
    for worker in ledger.places:
        replicas, workers = groups.get((worker.deployment, worker.role), (0, 0))
        if worker.replica >= replicas or worker.worker >= workers:
            yield Violation(
                "placement",
                _name(worker),
                f"has a place; the deployment has {replicas} replicas with {workers} workers of this role",
            )


def _domains_of_replicas(ledger: Ledger) -> Iterator[Violation]:
    domains: dict[tuple[str, int], dict[str, None]] = defaultdict(dict)
    tenants: dict[str, dict[tuple[str, int], None]] = defaultdict(dict)
    for worker, places in ledger.places.items():
        for place in places:
            domains[worker.deployment, worker.replica][place.domain] = None
            tenants[place.domain][worker.deployment, worker.replica] = None
    for (name, replica), held in sorted(domains.items()):
        subject, whole = f"{name}/{replica}", ledger.deployments[name].domains_per_replica
        yield from same(
            "domain", subject, "number of NVLink domains of a replica", len(held), max(whole, 1), EXACT
        )
        shared = next((d for d in held if len(tenants[d]) > 1), None)
        if whole and shared is not None:
            yield Violation(
                "domain",
                subject,
                f"shares {shared} with {len(tenants[shared]) - 1} other replicas; it takes whole domains, allowed is 0",
            )


def _name(worker: Worker) -> str:
    return f"{worker.deployment}/{worker.replica}/{worker.role}/{worker.worker}"
