"""What Prometheus scrapes, and the alerts on each workload's SLO.

Every series carries the label `fleetc_dev_deployment`, copied from the pod. An engine does not know workloads, so a
workload's alert looks at the deployments that serve it: it fires for a deployment whose quantile is over the limit.

An SLO alert has two windows, as burn-rate alerts do: a long one, so that it means something, and a short one, so that
it ends when the trouble ends. The fast pair (1 h and 5 min) pages, the slow pair (6 h and 30 min) makes a ticket.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fleet.layout import Role
from fleet.plan.document import FleetPlan, LimitLine, PlannedWorkload, Target
from fleet.render.engines.templates import read_versions
from fleet.render.graph import Resource
from fleet.render.identity import (
    DEPLOYMENT_LABEL,
    ROLE_LABEL,
    WORKLOAD_LABEL,
    deployment_labels,
    dns_label,
    object_labels,
)
from fleet.render.objects import Wave, resource
from fleet.render.view import DeploymentView
from fleet.units import format_ms

MONITORING = "monitoring.coreos.com/v1"
COMPONENT = "monitoring"


@dataclass(frozen=True, slots=True)
class Burn:
    """A pair of windows and what its alert is for."""

    short: str
    long: str
    wait: str
    severity: str


BURNS = (Burn("5m", "1h", "2m", "critical"), Burn("30m", "6h", "15m", "warning"))


def pod_monitor(view: DeploymentView) -> Resource:
    """Scrapes the engines, and on Dynamo also the frontends: each answers under its own named port."""
    ports = ("http", "system") if view.deployment.target is Target.DYNAMO else ("http",)
    spec = {
        "podMetricsEndpoints": [{"interval": "15s", "path": "/metrics", "port": port} for port in ports],
        "podTargetLabels": [DEPLOYMENT_LABEL, ROLE_LABEL],
        "selector": {
            "matchExpressions": [
                {"key": "app.kubernetes.io/component", "operator": "In", "values": ["engine", "frontend"]}
            ],
            "matchLabels": {DEPLOYMENT_LABEL: view.name},
        },
    }
    return resource(
        MONITORING,
        "PodMonitor",
        view.name,
        view.namespace,
        deployment_labels(view.plan, view.deployment, COMPONENT),
        {"spec": spec},
        component=view.name,
        wave=Wave.ROUTING,
    )


def slo_rules(plan: FleetPlan, views: Sequence[DeploymentView]) -> Iterator[Resource]:
    """One PrometheusRule for each workload with limits: quantiles as recording rules, and an alert for each limit."""
    for workload in plan.workloads:
        lines = [
            (view, limit)
            for view in views
            for served in view.deployment.served
            if served.workload == workload.name
            for limit in served.limits
        ]
        if not lines:
            continue
        groups = [
            {
                "name": f"{workload.name}.quantiles",
                "interval": "30s",
                "rules": [
                    _quantile(workload, view, limit, window) for view, limit in lines for window in _windows()
                ],
            },
            {
                "name": f"{workload.name}.slo",
                "rules": [_slo_alert(workload, view, limit, burn) for view, limit in lines for burn in BURNS],
            },
        ]
        yield resource(
            MONITORING,
            "PrometheusRule",
            f"{dns_label(workload.name)}-slo",
            plan.delivery.namespace,
            {
                **object_labels(plan, "slo", dns_label(workload.name, 63), COMPONENT),
                WORKLOAD_LABEL: dns_label(workload.name, 63),
            },
            {"spec": {"groups": groups}},
            component=COMPONENT,
            wave=Wave.ROUTING,
        )


def _windows() -> list[str]:
    return [window for burn in BURNS for window in (burn.short, burn.long)]


def _record(limit: LimitLine, window: str) -> str:
    return f"fleetc:{limit.metric}_seconds:p{limit.quantile}_{window}"


def _own_labels(workload: PlannedWorkload, view: DeploymentView) -> dict[str, str]:
    return {"deployment": view.name, "namespace": view.namespace, "workload": workload.name}


def _quantile(
    workload: PlannedWorkload, view: DeploymentView, limit: LimitLine, window: str
) -> dict[str, Any]:
    histogram = f"{metric_name(view, limit.metric)}_bucket{series_of(view, limit.metric)}"
    return {
        "record": _record(limit, window),
        "expr": f"histogram_quantile({limit.quantile / 100:g}, sum by (le) (rate({histogram}[{window}])))",
        "labels": _own_labels(workload, view),
    }


def _slo_alert(
    workload: PlannedWorkload, view: DeploymentView, limit: LimitLine, burn: Burn
) -> dict[str, Any]:
    labels = ",".join(f'{name}="{value}"' for name, value in sorted(_own_labels(workload, view).items()))
    over = [
        f"{_record(limit, window)}{{{labels}}} > {limit.limit_ms / 1000:g}"
        for window in (burn.short, burn.long)
    ]
    name = f"Fleet{limit.metric.capitalize()}OverLimit"
    return {
        "alert": name,
        "expr": " and ".join(over),
        "for": burn.wait,
        "labels": {"severity": burn.severity, **_own_labels(workload, view)},
        "annotations": {
            "summary": f"{workload.name}: {limit.metric} p{limit.quantile} over its limit of {format_ms(limit.limit_ms)} on {view.name}",
            "description": f"The plan predicts {format_ms(limit.predicted_ms)}. Measured over {burn.short} and {burn.long}: {{{{ $value | humanizeDuration }}}}.",
        },
    }


def metric_name(view: DeploymentView, metric: str) -> str:
    """Where a latency is seen as the client sees it: at Dynamo's frontend, which has no TPOT, else at the engine."""
    if view.deployment.target is Target.DYNAMO and metric in read_versions("dynamo")["metrics"]:
        return str(read_versions("dynamo")["metrics"][metric])
    return str(read_versions("vllm")["metrics"][metric])


def series_of(view: DeploymentView, metric: str = "") -> str:
    """Series of a deployment; behind Dynamo only decode workers know the time per output token of a whole request."""
    matchers = {"namespace": view.namespace, "fleetc_dev_deployment": view.name}
    is_disaggregated = any(group.role is Role.DECODE for group in view.deployment.workers)
    if is_disaggregated and metric == "tpot":
        matchers["fleetc_dev_role"] = "decode"
    terms = [f'{name}="{value}"' for name, value in sorted(matchers.items())]
    if metric == "up":  # engines only: frontends have no role
        terms.append('fleetc_dev_role!=""')
    return "{" + ",".join(terms) + "}"
