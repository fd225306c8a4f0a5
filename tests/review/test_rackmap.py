"""The rack map: every GPU is a cell, spares and idle GPUs are told apart, equal domains are drawn once and counted."""

from __future__ import annotations

import re

import pytest

from fleet.layout import Role
from fleet.plan.document import FleetPlan, MappedDomain, MappedHost, Slot
from fleet.review.rackmap import rack_map
from tests.plans import dev_plan, prod_plan
from tests.review.reviewed import many_deployments

ROW = re.compile(
    r"^(?P<label>\d\d(?:-\d\d)?(?:, \d\d(?:-\d\d)?)*)(?: \((?P<times>\d+) alike\))? +(?P<cells>[A-Za-z.*]{8})(?: |$)"
)


def drawn(plan: FleetPlan, offering: str) -> tuple[str, ...]:
    picture = next(p for p in rack_map(plan) if p.title.startswith(f"{offering}:"))
    return picture.lines


def host_map(plan: FleetPlan, *hosts: tuple[Slot, ...]) -> FleetPlan:
    """dev with these slots, one tuple for each of its hosts."""
    domains = tuple(
        MappedDomain(
            id=f"h100-dev-{i:02d}", offering="h100-dev", index=i, hosts=(MappedHost(index=0, slots=slots),)
        )
        for i, slots in enumerate(hosts)
    )
    return plan.model_copy(update={"domains": domains})


def slot(deployment: str, replica: int, gpus: int, role: Role = Role.MIXED) -> Slot:
    return Slot(deployment=deployment, replica=replica, role=role, worker=0, gpus=gpus)


def test_host_has_a_letter_for_each_replica_and_a_dot_for_each_idle_gpu() -> None:
    assert drawn(dev_plan(), "h100-dev") == ("00  AABB....  AB = chat-h100-dev replicas 0-1",)


def test_hosts_alike_are_drawn_once_with_their_number_and_all_their_replicas() -> None:
    assert drawn(prod_plan(), "h100-east") == (
        "00-01 (2 alike)  AAAABBBB  AB = chat-h100-east replicas 0-3",
        "02               AAAA....  A = chat-h100-east replica 4",
    )


def test_prefill_workers_are_lower_case() -> None:
    assert drawn(prod_plan(), "h200-east") == (
        "00, 02 (2 alike)  aaaaaaaa  a = batch-h200-east replicas 0-1",
        "01, 03 (2 alike)  AAAAAAAA  A = batch-h200-east replicas 0-1",
    )


def test_rack_shows_18_trays_of_4_gpus_with_its_spare() -> None:
    lines = drawn(prod_plan(), "gb200-east")
    trays, cells = lines[1].split(), lines[2].split()
    assert trays == [f"{i:02d}" for i in range(18)]
    assert [len(tray) for tray in cells] == [4] * 18
    assert cells[17] == "****"
    assert cells[:2] == ["aaaa", "aaaa"]
    assert cells[2:10] == ["AAAA"] * 8
    assert "  aA = agents-gb200-east replica 0" in lines
    assert "  BC = documents-gb200-east replicas 0, 2" in lines


@pytest.mark.parametrize(
    "plan", [dev_plan(), prod_plan(), prod_plan(chat_replicas=24, demand=4.0), many_deployments(30)]
)
def test_cells_times_their_number_are_the_gpus_of_the_map(plan: FleetPlan) -> None:
    letters = spares = idle = 0
    for picture in rack_map(plan):
        for line in picture.lines:
            row = ROW.match(line)
            trays = re.fullmatch(r"  ([A-Za-z.*]{4} ?)+", line)
            times = int(row["times"] or 1) if row else 1
            cells = row["cells"] if row else line.replace(" ", "") if trays else ""
            letters += times * sum(c.isalpha() for c in cells)
            spares += times * cells.count("*")
            idle += times * cells.count(".")
    assert letters == sum(d.gpus for d in plan.deployments)
    assert letters + spares + idle == plan.summary.gpus_bought or plan.fleet == "dev"
    assert spares == sum(o.bought_units * o.spare_hosts_per_domain * o.gpus_per_host for o in plan.offerings)


def test_hosts_that_differ_in_the_deployment_are_not_folded() -> None:
    plan = host_map(dev_plan(), (slot("a", 0, 8),), (slot("b", 0, 8),), (slot("a", 1, 8),))
    assert drawn(plan, "h100-dev") == (
        "00, 02 (2 alike)  AAAAAAAA  A = a replicas 0-1",
        "01                AAAAAAAA  A = b replica 0",
    )


def test_letters_start_again_after_z_and_the_legend_says_so() -> None:
    plan = prod_plan()
    rack = next(d for d in plan.domains if d.offering == "gb200-east")
    hosts = tuple(
        MappedHost(index=h, slots=tuple(slot("small", 4 * h + i, 1) for i in range(4)))
        if h < 17
        else MappedHost(index=h, slots=(), is_spare=True)
        for h in range(18)
    )
    lines = drawn(
        plan.model_copy(update={"domains": (rack.model_copy(update={"hosts": hosts}),)}), "gb200-east"
    )
    assert lines[2].split()[6] == "YZAB"
    assert any("small replicas 0-67 (letters start again after Z)" in line for line in lines)


def test_every_line_fits_96_columns() -> None:
    for plan in (prod_plan(), many_deployments(40)):
        assert all(len(line) <= 96 or " = " in line for p in rack_map(plan) for line in p.lines)
