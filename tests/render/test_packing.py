"""Pods of the rack map's sizes all find a place, whatever came first, and spare trays can stay free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.plan.document import FleetPlan
from fleet.plan.file import read_plan
from fleet.render.build import build_graph
from fleet.render.errors import UnrenderablePlan
from fleet.render.identity import GPUS_LABEL, NVLINK_DOMAIN_LABEL
from fleet.render.kubernetes.placement import most_under_skew
from fleet.render.omissions import omissions
from tests.plans import dev_plan, prod_plan
from tests.render.reading import bodies, pod_templates, with_deployment
from tests.render.scheduling import Cluster, Pod, pods_of, with_counts
from tests.render.wide import wide_plan

SEEDS = range(3)


def stack_plan() -> FleetPlan:
    return read_plan(Path(__file__).resolve().parents[2] / "stacks" / "prod" / "plan.json")


def _plain(pods: list[Pod]) -> list[Pod]:
    """The pods as they were before: without priorities, and spread by the scheduler."""
    return [replace(pod, spec={**pod.spec, "affinity": {}}, priority=0) for pod in pods]


def _by_offering(pods: list[Pod]) -> dict[str, list[Pod]]:
    found: dict[str, list[Pod]] = {}
    for pod in pods:
        found.setdefault(pod.offering, []).append(pod)
    return dict(sorted(found.items()))


@pytest.mark.parametrize("make", [prod_plan, wide_plan, stack_plan])
@pytest.mark.parametrize("with_spares", [True, False], ids=["spares free", "spares tainted"])
def test_pods_that_arrive_together_all_find_a_place(make: Callable[[], FleetPlan], with_spares: bool) -> None:
    plan = make()
    for offering, pods in _by_offering(pods_of(plan, build_graph(plan))).items():
        for seed in SEEDS:
            cluster = Cluster(plan, offering, with_spares=with_spares)
            assert not cluster.schedule(pods, seed)


@pytest.mark.parametrize("make", [wide_plan, stack_plan])
def test_a_whole_tray_worker_takes_its_place_when_small_pods_came_first_and_are_spread(
    make: Callable[[], FleetPlan],
) -> None:
    plan = make()
    preempted = 0
    for offering, pods in _by_offering(pods_of(plan, build_graph(plan))).items():
        largest = max(pod.gpus for pod in pods)
        spread = [replace(pod, spec={**pod.spec, "affinity": {}}) for pod in pods if pod.gpus < largest]
        for seed in SEEDS:
            cluster = Cluster(plan, offering, with_spares=True)
            assert not cluster.schedule(spread, seed)
            assert not cluster.schedule([pod for pod in pods if pod.gpus == largest], seed)
            preempted += cluster.preempted
    # The committed stack may change; on the sample something must have stood in the way.
    assert preempted or make is stack_plan


def test_without_priorities_and_packing_large_workers_would_wait() -> None:
    """The reason for both, and the proof that the scheduler of these tests is hard enough."""
    plan = wide_plan()
    pods = _by_offering(_plain(pods_of(plan, build_graph(plan))))
    waiting = [
        pod
        for offering, here in pods.items()
        for seed in SEEDS
        for pod in Cluster(plan, offering, with_spares=False).schedule(here, seed)
    ]
    assert any(pod.gpus > 1 for pod in waiting)


@pytest.mark.parametrize("make", [prod_plan, wide_plan])
def test_packed_pods_leave_the_spare_trays_empty(make: Callable[[], FleetPlan]) -> None:
    """Where pods of each size fill whole trays; where two sizes share one, the spare may be taken: `omissions` says so."""
    plan = make()
    pods = _by_offering(pods_of(plan, build_graph(plan)))
    for offering in plan.offerings:
        if not offering.spare_hosts_per_domain or offering.name not in pods:
            continue
        for seed in SEEDS:
            cluster = Cluster(plan, offering.name, with_spares=True)
            cluster.schedule(pods[offering.name], seed)
            for domain in {node.domain for node in cluster.nodes}:
                empty = sum(not node.pods for node in cluster.nodes if node.domain == domain)
                assert empty >= offering.spare_hosts_per_domain, domain


@pytest.mark.parametrize("make", [wide_plan, stack_plan])
def test_a_lost_tray_of_each_rack_is_replaced_by_its_spare_even_when_small_pods_were_spread_over_it(
    make: Callable[[], FleetPlan],
) -> None:
    plan = make()
    for offering, pods in _by_offering(pods_of(plan, build_graph(plan))).items():
        if not any(o.name == offering and o.spare_hosts_per_domain for o in plan.offerings):
            continue
        cluster = Cluster(plan, offering, with_spares=True)
        spread = [replace(pod, spec={**pod.spec, "affinity": {}}) for pod in pods]
        assert not cluster.schedule(spread, 0)
        fullest = {
            domain: max((n for n in cluster.nodes if n.domain == domain), key=lambda n: n.gpus - n.free())
            for domain in sorted({node.domain for node in cluster.nodes})
        }
        lost = [pod for node in fullest.values() for pod in node.pods]
        cluster.nodes = [node for node in cluster.nodes if node not in fullest.values()]
        assert lost
        assert not cluster.schedule(lost, 1)


@pytest.mark.parametrize("make", [dev_plan, prod_plan, wide_plan, stack_plan])
def test_a_larger_pod_has_the_higher_priority_and_its_size_as_label(make: Callable[[], FleetPlan]) -> None:
    plan = make()
    graph = build_graph(plan)
    classes = {body["metadata"]["name"]: body for body in bodies(graph, "PriorityClass")}
    sizes = {}
    for pod in pods_of(plan, graph):
        name = pod.spec["priorityClassName"]
        assert name == f"{plan.fleet}-gpu-{pod.gpus}"
        assert pod.labels[GPUS_LABEL] == str(pod.gpus)
        assert classes[name]["preemptionPolicy"] == "PreemptLowerPriority"
        sizes[pod.gpus] = pod.priority
    assert [sizes[gpus] for gpus in sorted(sizes)] == sorted(set(sizes.values()))
    assert min(sizes.values()) > 0
    assert not any(body["globalDefault"] for body in classes.values())


def test_pods_without_gpus_have_no_class() -> None:
    for item in build_graph(prod_plan()):
        for template in pod_templates(item.body):
            part = template["metadata"]["labels"]["app.kubernetes.io/component"]
            assert ("priorityClassName" in template["spec"]) is (part == "engine")


def test_no_plan_takes_away_the_class_of_a_pod_that_may_be_made_again() -> None:
    def names(plan: FleetPlan) -> set[str]:
        return {body["metadata"]["name"] for body in bodies(build_graph(plan), "PriorityClass")}

    assert names(prod_plan(without=("chat", "documents"))) == names(prod_plan())
    assert names(prod_plan()) == {f"prod-gpu-{gpus}" for gpus in (1, 2, 4, 8)}


def test_a_class_with_a_name_that_kubernetes_keeps_is_refused() -> None:
    with pytest.raises(UnrenderablePlan, match="begin with 'system-'"):
        build_graph(dev_plan().model_copy(update={"fleet": "system"}))


@pytest.mark.parametrize("make", [prod_plan, wide_plan, stack_plan])
def test_pods_smaller_than_a_host_prefer_hosts_with_pods_of_their_size_and_domain(
    make: Callable[[], FleetPlan],
) -> None:
    plan = make()
    per_host = {offering.name: offering.gpus_per_host for offering in plan.offerings}
    for pod in pods_of(plan, build_graph(plan)):
        near = pod.spec.get("affinity", {}).get("podAffinity", {})
        preferred = near.get("preferredDuringSchedulingIgnoredDuringExecution", [])
        assert bool(preferred) is (pod.gpus < per_host[pod.offering])
        for term in preferred:
            selector = term["podAffinityTerm"]["labelSelector"]["matchLabels"]
            assert selector[GPUS_LABEL] == str(pod.gpus)
            assert selector.items() <= pod.labels.items()
            assert selector.get(NVLINK_DOMAIN_LABEL) == pod.labels.get(NVLINK_DOMAIN_LABEL)
            assert term["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
            assert term["weight"] == 100


@pytest.mark.parametrize("make", [dev_plan, prod_plan, wide_plan, stack_plan])
def test_engines_come_in_waves_by_falling_size_between_configuration_and_routes(
    make: Callable[[], FleetPlan],
) -> None:
    graph = build_graph(make())
    waves: dict[int, set[int]] = {}
    others: dict[str, int] = {}
    for item in graph:
        if item.gpus:
            sizes = {
                int(template["metadata"]["labels"][GPUS_LABEL])
                for template in pod_templates(item.body)
                if GPUS_LABEL in template["metadata"]["labels"]
            }
            waves.setdefault(max(sizes), set()).add(item.wave)
        else:
            others[item.id.kind] = item.wave
    falling = [waves[size] for size in sorted(waves, reverse=True)]
    assert all(len(found) == 1 for found in falling)
    order = [wave for found in falling for wave in found]
    assert order == sorted(set(order))
    assert others["PriorityClass"] < others["InferencePool" if "InferencePool" in others else "Service"]
    assert others["ConfigMap"] < order[0]
    assert order[-1] < others["HTTPRoute"] == others["Gateway"]


def test_spare_trays_are_asked_for_by_number_and_command() -> None:
    plan = prod_plan()
    racks = sum(domain.offering == "gb200-east" for domain in plan.domains)
    (spare,) = [item for item in omissions(plan) if "spare" in item.missing]
    assert spare.subject == "offering gb200-east"
    assert f"1 spare tray in each of {racks} NVLink domains" in spare.missing
    assert "kubectl taint nodes NODE fleetc.dev/spare=true:NoSchedule" in spare.instead
    assert not [item for item in omissions(dev_plan()) if "spare" in item.missing]


def test_sizes_that_priorities_cannot_pack_are_said() -> None:
    def said(plan: FleetPlan) -> bool:
        return any("a place for every pod" in item.missing for item in omissions(plan))

    assert not said(prod_plan())
    plan = prod_plan()
    workers = next(d.workers for d in plan.deployments if d.id == "chat-h100-east")
    odd = tuple(w.model_copy(update={"gpus_per_host_used": 3}) for w in workers)
    assert said(with_deployment(plan, "chat-h100-east", workers=odd))


@pytest.mark.parametrize("skew", [1, 2, 3, 4])
@pytest.mark.parametrize("hosts", [1, 2, 3, 4])
def test_the_most_on_one_host_is_what_the_spread_constraint_can_be_led_to(hosts: int, skew: int) -> None:
    """Every order of arrival is tried: a pod may go where, with it, the skew to the emptiest host is kept."""
    reached = {(0,) * hosts}
    for workers in range(1, 11):
        reached = {
            tuple(sorted((*loads[:i], loads[i] + 1, *loads[i + 1 :])))
            for loads in reached
            for i in range(hosts)
            if loads[i] + 1 - min(loads) <= skew
        }
        assert most_under_skew(workers, hosts, skew) == max(max(loads) for loads in reached)


def test_a_spread_that_lets_more_onto_a_host_than_the_rack_map_says_so() -> None:
    def said(plan: FleetPlan) -> list[str]:
        return [item.missing for item in omissions(plan) if "the spread lets" in item.missing]

    plan = prod_plan(chat_replicas=5)
    assert not said(plan)
    # Seven workers on four hosts, at most three on one: three on one and one on each other let one take a fourth.
    (here,) = [o for o in plan.offerings if o.name == "h100-east"]
    places = [3, 2, 1, 1]
    slots = [
        slot for d in plan.domains for h in d.hosts for slot in h.slots if slot.deployment == "chat-h100-east"
    ]
    fours = [slots[0].model_copy(update={"replica": number, "gpus": 2}) for number in range(7)]
    domain = next(d for d in plan.domains if d.offering == here.name)
    mapped = []
    for number, count in enumerate(places):
        host = domain.hosts[0].model_copy(update={"slots": tuple(fours[:count])})
        fours = fours[count:]
        mapped.append(
            domain.model_copy(update={"id": f"h100-east-{number:02d}", "index": number, "hosts": (host,)})
        )
    workers = next(d.workers for d in plan.deployments if d.id == "chat-h100-east")
    smaller = tuple(w.model_copy(update={"gpus_per_host_used": 2, "gpus_per_worker": 2}) for w in workers)
    uneven = with_deployment(plan, "chat-h100-east", workers=smaller, replicas=7)
    uneven = uneven.model_copy(
        update={
            "domains": (*(d for d in plan.domains if d.offering != here.name), *mapped),
            "offerings": tuple(o.model_copy(update={"hosts": 4}) if o is here else o for o in plan.offerings),
        }
    )
    (text,) = said(uneven)
    assert text.startswith("at most 3 of its pods on one host")
    assert "up to 4 on one" in text
    careless = uneven.model_copy(update={"policy": plan.policy.model_copy(update={"survive": ("rack",)})})
    assert not said(careless)


def test_the_cpus_of_the_note_are_those_of_the_objects() -> None:
    for plan in (dev_plan(), prod_plan(), wide_plan(), stack_plan()):
        graph = build_graph(plan)
        engines = sum(_cpus(pod.spec) for pod in pods_of(plan, graph))
        beside = sum(
            count * _cpus(template["spec"])
            for item in graph
            for template, count in with_counts(item.body)
            if template["metadata"]["labels"]["app.kubernetes.io/component"] != "engine"
        )
        (note,) = [item for item in omissions(plan) if item.subject == "nodes"]
        assert f": {engines:,} for engines" in note.missing
        assert f"and {beside:,} on any node" in note.missing


def _cpus(spec: object) -> int:
    assert isinstance(spec, dict)
    return sum(int(container["resources"]["requests"]["cpu"]) for container in spec["containers"])
