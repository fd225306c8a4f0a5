"""A deployment's alerts beside its latency: what comes before a missed SLO, and what the plan took for granted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fleet.render.engines.templates import read_versions
from fleet.render.graph import Resource
from fleet.render.identity import deployment_labels
from fleet.render.monitoring import COMPONENT, MONITORING, metric_name, series_of
from fleet.render.objects import Wave, resource
from fleet.render.view import DeploymentView
from fleet.units import format_ms, format_requests_per_s

FULL_KV_CACHE = 0.95
PREEMPTIONS_PER_S = 0.1
FAILED_TRANSFERS_PER_S = 0.01
PREFIX_HITS = "fleetc:prefix_hit_ratio:rate30m"


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert: what is wrong when `expression` holds for `wait`."""

    name: str
    expression: str
    wait: str
    severity: str
    summary: str


def health_rules(view: DeploymentView) -> Resource:
    """The rules of a deployment."""
    labels = {"deployment": view.name, "namespace": view.namespace}
    records = (
        [{"record": PREFIX_HITS, "expr": _prefix_hit_ratio(view), "labels": labels}]
        if _planned_prefix_hits(view)
        else []
    )
    alerts = [
        {
            "alert": alert.name,
            "expr": alert.expression,
            "for": alert.wait,
            "labels": {"severity": alert.severity, **labels},
            "annotations": {"summary": f"{view.name}: {alert.summary}"},
        }
        for alert in (*_size(view), *_pressure(view), *_assumptions(view))
    ]
    return resource(
        MONITORING,
        "PrometheusRule",
        f"{view.name}-health",
        view.namespace,
        deployment_labels(view.plan, view.deployment, COMPONENT),
        {"spec": {"groups": [{"name": f"{view.name}.health", "rules": [*records, *alerts]}]}},
        component=view.name,
        wave=Wave.ROUTING,
    )


def _size(view: DeploymentView) -> Iterator[Alert]:
    """Fewer pods or more demand than the plan was made for."""
    pods = scraped_pods(view)
    missing = f"(sum(up{series_of(view, 'up')}) or vector(0)) < {pods}"
    yield Alert("FleetPodsMissing", missing, "15m", "critical", f"fewer than the planned {pods} pods answer")
    yield from _demand(view)


def _demand(view: DeploymentView) -> Iterator[Alert]:
    """Demand over the planned rate, beyond which a loss is not covered, and over what all replicas can serve.

    Each workload's capacity is that of all replicas for it alone; together they are full when the shares
    rate / capacity add up to 1, at the plan's mix. A deployment without planned traffic has neither alert.
    """
    served = view.deployment.served
    planned = sum(one.rate_req_per_s for one in served)
    load = sum(one.rate_req_per_s / one.capacity_req_per_s for one in served if one.rate_req_per_s)
    if not load:
        return
    capacity = planned / load
    requests = f"sum(rate({metric_name(view, 'e2e')}_count{series_of(view)}[15m]))"
    losses = " or a ".join(view.plan.policy.survive)
    beyond = f"; beyond it the plan does not promise to survive a {losses}" if losses else ""
    yield Alert(
        "FleetDemandOverPlan",
        f"{requests} > {planned:.6g}",
        "15m",
        "warning",
        f"more than the planned {format_requests_per_s(planned)} are served{beyond}; compile the plan again",
    )
    yield Alert(
        "FleetDemandOverCapacity",
        f"{requests} > {capacity:.6g}",
        "15m",
        "critical",
        f"more than the capacity of {format_requests_per_s(capacity)} are served, with which the plan keeps its limits; "
        "compile the plan again or shed load",
    )


def _pressure(view: DeploymentView) -> Iterator[Alert]:
    """What a replica shows before latencies rise."""
    full = f"max(max_over_time({_vllm('kv_usage')}{series_of(view)}[5m])) > {FULL_KV_CACHE:g}"
    yield Alert(
        "FleetKvCacheFull",
        full,
        "10m",
        "warning",
        "a replica's KV cache is full; requests wait or are preempted",
    )
    preempted = f"{_rate(view, 'preemptions', '10m')} > {PREEMPTIONS_PER_S:g}"
    yield Alert("FleetPreemptions", preempted, "10m", "warning", "requests are preempted and computed again")
    ttft_limits_ms = [
        limit.limit_ms
        for served in view.deployment.served
        for limit in served.limits
        if limit.metric == "ttft"
    ]
    if ttft_limits_ms:
        queue = f"histogram_quantile(0.95, sum by (le) (rate({_vllm('queue_time')}_bucket{series_of(view)}[10m])))"
        half_ms = min(ttft_limits_ms) / 2
        yield Alert(
            "FleetQueueing",
            f"{queue} > {half_ms / 1000:g}",
            "10m",
            "warning",
            f"5 % of requests queue for more than {format_ms(half_ms)}, half of the TTFT limit",
        )


def _assumptions(view: DeploymentView) -> Iterator[Alert]:
    """KV transfers that arrive and prefixes that are found: the plan counts on both."""
    if view.deployment.kv_link != "none":
        failed = " + ".join(
            f"({_rate(view, name, '10m')} or vector(0))" for name in ("failed_transfers", "expired_transfers")
        )
        summary = "KV transfers from prefill to decode fail or expire"
        yield Alert(
            "FleetKvTransfersFail", f"{failed} > {FAILED_TRANSFERS_PER_S:g}", "10m", "critical", summary
        )
    if planned := _planned_prefix_hits(view):
        hits = f'{PREFIX_HITS}{{deployment="{view.name}",namespace="{view.namespace}"}}'
        summary = f"prefix hits are under half of the planned {planned:.0%}: routing defeats the cache"
        yield Alert("FleetPrefixCacheMissed", f"{hits} < {planned / 2:.3g}", "1h", "warning", summary)


def _vllm(name: str) -> str:
    return str(read_versions("vllm")["metrics"][name])


def _rate(view: DeploymentView, name: str, window: str) -> str:
    return f"sum(rate({_vllm(name)}{series_of(view)}[{window}]))"


def _prefix_hit_ratio(view: DeploymentView) -> str:
    return f"{_rate(view, 'prefix_hits', '30m')} / {_rate(view, 'prefix_queries', '30m')}"


def _planned_prefix_hits(view: DeploymentView) -> float:
    """Share of prompt tokens that the plan expects in the cache, over the workloads served."""
    demands = {workload.name: workload.demand for workload in view.plan.workloads}
    prompts = [
        (served.rate_req_per_s * demands[served.workload].input_tokens.mean, demands[served.workload])
        for served in view.deployment.served
    ]
    total = sum(tokens for tokens, _ in prompts)
    return sum(tokens * demand.cached_prefix_fraction for tokens, demand in prompts) / total if total else 0.0


def scraped_pods(view: DeploymentView) -> int:
    """Pods that answer Prometheus at the plan's size: leaders only, where followers are headless."""
    pods = 0
    for group in view.deployment.workers:
        has_headless = group.hosts_per_worker > 1 and group.layout.dp == 1
        pods += group.workers_per_replica * (1 if has_headless else group.hosts_per_worker)
    return pods * view.deployment.replicas
