"""Which plans are deployed and which are refused, before the engine is asked anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pulumi
import pytest

import fleet.deploy.stack as stack
from fleet.deploy import deploy_stack
from fleet.plan.document import FleetPlan, Target
from fleet.plan.file import dump_plan
from fleet.plan.staleness import spec_digest
from tests.deploy.pulumi_project import edit_plan
from tests.plans import dev_plan, prod_plan


def write_stack(folder: Path, plan: FleetPlan) -> Path:
    """Write a stack's folder whose plan belongs to its fleet file."""
    (folder / "fleet.yaml").write_text("kind: Fleet\n")
    digests = plan.digests.model_copy(update={"spec": spec_digest(folder)})
    (folder / "plan.json").write_text(dump_plan(plan.model_copy(update={"digests": digests})))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A stack called `dev`."""
    (tmp_path / "dev").mkdir()
    return write_stack(tmp_path / "dev", dev_plan())


def test_the_plan_of_this_input_is_read(folder: Path) -> None:
    assert stack.read_current_plan(folder).deployments == dev_plan().deployments


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(
            lambda f: (f / "fleet.yaml").write_text("kind: Fleet\nspec: {}\n"),
            "dev: The plan is stale: fleet.yaml changed after it was compiled. Compile the stack again.",
            id="a changed fleet file",
        ),
        pytest.param(
            lambda f: (f / "overlay.yaml").write_text("{}"),
            "dev: The plan is stale: fleet.yaml or overlay.yaml changed after it was compiled.",
            id="a new overlay",
        ),
        pytest.param(
            lambda f: (f / "fleet.yaml").unlink(), "cannot be checked against its input", id="no fleet file"
        ),
        pytest.param(edit_plan, "dev: plan.json was edited after it was compiled", id="an edited plan"),
        pytest.param(lambda f: (f / "plan.json").unlink(), "does not exist. Compile the stack", id="no plan"),
        pytest.param(lambda f: (f / "plan.json").write_text("{"), "is not JSON", id="half a plan"),
        pytest.param(lambda f: (f / "plan.json").write_bytes(b"\xff\x00"), "not UTF-8", id="a binary file"),
        pytest.param(
            lambda f: ((f / "plan.json").unlink(), (f / "plan.json").mkdir()), "cannot be read", id="a folder"
        ),
        pytest.param(
            lambda f: (f / "plan.json").write_text('{"kind": "FleetPlan", "format_version": "2.0"}'),
            "this fleetc reads 1.x",
            id="a plan of a later fleetc",
        ),
    ],
)
def test_a_plan_that_is_not_the_reviewed_one_is_refused(
    folder: Path, change: Callable[[Path], object], reason: str
) -> None:
    change(folder)
    with pytest.raises(pulumi.RunError) as refused:
        deploy_stack(folder)
    assert reason in str(refused.value)


def test_a_plan_that_no_target_can_express_is_refused(tmp_path: Path) -> None:
    plan = prod_plan()
    deployments = tuple(
        line.model_copy(update={"target": Target.DEPLOYMENT}) if len(line.workers) > 1 else line
        for line in plan.deployments
    )
    folder = write_stack(tmp_path, plan.model_copy(update={"deployments": deployments}))
    with pytest.raises(pulumi.RunError, match="prefill and decode"):
        deploy_stack(folder)
