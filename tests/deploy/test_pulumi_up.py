"""The stock Pulumi engine applies plans: real project files, real CLI, stand-ins for the language host and the provider."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleet.plan.file import read_plan
from fleet.render.build import build_graph
from fleet.render.write import write_tree
from tests.deploy.pulumi_project import ROOT, PulumiProject, edit_plan, find_pulumi
from tests.plans import dev_plan, prod_plan

EXPECT_NO_CHANGES_VIOLATED = 7
FLEET = "kind: Fleet\n"
PROD = prod_plan()


@pytest.fixture(scope="module")
def written(pulumi_cli: Path, tmp_path_factory: pytest.TempPathFactory) -> PulumiProject:
    """A project whose stack holds the production sample, not applied yet. Read only: tests take a copy."""
    project = PulumiProject.start(pulumi_cli, tmp_path_factory.mktemp("written"))
    project.write(PROD, FLEET)
    return project


@pytest.fixture(scope="module")
def applied(written: PulumiProject, tmp_path_factory: pytest.TempPathFactory) -> PulumiProject:
    """The same project after `pulumi up`. Read only: tests that go on take a copy."""
    project = written.copy_to(tmp_path_factory.mktemp("applied"))
    project.up()
    return project


@pytest.fixture
def project(written: PulumiProject, tmp_path: Path) -> PulumiProject:
    """A project of the test's own, not applied yet."""
    return written.copy_to(tmp_path)


@pytest.fixture
def running(applied: PulumiProject, tmp_path: Path) -> PulumiProject:
    """A project of the test's own, already applied."""
    return applied.copy_to(tmp_path)


def operations(entries: list[dict[str, Any]]) -> Counter[str]:
    """Count the operations that reached the provider."""
    return Counter(entry["operation"] for entry in entries)


def kind_of(entry: dict[str, Any]) -> str:
    """Return the kind of an operation's object."""
    kind: str = entry["inputs"]["kind"]
    return kind


def name_of(entry: dict[str, Any]) -> str:
    """Return the name of an operation's object."""
    name: str = entry["inputs"]["metadata"]["name"]
    return name


def identity(body: dict[str, Any]) -> tuple[str, str, str, str]:
    """Return what makes an object one object."""
    metadata = body["metadata"]
    return body["apiVersion"], body["kind"], metadata.get("namespace", ""), metadata["name"]


def test_a_preview_creates_everything_and_changes_nothing(project: PulumiProject) -> None:
    planned = project.planned()
    assert set(planned.values()) == {"create"}
    assert sum("kubernetes:" in urn for urn in planned) == len(build_graph(PROD))
    assert project.records() == []


def test_up_creates_every_object_once(applied: PulumiProject) -> None:
    assert operations(applied.records()) == {"create": len(build_graph(PROD))}
    outputs = json.loads(applied.run_checked("stack", "output", "--json"))
    assert outputs["endpoints"] == ["llm.example.com"]
    assert outputs["gpus"] == PROD.summary.gpus_bought
    assert outputs["usd_per_month"] == round(PROD.summary.usd_per_month, 2)
    assert {name: line["gpus"] for name, line in outputs["deployments"].items()} == {
        deployment.id: deployment.gpus for deployment in PROD.deployments
    }


def test_a_second_preview_finds_nothing_to_do(applied: PulumiProject) -> None:
    again = applied.run("preview", "--expect-no-changes")
    assert again.code == 0, again.text


def test_more_demand_only_updates(running: PulumiProject) -> None:
    before = running.objects()
    running.write(prod_plan(chat_replicas=7, demand=1.4), FLEET + "# more chat\n")
    assert running.run("preview", "--expect-no-changes").code == EXPECT_NO_CHANGES_VIOLATED

    done = running.up()
    assert set(operations(done)) == {"update"}, done
    assert running.objects().keys() == before.keys()
    replicas = [entry["inputs"]["spec"]["replicas"] for entry in done if kind_of(entry) == "Deployment"]
    assert replicas == [7], "no other server is touched"


def test_the_provider_receives_the_objects_of_the_gitops_tree(applied: PulumiProject, tmp_path: Path) -> None:
    received = {identity(body): body for body in applied.objects().values()}
    write_tree(PROD, build_graph(PROD), tmp_path / "gitops")
    synced = tmp_path / "gitops" / "clusters"  # benchmarks/ beside it is applied by hand
    files = [yaml.safe_load(path.read_text()) for path in synced.rglob("*.yaml")]
    tree = {identity(body): body for body in files if body["kind"] != "Kustomization"}
    assert received.keys() == tree.keys()
    for key, body in tree.items():
        assert received[key] == body, key


@pytest.mark.parametrize(
    ("removed", "updated"),
    [
        pytest.param(("chat", "documents"), set(), id="the only workloads of their model"),
        pytest.param(
            ("documents",), {("HTTPRoute", "chat")}, id="a workload whose model another one still uses"
        ),
    ],
)
def test_a_removed_workload_only_deletes(
    running: PulumiProject, removed: tuple[str, ...], updated: set[tuple[str, str]]
) -> None:
    """Nothing is created or replaced; at most the route of a workload of the same model is told."""
    before = running.objects()
    running.write(prod_plan(without=removed), FLEET + "# less\n")

    done = running.up()
    assert {entry["operation"] for entry in done} <= {"delete", "update"}
    deletes = [entry for entry in done if entry["operation"] == "delete"]
    assert all(name_of(entry).startswith(removed) for entry in deletes)
    assert {(kind_of(e), name_of(e)) for e in done if e["operation"] == "update"} == updated
    assert len(running.objects()) == len(before) - len(deletes)
    assert not any(name_of({"inputs": body}).startswith(removed) for body in running.objects().values())


def test_capacity_is_let_go_in_two_steps(project: PulumiProject) -> None:
    project.write(dev_plan(), FLEET)
    project.up()
    refused = project.run("destroy", "--yes", "--skip-preview")
    assert refused.code != 0
    assert "it is protected" in " ".join(refused.text.split())
    assert [body["kind"] for body in project.objects().values()] == ["Namespace"]

    project.run_checked("config", "set", "protectCapacity", "false")
    project.up()
    project.run_checked("destroy", "--yes", "--skip-preview")
    assert project.objects() == {}


REFUSALS = [
    pytest.param(
        lambda p: (p.stack_folder / "fleet.yaml").write_text(FLEET + "# changed\n"),
        "prod: The plan is stale: fleet.yaml changed after it was compiled. Compile the stack again.",
        id="the fleet file changed",
    ),
    pytest.param(
        lambda p: edit_plan(p.stack_folder),
        "plan.json was edited after it was compiled",
        id="the plan was edited",
    ),
]


@pytest.mark.parametrize(("change", "reason"), REFUSALS)
def test_a_plan_that_is_not_the_reviewed_one_is_refused_with_the_reason(
    project: PulumiProject, change: Callable[[PulumiProject], object], reason: str
) -> None:
    change(project)
    outcome = project.run("up", "--yes", "--skip-preview")
    assert outcome.code != 0
    assert reason in " ".join(outcome.text.split())
    assert "Traceback" not in outcome.text
    assert "fleetc:index" not in outcome.text, "nothing is registered"
    assert project.records() == []


def test_a_refused_plan_leaves_what_runs_alone(running: PulumiProject) -> None:
    before = len(running.records())
    edit_plan(running.stack_folder)
    assert running.run("up", "--yes", "--skip-preview").code != 0
    assert len(running.records()) == before
    assert "fleetc:index:Fleet" in running.run_checked("stack")


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_a_committed_stack_goes_up(pulumi_cli: Path, tmp_path: Path, stack: str) -> None:
    project = PulumiProject.start(pulumi_cli, tmp_path, stack)
    shutil.copytree(ROOT / "stacks" / stack, project.stack_folder, dirs_exist_ok=True)
    graph = build_graph(read_plan(project.stack_folder / "plan.json"))
    assert operations(project.up()) == {"create": len(graph)}
    received = {identity(body): body for body in project.objects().values()}
    assert received == {identity(dict(resource.body)): resource.body for resource in graph}


def test_the_stack_folder_can_have_another_name_than_the_stack(pulumi_cli: Path, tmp_path: Path) -> None:
    project = PulumiProject.start(pulumi_cli, tmp_path, stack="europe")
    project.write(dev_plan(), FLEET)
    project.stack_folder.rename(project.stack_folder.with_name("dev"))
    project.run_checked("config", "set", "stackFolder", "dev")
    assert any("fleetc:index:Fleet::dev" in urn for urn in project.planned())


def test_an_older_cli_on_the_path_is_passed_over(tmp_path: Path) -> None:
    older = tmp_path / "pulumi"
    older.write_text("#!/bin/sh\necho v3.199.9\n")
    older.chmod(0o755)
    found = find_pulumi(os.pathsep.join([str(tmp_path), os.environ["PATH"]]))
    assert found != older
    older.write_text("#!/bin/sh\necho v3.200.0\n")
    assert find_pulumi(os.pathsep.join([str(tmp_path), os.environ["PATH"]])) == older
