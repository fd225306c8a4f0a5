"""The sample plans that other tests render, deploy and review are sound themselves."""

from __future__ import annotations

import pytest

from fleet.plan.document import DeploymentMode, FleetPlan, Target
from fleet.plan.file import dump_plan, parse_plan
from fleet.plan.verify import verify_plan
from tests.plans import dev_plan, prod_plan

SAMPLES = {
    "dev": dev_plan(),
    "dev with a full host": dev_plan(replicas=4),
    "prod": prod_plan(),
    "prod without batch": prod_plan(without=("batch",)),
    "prod with more chat, documents elsewhere": prod_plan(
        6, ("batch",), demand=1.2, chat_seqs=96, documents_on_h200=True
    ),
}


@pytest.mark.parametrize("plan", SAMPLES.values(), ids=list(SAMPLES))
def test_sample_keeps_every_rule_of_a_plan(plan: FleetPlan) -> None:
    assert verify_plan(plan) == []


@pytest.mark.parametrize("plan", SAMPLES.values(), ids=list(SAMPLES))
def test_sample_reads_back_from_its_text(plan: FleetPlan) -> None:
    assert parse_plan(dump_plan(plan)) == plan


def test_prod_has_every_shape_that_the_compiler_writes() -> None:
    deployments = prod_plan().deployments
    assert {d.target for d in deployments} == set(Target)
    assert {d.mode for d in deployments} == set(DeploymentMode)
    assert {d.kv_link for d in deployments} == {"none", "nvlink", "network"}
    assert {d.domains_per_replica for d in deployments} == {0, 2}
    assert max(g.hosts_per_worker for d in deployments for g in d.workers) == 8
