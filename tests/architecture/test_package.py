"""What is shipped, and the promises that hold across folders."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import fleet.pipeline.calibrate
import fleet.pipeline.stack
import fleet.spec.rules  # noqa: F401  importing the stages registers their rules
from fleet.diagnostics import Rule, all_rules

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as a release would build it."""
    out = tmp_path_factory.mktemp("dist")
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        pytest.skip("uv is not installed beside this Python: run `make setup`")
    built = subprocess.run(
        [uv, "build", "--wheel", "--quiet", "--out-dir", out],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    [path] = out.glob("*.whl")
    return path


def test_the_wheel_holds_the_two_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"fleet", "solver", "fleetc"}
    assert not [name for name in names if "shared" in name or name.endswith(".csv")]


@pytest.mark.parametrize(
    "part",
    [
        "fleet/templates/vllm/versions.yaml",
        "fleet/catalog/data/models.yaml",
        "fleet/perf/data/calibrated.json",
        "fleet/cli/starting_fleet.yaml",
    ],
)
def test_the_wheel_carries_its_data(wheel: Path, part: str) -> None:
    assert part in zipfile.ZipFile(wheel).namelist()


def test_the_wheel_works_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """Unpacked somewhere else, it writes a fleet file, compiles it and renders the plan."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    environment = {"PYTHONPATH": str(tmp_path / "site"), "PATH": "/usr/bin:/bin"}
    for arguments in (["init", "mine"], ["compile", "mine", "-q"], ["render", "mine", "--out", "tree"]):
        code = "import sys; sys.path[:] = [p for p in sys.path if not p.startswith({root!r}) or 'site-packages' in p]; import fleet; assert {site!r} in fleet.__file__, fleet.__file__; from fleet.cli.main import run; run()"
        program = code.format(root=str(ROOT), site=str(tmp_path / "site"))
        ran = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
    assert list((tmp_path / "tree").rglob("deployment-*.yaml"))


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.name)
def test_every_rule_explains_itself_and_is_shown_by_a_test(rule: Rule) -> None:
    assert rule.what.endswith(".") or rule.what.endswith(")")
    assert rule.why
    assert rule.fix
    tests = "\n".join(
        path.read_text() for path in sorted((ROOT / "tests").rglob("*.py")) if "architecture" not in str(path)
    )
    assert re.search(rf"[\"'\[ ]{re.escape(rule.name)}[\"'\] :]", tests), f"no test shows {rule.name}"


def test_no_file_of_the_project_names_a_machine_path_or_the_shared_folder() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    checked = [
        ROOT / name
        for name in listed
        if name.startswith(("fleet/", "solver/", "templates/", "stacks/", "docs/", "README"))
    ]
    for path in checked:
        if path.suffix in {".py", ".md", ".yaml", ".json", ".j2", ".svg"} and path.exists():
            text = path.read_text(encoding="utf-8")
            assert "/work/" not in text, path
            assert "../shared" not in text, path
