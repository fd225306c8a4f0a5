"""Whole fleets, from the file to the rendered objects, judged by arithmetic that is written here and nowhere else."""

from __future__ import annotations

import json
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.conftest import Ran

Fleetc = Callable[..., Ran]
Lost = Callable[[str, str, int], bool]  # offering, domain index as text, host
Held = dict[tuple[str, int], set[tuple[str, int]]]

HERE = Path(__file__).parent


def compiled(fleetc: Fleetc, name: str, folder: Path) -> dict[str, Any]:
    """Compile and verify a scenario in a folder of its own; return its plan as plain data."""
    stack = folder / name
    shutil.copytree(HERE / name, stack)
    ran = fleetc("compile", stack, "-q")
    assert ran.code == 0, ran.err
    verified = fleetc("verify", stack)
    assert verified.code == 0, verified.out + verified.err
    plan: dict[str, Any] = json.loads((stack / "plan.json").read_text())
    return plan


def held_hosts(plan: dict[str, Any]) -> Held:
    """Hosts (domain id, index in it) that each replica touches."""
    held: Held = defaultdict(set)
    for domain in plan["domains"]:
        for host in domain["hosts"]:
            for slot in host["slots"]:
                held[slot["deployment"], slot["replica"]].add((domain["id"], host["index"]))
    return held


def split_id(domain: str) -> tuple[str, str]:
    """The offering and the index of a domain, from its id."""
    offering, _, index = domain.rpartition("-")
    return offering, index


def capacity_without(plan: dict[str, Any], workload: str, is_lost: Lost) -> float:
    """Requests/s of the replicas of which no host is lost."""
    held, left = held_hosts(plan), 0.0
    for deployment in plan["deployments"]:
        for served in deployment["served"]:
            if served["workload"] != workload:
                continue
            each = served["capacity_req_per_s"] / deployment["replicas"]
            for replica in range(deployment["replicas"]):
                hosts = held[deployment["id"], replica]
                assert hosts, f"replica {replica} of {deployment['id']} is placed nowhere"
                places = [(*split_id(domain), host) for domain, host in hosts]
                if not any(is_lost(*place) for place in places):
                    left += each
    return left


def is_host(lost: tuple[str, str, int]) -> Lost:
    return lambda *place: place == lost


def of_offering(lost: str) -> Lost:
    return lambda offering, _index, _host: offering == lost


def of_physical_rack(lost: int, domains: int) -> Lost:
    return lambda _offering, index, _host: int(index) // domains == lost


def pods_gpus(spec: dict[str, Any]) -> int:
    return sum(
        int(c.get("resources", {}).get("limits", {}).get("nvidia.com/gpu", 0)) for c in spec["containers"]
    )


def rendered_gpus(tree: Path) -> int:
    """GPUs that the objects of a tree ask for, each kind by its controller's own rule."""
    total = 0
    for document in (d for f in sorted(tree.rglob("*.yaml")) for d in yaml.safe_load_all(f.read_text())):
        spec = document.get("spec") or {}
        if document["kind"] == "Deployment":
            total += spec["replicas"] * pods_gpus(spec["template"]["spec"])
        elif document["kind"] == "LeaderWorkerSet":
            group = spec["leaderWorkerTemplate"]
            worker = pods_gpus(group["workerTemplate"]["spec"])
            leader = pods_gpus(group["leaderTemplate"]["spec"]) if "leaderTemplate" in group else worker
            total += spec["replicas"] * (leader + worker * (group["size"] - 1))
        elif document["kind"] == "DynamoGraphDeployment":
            for part in spec["components"]:
                nodes = (part.get("multinode") or {}).get("nodeCount", 1)
                total += part.get("replicas", 1) * nodes * pods_gpus(part["podTemplate"]["spec"])
    return total


def held_gpus(plan: dict[str, Any]) -> int:
    return sum(s["gpus"] for d in plan["domains"] for h in d["hosts"] for s in h["slots"])


def domain_hosts(plan: dict[str, Any]) -> Iterator[tuple[str, str, int]]:
    for domain in plan["domains"]:
        offering, index = split_id(domain["id"])
        for host in domain["hosts"]:
            yield offering, index, host["index"]


def test_any_one_of_two_racks_of_four_hosts_may_be_lost(fleetc: Fleetc, tmp_path: Path) -> None:
    plan = compiled(fleetc, "rack-of-four-hosts", tmp_path)
    for rack in (0, 1):
        assert capacity_without(plan, "w", of_physical_rack(rack, 4)) >= 10.0
    hosts = len(plan["domains"])
    assert plan["summary"]["usd_per_hour"] == pytest.approx(hosts * 8 * 2.50)


def test_either_zone_alone_serves_the_peak(fleetc: Fleetc, tmp_path: Path) -> None:
    plan = compiled(fleetc, "zone-lost", tmp_path)
    for zone in ("cheap", "dear"):
        assert capacity_without(plan, "w", of_offering(zone)) >= 16.0
    assert plan["summary"]["usd_per_hour"] == pytest.approx(8 * 1.00 + 8 * 4.00), (
        "one host in each zone is enough"
    )


def test_racks_keep_their_spares_and_outlive_a_tray_and_a_rack(fleetc: Fleetc, tmp_path: Path) -> None:
    plan = compiled(fleetc, "moe-in-racks", tmp_path)
    peak = 60.0 * 1.25 * 1.04
    assert plan["workloads"][0]["demand"]["planning_req_per_s"] == pytest.approx(peak)
    for domain in plan["domains"]:
        assert len(domain["hosts"]) == 18
        assert sum(not host["slots"] for host in domain["hosts"]) >= 2
        assert all(sum(s["gpus"] for s in host["slots"]) <= 4 for host in domain["hosts"])
    for lost in domain_hosts(plan):
        assert capacity_without(plan, "w", is_host(lost)) >= peak
    for rack in range(len(plan["domains"])):
        assert capacity_without(plan, "w", of_physical_rack(rack, 1)) >= peak
    assert plan["summary"]["usd_per_hour"] == pytest.approx(2 * 72 * 6.00), "the loss of a rack asks for two"
    assert fleetc("render", tmp_path / "moe-in-racks", "--out", tmp_path / "tree").code == 0
    assert rendered_gpus(tmp_path / "tree") == held_gpus(plan) == plan["summary"]["gpus_used"]


def test_what_is_committed_is_paid_for_and_used_first(fleetc: Fleetc, tmp_path: Path) -> None:
    plan = compiled(fleetc, "committed-in-pairs", tmp_path)
    assert {o["name"]: o["hosts"] for o in plan["offerings"]} == {"paid": 4, "cheap": 0}
    assert plan["summary"]["usd_per_hour"] == pytest.approx(4 * 8 * 3.00)
    assert plan["certificate"]["proven_optimal"]


def test_prefill_and_decode_apart_hold_as_many_gpus_as_they_render(fleetc: Fleetc, tmp_path: Path) -> None:
    plan = compiled(fleetc, "prefill-apart", tmp_path)
    for deployment in plan["deployments"]:
        assert deployment["mode"] == "disaggregated"
        assert deployment["kv_cache"] == "fp8"
        assert {group["role"] for group in deployment["workers"]} == {"prefill", "decode"}
    for lost in domain_hosts(plan):
        assert capacity_without(plan, "w", is_host(lost)) >= 40.0
    assert fleetc("render", tmp_path / "prefill-apart", "--out", tmp_path / "tree").code == 0
    assert rendered_gpus(tmp_path / "tree") == held_gpus(plan)


def test_a_worker_wider_than_a_host_takes_whole_ones_and_renders_their_gpus(
    fleetc: Fleetc, tmp_path: Path
) -> None:
    plan = compiled(fleetc, "wider-than-a-host", tmp_path)
    (deployment,) = plan["deployments"]
    assert deployment["gpus_per_replica"] % 8 == 0
    assert deployment["domains_per_replica"] == deployment["gpus_per_replica"] // 8 >= 2
    assert fleetc("verify", tmp_path / "wider-than-a-host").code == 0
    assert fleetc("render", tmp_path / "wider-than-a-host", "--out", tmp_path / "tree").code == 0
    assert rendered_gpus(tmp_path / "tree") == held_gpus(plan)


def test_two_hosts_are_packed_to_the_last_gpu(fleetc: Fleetc, tmp_path: Path) -> None:
    plan = compiled(fleetc, "two-hosts-packed-full", tmp_path)
    assert plan["summary"]["usd_per_hour"] == pytest.approx(2 * 8 * 2.89)
    assert plan["certificate"]["bound"] == pytest.approx(2 * 8 * 2.89), "one host cannot outlive itself"
    for lost in domain_hosts(plan):
        for workload, rate in (("many", 28.0), ("few", 2.9), ("long", 5.5)):
            assert capacity_without(plan, workload, is_host(lost)) >= rate


def test_a_budget_of_one_host_and_a_half_does_not_pay_for_two(fleetc: Fleetc, tmp_path: Path) -> None:
    stack = tmp_path / "stack"
    shutil.copytree(HERE / "budget-too-small", stack)
    ran = fleetc("compile", stack, "-q")
    assert ran.code == 3
    assert "error[fleet-is-infeasible]" in ran.err
    advised = re.search(r"raise the budget to \$([0-9.]+)/h", ran.err)
    assert advised, ran.err
    assert 2 * 8 * 2.50 <= float(advised.group(1)) <= 2 * 8 * 2.50 * 1.01
    assert not (stack / "plan.json").exists()
    file = stack / "fleet.yaml"
    file.write_text(file.read_text().replace("budget: $30/h", "budget: $40/h"))
    assert fleetc("compile", stack, "-q").code == 0, "the advice is true"


@pytest.mark.xfail(strict=True, reason="packing is given up for one more host, with a gap of 33 %")
def test_dearer_offerings_beside_do_not_make_the_plan_dearer(fleetc: Fleetc, tmp_path: Path) -> None:
    plan = compiled(fleetc, "one-more-offering", tmp_path)
    assert plan["summary"]["usd_per_hour"] == pytest.approx(2 * 8 * 2.89), "two of the same hosts are enough"


def test_the_engine_takes_the_longest_request_of_a_histogram(fleetc: Fleetc, tmp_path: Path) -> None:
    plan = compiled(fleetc, "long-histogram-tail", tmp_path)
    assert all(d["max_model_len"] >= 16_000 + 200 for d in plan["deployments"])


def test_fewest_gpus_are_the_fewest_bought(fleetc: Fleetc, tmp_path: Path) -> None:
    plan = compiled(fleetc, "fewest-gpus", tmp_path)
    assert plan["summary"]["gpus_bought"] == 16, "two hosts of 8 outlive the loss of one"


def test_a_workload_that_is_cancelled_altogether_is_refused(fleetc: Fleetc, tmp_path: Path) -> None:
    shutil.copytree(HERE / "everything-cancelled", tmp_path / "stack")
    ran = fleetc("compile", tmp_path / "stack", "-q")
    assert ran.code == 1
    assert "error[demand-all-cancelled]" in ran.err
