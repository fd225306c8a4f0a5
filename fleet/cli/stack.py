"""Where a stack's files are."""

from __future__ import annotations

from pathlib import Path

from fleet.cli.trouble import Stop
from fleet.plan.document import FleetPlan
from fleet.plan.file import read_plan

FLEET, PLAN, LOCK = "fleet.yaml", "plan.json", "perf.lock.json"


def stack_folder(stack: Path) -> Path:
    """Return the folder of a stack given by its folder or its fleet file."""
    return stack if stack.is_dir() else stack.parent


def refuse_plan(stack: Path) -> None:
    """Stop where a plan is given in place of a stack."""
    if stack.is_file() and stack.suffix == ".json":
        raise Stop(f"{stack} is a plan, not a fleet file", f"give the stack's folder: {stack.parent}")


def plan_path(stack: Path) -> Path:
    """Return where a stack's plan is: beside its fleet file."""
    return stack_folder(stack) / PLAN


def plan_of(path: Path) -> FleetPlan:
    """Read a plan given by its own path or by its stack's folder.

    Raises:
        UnreadablePlan: there is none, or it was edited.
    """
    return read_plan(path / PLAN if path.is_dir() else path)


def committed_plan(stack: Path) -> FleetPlan:
    """Read the plan of a stack.

    Raises:
        Stop: the stack does not exist.
        UnreadablePlan: it has no plan, or one that was edited.
    """
    if not stack.exists():
        raise Stop(f"{stack} does not exist", "give a stack's folder, or start one with `fleetc init DIR`")
    return read_plan(plan_path(stack))
