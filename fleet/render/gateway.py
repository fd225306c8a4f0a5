"""The gateway: which deployment serves a request of which workload.

A request names its model in the body; body-based routing at the gateway copies it to `X-Gateway-Model-Name`. Where
several workloads share a model, the caller says which one it belongs to, most specific first:
1. `x-fleetc-workload: <workload>`
2. `x-fleetc-slo-class: <SLO>`, where only one of the model's workloads has that class and the plan routes by it
3. neither: the model's workload with the lowest priority, so that an unlabelled client cannot take the capacity that
   another workload's SLO was planned with.

Each workload has one HTTPRoute. Its weights are the plan's shares in parts per million; they add up to 1,000,000. The
route also tells the endpoint picker which InferenceObjective, that is which priority, the request has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fleet.plan.document import FleetPlan, PlannedWorkload, Served, Target
from fleet.render.endpoint_picker import POOL_GROUP, objective_name
from fleet.render.engines.launch import API_PORT
from fleet.render.errors import UnrenderablePlan
from fleet.render.graph import Resource
from fleet.render.identity import WORKLOAD_LABEL, dns_label, object_labels
from fleet.render.kubernetes.dynamo import frontend_service_name
from fleet.render.objects import Wave, resource
from fleet.render.view import DeploymentView

MODEL_HEADER = "X-Gateway-Model-Name"
WORKLOAD_HEADER = "x-fleetc-workload"
SLO_HEADER = "x-fleetc-slo-class"
OBJECTIVE_HEADERS = ("x-llm-d-inference-objective", "x-gateway-inference-objective")
"""The picker's header under its present and its former name."""
FULL_SHARE = 1_000_000
MAX_BACKENDS = 16
MAX_HOSTNAMES = 16
HOSTNAME = re.compile(r"(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
GATEWAY = "gateway"
GATEWAY_API = "gateway.networking.k8s.io/v1"


def gateway(plan: FleetPlan) -> Resource:
    """The Gateway, with one HTTP listener for each host name; the namespace of the routes may attach."""
    namespaces: dict[str, Any] = {"from": "Same"}
    if plan.gateway.namespace != plan.delivery.namespace:
        namespaces = {
            "from": "Selector",
            "selector": {"matchLabels": {"kubernetes.io/metadata.name": plan.delivery.namespace}},
        }
    if len(set(plan.gateway.hostnames)) > MAX_HOSTNAMES:
        raise UnrenderablePlan(
            f"the gateway has {len(set(plan.gateway.hostnames))} host names; an HTTPRoute holds {MAX_HOSTNAMES}."
        )
    listeners = [
        {
            "name": _listener(hostname),
            "allowedRoutes": {"namespaces": namespaces},
            "hostname": hostname,
            "port": 80,
            "protocol": "HTTP",
        }
        for hostname in sorted(set(plan.gateway.hostnames))
    ]
    spec = {
        "gatewayClassName": plan.gateway.gateway_class,
        "listeners": listeners
        or [{"name": "http", "allowedRoutes": {"namespaces": namespaces}, "port": 80, "protocol": "HTTP"}],
    }
    return resource(
        GATEWAY_API,
        "Gateway",
        plan.gateway.gateway,
        plan.gateway.namespace,
        object_labels(plan, "gateway", dns_label(plan.fleet, 63), GATEWAY),
        {"spec": spec},
        component=GATEWAY,
        wave=Wave.ROUTING,
    )


def routes(plan: FleetPlan, views: Sequence[DeploymentView]) -> Iterator[Resource]:
    """One HTTPRoute for each workload that something serves."""
    for workload in plan.workloads:
        served = [
            (view, item)
            for view in views
            for item in view.deployment.served
            if item.workload == workload.name and item.share
        ]
        if served:
            yield _route(plan, workload, served)


def _route(
    plan: FleetPlan, workload: PlannedWorkload, served: Sequence[tuple[DeploymentView, Served]]
) -> Resource:
    backends = [_backend(view, item) for view, item in served]
    if len(backends) > MAX_BACKENDS:
        raise UnrenderablePlan(
            f"workload {workload.name} has {len(backends)} backends; an HTTPRoute holds {MAX_BACKENDS}."
        )
    if (total := sum(backend["weight"] for backend in backends)) != FULL_SHARE:
        raise UnrenderablePlan(
            f"workload {workload.name}: its shares add up to {total} parts per million instead of {FULL_SHARE}."
        )
    rule: dict[str, Any] = {
        "name": "generate",
        "backendRefs": backends,
        "matches": _matches(plan, workload),
        "timeouts": {"request": gateway_duration(plan.gateway.request_timeout_ms)},
    }
    if len(backends) == 1 and "filters" in backends[0]:
        # Filters of a rule are in every gateway, filters of a backend are not.
        rule["filters"] = backends[0].pop("filters")
    parent: dict[str, Any] = {
        "name": plan.gateway.gateway,
        "group": "gateway.networking.k8s.io",
        "kind": "Gateway",
    }
    if plan.gateway.namespace != plan.delivery.namespace:
        parent["namespace"] = plan.gateway.namespace
    spec: dict[str, Any] = {"parentRefs": [parent], "rules": [rule]}
    if plan.gateway.hostnames:
        spec["hostnames"] = sorted(set(plan.gateway.hostnames))
    return resource(
        GATEWAY_API,
        "HTTPRoute",
        dns_label(workload.name),
        plan.delivery.namespace,
        {
            **object_labels(plan, "route", dns_label(workload.name, 63), GATEWAY),
            WORKLOAD_LABEL: dns_label(workload.name, 63),
        },
        {"spec": spec},
        component=GATEWAY,
        wave=Wave.ROUTING,
    )


def _matches(plan: FleetPlan, workload: PlannedWorkload) -> list[dict[str, Any]]:
    names = {model.name: model.served_name for model in plan.models}
    model = names[workload.model]
    siblings = [other for other in plan.workloads if names[other.model] == model]
    found = [_match(model, {WORKLOAD_HEADER: workload.name})]
    if plan.gateway.slo_class and sum(other.slo == workload.slo for other in siblings) == 1:
        found.append(_match(model, {SLO_HEADER: workload.slo}))
    if min(siblings, key=lambda other: (other.priority, other.name)) is workload:
        found.append(_match(model, {}))
    return found


def _match(model: str, headers: Mapping[str, str]) -> dict[str, Any]:
    wanted = {MODEL_HEADER: model, **headers}
    return {
        "headers": [{"name": name, "type": "Exact", "value": value} for name, value in wanted.items()],
        "path": {"type": "PathPrefix", "value": "/v1"},
    }


def _backend(view: DeploymentView, served: Served) -> dict[str, Any]:
    if view.deployment.target is Target.DYNAMO:
        return {
            "name": frontend_service_name(view),
            "group": "",
            "kind": "Service",
            "port": API_PORT,
            "weight": served.share,
        }
    objective = objective_name(view, served.workload)
    headers = [{"name": name, "value": objective} for name in OBJECTIVE_HEADERS]
    return {
        "name": view.name,
        "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": headers}}],
        "group": POOL_GROUP,
        "kind": "InferencePool",
        "weight": served.share,
    }


def gateway_duration(milliseconds: float) -> str:
    """A duration as Gateway API writes it: up to five digits for each unit.

    >>> gateway_duration(300_000.0), gateway_duration(1_500.0)
    ('300s', '1s500ms')
    """
    whole = max(1, round(milliseconds))
    seconds, rest = divmod(whole, 1000)
    hours, seconds = divmod(seconds, 3600) if seconds > 99_999 else (0, seconds)
    parts = [f"{number}{unit}" for number, unit in ((hours, "h"), (seconds, "s"), (rest, "ms")) if number]
    return "".join(parts)


def _listener(hostname: str) -> str:
    """A listener's name: the host name, which is unique and, but for a wildcard, a name already.

    Raises:
        UnrenderablePlan: no host name of the Gateway API.
    """
    if not HOSTNAME.fullmatch(hostname) or len(hostname) > 253:
        raise UnrenderablePlan(
            f"{hostname!r} is no host name: lower case, digits, dashes and dots, at most one leading '*.'."
        )
    return hostname.replace("*", "wildcard")
