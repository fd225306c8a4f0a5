"""What Prometheus scrapes, and what it alerts on: each workload's SLO and each deployment's health.

Every series carries the label `fleetc_dev_deployment`, copied from the pod. An engine does not know workloads, so a
workload's alert looks at the deployments that serve it: it fires for a deployment whose quantile is over the limit.

An SLO alert has two windows, as burn-rate alerts do: a long one, so that it means something, and a short one, so that
it ends when the trouble ends. The fast pair (1 h and 5 min) pages, the slow pair (6 h and 30 min) makes a ticket.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    histogram = f"{_metric(view, limit.metric)}_bucket{_selector(view, limit.metric)}"
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
            "summary": f"{workload.name}: {limit.metric} p{limit.quantile} over its limit of {limit.limit_ms / 1000:g} s on {view.name}",
            "description": f"The plan predicts {limit.predicted_ms / 1000:.3g} s. Measured over {burn.short} and {burn.long}: {{{{ $value | humanizeDuration }}}}.",
        },
    }


def _metric(view: DeploymentView, metric: str) -> str:
    """Where a latency is seen as the client sees it: at Dynamo's frontend, which has no TPOT, else at the engine."""
    if view.deployment.target is Target.DYNAMO and metric in read_versions("dynamo")["metrics"]:
        return str(read_versions("dynamo")["metrics"][metric])
    return str(read_versions("vllm")["metrics"][metric])


def _selector(view: DeploymentView, metric: str = "") -> str:
    """Series of a deployment; behind Dynamo only decode workers know the time per output token of a whole request."""
    matchers = {"namespace": view.namespace, "fleetc_dev_deployment": view.name}
    is_disaggregated = any(group.role is Role.DECODE for group in view.deployment.workers)
    if is_disaggregated and metric == "tpot":
        matchers["fleetc_dev_role"] = "decode"
    terms = [f'{name}="{value}"' for name, value in sorted(matchers.items())]
    if metric == "up":  # engines only: frontends have no role
        terms.append('fleetc_dev_role!=""')
    return "{" + ",".join(terms) + "}"


def health_rules(view: DeploymentView) -> Resource:
    """A deployment's alerts beside its latency: what comes before a missed SLO, and what the plan took for granted."""
    rules = [_alert(view, *row) for row in _health(view)]
    prefix = [_prefix_hits(view)] if _planned_prefix_hits(view) else []
    spec = {"groups": [{"name": f"{view.name}.health", "rules": [*prefix, *rules]}]}
    return resource(
        MONITORING,
        "PrometheusRule",
        f"{view.name}-health",
        view.namespace,
        deployment_labels(view.plan, view.deployment, COMPONENT),
        {"spec": spec},
        component=view.name,
        wave=Wave.ROUTING,
    )


def _health(view: DeploymentView) -> Iterator[tuple[str, str, str, str, str]]:
    """Rows of alert, expression, wait, severity and summary."""
    names: Mapping[str, str] = read_versions("vllm")["metrics"]
    series = _selector(view)
    deployment = view.deployment
    targets = _scraped_pods(view)
    yield (
        "FleetPodsMissing",
        f"(sum(up{_selector(view, 'up')}) or vector(0)) < {targets}",
        "15m",
        "critical",
        f"fewer than the planned {targets} pods answer",
    )
    yield (
        "FleetKvCacheFull",
        f"max(max_over_time({names['kv_usage']}{series}[5m])) > 0.95",
        "10m",
        "warning",
        "a replica's KV cache is full; requests wait or are preempted",
    )
    yield (
        "FleetPreemptions",
        f"sum(rate({names['preemptions']}{series}[10m])) > 0.1",
        "10m",
        "warning",
        "requests are preempted and computed again",
    )
    ttft_limits = [
        limit.limit_ms for served in deployment.served for limit in served.limits if limit.metric == "ttft"
    ]
    if ttft_limits:
        half_s = min(ttft_limits) / 2000
        queue = f"histogram_quantile(0.95, sum by (le) (rate({names['queue_time']}_bucket{series}[10m])))"
        yield (
            "FleetQueueing",
            f"{queue} > {half_s:g}",
            "10m",
            "warning",
            "queueing takes half of the TTFT limit",
        )
    capacity = (
        sum(served.capacity_req_per_s for served in deployment.served)
        if len(deployment.served) == 1
        else sum(served.rate_req_per_s for served in deployment.served)
    )
    requests = f"sum(rate({_metric(view, 'e2e')}_count{series}[15m]))"
    yield (
        "FleetDemandOverPlan",
        f"{requests} > {capacity:.6g}",
        "15m",
        "warning",
        f"more than the planned {capacity:.3g} requests/s arrive; compile the plan again",
    )
    if deployment.kv_link != "none":
        failed = " + ".join(
            f"(sum(rate({names[name]}{series}[10m])) or vector(0))"
            for name in ("failed_transfers", "expired_transfers")
        )
        yield (
            "FleetKvTransfersFail",
            f"{failed} > 0.01",
            "10m",
            "critical",
            "KV transfers from prefill to decode fail or expire",
        )
    if planned := _planned_prefix_hits(view):
        hits = f'fleetc:prefix_hit_ratio:rate30m{{deployment="{view.name}",namespace="{view.namespace}"}}'
        yield (
            "FleetPrefixCacheMissed",
            f"{hits} < {planned / 2:.3g}",
            "1h",
            "warning",
            f"prefix hits are under half of the planned {planned:.0%}: routing defeats the cache",
        )


def _alert(
    view: DeploymentView, name: str, expression: str, wait: str, severity: str, summary: str
) -> dict[str, Any]:
    labels = {"severity": severity, "deployment": view.name, "namespace": view.namespace}
    return {
        "alert": name,
        "expr": expression,
        "for": wait,
        "labels": labels,
        "annotations": {"summary": f"{view.name}: {summary}"},
    }


def _prefix_hits(view: DeploymentView) -> dict[str, Any]:
    names: Mapping[str, str] = read_versions("vllm")["metrics"]
    hits, queries = (
        f"sum(rate({names[name]}{_selector(view)}[30m]))" for name in ("prefix_hits", "prefix_queries")
    )
    return {
        "record": "fleetc:prefix_hit_ratio:rate30m",
        "expr": f"{hits} / {queries}",
        "labels": {"deployment": view.name, "namespace": view.namespace},
    }


def _planned_prefix_hits(view: DeploymentView) -> float:
    """Share of prompt tokens that the plan expects in the cache, over the workloads served."""
    demands = {workload.name: workload.demand for workload in view.plan.workloads}
    tokens = [
        (
            served.rate_req_per_s * demands[served.workload].input_tokens.mean,
            demands[served.workload].cached_prefix_fraction,
        )
        for served in view.deployment.served
    ]
    total = sum(prompt for prompt, _ in tokens)
    return sum(prompt * cached for prompt, cached in tokens) / total if total else 0.0


def _scraped_pods(view: DeploymentView) -> int:
    """Pods that answer Prometheus at the plan's size: leaders only, where followers are headless."""
    pods = 0
    for group in view.deployment.workers:
        headless = group.hosts_per_worker > 1 and group.layout.dp == 1
        pods += group.workers_per_replica * (1 if headless else group.hosts_per_worker)
    return pods * view.deployment.replicas
