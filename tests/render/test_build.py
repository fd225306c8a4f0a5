"""The resource graph of a plan: which objects, in which order, under which names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from fleet.plan.document import Target
from fleet.render.build import build_graph
from fleet.render.errors import UnrenderablePlan
from fleet.render.gateway import MODEL_HEADER
from fleet.render.omissions import omissions
from tests.plans import dev_plan, prod_plan
from tests.render.reading import bodies, body_of, pod_templates, with_deployment

CONTROLLERS = ("Deployment", "LeaderWorkerSet", "DynamoGraphDeployment")


def _matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return selector.items() <= labels.items()


def test_every_target_becomes_its_own_kind_of_object() -> None:
    graph = build_graph(prod_plan())
    engines = {(item.id.kind, item.id.name) for item in graph if item.gpus}
    assert engines == {
        ("Deployment", "chat-h100-east"),
        ("Deployment", "chat-b200-west"),
        ("LeaderWorkerSet", "documents-gb200-east-00"),
        ("LeaderWorkerSet", "documents-gb200-east-01"),
        ("DynamoGraphDeployment", "agents-gb200-east-00"),
        ("DynamoGraphDeployment", "agents-gb200-east-01"),
        ("DynamoGraphDeployment", "batch-h200-east"),
    }


def test_a_change_of_demand_changes_no_name() -> None:
    names = {str(item.id) for item in build_graph(prod_plan(chat_replicas=5))}
    assert names == {str(item.id) for item in build_graph(prod_plan(chat_replicas=7, demand=1.4))}


def test_a_removed_workload_only_removes_objects() -> None:
    before = {str(item.id): item.body for item in build_graph(prod_plan())}
    after = {str(item.id): item.body for item in build_graph(prod_plan(without=("batch",)))}
    assert set(after) < set(before)
    assert {name for name in before if name not in after} >= {
        "DynamoGraphDeployment/inference/batch-h200-east",
        "HTTPRoute/inference/batch",
    }
    # What is left of the same model takes the traffic without a header; nothing that holds GPUs changes.
    changed = {name for name in after if after[name] != before[name]}
    assert not {name for name in changed if name.split("/")[0] in CONTROLLERS}


def test_the_same_plan_gives_the_same_graph_whatever_the_order_of_its_labels() -> None:
    one = dev_plan(labels={"a": "1", "b": "2"})
    other = dev_plan(labels={"b": "2", "a": "1"})
    assert [json.dumps(item.body, sort_keys=True) for item in build_graph(one)] == [
        json.dumps(item.body, sort_keys=True) for item in build_graph(other)
    ]


def test_each_object_comes_after_what_it_needs() -> None:
    graph = build_graph(prod_plan())
    seen: set[str] = set()
    for item in graph:
        assert {str(needed) for needed in graph.dependencies(item.id)} <= seen
        assert all(graph[needed].wave <= item.wave for needed in graph.dependencies(item.id)), item.id
        seen.add(str(item.id))


def test_a_picker_never_waits_for_a_pool_of_a_later_wave() -> None:
    """It is ready only when its pool exists, and Argo CD starts a wave when all before it is ready."""
    graph = build_graph(prod_plan())
    waves = {(item.id.kind, item.id.name): item.wave for item in graph}
    for (kind, name), wave in waves.items():
        if kind == "InferencePool":
            assert wave < waves["Deployment", f"{name}-epp"]


@pytest.mark.parametrize("plan", [dev_plan(), prod_plan()], ids=["dev", "prod"])
def test_selectors_find_exactly_their_own_pods(plan: Any) -> None:
    graph = build_graph(plan)
    labels = [
        (
            item.id.name,
            template["metadata"]["labels"],
            any(c.get("ports") for c in template["spec"]["containers"]),
        )
        for item in graph
        if item.id.kind in CONTROLLERS
        for template in pod_templates(item.body)
    ]
    for body in bodies(graph, "Deployment"):
        found = {name for name, own, _ in labels if _matches(body["spec"]["selector"]["matchLabels"], own)}
        assert found == {body["metadata"]["name"]}
    for body in bodies(graph, "InferencePool"):
        found = {name for name, own, _ in labels if _matches(body["spec"]["selector"]["matchLabels"], own)}
        assert found
        assert not any(name.endswith("-epp") for name in found)
        assert all(name.startswith(body["metadata"]["name"]) for name in found)
        assert all(
            serves for _, own, serves in labels if _matches(body["spec"]["selector"]["matchLabels"], own)
        )


def test_an_object_refers_only_to_objects_that_exist() -> None:
    graph = build_graph(prod_plan())
    names = {(item.id.kind, item.id.name) for item in graph}
    for route in bodies(graph, "HTTPRoute"):
        for backend in route["spec"]["rules"][0]["backendRefs"]:
            assert (backend["kind"], backend["name"]) in names
    for pool in bodies(graph, "InferencePool"):
        assert ("Service", pool["spec"]["endpointPickerRef"]["name"]) in names
    for objective in bodies(graph, "InferenceObjective"):
        assert ("InferencePool", objective["spec"]["poolRef"]["name"]) in names
    templates = {
        body["spec"]["channel"]["resourceClaimTemplate"]["name"] for body in bodies(graph, "ComputeDomain")
    }
    claims = {
        claim["resourceClaimTemplateName"]
        for item in graph
        for template in pod_templates(item.body)
        for claim in template["spec"].get("resourceClaims", [])
    }
    assert claims == templates
    for body in bodies(graph, "Deployment"):
        for volume in body["spec"]["template"]["spec"]["volumes"]:
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in names


def test_a_config_has_its_content_in_its_name() -> None:
    with_locality = {body["metadata"]["name"] for body in bodies(build_graph(dev_plan()), "ConfigMap")}
    plan = dev_plan()
    without = plan.model_copy(update={"gateway": plan.gateway.model_copy(update={"cache_locality": False})})
    assert with_locality.isdisjoint(
        body["metadata"]["name"] for body in bodies(build_graph(without), "ConfigMap")
    )


def test_only_the_namespace_is_protected_and_only_when_wished() -> None:
    plan = dev_plan()
    open_plan = plan.model_copy(
        update={"delivery": plan.delivery.model_copy(update={"protect_capacity": False})}
    )
    assert [item.id.kind for item in build_graph(plan) if item.is_capacity] == ["Namespace"]
    assert not [item for item in build_graph(open_plan) if item.is_capacity]


def test_an_engine_drains_before_it_is_killed() -> None:
    graph = build_graph(prod_plan())
    for kind in CONTROLLERS:
        for body in bodies(graph, kind):
            for template in pod_templates(body):
                container = template["spec"]["containers"][0]
                words = [*container.get("command", []), *container.get("args", [])]
                if "--shutdown-timeout" in words:
                    drain = int(words[words.index("--shutdown-timeout") + 1])
                    assert template["spec"]["terminationGracePeriodSeconds"] > drain + 10


@pytest.mark.parametrize(
    ("update", "said"),
    [
        ({"model": "nobody"}, "nobody"),
        ({"offering": "nowhere"}, "nowhere"),
        ({"replicas": 0}, "no replicas"),
        ({"checkpoint_uri": "ftp://somewhere/model"}, "ftp://somewhere/model"),
        ({"checkpoint_uri": "hf://../../etc"}, "expected hf://"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_plan_that_cannot_be_rendered_is_refused_with_its_reason(update: dict[str, Any], said: str) -> None:
    with pytest.raises(UnrenderablePlan, match=said.replace("/", "/")):
        build_graph(with_deployment(dev_plan(), "chat-h100-dev", **update))


def test_an_engine_without_a_renderer_is_refused_by_name() -> None:
    plan = dev_plan()
    engine = plan.deployments[0].engine.model_copy(update={"id": "sglang"})
    with pytest.raises(UnrenderablePlan, match="sglang"):
        build_graph(with_deployment(plan, "chat-h100-dev", engine=engine))


def test_prefill_and_decode_are_not_rendered_as_a_plain_deployment() -> None:
    with pytest.raises(UnrenderablePlan, match="dynamo"):
        build_graph(with_deployment(prod_plan(), "batch-h200-east", target=Target.DEPLOYMENT))


def test_a_worker_over_several_hosts_is_not_rendered_as_a_plain_deployment() -> None:
    with pytest.raises(UnrenderablePlan, match="leader-worker-set"):
        build_graph(with_deployment(prod_plan(), "documents-gb200-east", target=Target.DEPLOYMENT))


def test_dynamo_with_an_engine_it_does_not_ship_is_refused() -> None:
    plan = prod_plan()
    engine = next(d.engine for d in plan.deployments if d.id == "batch-h200-east").model_copy(
        update={"version": "0.33.0"}
    )
    with pytest.raises(UnrenderablePlan, match=r"Dynamo 1\.6\.1 ships vLLM 0\.31\.0"):
        build_graph(with_deployment(plan, "batch-h200-east", engine=engine))


def test_two_compute_domains_do_not_share_a_tray() -> None:
    plan = prod_plan()
    domains = []
    for domain in plan.domains:
        hosts = list(domain.hosts)
        if domain.id == "gb200-east-00":
            first = next(
                i
                for i, host in enumerate(hosts)
                if any(s.deployment == "agents-gb200-east" for s in host.slots)
            )
            second = next(
                i
                for i, host in enumerate(hosts)
                if any(s.deployment == "documents-gb200-east" for s in host.slots)
            )
            hosts[first] = hosts[first].model_copy(
                update={"slots": (*hosts[first].slots, *hosts[second].slots)}
            )
            hosts[second] = hosts[second].model_copy(update={"slots": ()})
        domains.append(domain.model_copy(update={"hosts": tuple(hosts)}))
    with pytest.raises(UnrenderablePlan, match="a host can be in one"):
        build_graph(plan.model_copy(update={"domains": tuple(domains)}))


@pytest.mark.parametrize(
    "labels", [{"team": "a b"}, {"team": "x" * 64}, {"te am": "a"}, {"-": "a"}, {"a/b/c": "d"}, {"": "x"}]
)
def test_a_label_that_kubernetes_refuses_is_refused_before(labels: dict[str, str]) -> None:
    with pytest.raises(UnrenderablePlan, match="no label"):
        build_graph(dev_plan(labels=labels))


def test_a_namespace_with_a_dot_is_refused() -> None:
    plan = dev_plan()
    with pytest.raises(UnrenderablePlan, match="no namespace"):
        build_graph(
            plan.model_copy(update={"delivery": plan.delivery.model_copy(update={"namespace": "a.b"})})
        )


def test_a_toleration_with_an_unknown_part_is_refused() -> None:
    plan = dev_plan()
    (offering,) = plan.offerings
    bad = offering.model_copy(update={"tolerations": ({"key": "gpu", "opertor": "Exists"},)})
    with pytest.raises(UnrenderablePlan, match="opertor"):
        build_graph(plan.model_copy(update={"offerings": (bad,)}))


def test_what_no_object_can_say_is_listed() -> None:
    said = {(item.subject, item.missing.split(":")[0].split(" ")[0]) for item in omissions(prod_plan())}
    assert {subject for subject, _ in said} >= {
        "gateway",
        "tenant web",
        "deployment batch-h200-east",
        "delivery",
    }
    plan = dev_plan()
    quiet = plan.model_copy(
        update={
            "gateway": plan.gateway.model_copy(update={"tenants": (), "retry_attempts": 0}),
            "delivery": plan.delivery.model_copy(update={"model_cache_claim": "weights"}),
        }
    )
    assert [(item.subject, item.missing.split(":")[0]) for item in omissions(quiet)] == [
        ("gateway", "the header X-Gateway-Model-Name"),
        ("gateway", "TLS"),
        ("nodes", "the CPUs that pods request"),
        ("offerings h100-dev", "which tray or host a small pod takes"),
    ]


def test_every_route_needs_the_header_that_the_notes_ask_for() -> None:
    plan = dev_plan()
    for route in bodies(build_graph(plan), "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            assert all(MODEL_HEADER in [h["name"] for h in match["headers"]] for match in rule["matches"])
    (note,) = [item for item in omissions(plan) if MODEL_HEADER in item.missing]
    assert "body-based routing" in note.instead


@pytest.mark.parametrize(
    ("budget", "text"), [(1.2e8, "120M"), (2e6, "2M"), (60_000.0, "60k"), (900.0, "900")]
)
def test_a_budget_of_tokens_is_written_for_people(budget: float, text: str) -> None:
    plan = dev_plan()
    tenants = tuple(t.model_copy(update={"token_budget_per_minute": budget}) for t in plan.gateway.tenants)
    plan = plan.model_copy(update={"gateway": plan.gateway.model_copy(update={"tenants": tenants})})
    assert f"its budget of {text} tokens/min" in [item.missing for item in omissions(plan)]


def test_a_model_cache_claim_is_mounted_where_the_engine_looks() -> None:
    plan = dev_plan()
    claimed = plan.model_copy(
        update={"delivery": plan.delivery.model_copy(update={"model_cache_claim": "weights"})}
    )
    pod = body_of(build_graph(claimed), "Deployment", "chat-h100-dev")["spec"]["template"]["spec"]
    assert {"name": "model-cache", "persistentVolumeClaim": {"claimName": "weights"}} in pod["volumes"]
    container = pod["containers"][0]
    mounted = next(
        mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "model-cache"
    )
    assert {"name": "HF_HOME", "value": mounted} in container["env"]
