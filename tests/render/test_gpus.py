"""Rendered GPUs equal solved GPUs, and every way to differ is found."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.plan.document import FleetPlan
from fleet.render import gpus
from fleet.render.build import build_graph
from fleet.render.errors import RenderedGpusDiffer
from fleet.render.graph import Resource, ResourceGraph
from tests.plans import dev_plan, prod_plan
from tests.render.reading import with_deployment

POD = {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "4"}}}]}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            {"kind": "Deployment", "spec": {"replicas": 3, "template": {"spec": POD}}},
            12,
            id="a Deployment holds replicas x limit",
        ),
        pytest.param(
            {
                "kind": "LeaderWorkerSet",
                "spec": {"replicas": 3, "leaderWorkerTemplate": {"size": 2, "workerTemplate": {"spec": POD}}},
            },
            24,
            id="a LeaderWorkerSet holds replicas x size x limit",
        ),
        pytest.param(
            {
                "kind": "LeaderWorkerSet",
                "spec": {
                    "replicas": 1,
                    "leaderWorkerTemplate": {
                        "size": 3,
                        "leaderTemplate": {"spec": {"containers": [{"name": "router"}]}},
                        "workerTemplate": {"spec": POD},
                    },
                },
            },
            8,
            id="a leader without GPUs holds none",
        ),
        pytest.param(
            {
                "kind": "DynamoGraphDeployment",
                "spec": {
                    "components": [
                        {"replicas": 2, "podTemplate": {"spec": {"containers": [{"name": "main"}]}}},
                        {"replicas": 2, "multinode": {"nodeCount": 8}, "podTemplate": {"spec": POD}},
                        {"replicas": 3, "podTemplate": {"spec": POD}},
                    ]
                },
            },
            76,
            id="a DynamoGraphDeployment holds replicas x nodes x limit of each component",
        ),
        pytest.param({"kind": "ConfigMap", "data": {}}, 0, id="a ConfigMap holds none"),
    ],
)
def test_each_kind_is_counted_under_its_own_rule(body: dict[str, Any], expected: int) -> None:
    assert gpus.gpus_of(body) == expected


@given(tp=st.integers(1, 16), pp=st.integers(1, 4), cp=st.integers(1, 4), dp=st.integers(1, 32))
def test_the_world_of_a_launch_command_is_the_product_of_its_sizes(
    tp: int, pp: int, cp: int, dp: int
) -> None:
    argv = [
        "m",
        "--tensor-parallel-size",
        str(tp),
        "--pipeline-parallel-size",
        str(pp),
        "--prefill-context-parallel-size",
        str(cp),
        "--data-parallel-size",
        str(dp),
    ]
    assert gpus.world_size(argv) == tp * pp * cp * dp


@pytest.mark.parametrize("plan", [dev_plan(), prod_plan()], ids=["dev", "prod"])
def test_the_graph_holds_what_the_plan_says(plan: FleetPlan) -> None:
    assert sum(item.gpus for item in build_graph(plan)) == plan.summary.gpus_used


@settings(max_examples=15, deadline=None)
@given(chat_replicas=st.integers(1, 24))
def test_the_graph_holds_what_the_plan_says_at_every_size(chat_replicas: int) -> None:
    plan = prod_plan(chat_replicas=chat_replicas)
    assert sum(item.gpus for item in build_graph(plan)) == plan.summary.gpus_used


@pytest.mark.parametrize(
    "update",
    [
        pytest.param({"gpus": 33}, id="the deployment's GPUs"),
        pytest.param({"replicas": 3}, id="the replicas, against the rack map"),
    ],
)
def test_a_plan_that_contradicts_itself_is_not_rendered(update: dict[str, Any]) -> None:
    with pytest.raises(RenderedGpusDiffer):
        build_graph(with_deployment(prod_plan(), "batch-h200-east", **update))


@pytest.mark.parametrize("field", ["gpus_per_worker", "hosts_per_worker", "gpus_per_host_used"])
@pytest.mark.parametrize("deployment_id", ["chat-h100-east", "documents-gb200-east", "agents-gb200-east"])
def test_a_worker_whose_pods_or_command_hold_other_gpus_is_found(deployment_id: str, field: str) -> None:
    plan = prod_plan()
    deployment = next(d for d in plan.deployments if d.id == deployment_id)
    workers = (
        deployment.workers[0].model_copy(update={field: getattr(deployment.workers[0], field) * 2}),
        *deployment.workers[1:],
    )
    with pytest.raises((RenderedGpusDiffer, ValueError)):
        build_graph(with_deployment(plan, deployment_id, workers=workers))


def _double_replicas(body: dict[str, Any]) -> None:
    body["spec"]["replicas"] *= 2


def _double_size(body: dict[str, Any]) -> None:
    body["spec"]["leaderWorkerTemplate"]["size"] *= 2


def _forget_nodes(body: dict[str, Any]) -> None:
    for component in body["spec"]["components"]:
        component.pop("multinode", None)


def _lose_limit(body: dict[str, Any]) -> None:
    del body["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]


@pytest.mark.parametrize(
    ("name", "tamper"),
    [
        ("chat-h100-east", _double_replicas),
        ("chat-h100-east", _lose_limit),
        ("documents-gb200-east-00", _double_size),
        ("agents-gb200-east-00", _forget_nodes),
    ],
)
def test_a_body_that_was_tampered_with_is_found(name: str, tamper: Callable[[dict[str, Any]], None]) -> None:
    plan = prod_plan()
    tampered = ResourceGraph()
    for item in build_graph(plan):
        body = copy.deepcopy(dict(item.body))
        if item.id.name == name and item.gpus:
            tamper(body)
        # The count beside the body is left as it was: the check must read the body.
        tampered.add(Resource(item.id, body, item.component, item.wave, item.gpus))
    with pytest.raises(RenderedGpusDiffer, match="please report"):
        gpus.check_graph(plan, tampered, {d.id: d.id for d in plan.deployments})


def test_a_summary_with_another_total_is_found() -> None:
    plan = dev_plan()
    wrong = plan.model_copy(update={"summary": plan.summary.model_copy(update={"gpus_used": 5})})
    with pytest.raises(RenderedGpusDiffer, match=r"summary\.gpus_used"):
        build_graph(wrong)
