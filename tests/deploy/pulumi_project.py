"""A temporary Pulumi project around a plan, run by the stock CLI with stand-ins for the host and the provider."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fleet.deploy.stack import PLAN_FILE
from fleet.plan.document import FleetPlan
from fleet.plan.file import dump_plan
from fleet.plan.staleness import FLEET_FILE, spec_digest

ROOT = Path(__file__).resolve().parents[2]
STAND_INS = {
    "pulumi-language-python": "language_host.py",
    "pulumi-resource-kubernetes": "kubernetes_stand_in.py",
}
TIMEOUT_S = 60


def version_of(pulumi: Path) -> tuple[int, ...] | None:
    """Return the version of a Pulumi CLI, or None when it does not say."""
    try:
        done = subprocess.run(
            [pulumi, "version"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.fullmatch(r"v?(\d+)\.(\d+)\.(\d+)\S*", done.stdout.strip())
    return tuple(map(int, found.groups())) if found else None


def required_version() -> tuple[int, ...]:
    """Return the lowest version that Pulumi.yaml allows."""
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text(encoding="utf-8"))
    return tuple(map(int, project["requiredPulumiVersion"].removeprefix(">=").split(".")))


def find_pulumi(search_path: str) -> Path | None:
    """Return the CLI on `search_path` if Pulumi.yaml allows its version, else the one that `make pulumi` built, else None."""
    on_path = shutil.which("pulumi", path=search_path)
    where = subprocess.run(
        [ROOT / "tools/build-pulumi.sh", "--where"], capture_output=True, text=True, check=True
    )
    for candidate in ([Path(on_path)] if on_path else []) + [Path(where.stdout.strip(), "pulumi")]:
        version = version_of(candidate) if candidate.is_file() else None
        if version is not None and version >= required_version():
            return candidate
    return None


def edit_plan(stack_folder: Path) -> None:
    """Change one figure of a compiled plan, as a hand would."""
    path = stack_folder / PLAN_FILE
    plan = json.loads(path.read_text(encoding="utf-8"))
    plan["summary"]["gpus_bought"] -= 1
    path.write_text(json.dumps(plan), encoding="utf-8")


@dataclass(frozen=True)
class Outcome:
    """What one run of the CLI answered."""

    code: int
    output: str
    errors: str

    @property
    def text(self) -> str:
        """Everything that it printed."""
        return self.output + self.errors


class PulumiProject:
    """A copy of the real project files with one stack in it; its state, its plugins and its record lie beside it."""

    def __init__(self, pulumi: Path, folder: Path, stack: str = "prod") -> None:
        self.pulumi, self.folder, self.stack = pulumi, folder, stack
        self.root = folder / "project"
        self.stack_folder = self.root / "stacks" / stack
        self._record = folder / "record.jsonl"

    @classmethod
    def start(cls, pulumi: Path, folder: Path, stack: str = "prod") -> PulumiProject:
        """Write a new project into an empty folder."""
        project = cls(pulumi, folder, stack)
        project.stack_folder.mkdir(parents=True)
        (folder / "state").mkdir()
        for name in ("Pulumi.yaml", "stacks/__main__.py", f"stacks/Pulumi.{stack}.yaml"):
            if (ROOT / name).exists():
                shutil.copy(ROOT / name, project.root / name)
        (folder / "bin").mkdir()
        for name, script in STAND_INS.items():
            starter = folder / "bin" / name
            starter.write_text(
                f'#!/bin/sh\nexec "{sys.executable}" "{ROOT / "tools/pulumi" / script}" "$@"\n'
            )
            starter.chmod(0o755)
        project.run_checked("stack", "init", stack)
        return project

    def copy_to(self, folder: Path) -> PulumiProject:
        """Return a project of its own in `folder`, with the same files, state and record."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return PulumiProject(self.pulumi, folder, self.stack)

    def _environment(self) -> dict[str, str]:
        search_path = [str(self.folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
        return {
            **{key: os.environ[key] for key in ("HOME", "LANG", "TMPDIR") if key in os.environ},
            "PATH": os.pathsep.join(search_path),
            "PULUMI_HOME": str(self.folder / "home"),
            "PULUMI_BACKEND_URL": (self.folder / "state").as_uri(),
            "PULUMI_STACK": self.stack,
            "PULUMI_CONFIG_PASSPHRASE": "",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "FLEETC_TEST_RECORD": str(self._record),
        }

    def run(self, *arguments: str) -> Outcome:
        """Run the CLI in the project."""
        done = subprocess.run(
            [self.pulumi, "--non-interactive", "--color=never", "--cwd", self.root, *arguments],
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def run_checked(self, *arguments: str) -> str:
        """Run the CLI and return its output; a failure fails the test with all that it printed."""
        outcome = self.run(*arguments)
        assert outcome.code == 0, outcome.text
        return outcome.output

    def write(self, plan: FleetPlan, text: str) -> None:
        """Put a fleet file and a plan that belongs to it into the stack's folder."""
        (self.stack_folder / FLEET_FILE).write_text(text, encoding="utf-8")
        digests = plan.digests.model_copy(update={"spec": spec_digest(self.stack_folder)})
        compiled = plan.model_copy(update={"digests": digests})
        (self.stack_folder / PLAN_FILE).write_text(dump_plan(compiled), encoding="utf-8")

    def planned(self) -> dict[str, str]:
        """Return what a preview would do to each resource, by URN."""
        digest = json.loads(self.run_checked("preview", "--json"))
        return {step["urn"]: step["op"] for step in digest["steps"]}

    def up(self) -> list[dict[str, Any]]:
        """Apply the plan and return the operations that reached the provider."""
        before = len(self.records())
        self.run_checked("up", "--yes", "--skip-preview")
        return self.records()[before:]

    def records(self) -> list[dict[str, Any]]:
        """Return every operation that the provider received, in order."""
        if not self._record.exists():
            return []
        return [json.loads(line) for line in self._record.read_text(encoding="utf-8").splitlines()]

    def objects(self) -> dict[str, Any]:
        """Return the objects that exist after all recorded operations, by URN."""
        alive: dict[str, Any] = {}
        for entry in self.records():
            if entry["operation"] == "delete":
                del alive[entry["urn"]]
            else:
                alive[entry["urn"]] = entry["inputs"]
        return alive
