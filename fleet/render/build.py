"""From the plan to the resource graph: every object of the fleet, and what must exist before what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fleet.plan.document import FleetPlan, Target
from fleet.render import endpoint_picker as picker
from fleet.render.errors import UnrenderablePlan
from fleet.render.gateway import gateway, routes
from fleet.render.gpus import check_graph
from fleet.render.graph import Resource, ResourceGraph, ResourceId
from fleet.render.health import health_rules
from fleet.render.identity import check_names, object_labels
from fleet.render.kubernetes.compute_domain import check_trays, compute_domain
from fleet.render.kubernetes.deployment import deployments
from fleet.render.kubernetes.disruption import disruption_budget
from fleet.render.kubernetes.dynamo import frontend_service, graph_deployments
from fleet.render.kubernetes.leader_worker_set import leader_worker_sets
from fleet.render.kubernetes.priority import FLEET, priority_classes
from fleet.render.monitoring import pod_monitor, slo_rules
from fleet.render.objects import Wave, resource
from fleet.render.view import DeploymentView, views


def build_graph(plan: FleetPlan) -> ResourceGraph:
    """Turn a plan into its objects.

    Raises:
        UnrenderablePlan: the plan asks for something that no target can express.
        RenderedGpusDiffer: the objects hold other GPUs than the plan (a fault of fleetc).
    """
    check_names(plan)
    graph = ResourceGraph()
    namespace = _add(graph, _namespace(plan))
    classes = tuple(_add(graph, item) for item in priority_classes(plan))
    found = views(plan)
    check_trays(plan, found)
    serving: list[ResourceId] = []
    for view in found:
        serving += _add_deployment(graph, view, namespace, classes)
    _add_routing(graph, plan, found, namespace, serving)
    check_graph(plan, graph, {view.deployment.id: view.name for view in found})
    return graph


def _add(graph: ResourceGraph, item: Resource, *, after: tuple[ResourceId, ...] = ()) -> ResourceId:
    try:
        return graph.add(item, after=after)
    except ValueError as error:
        raise UnrenderablePlan(
            f"{error}: two names of the plan become one. Rename a workload or an offering."
        ) from None


def _namespace(plan: FleetPlan) -> Resource:
    name = plan.delivery.namespace
    return resource(
        "v1",
        "Namespace",
        name,
        "",
        object_labels(plan, "namespace", name, FLEET),
        {},
        component=FLEET,
        wave=Wave.NAMESPACE,
        is_capacity=plan.delivery.protect_capacity,
    )


def _add_deployment(
    graph: ResourceGraph, view: DeploymentView, namespace: ResourceId, classes: tuple[ResourceId, ...]
) -> list[ResourceId]:
    """Add a deployment's objects; return what its routes need."""
    before = [namespace, *classes]
    if view.needs_compute_domain:
        before += [_add(graph, compute_domain(view, group), after=(namespace,)) for group in view.groups]
    engines = [_add(graph, item, after=tuple(before)) for item in _engines(view)]
    _add(graph, disruption_budget(view), after=(namespace,))
    _add(graph, pod_monitor(view), after=tuple(engines))
    _add(graph, health_rules(view), after=(namespace,))
    if view.deployment.target is Target.DYNAMO:
        return [_add(graph, frontend_service(view), after=(namespace,))]
    return _add_picker(graph, view, namespace)


def _engines(view: DeploymentView) -> Iterable[Resource]:
    match view.deployment.target:
        case Target.DEPLOYMENT:
            _check_aggregated(view)
            return deployments(view)
        case Target.LEADER_WORKER_SET:
            _check_aggregated(view)
            return leader_worker_sets(view)
        case Target.DYNAMO:
            return graph_deployments(view)


def _check_aggregated(view: DeploymentView) -> None:
    deployment = view.deployment
    spans_hosts = any(group.hosts_per_worker > 1 for group in deployment.workers)
    if len(deployment.workers) != 1:
        raise UnrenderablePlan(
            f"deployment {deployment.id}: prefill and decode workers need the target dynamo, not {deployment.target}."
        )
    if spans_hosts and deployment.target is Target.DEPLOYMENT:
        raise UnrenderablePlan(
            f"deployment {deployment.id}: a worker over several hosts needs the target leader-worker-set or dynamo."
        )


def _add_picker(graph: ResourceGraph, view: DeploymentView, namespace: ResourceId) -> list[ResourceId]:
    """Add the pool and its endpoint picker; return the pool, which routes refer to."""
    service = _add(graph, picker.picker_service(view), after=(namespace,))
    pool = _add(graph, picker.inference_pool(view), after=(service,))
    for objective in picker.inference_objectives(view):
        _add(graph, objective, after=(pool,))
    config = _add(graph, picker.picker_config(view), after=(namespace,))
    account, role, binding = picker.picker_access(view)
    access = _add(graph, account, after=(namespace,)), _add(graph, role, after=(namespace,))
    bound = _add(graph, binding, after=access)
    _add(graph, picker.picker_deployment(view, config.name), after=(bound, config, pool))
    return [pool]


def _add_routing(
    graph: ResourceGraph,
    plan: FleetPlan,
    found: Sequence[DeploymentView],
    namespace: ResourceId,
    serving: Sequence[ResourceId],
) -> None:
    front = _add(graph, gateway(plan), after=(namespace,))
    for route in routes(plan, found):
        _add(graph, route, after=(front, *serving))
    for rule in slo_rules(plan, found):
        _add(graph, rule, after=(namespace,))
