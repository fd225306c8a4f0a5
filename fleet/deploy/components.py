"""The typed Pulumi components of a fleet: what a user sees in `pulumi up`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pulumi

from fleet.deploy.objects import KubernetesObject
from fleet.plan.document import Deployment, FleetPlan, GatewayPlan
from fleet.render.graph import Resource, ResourceGraph, ResourceId
from fleet.render.identity import component_of

FLEET_COMPONENT = "fleet"
GATEWAY_COMPONENT = "gateway"
MONITORING_COMPONENT = "monitoring"
HOURS_PER_MONTH = 730
PROVIDER_TIMEOUT_S = 600  # what the Kubernetes provider waits by default


def ready_timeout_s(deployment: Deployment) -> int:
    """Return how long to wait for the pods of a deployment, in seconds.

    The provider's default, and for each replica, one after the other, twice the estimated time to load its weights.
    """
    return math.ceil(PROVIDER_TIMEOUT_S + deployment.replicas * 2 * deployment.weight_load_s)


class ObjectGroup(pulumi.ComponentResource):
    """A component whose children are objects of the resource graph."""

    def add(self, resource: Resource, opts: pulumi.ResourceOptions) -> KubernetesObject:
        """Register an object under this component."""
        child = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(parent=self))
        return KubernetesObject(resource.id, resource.body, child)


@dataclass(frozen=True, slots=True)
class ModelDeploymentArgs:
    """One deployment of the plan."""

    deployment: Deployment


class ModelDeployment(ObjectGroup):
    """The replicas of one model with one layout on one offering."""

    def __init__(
        self, name: str, args: ModelDeploymentArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("fleetc:index:ModelDeployment", name, None, opts)
        self.deployment = args.deployment
        self.summary = {
            "model": args.deployment.model,
            "offering": args.deployment.offering,
            "engine": f"{args.deployment.engine.id} {args.deployment.engine.version}",
            "layout": " + ".join(f"{w.role.value} {w.layout.label}" for w in args.deployment.workers),
            "replicas": args.deployment.replicas,
            "gpus": args.deployment.gpus,
            "usd_per_month": round(args.deployment.usd_per_hour * HOURS_PER_MONTH, 2),
        }
        self.register_outputs(self.summary)

    def add(self, resource: Resource, opts: pulumi.ResourceOptions) -> KubernetesObject:
        """Register an object; one that holds GPUs is given time to load its weights."""
        if resource.gpus:
            timeout = f"{ready_timeout_s(self.deployment)}s"
            timeouts = pulumi.CustomTimeouts(create=timeout, update=timeout)
            opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(custom_timeouts=timeouts))
        return super().add(resource, opts)


@dataclass(frozen=True, slots=True)
class GatewayArgs:
    """The gateway of the plan."""

    gateway: GatewayPlan


class Gateway(ObjectGroup):
    """Routes, pools and policies between the hostnames and the deployments."""

    def __init__(self, name: str, args: GatewayArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("fleetc:index:Gateway", name, None, opts)
        self.endpoints = list(args.gateway.hostnames)
        self.register_outputs({"endpoints": self.endpoints})


@dataclass(frozen=True, slots=True)
class MonitoringArgs:
    """The workloads whose service levels are watched."""

    workloads: tuple[str, ...]


class Monitoring(ObjectGroup):
    """Rules on the service levels of workloads, across their deployments."""

    def __init__(self, name: str, args: MonitoringArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("fleetc:index:Monitoring", name, None, opts)
        self.register_outputs({"workloads": list(args.workloads)})


@dataclass(frozen=True, slots=True)
class FleetArgs:
    """A plan, its resource graph, and whether what the graph calls capacity is kept from deletion."""

    plan: FleetPlan
    graph: ResourceGraph
    protect_capacity: bool


class Fleet(ObjectGroup):
    """Everything that one plan declares.

    Every object is a child of the component that the graph names, and waits for the objects that it needs there. Providers come from `opts`; none is made here.

    Raises:
        ValueError: an object belongs to a component that the plan does not have.
    """

    def __init__(self, name: str, args: FleetArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("fleetc:index:Fleet", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        gateway = Gateway(GATEWAY_COMPONENT, GatewayArgs(args.plan.gateway), inside)
        watched = MonitoringArgs(tuple(workload.name for workload in args.plan.workloads))
        monitoring = Monitoring(MONITORING_COMPONENT, watched, inside)
        deployments = {
            name: ModelDeployment(name, ModelDeploymentArgs(line), inside)
            for name, line in ((component_of(line), line) for line in args.plan.deployments)
        }
        shared = {FLEET_COMPONENT: self, GATEWAY_COMPONENT: gateway, MONITORING_COMPONENT: monitoring}
        self._add_all(args, {**shared, **deployments})
        self.outputs = {
            "endpoints": gateway.endpoints,
            "gpus": args.plan.summary.gpus_bought,
            "usd_per_month": round(args.plan.summary.usd_per_month, 2),
            "deployments": {name: deployment.summary for name, deployment in deployments.items()},
        }
        self.register_outputs(self.outputs)

    def _add_all(self, args: FleetArgs, groups: dict[str, ObjectGroup]) -> None:
        """Register every object after the objects it needs."""
        objects: dict[ResourceId, KubernetesObject] = {}
        for resource in args.graph:
            if resource.component not in groups:
                raise ValueError(
                    f"{resource.id} belongs to {resource.component!r}, which the plan does not have"
                )
            keep = True if resource.is_capacity and args.protect_capacity else None
            needs = [objects[rid] for rid in args.graph.dependencies(resource.id)]
            opts = pulumi.ResourceOptions(depends_on=needs, protect=keep, retain_on_delete=keep)
            objects[resource.id] = groups[resource.component].add(resource, opts)
