"""Rack groups: which NVLink domains of the rack map hold how many workers of a deployment."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from fleet.layout import Role
from fleet.plan.document import Deployment, FleetPlan, PlannedOffering
from fleet.render.errors import RenderedGpusDiffer, UnrenderablePlan
from fleet.render.identity import dns_label


@dataclass(frozen=True, slots=True)
class RackGroup:
    """The part of a deployment in one planned NVLink domain; without a domain (`domain_id` empty) all of it."""

    domain_id: str
    domain_index: int
    replicas: int
    workers: dict[Role, int]
    max_workers_per_host: int

    @property
    def is_pinned(self) -> bool:
        """Whether the pods must stay in one NVLink domain."""
        return bool(self.domain_id)


def rack_groups(plan: FleetPlan, deployment: Deployment, offering: PlannedOffering) -> tuple[RackGroup, ...]:
    """Split a deployment by the rack map.

    On a host offering one object carries all replicas and the scheduler places them: pods of one host cannot use each
    other's GPUs, so a host is no NVLink domain to them. On racks there is one object for each NVLink domain, because
    "these workers share that domain" cannot be said of pods of one ReplicaSet.

    Raises:
        UnrenderablePlan: a pinned replica spans several domains.
        RenderedGpusDiffer: the rack map has other workers than the deployment.
    """
    per_host: dict[str, Counter[int]] = {}
    members: dict[str, set[tuple[Role, int, int]]] = {}
    index: dict[str, int] = {}
    for domain in plan.domains:
        for host in domain.hosts:
            for slot in host.slots:
                if slot.deployment == deployment.id:
                    per_host.setdefault(domain.id, Counter())[host.index] += 1
                    members.setdefault(domain.id, set()).add((slot.role, slot.replica, slot.worker))
                    index[domain.id] = domain.index
    _check_map(deployment, members)
    if offering.domain == "host":
        busiest = max(max(hosts.values()) for hosts in per_host.values())
        return (
            RackGroup(
                domain_id="",
                domain_index=0,
                replicas=deployment.replicas,
                workers={
                    group.role: group.workers_per_replica * deployment.replicas
                    for group in deployment.workers
                },
                max_workers_per_host=busiest,
            ),
        )
    _check_span(deployment, members)
    return tuple(
        RackGroup(
            domain_id=dns_label(domain_id, 63),
            domain_index=index[domain_id],
            replicas=len({replica for _, replica, _ in members[domain_id]}),
            workers={
                group.role: sum(1 for role, _, _ in members[domain_id] if role is group.role)
                for group in deployment.workers
            },
            max_workers_per_host=max(per_host[domain_id].values()),
        )
        for domain_id in sorted(members, key=lambda name: (index[name], name))
    )


def _check_map(deployment: Deployment, members: dict[str, set[tuple[Role, int, int]]]) -> None:
    mapped = Counter(role for role, _, _ in set().union(*members.values()))
    for group in deployment.workers:
        solved = group.workers_per_replica * deployment.replicas
        if mapped[group.role] != solved:
            gpus = group.gpus_per_worker
            raise RenderedGpusDiffer(
                f"rack map of {deployment.id}",
                mapped[group.role] * gpus,
                solved * gpus,
                f"{group.role} workers x {gpus} GPUs",
            )


def _check_span(deployment: Deployment, members: dict[str, set[tuple[Role, int, int]]]) -> None:
    domains_of: dict[int, set[str]] = {}
    for domain_id, workers in members.items():
        for _, replica, _ in workers:
            domains_of.setdefault(replica, set()).add(domain_id)
    for replica, domains in sorted(domains_of.items()):
        if len(domains) > 1:
            raise UnrenderablePlan(
                f"replica {replica} of deployment {deployment.id} spans the NVLink domains {', '.join(sorted(domains))}: "
                "a replica over several NVL72 racks is not rendered. Lower policy.layouts.max_gpus_per_replica."
            )
