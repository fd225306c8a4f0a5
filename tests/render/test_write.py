"""The GitOps tree: what is written, what is left alone, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from fleet.plan.document import FleetPlan
from fleet.render.build import build_graph
from fleet.render.write import MANIFEST, TreeRefused, WrittenTree, tree_files, write_tree
from tests.plans import dev_plan, prod_plan

SERVED = "clusters/dev/inference/deployment-chat-h100-dev.yaml"


def _write(plan: FleetPlan, out: Path) -> WrittenTree:
    return write_tree(plan, build_graph(plan), out)


def _state(out: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(out)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def test_every_object_is_in_one_file_that_reads_back_as_it(tmp_path: Path) -> None:
    plan = prod_plan()
    graph = build_graph(plan)
    write_tree(plan, graph, tmp_path)
    read = {}
    for path in (tmp_path / "clusters").rglob("*.yaml"):
        (document,) = list(yaml.safe_load_all(path.read_text()))
        if document["kind"] != "Kustomization":
            read[
                document["apiVersion"],
                document["kind"],
                document["metadata"].get("namespace", ""),
                document["metadata"]["name"],
            ] = document
    assert read == {
        (item.id.api_version, item.id.kind, item.id.namespace, item.id.name): dict(item.body)
        for item in graph
    }


def test_kustomizations_list_every_file_and_folder_sorted(tmp_path: Path) -> None:
    _write(prod_plan(), tmp_path)
    for path in (tmp_path / "clusters").rglob("kustomization.yaml"):
        listed = yaml.safe_load(path.read_text())["resources"]
        present = [child.name for child in path.parent.iterdir() if child.name != "kustomization.yaml"]
        assert listed == sorted(present)
    assert (tmp_path / "clusters/prod/kustomization.yaml").exists()
    assert (tmp_path / "clusters/prod/_cluster/namespace-inference.yaml").exists()


def test_a_second_run_changes_no_byte_and_no_time_stamp(tmp_path: Path) -> None:
    first = _write(dev_plan(), tmp_path)
    before = _state(tmp_path)
    second = _write(dev_plan(), tmp_path)
    assert first.has_changes
    assert not second.has_changes
    assert second.unchanged == first.written
    assert _state(tmp_path) == before


def test_a_change_touches_only_what_changed(tmp_path: Path) -> None:
    _write(prod_plan(chat_replicas=5), tmp_path)
    before = _state(tmp_path)
    result = _write(prod_plan(chat_replicas=6), tmp_path)
    assert not result.removed
    touched = {name for name, state in _state(tmp_path).items() if before.get(name) != state}
    assert touched == {*result.written, MANIFEST}
    of_the_plan = "benchmarks/prod/_plan/configmap-prod-benchmark-plan.yaml"
    assert of_the_plan in result.written
    assert all("chat" in name for name in result.written if name != of_the_plan)


def _renamed(plan: FleetPlan, fleet: str) -> FleetPlan:
    return plan.model_copy(update={"fleet": fleet})


def test_what_the_plan_no_longer_has_is_removed_with_its_empty_folder(tmp_path: Path) -> None:
    _write(prod_plan(), tmp_path)
    plan = prod_plan(without=("batch",))
    result = _write(plan, tmp_path)
    assert "clusters/prod/inference/dynamographdeployment-batch-h200-east.yaml" in result.removed
    assert {name for name in _state(tmp_path) if name != MANIFEST} == set(tree_files(plan, build_graph(plan)))
    other = _renamed(dev_plan(), "prod")
    elsewhere = other.delivery.model_copy(update={"namespace": "elsewhere"})
    gateway = other.gateway.model_copy(update={"namespace": "elsewhere"})
    _write(other.model_copy(update={"delivery": elsewhere, "gateway": gateway}), tmp_path)
    assert not (tmp_path / "clusters/prod/inference").exists()
    assert (tmp_path / "clusters/prod/elsewhere").exists()


def test_the_folder_of_another_fleet_is_refused_and_left_alone(tmp_path: Path) -> None:
    _write(prod_plan(), tmp_path)
    before = _state(tmp_path)
    with pytest.raises(TreeRefused, match="holds the tree of fleet 'prod', not of 'dev'"):
        _write(dev_plan(), tmp_path)
    assert _state(tmp_path) == before


def test_files_that_are_not_ours_are_left_alone(tmp_path: Path) -> None:
    _write(prod_plan(), tmp_path)
    notes = tmp_path / "clusters/prod/inference/NOTES.md"
    notes.write_text("mine")
    (tmp_path / "README.md").write_text("mine")
    _write(prod_plan(without=("batch",)), tmp_path)
    assert notes.read_text() == "mine"
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_file_in_the_way_that_is_not_ours_stops_everything(tmp_path: Path) -> None:
    foreign = tmp_path / SERVED
    foreign.parent.mkdir(parents=True)
    foreign.write_text("kind: Deployment\n")
    with pytest.raises(TreeRefused, match="deployment-chat-h100-dev"):
        _write(dev_plan(), tmp_path)
    assert _state(tmp_path).keys() == {SERVED}
    assert foreign.read_text() == "kind: Deployment\n"


def test_a_file_with_our_own_bytes_is_taken_over(tmp_path: Path) -> None:
    """A manifest lost in a merge must not block the next run."""
    _write(dev_plan(), tmp_path)
    (tmp_path / MANIFEST).unlink()
    result = _write(dev_plan(), tmp_path)
    assert not result.written
    assert (tmp_path / MANIFEST).exists()


def test_a_file_of_ours_edited_by_hand_is_brought_back_and_named(tmp_path: Path) -> None:
    _write(dev_plan(), tmp_path)
    original = (tmp_path / SERVED).read_text()
    (tmp_path / SERVED).write_text(original.replace("replicas: 2", "replicas: 9"))
    result = _write(dev_plan(), tmp_path)
    assert result.written == result.edited_by_hand == (SERVED,)
    assert (tmp_path / SERVED).read_text() == original


def test_a_file_of_ours_that_was_deleted_comes_back(tmp_path: Path) -> None:
    _write(dev_plan(), tmp_path)
    (tmp_path / SERVED).unlink()
    result = _write(dev_plan(), tmp_path)
    assert result.written == (SERVED,)
    assert not result.edited_by_hand


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"files": []}',
        '{"files": {"../../etc/passwd": "0"}}',
        '{"files": {"/etc/passwd": "0"}}',
        '{"files": {"clusters/../x": "0"}}',
        '{"files": {"README.md": "0"}}',
        "\x00",
        "[" * 100_000,
    ],
    ids=[
        "empty",
        "list",
        "no files",
        "list of files",
        "outside",
        "absolute",
        "dots",
        "not below clusters",
        "binary",
        "deep",
    ],
)
def test_a_manifest_that_was_tampered_with_is_refused_and_nothing_is_deleted(
    tmp_path: Path, text: str
) -> None:
    _write(dev_plan(), tmp_path)
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / MANIFEST).write_text(text)
    before = _state(tmp_path)
    with pytest.raises(TreeRefused, match="Restore it from Git"):
        _write(prod_plan(), tmp_path)
    assert _state(tmp_path) == before


@pytest.mark.parametrize("link", ["clusters", "clusters/dev", "clusters/dev/inference", SERVED, MANIFEST])
def test_nothing_is_written_through_a_symbolic_link(tmp_path: Path, link: str) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (out / link).parent.mkdir(parents=True, exist_ok=True)
    (out / link).symlink_to(elsewhere)
    with pytest.raises(TreeRefused, match="symbolic link"):
        _write(dev_plan(), out)
    assert not list(elsewhere.iterdir())


def test_a_folder_where_a_file_must_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / SERVED).mkdir(parents=True)
    with pytest.raises(TreeRefused, match="deployment-chat-h100-dev"):
        _write(dev_plan(), tmp_path)


def test_a_file_where_a_folder_must_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clusters").write_text("")
    with pytest.raises(TreeRefused, match="folder"):
        _write(dev_plan(), tmp_path)
    (tmp_path / "out").write_text("")
    with pytest.raises(TreeRefused, match="no folder"):
        _write(dev_plan(), tmp_path / "out")


def test_an_interrupted_run_does_not_stand_in_the_way_of_another_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fleet.render import write

    _write(prod_plan(), tmp_path)
    real, calls = write.write_atomically, []

    def breaks_half_way(path: Path, text: str) -> None:
        calls.append(path)
        if len(calls) > 8:
            raise OSError("disk full")
        real(path, text)

    monkeypatch.setattr(write, "write_atomically", breaks_half_way)
    with pytest.raises(OSError, match="disk full"):
        _write(_renamed(dev_plan(replicas=2), "prod"), tmp_path)
    monkeypatch.undo()
    assert (tmp_path / SERVED.replace("clusters/dev", "clusters/prod")).exists()
    plan = _renamed(dev_plan(replicas=3), "prod")
    _write(plan, tmp_path)
    assert {name for name in _state(tmp_path) if name != MANIFEST} == set(tree_files(plan, build_graph(plan)))


def test_the_version_stands_in_the_manifest_only(tmp_path: Path) -> None:
    _write(dev_plan(), tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    assert manifest["generator"].startswith("fleetc ")
    for path in tmp_path.rglob("*.yaml"):
        assert manifest["generator"] not in path.read_text()
        assert path.read_text().startswith("# Code generated by fleetc; DO NOT EDIT.\n")
    assert set(manifest["files"]) == {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.yaml")}
