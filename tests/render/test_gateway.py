"""Which deployment serves a request: headers, weights and priorities."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.plan.document import FleetPlan
from fleet.render.build import build_graph
from fleet.render.errors import UnrenderablePlan
from fleet.render.gateway import MODEL_HEADER, SLO_HEADER, WORKLOAD_HEADER, gateway_duration
from tests.plans import dev_plan, prod_plan
from tests.render.reading import bodies, body_of, with_deployment


def _routed(plan: FleetPlan, headers: Mapping[str, str]) -> str | None:
    """The workload whose route wins, as Gateway API decides: most matching headers first."""
    best: list[tuple[int, str]] = []
    for route in bodies(build_graph(plan), "HTTPRoute"):
        for match in route["spec"]["rules"][0]["matches"]:
            wanted = {header["name"].lower(): header["value"] for header in match["headers"]}
            if wanted.items() <= {name.lower(): value for name, value in headers.items()}.items():
                best.append((len(wanted), route["metadata"]["labels"]["fleetc.dev/workload"]))
    best.sort(reverse=True)
    assert len(best) < 2 or best[0][0] > best[1][0], f"two routes take {headers}"
    return best[0][1] if best else None


def _gateway(plan: FleetPlan, **update: Any) -> FleetPlan:
    return plan.model_copy(update={"gateway": plan.gateway.model_copy(update=update)})


@pytest.mark.parametrize(
    ("headers", "workload"),
    [
        pytest.param(
            {MODEL_HEADER: "llama-70b", WORKLOAD_HEADER: "chat"}, "chat", id="the workload's own header"
        ),
        pytest.param({MODEL_HEADER: "llama-70b", SLO_HEADER: "interactive"}, "chat", id="the SLO class"),
        pytest.param(
            {MODEL_HEADER: "llama-70b"}, "documents", id="no header: the workload of least priority"
        ),
        pytest.param({MODEL_HEADER: "deepseek-r1"}, "batch", id="no header, the other model"),
        pytest.param(
            {MODEL_HEADER: "llama-70b", WORKLOAD_HEADER: "agents"},
            "documents",
            id="a workload of another model counts as none",
        ),
        pytest.param({MODEL_HEADER: "unknown"}, None, id="a model that nobody serves"),
        pytest.param({}, None, id="no model"),
    ],
)
def test_a_request_reaches_its_workload(headers: dict[str, str], workload: str | None) -> None:
    assert _routed(prod_plan(), headers) == workload


def test_the_slo_class_routes_only_when_the_plan_says_so() -> None:
    plan = _gateway(prod_plan(), slo_class=False)
    assert _routed(plan, {MODEL_HEADER: "llama-70b", SLO_HEADER: "interactive"}) == "documents"


def test_the_weights_are_the_shares_of_the_plan() -> None:
    route = body_of(build_graph(prod_plan()), "HTTPRoute", "chat")
    weights = {backend["name"]: backend["weight"] for backend in route["spec"]["rules"][0]["backendRefs"]}
    assert weights == {"chat-b200-west": 300_000, "chat-h100-east": 700_000}


@pytest.mark.parametrize("share", [699_999, 700_001, 0])
def test_shares_that_do_not_add_up_are_refused(share: int) -> None:
    plan = prod_plan()
    served = tuple(
        s.model_copy(update={"share": share})
        for s in next(d for d in plan.deployments if d.id == "chat-h100-east").served
    )
    with pytest.raises(UnrenderablePlan, match="parts per million"):
        build_graph(with_deployment(plan, "chat-h100-east", served=served))


def test_each_pool_gets_the_priority_of_its_workload_by_header() -> None:
    graph = build_graph(prod_plan())
    objectives = {body["metadata"]["name"]: body["spec"] for body in bodies(graph, "InferenceObjective")}
    route = body_of(graph, "HTTPRoute", "chat")
    for backend in route["spec"]["rules"][0]["backendRefs"]:
        (filter_,) = backend["filters"]
        for header in filter_["requestHeaderModifier"]["set"]:
            objective = objectives[header["value"]]
            assert objective["poolRef"]["name"] == backend["name"]
            assert objective["priority"] == 10


def test_a_single_backend_has_its_header_set_by_the_rule() -> None:
    """Filters of a backend are not in every gateway; those of a rule are."""
    rule = body_of(build_graph(dev_plan()), "HTTPRoute", "chat")["spec"]["rules"][0]
    assert "filters" in rule
    assert "filters" not in rule["backendRefs"][0]


def test_dynamo_is_reached_through_one_service_before_all_its_frontends() -> None:
    graph = build_graph(prod_plan())
    (backend,) = body_of(graph, "HTTPRoute", "agents")["spec"]["rules"][0]["backendRefs"]
    service = body_of(graph, "Service", backend["name"])
    found = 0
    for body in bodies(graph, "DynamoGraphDeployment"):
        for component in body["spec"]["components"]:
            labels = component["podTemplate"]["metadata"]["labels"]
            if service["spec"]["selector"].items() <= labels.items():
                found += 1
                assert component["type"] == "frontend"
    assert found == 2


def test_routes_attach_across_namespaces_when_the_gateway_lives_elsewhere() -> None:
    graph = build_graph(_gateway(dev_plan(), namespace="gateways"))
    (listener,) = body_of(graph, "Gateway", "inference-gateway")["spec"]["listeners"]
    assert listener["allowedRoutes"]["namespaces"]["selector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": "inference"
    }
    (parent,) = body_of(graph, "HTTPRoute", "chat")["spec"]["parentRefs"]
    assert parent["namespace"] == "gateways"


@pytest.mark.parametrize("hostname", ["Upper.example.com", "a b", "", "*", "a.*.b", "-a", "x" * 254])
def test_a_host_name_that_is_none_is_refused(hostname: str) -> None:
    with pytest.raises(UnrenderablePlan, match="no host name"):
        build_graph(_gateway(dev_plan(), hostnames=(hostname,)))


def test_a_wildcard_and_no_host_name_are_listeners_too() -> None:
    (listener,) = body_of(
        build_graph(_gateway(dev_plan(), hostnames=("*.example.com",))), "Gateway", "inference-gateway"
    )["spec"]["listeners"]
    assert listener["hostname"] == "*.example.com"
    assert re.fullmatch(r"[a-z0-9.-]+", listener["name"])
    graph = build_graph(_gateway(dev_plan(), hostnames=()))
    assert "hostname" not in body_of(graph, "Gateway", "inference-gateway")["spec"]["listeners"][0]
    assert "hostnames" not in body_of(graph, "HTTPRoute", "chat")["spec"]


@given(st.floats(min_value=0.001, max_value=3.6e9, allow_nan=False))
def test_a_timeout_is_written_as_gateway_api_reads_it(milliseconds: float) -> None:
    text = gateway_duration(milliseconds)
    assert re.fullmatch(r"([0-9]{1,5}(h|m|s|ms)){1,4}", text)
    units = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
    total = sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)(ms|h|m|s)", text))
    assert total == max(1, round(milliseconds))
