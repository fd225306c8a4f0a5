"""What the components register, options included, seen by a monitor that captures every request."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pulumi
import pulumi_kubernetes
import pytest

from fleet.deploy.components import Fleet, FleetArgs
from fleet.deploy.objects import other_types, resource_name, type_token
from fleet.render.graph import Resource, ResourceGraph
from tests.deploy.sample_graphs import CLAIM, NAMESPACE, ROUTE, SERVER, body, small_graph
from tests.plans import dev_plan
from tools.pulumi import capture_monitor

PLAN = dev_plan()


def register(program: Callable[[], Any]) -> dict[str, Any]:
    """Run a Pulumi program against the capturing monitor; requests by resource name."""
    monitor = capture_monitor.install()
    pulumi.runtime.test(program)()
    return {request.name: request for request in monitor.requests}


def register_fleet(protect: bool = True, opts: pulumi.ResourceOptions | None = None) -> dict[str, Any]:
    """Register the small graph."""

    def program() -> None:
        Fleet("dev", FleetArgs(PLAN, small_graph(), protect), opts)

    return register(program)


def urn_end(urn: str) -> str:
    """Return the resource's name of a URN."""
    return urn.split("::")[-1]


@pytest.mark.parametrize(
    ("name", "parent"),
    [
        ("chat-h100-dev", "dev"),
        ("gateway", "dev"),
        ("inference", "dev"),
        ("inference/weights", "dev"),
        ("inference/chat-h100-dev", "chat-h100-dev"),
        ("inference/chat", "gateway"),
    ],
)
def test_every_resource_is_a_child_of_its_component(name: str, parent: str) -> None:
    assert urn_end(register_fleet()[name].parent) == parent


def test_every_object_is_registered_once_under_the_type_of_its_kind() -> None:
    requests = register_fleet()
    objects = {name: request.type for name, request in requests.items() if request.custom}
    assert objects == {
        resource_name(rid): type_token(rid.api_version, rid.kind) for rid in (NAMESPACE, CLAIM, SERVER, ROUTE)
    }
    components = {name: request.type for name, request in requests.items() if not request.custom}
    assert components == {
        "dev": "fleetc:index:Fleet",
        "gateway": "fleetc:index:Gateway",
        "monitoring": "fleetc:index:Monitoring",
        "chat-h100-dev": "fleetc:index:ModelDeployment",
    }


def test_the_body_is_sent_as_it_stands_in_the_graph() -> None:
    requests, graph = register_fleet(), small_graph()
    for rid in (NAMESPACE, CLAIM, SERVER, ROUTE):
        sent = pulumi.runtime.rpc.deserialize_properties(requests[resource_name(rid)].object)
        assert sent == graph[rid].body


def test_objects_wait_for_the_objects_that_the_graph_names() -> None:
    requests = register_fleet()
    waits = {
        name: sorted(map(urn_end, request.dependencies))
        for name, request in requests.items()
        if request.custom
    }
    assert waits == {
        "inference": [],
        "inference/weights": ["inference"],
        "inference/chat-h100-dev": ["inference", "inference/weights"],
        "inference/chat": ["inference/chat-h100-dev"],
    }


@pytest.mark.parametrize("protect", [True, False])
def test_capacity_alone_is_protected_and_retained_and_only_when_wanted(protect: bool) -> None:
    requests = register_fleet(protect)
    kept = {name for name, request in requests.items() if request.protect or request.retainOnDelete}
    assert kept == ({"inference/weights"} if protect else set())
    assert requests["inference/weights"].protect == requests["inference/weights"].retainOnDelete == protect


def test_pods_that_load_weights_are_given_the_time_to() -> None:
    requests, deployment = register_fleet(), PLAN.deployments[0]
    assert deployment.weight_load_s > 0
    seconds = math.ceil(600 + deployment.replicas * 2 * deployment.weight_load_s)
    timeouts = requests["inference/chat-h100-dev"].customTimeouts
    assert (timeouts.create, timeouts.update) == (f"{seconds}s", f"{seconds}s")
    assert not requests["inference/chat"].customTimeouts.create


def test_an_object_of_another_version_of_its_kind_is_the_same_resource() -> None:
    aliases = register_fleet()["inference/chat"].aliases
    assert [alias.spec.type for alias in aliases] == [
        "kubernetes:gateway.networking.k8s.io/v1beta1:HTTPRoute"
    ]


@pytest.mark.parametrize(
    ("api_version", "kind", "others"),
    [
        (
            "nvidia.com/v1beta1",
            "DynamoGraphDeployment",
            ("kubernetes:nvidia.com/v1alpha1:DynamoGraphDeployment",),
        ),
        ("apps/v1", "Deployment", ()),
        ("v1", "Service", ()),
    ],
)
def test_aliases_stay_within_the_group_and_leave_out_the_version_itself(
    api_version: str, kind: str, others: tuple[str, ...]
) -> None:
    assert other_types(api_version, kind) == others


def test_the_providers_of_the_user_reach_every_object() -> None:
    def program() -> None:
        east = pulumi_kubernetes.Provider("east", context="east")
        Fleet("dev", FleetArgs(PLAN, small_graph(), True), pulumi.ResourceOptions(providers=[east]))

    requests = register(program)
    providers = {
        name: request.provider for name, request in requests.items() if request.custom and name != "east"
    }
    assert len(providers) == 4
    assert all("pulumi:providers:kubernetes::east::" in provider for provider in providers.values()), (
        providers
    )


def test_the_options_of_the_user_stay_on_the_fleet() -> None:
    requests = register_fleet(
        opts=pulumi.ResourceOptions(protect=True, aliases=[pulumi.Alias(name="before")])
    )
    assert requests["dev"].protect
    assert [alias.spec.name for alias in requests["dev"].aliases] == ["before"]


def test_the_provider_has_the_version_of_the_installed_sdk() -> None:
    requests = register_fleet()
    installed = pulumi_kubernetes._utilities.get_version()
    assert {request.version for request in requests.values() if request.custom} == {installed}


def test_a_change_of_demand_changes_inputs_and_never_names() -> None:
    def names(replicas: int) -> list[str]:
        plan = dev_plan(replicas)

        def program() -> None:
            Fleet("dev", FleetArgs(plan, small_graph(replicas), True))

        return sorted(register(program))

    assert names(2) == names(4)


def test_an_object_of_an_unknown_component_is_refused() -> None:
    graph = ResourceGraph()
    graph.add(Resource(NAMESPACE, body(NAMESPACE), "elsewhere"))
    capture_monitor.install()
    with pytest.raises(ValueError, match="'elsewhere'"):
        pulumi.runtime.test(lambda: Fleet("dev", FleetArgs(PLAN, graph, True)) and None)()


def test_importing_the_components_imports_no_cloud_and_no_kubernetes_sdk() -> None:
    script = (
        "import sys, fleet.deploy\n"
        "heavy = ('pulumi_kubernetes', 'pulumi_gcp', 'pulumi_aws', 'pulumi_azure_native', 'pulumi_coreweave', 'ortools')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
