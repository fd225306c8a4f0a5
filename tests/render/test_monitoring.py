"""What Prometheus watches: each limit of the plan, on series that exist."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fleet.plan.document import FleetPlan
from fleet.render.build import build_graph
from fleet.render.engines.templates import read_versions
from fleet.render.health import health_rules
from fleet.render.view import views
from fleet.units import format_requests_per_s
from tests.plans import dev_plan, prod_plan
from tests.render.reading import bodies, body_of, deployment_of, pod_templates, with_deployment


def _rules(plan: FleetPlan, name: str) -> list[dict[str, Any]]:
    return [
        rule
        for group in body_of(build_graph(plan), "PrometheusRule", name)["spec"]["groups"]
        for rule in group["rules"]
    ]


def test_every_limit_of_every_deployment_has_a_fast_and_a_slow_alert() -> None:
    plan = prod_plan()
    for workload in plan.workloads:
        rules = _rules(plan, f"{workload.name}-slo")
        alerts = {
            (rule["alert"], rule["labels"]["deployment"], rule["labels"]["severity"])
            for rule in rules
            if "alert" in rule
        }
        expected = {
            (f"Fleet{limit.metric.capitalize()}OverLimit", deployment.id, severity)
            for deployment in plan.deployments
            for served in deployment.served
            if served.workload == workload.name
            for limit in served.limits
            for severity in ("critical", "warning")
        }
        assert alerts == expected


def test_an_alert_fires_over_the_limit_of_the_plan_in_seconds() -> None:
    alerts = [rule for rule in _rules(prod_plan(), "chat-slo") if rule.get("alert") == "FleetTtftOverLimit"]
    assert {re.findall(r"> ([0-9.]+)", rule["expr"])[0] for rule in alerts} == {"0.8"}
    assert all(len(set(re.findall(r"> ([0-9.]+)", rule["expr"]))) == 1 for rule in alerts)


def test_every_record_that_an_alert_reads_is_recorded_with_its_labels() -> None:
    plan = prod_plan()
    graph = build_graph(plan)
    recorded, read = set(), set()
    for body in bodies(graph, "PrometheusRule"):
        for group in body["spec"]["groups"]:
            for rule in group["rules"]:
                if "record" in rule:
                    labels = rule["labels"]
                    recorded.add((rule["record"], labels["deployment"], labels.get("workload")))
                for record, labels_text in re.findall(r"(fleetc:[a-z0-9_:]+)\{([^}]*)\}", rule["expr"]):
                    labels = dict(re.findall(r'(\w+)="([^"]*)"', labels_text))
                    assert labels["namespace"] == "inference"
                    read.add((record, labels["deployment"], labels.get("workload")))
    assert read
    assert read <= recorded


@pytest.mark.parametrize("plan", [dev_plan(), prod_plan()], ids=["dev", "prod"])
def test_every_series_is_one_that_an_engine_exposes(plan: FleetPlan) -> None:
    known = {name for engine in ("vllm", "dynamo") for name in read_versions(engine)["metrics"].values()} | {
        "up"
    }
    for body in bodies(build_graph(plan), "PrometheusRule"):
        for group in body["spec"]["groups"]:
            for rule in group["rules"]:
                assert rule["expr"].count("(") == rule["expr"].count(")")
                series = {
                    re.sub(r"_(bucket|count)$", "", name)
                    for name in re.findall(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{", rule["expr"])
                    if not name.startswith("fleetc:")
                }
                assert series <= known


def test_time_per_output_token_behind_dynamo_is_read_from_decode_workers() -> None:
    rules = [
        rule for rule in _rules(prod_plan(), "agents-slo") if rule.get("record", "").startswith("fleetc:tpot")
    ]
    assert rules
    assert all(
        'fleetc_dev_role="decode"' in rule["expr"]
        and "vllm:request_time_per_output_token_seconds" in rule["expr"]
        for rule in rules
    )
    ttft = [
        rule for rule in _rules(prod_plan(), "agents-slo") if rule.get("record", "").startswith("fleetc:ttft")
    ]
    assert all("dynamo_frontend_time_to_first_token_seconds" in rule["expr"] for rule in ttft)


@pytest.mark.parametrize(
    ("name", "pods"),
    [("chat-h100-east", 5), ("documents-gb200-east", 3), ("agents-gb200-east", 20), ("batch-h200-east", 4)],
)
def test_missing_pods_are_counted_by_those_that_answer(name: str, pods: int) -> None:
    (rule,) = [
        rule for rule in _rules(prod_plan(), f"{name}-health") if rule.get("alert") == "FleetPodsMissing"
    ]
    assert rule["expr"].endswith(f"< {pods}")


def _demand(plan: FleetPlan, name: str) -> dict[str, tuple[float, str, str]]:
    """Threshold in requests/s, severity and summary of the alerts on demand."""
    return {
        rule["alert"]: (
            float(rule["expr"].rpartition("> ")[2]),
            rule["labels"]["severity"],
            rule["annotations"]["summary"],
        )
        for rule in _rules(plan, f"{name}-health")
        if rule.get("alert", "").startswith("FleetDemand")
    }


@pytest.mark.parametrize("name", ["chat-h100-east", "chat-b200-west", "agents-gb200-east", "batch-h200-east"])
def test_demand_warns_at_the_planned_rate_and_pages_at_the_capacity(name: str) -> None:
    plan = prod_plan()
    (served,) = deployment_of(plan, name).served
    found = _demand(plan, name)
    planned, severity, text = found["FleetDemandOverPlan"]
    assert planned == pytest.approx(served.rate_req_per_s, rel=1e-5)
    assert severity == "warning"
    assert f"the planned {format_requests_per_s(served.rate_req_per_s)} " in text
    assert "survive a host;" in text
    capacity, severity, text = found["FleetDemandOverCapacity"]
    assert capacity == pytest.approx(served.capacity_req_per_s, rel=1e-5)
    assert severity == "critical"
    assert f"capacity of {format_requests_per_s(served.capacity_req_per_s)} " in text
    assert planned < capacity


def test_demand_says_nothing_of_survival_where_none_is_planned() -> None:
    assert "survive" not in _demand(dev_plan(), "chat-h100-dev")["FleetDemandOverPlan"][2]


def test_workloads_that_share_a_deployment_share_its_capacity_at_their_planned_rates() -> None:
    """10 of 40 and 15 of 30 requests/s use three quarters: at this mix 33.3 requests/s are all it can."""
    plan = dev_plan()
    (served,) = deployment_of(plan, "chat-h100-dev").served
    both = tuple(
        served.model_copy(update={"rate_req_per_s": rate, "capacity_req_per_s": capacity, "share": share})
        for rate, capacity, share in ((10.0, 40.0, 1_000_000), (15.0, 30.0, 0), (0.0, 0.0, 0))
    )
    (view,) = views(with_deployment(plan, "chat-h100-dev", served=both))
    rules = health_rules(view).body["spec"]["groups"][0]["rules"]
    thresholds = [
        rule["expr"].rpartition("> ")[2] for rule in rules if "FleetDemand" in rule.get("alert", "")
    ]
    assert thresholds == ["25", "33.3333"]
    (view,) = views(with_deployment(plan, "chat-h100-dev", served=both[2:]))
    rules = health_rules(view).body["spec"]["groups"][0]["rules"]
    assert not any("FleetDemand" in rule.get("alert", "") for rule in rules)


@pytest.mark.parametrize("plan", [dev_plan(), prod_plan()], ids=["dev", "prod"])
def test_a_time_below_a_second_is_written_in_milliseconds(plan: FleetPlan) -> None:
    texts = [
        text
        for body in bodies(build_graph(plan), "PrometheusRule")
        for group in body["spec"]["groups"]
        for rule in group["rules"]
        for text in rule.get("annotations", {}).values()
    ]
    assert any("over its limit of 800 ms" in text for text in texts)
    assert any("queue for more than 400 ms, half of the TTFT limit" in text for text in texts)
    assert not [text for text in texts if re.search(r"\b0\.\d+ s\b|\de[-+]?\d", text)]


def test_kv_transfers_are_watched_only_where_there_are_any() -> None:
    for name, is_disaggregated in (("chat-h100-east", False), ("batch-h200-east", True)):
        alerts = {rule.get("alert") for rule in _rules(prod_plan(), f"{name}-health")}
        assert ("FleetKvTransfersFail" in alerts) is is_disaggregated


def test_prefix_hits_are_watched_where_the_plan_counts_on_them() -> None:
    plan = dev_plan()
    cold = tuple(
        w.model_copy(update={"demand": w.demand.model_copy(update={"cached_prefix_fraction": 0.0})})
        for w in plan.workloads
    )
    assert any(rule.get("alert") == "FleetPrefixCacheMissed" for rule in _rules(plan, "chat-h100-dev-health"))
    assert not any(
        rule.get("alert") == "FleetPrefixCacheMissed"
        for rule in _rules(plan.model_copy(update={"workloads": cold}), "chat-h100-dev-health")
    )


def test_a_monitor_selects_the_pods_of_its_deployment_and_a_port_they_have() -> None:
    graph = build_graph(prod_plan())
    for monitor in bodies(graph, "PodMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"]
        parts = monitor["spec"]["selector"]["matchExpressions"][0]["values"]
        ports = {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]}
        selected = [
            template
            for item in graph
            for template in pod_templates(item.body)
            if wanted.items() <= template["metadata"]["labels"].items()
            and template["metadata"]["labels"]["app.kubernetes.io/component"] in parts
        ]
        assert selected
        named = {
            port["name"]
            for template in selected
            for port in template["spec"]["containers"][0].get("ports", [])
        }
        # Dynamo's operator adds the ports `http` and `system` itself.
        assert named == {"http"} if "system" not in ports else named == set()
