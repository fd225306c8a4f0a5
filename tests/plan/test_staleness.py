"""The digest of a stack's input files and the staleness that it shows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.plan.staleness import spec_digest, staleness
from tests.plans import dev_plan

FLEET = "kind: Fleet\nmetadata:\n  name: dev\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A stack with an overlay, and files that are no input."""
    write(tmp_path, "fleet.yaml", FLEET)
    write(tmp_path, "overlay.yaml", "spec: {}\n")
    write(tmp_path, "plan.json", "{}")
    return tmp_path


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_bytes(text.encode())


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda f: write(f, "fleet.yaml", FLEET + "# more\n"), id="a changed fleet file"),
        pytest.param(lambda f: write(f, "overlay.yaml", "spec: {a: 1}\n"), id="a changed overlay"),
        pytest.param(lambda f: write(f, "overlay-2.yaml", ""), id="a new overlay, even an empty one"),
        pytest.param(lambda f: (f / "overlay.yaml").unlink(), id="a removed overlay"),
        pytest.param(
            lambda f: (f / "overlay.yaml").rename(f / "overlay-9.yaml"),
            id="a renamed overlay, as the order may change",
        ),
        pytest.param(
            lambda f: (write(f, "fleet.yaml", FLEET + "spec: {}\n"), write(f, "overlay.yaml", "")),
            id="text moved from one file to the other",
        ),
    ],
)
def test_another_input_has_another_digest(folder: Path, change: Callable[[Path], object]) -> None:
    before = spec_digest(folder)
    change(folder)
    assert spec_digest(folder) != before


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            lambda f: write(f, "fleet.yaml", FLEET.replace("\n", "\r\n")), id="line ends of another system"
        ),
        pytest.param(lambda f: write(f, "plan.json", "{ }"), id="the plan itself"),
        pytest.param(lambda f: write(f, "perf.lock.json", "{}"), id="a file that is no input"),
    ],
)
def test_the_same_input_has_the_same_digest(folder: Path, change: Callable[[Path], object]) -> None:
    before = spec_digest(folder)
    change(folder)
    assert spec_digest(folder) == before


def test_a_folder_and_its_fleet_file_have_one_digest(folder: Path) -> None:
    assert spec_digest(folder / "fleet.yaml") == spec_digest(folder)


def test_the_place_of_the_folder_does_not_count(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("elsewhere")
    for name in ("overlay.yaml", "fleet.yaml"):
        write(other, name, (folder / name).read_text())
    assert spec_digest(other) == spec_digest(folder)


def test_a_plan_of_this_input_is_not_stale(folder: Path) -> None:
    plan = dev_plan()
    current = plan.model_copy(
        update={"digests": plan.digests.model_copy(update={"spec": spec_digest(folder)})}
    )
    assert staleness(current, folder) is None
    write(folder, "overlay.yaml", "spec: {a: 1}\n")
    assert staleness(current, folder) == (
        "The plan is stale: fleet.yaml or overlay.yaml changed after it was compiled. Compile the stack again."
    )


def test_a_missing_fleet_file_is_said_and_not_raised(tmp_path: Path) -> None:
    reason = staleness(dev_plan(), tmp_path)
    assert reason == "The plan cannot be checked against its input: fleet.yaml: No such file or directory."


def test_a_folder_in_the_place_of_an_input_is_said_and_not_raised(folder: Path) -> None:
    (folder / "overlay-a.yaml").mkdir()
    reason = staleness(dev_plan(), folder)
    assert reason == "The plan cannot be checked against its input: overlay-a.yaml: Is a directory."


def test_a_trace_that_changed_makes_the_plan_stale(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("kind: Fleet\n")
    (tmp_path / "trace.csv").write_text("a,b\n1,2\n")
    digests = dev_plan().digests.model_copy(
        update={
            "spec": spec_digest(tmp_path),
            "files": {"trace.csv": hashlib.sha256(b"a,b\n1,2\n").hexdigest()},
        }
    )
    plan = dev_plan(digests=digests)
    assert staleness(plan, tmp_path) is None
    (tmp_path / "trace.csv").write_text("a,b\n1,3\n")
    assert "trace.csv changed" in (staleness(plan, tmp_path) or "")
    (tmp_path / "trace.csv").unlink()
    assert "trace.csv" in (staleness(plan, tmp_path) or "")
