"""The rack map: which worker of which replica holds which GPUs of which host, from the solver's assignments."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from fleet.pipeline.resolved import ResolvedOffering
from fleet.plan.document import Deployment, MappedDomain, MappedHost, Slot, WorkerGroup
from solver.outcome import Assignment

HostKey = tuple[str, int, int]  # offering, domain, host


def rack_map(
    offerings: Sequence[ResolvedOffering],
    units: dict[str, int],
    assignments: Sequence[Assignment],
    deployments: dict[str, Deployment],
) -> tuple[MappedDomain, ...]:
    """Return every bought domain with the slots of its hosts.

    Args:
        deployments: By the solver's option id.
    """
    held: dict[HostKey, list[Slot]] = defaultdict(list)
    for assignment in assignments:
        deployment = deployments[assignment.option]
        for key, slot in _slots(deployment, assignment):
            held[key].append(slot)
    domains = []
    for offering in offerings:
        spares = offering.accelerator.hosts_per_domain - offering.spare_hosts_per_domain
        for index in range(units.get(offering.name, 0) * offering.unit_domains):
            hosts = tuple(
                MappedHost(
                    index=host,
                    slots=tuple(sorted(held[offering.name, index, host], key=_slot_order)),
                    is_spare=host >= spares,
                )
                for host in range(offering.accelerator.hosts_per_domain)
            )
            domains.append(
                MappedDomain(
                    id=f"{offering.name}-{index:02d}", offering=offering.name, index=index, hosts=hosts
                )
            )
    return tuple(domains)


def _slot_order(slot: Slot) -> tuple[str, int, str, int]:
    return (slot.deployment, slot.replica, slot.role, slot.worker)


def _slots(deployment: Deployment, assignment: Assignment) -> list[tuple[HostKey, Slot]]:
    """Deal the GPUs of a replica's parts to its workers, widest workers first, so that none straddles hosts by accident."""
    free = [[domain, host, gpus] for domain, host, gpus in assignment.parts]
    slots: list[tuple[HostKey, Slot]] = []
    for group, worker in _workers(deployment):
        missing = group.gpus_per_worker
        for part in free:
            taken = min(part[2], missing)
            if taken and (taken == group.gpus_per_host_used):
                part[2] -= taken
                missing -= taken
                slot = Slot(
                    deployment=deployment.id,
                    replica=assignment.replica,
                    role=group.role,
                    worker=worker,
                    gpus=taken,
                )
                slots.append(((deployment.offering, part[0], part[1]), slot))
            if not missing:
                break
        assert not missing, (
            f"{deployment.id}: a worker of {group.gpus_per_worker} GPUs does not fit its replica's place"
        )
    return slots


def _workers(deployment: Deployment) -> list[tuple[WorkerGroup, int]]:
    everyone = [
        (group, worker) for group in deployment.workers for worker in range(group.workers_per_replica)
    ]
    return sorted(everyone, key=lambda pair: -pair[0].gpus_per_worker)


def survivors(
    domains: Sequence[MappedDomain],
    offerings: dict[str, ResolvedOffering],
    deployments: Sequence[Deployment],
    level: str,
) -> dict[str, float]:
    """Return for each workload the capacity left after the worst single loss of this level, requests/s."""
    members: dict[tuple[str, ...], set[tuple[str, int]]] = defaultdict(set)
    for domain in domains:
        offering = offerings[domain.offering]
        for host in domain.hosts:
            failure = _failure_set(level, offering, domain.index, host.index)
            members[failure] |= {(slot.deployment, slot.replica) for slot in host.slots}
    total: dict[str, float] = defaultdict(float)
    each: dict[tuple[str, str], float] = {}
    for deployment in deployments:
        for served in deployment.served:
            total[served.workload] += served.capacity_req_per_s
            each[deployment.id, served.workload] = served.capacity_req_per_s / deployment.replicas
    left = dict(total)
    for lost in members.values():
        for workload, capacity in total.items():
            rest = capacity - sum(each.get((deployment, workload), 0.0) for deployment, _ in sorted(lost))
            left[workload] = min(left[workload], rest)
    return left


def _failure_set(level: str, offering: ResolvedOffering, domain: int, host: int) -> tuple[str, ...]:
    if level == "host":
        return (offering.name, str(domain), str(host))
    if level == "rack":
        return (offering.name, str(domain // offering.domains_per_rack))
    return (offering.spec.zone,)
