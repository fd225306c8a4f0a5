"""Where pods may run: NVLink domains come true as the rack map says."""

from __future__ import annotations

from collections import defaultdict

import pytest

from fleet.layout import ParallelismLayout, Role
from fleet.plan.document import FleetPlan, Target
from fleet.render.build import build_graph
from fleet.render.errors import UnrenderablePlan
from fleet.render.gpus import gpus_of
from fleet.render.identity import NVLINK_DOMAIN_LABEL, dns_label
from fleet.render.kubernetes.placement import node_selector
from fleet.render.omissions import omissions
from fleet.render.view import views
from tests.plan_parts import LLAMA, deployment, group, offering, workload
from tests.plans import assemble, dev_plan, policy_line, prod_plan
from tests.render.reading import bodies, body_of, pod_templates

RACK_LABEL = "ds.coreweave.com/nvlink.domain"


def _on_racks(plan: FleetPlan) -> set[str]:
    racks = {offering.name for offering in plan.offerings if offering.domain == "rack"}
    return {deployment.id for deployment in plan.deployments if deployment.offering in racks}


def test_each_nvlink_domain_gets_the_gpus_of_the_rack_map() -> None:
    plan = prod_plan()
    mapped: dict[tuple[str, str], int] = defaultdict(int)
    for domain in plan.domains:
        for host in domain.hosts:
            for slot in host.slots:
                if slot.deployment in _on_racks(plan):
                    mapped[slot.deployment, domain.id] += slot.gpus
    rendered: dict[tuple[str, str], int] = defaultdict(int)
    for item in build_graph(plan):
        if item.gpus and NVLINK_DOMAIN_LABEL in item.body["metadata"]["labels"]:
            rendered[item.component, item.body["metadata"]["labels"][NVLINK_DOMAIN_LABEL]] += gpus_of(
                item.body
            )
    assert rendered == mapped


def test_gpu_pods_on_racks_keep_to_their_domain_and_out_of_others() -> None:
    graph = build_graph(prod_plan())
    pinned = 0
    for item in graph:
        for template in pod_templates(item.body):
            domain = template["metadata"]["labels"].get(NVLINK_DOMAIN_LABEL)
            affinity = template["spec"].get("affinity", {})
            if domain is None:
                assert "requiredDuringSchedulingIgnoredDuringExecution" not in str(affinity)
                continue
            pinned += 1
            (near,) = affinity["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            (away,) = affinity["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            assert near["topologyKey"] == away["topologyKey"] == RACK_LABEL
            assert near["labelSelector"]["matchExpressions"] == [
                {"key": NVLINK_DOMAIN_LABEL, "operator": "In", "values": [domain]}
            ]
            assert away["labelSelector"]["matchExpressions"] == [
                {"key": NVLINK_DOMAIN_LABEL, "operator": "Exists"},
                {"key": NVLINK_DOMAIN_LABEL, "operator": "NotIn", "values": [domain]},
            ]
    assert pinned == 8


def test_prefill_and_decode_that_share_nvlink_share_a_compute_domain() -> None:
    graph = build_graph(prod_plan())
    body = body_of(graph, "DynamoGraphDeployment", "agents-gb200-east-00")
    claims = {
        component["name"]: component["podTemplate"]["spec"].get("resourceClaims")
        for component in body["spec"]["components"]
    }
    assert claims.pop("frontend") is None
    assert len({str(claim) for claim in claims.values()}) == 1
    domain = body_of(graph, "ComputeDomain", "agents-gb200-east-00")
    assert (
        claims["decode"][0]["resourceClaimTemplateName"]
        == domain["spec"]["channel"]["resourceClaimTemplate"]["name"]
    )
    assert domain["spec"]["numNodes"] == 0


def test_pods_that_need_no_other_host_claim_no_compute_domain() -> None:
    assert not bodies(build_graph(dev_plan()), "ComputeDomain")
    graph = build_graph(prod_plan())
    for name in ("chat-h100-east", "chat-b200-west"):
        (template,) = pod_templates(body_of(graph, "Deployment", name))
        assert "resourceClaims" not in template["spec"]


def test_workers_that_share_a_tray_claim_no_channel_and_the_plan_s_nvlink_is_listed_as_missing() -> None:
    """A node has one channel of a ComputeDomain: with a claim for each of them, all pods of a tray but one would wait."""
    gb200 = offering("gb200", "gb200-nvl72", 10.5, 1.87, 2)
    chat = workload("chat", LLAMA, "interactive", 24.0, 1155, 211)
    small, whole = ParallelismLayout(tp=1), ParallelismLayout(tp=4)
    for decode, expected in ((small, 0), (whole, 0)):
        workers = (
            group(Role.PREFILL, small, 3, 4, 32, 8192, 40.0),
            group(Role.DECODE, decode, 1, 4, 256, 4096, 40.0),
        )
        serving = deployment(chat, gb200, workers, 3, 3.0, target=Target.DYNAMO, kv_link="nvlink")
        plan = assemble("small", (LLAMA,), (chat,), (gb200,), (serving,), policy_line())
        graph = build_graph(plan)
        assert len(bodies(graph, "ComputeDomain")) == expected
        assert not any(
            "resourceClaims" in template["spec"] for item in graph for template in pod_templates(item.body)
        )
        assert any("NVLink between pods" in item.missing for item in omissions(plan))


@pytest.mark.parametrize("plan", [prod_plan()], ids=["prod"])
def test_no_host_of_the_rack_map_has_two_pods_that_claim_a_channel(plan: FleetPlan) -> None:
    claiming = set()
    for view in views(plan):
        claiming |= {
            (view.deployment.id, workers.role)
            for workers in view.deployment.workers
            if view.claims_channel(workers)
        }
    assert claiming
    for domain in plan.domains:
        for host in domain.hosts:
            assert sum((slot.deployment, slot.role) in claiming for slot in host.slots) <= 1


def test_grace_hosts_are_selected_and_their_taint_tolerated_by_frontends_too() -> None:
    body = body_of(build_graph(prod_plan()), "DynamoGraphDeployment", "agents-gb200-east-00")
    for component in body["spec"]["components"]:
        spec = component["podTemplate"]["spec"]
        assert {
            "key": "kubernetes.io/arch",
            "operator": "Equal",
            "value": "arm64",
            "effect": "NoSchedule",
        } in spec["tolerations"]
        if component["type"] != "frontend":
            assert spec["nodeSelector"]["kubernetes.io/arch"] == "arm64"


def test_a_toleration_stands_once() -> None:
    for item in build_graph(prod_plan()):
        for template in pod_templates(item.body):
            found = template["spec"].get("tolerations", [])
            assert len({str(sorted(toleration.items())) for toleration in found}) == len(found)


@pytest.mark.parametrize(
    ("survive", "binds"), [((), False), (("rack",), False), (("host",), True), (("host", "rack"), True)]
)
def test_spreading_over_hosts_binds_only_where_a_host_must_be_survived(
    survive: tuple[str, ...], binds: bool
) -> None:
    """A constraint of its own keeps the scheduler's default spreading from every pod; one that must hold is the map's."""
    plan = prod_plan()
    plan = plan.model_copy(update={"policy": plan.policy.model_copy(update={"survive": survive})})
    (template,) = pod_templates(body_of(build_graph(plan), "Deployment", "chat-h100-east"))
    (constraint,) = template["spec"]["topologySpreadConstraints"]
    assert constraint["whenUnsatisfiable"] == "DoNotSchedule"
    most = max(
        sum(slot.deployment == "chat-h100-east" for slot in host.slots)
        for domain in plan.domains
        for host in domain.hosts
    )
    assert most < 8
    assert constraint["maxSkew"] == (most if binds else 8)


def test_a_replica_over_two_racks_is_refused() -> None:
    plan = prod_plan()
    domains = []
    for domain in plan.domains:
        hosts = tuple(
            host.model_copy(
                update={
                    "slots": tuple(
                        slot.model_copy(update={"replica": 0})
                        if slot.deployment == "agents-gb200-east"
                        else slot
                        for slot in host.slots
                    )
                }
            )
            for host in domain.hosts
        )
        domains.append(domain.model_copy(update={"hosts": hosts}))
    spanning = plan.model_copy(update={"domains": tuple(domains)})
    with pytest.raises((UnrenderablePlan, AssertionError), match="agents-gb200-east"):
        build_graph(spanning)


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        pytest.param({"node_selector": {"pool": "a"}}, {"pool": "a"}, id="the user's own"),
        pytest.param(
            {"node_selector": {}},
            {"node.kubernetes.io/instance-type": "a3-megagpu-8g"},
            id="a cloud's machine type",
        ),
        pytest.param(
            {"node_selector": {}, "zone": "us-east1-c"},
            {
                "node.kubernetes.io/instance-type": "a3-megagpu-8g",
                "topology.kubernetes.io/zone": "us-east1-c",
            },
            id="the zone where another offering has the same machines",
        ),
        pytest.param(
            {"node_selector": {}, "provider": "on-premises", "gpu_product": "NVIDIA-H100-80GB-HBM3"},
            {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
            id="the product on-premises",
        ),
    ],
)
def test_nodes_are_selected_by_what_is_known(update: dict[str, object], expected: dict[str, str]) -> None:
    plan = prod_plan()
    here = next(offering for offering in plan.offerings if offering.name == "h100-east")
    assert node_selector(plan, here.model_copy(update=update)) == {"kubernetes.io/arch": "amd64", **expected}


def test_the_runtime_class_is_set_when_wished() -> None:
    plan = dev_plan()
    plan = plan.model_copy(update={"delivery": plan.delivery.model_copy(update={"runtime_class": "nvidia"})})
    (template,) = pod_templates(body_of(build_graph(plan), "Deployment", "chat-h100-dev"))
    assert template["spec"]["runtimeClassName"] == "nvidia"


@pytest.mark.parametrize("identity", ["chat", "a" * 80, "with.dots", "UPPER", "-x-", "ünïcode", "a_b", ".."])
def test_every_identity_becomes_a_label_of_its_own(identity: str) -> None:
    name = dns_label(identity)
    assert len(name) <= 46
    assert name.strip("-") == name
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert name != dns_label(identity + ".")
