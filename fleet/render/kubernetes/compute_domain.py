"""ComputeDomains: NVLink between the hosts of an NVL72 rack, for the pods of one rack group.

One object for each rack group, that is for each deployment in each planned NVLink domain, shared by its prefill and
decode workers:
- The pods that must reach each other are those of a rack group: placement.py keeps them in one clique. Replicas in
  other racks never need that reach, whatever one object could hold (the driver makes one IMEX domain for each clique).
- The whole spec is immutable. With one object for each rack group, a deployment that grows into another rack adds an
  object; nothing that serves is touched.
- Two deployments never claim the same template, so neither can import the other's memory.
The driver creates the ResourceClaimTemplate that the object names; rendering it too would be a conflict. `numNodes` is
0: it gates nothing any more, and another number would have to change with the replicas.

A node belongs to one ComputeDomain at a time and has one channel of it: two rack groups that need one may not share a
tray, and of several pods on a tray only one could claim it (see `DeploymentView.has_kv_over_nvlink`).
"""

from __future__ import annotations

from collections.abc import Sequence

from fleet.plan.document import FleetPlan
from fleet.render.errors import UnrenderablePlan
from fleet.render.graph import Resource
from fleet.render.identity import NVLINK_DOMAIN_LABEL, deployment_labels, rack_group_name
from fleet.render.objects import Wave, resource
from fleet.render.racks import RackGroup
from fleet.render.view import DeploymentView


def claim_template_name(view: DeploymentView, group: RackGroup) -> str:
    """Name of the ResourceClaimTemplate that the driver creates."""
    return f"{rack_group_name(view.deployment, group.domain_index)}-channel"


def compute_domain(view: DeploymentView, group: RackGroup) -> Resource:
    """The ComputeDomain of a rack group."""
    return resource(
        "resource.nvidia.com/v1beta1",
        "ComputeDomain",
        rack_group_name(view.deployment, group.domain_index),
        view.namespace,
        {
            **deployment_labels(view.plan, view.deployment, "compute-domain"),
            NVLINK_DOMAIN_LABEL: group.domain_id,
        },
        {
            "spec": {
                "channel": {
                    "allocationMode": "Single",
                    "resourceClaimTemplate": {"name": claim_template_name(view, group)},
                },
                "numNodes": 0,
            }
        },
        component=view.name,
        wave=Wave.COMPUTE_DOMAIN,
    )


def check_trays(plan: FleetPlan, deployments: Sequence[DeploymentView]) -> None:
    """Check that no tray is wanted by two ComputeDomains.

    Raises:
        UnrenderablePlan: the rack map puts two rack groups that need one onto the same host.
    """
    claiming = {
        (view.deployment.id, group.role)
        for view in deployments
        for group in view.deployment.workers
        if view.claims_channel(group)
    }
    for domain in plan.domains:
        for host in domain.hosts:
            sharing = sorted(
                {slot.deployment for slot in host.slots if (slot.deployment, slot.role) in claiming}
            )
            if len(sharing) > 1:
                raise UnrenderablePlan(
                    f"host {host.index} of {domain.id} holds workers of {' and '.join(sharing)}, which each need a "
                    "ComputeDomain of their own; a host can be in one."
                )
