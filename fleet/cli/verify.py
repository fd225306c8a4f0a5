"""`fleetc verify`: every rule of the committed plan by arithmetic, and whether it is stale."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from fleet.cli.stack import LOCK, committed_plan, stack_folder
from fleet.cli.trouble import Exit
from fleet.plan.document import FleetPlan
from fleet.plan.file import sha256_hex
from fleet.plan.staleness import staleness
from fleet.plan.verify import RULES_CHECKED, verify_plan
from fleet.review.format import counted


def _lock_problem(plan: FleetPlan, stack: Path) -> str | None:
    """Say why the performance lock beside the plan is not the one that the plan was made from."""
    lock = stack_folder(stack) / LOCK
    if not lock.is_file():
        return f"{lock} is missing. Compile the stack again."
    if sha256_hex(lock.read_bytes()) != plan.digests.performance:
        return f"{lock} is not the one that the plan was made from. Compile the stack again."
    return None


def run(stack: Path) -> None:
    """Print what was recomputed and every rule that does not hold; exit with 1 when one does not."""
    plan = committed_plan(stack)
    violations = verify_plan(plan)
    for violation in violations:
        sys.stderr.write(f"error[{violation.rule}]: {violation.subject}: {violation.message}\n")
    reason = staleness(plan, stack) or _lock_problem(plan, stack)
    if reason:
        sys.stderr.write(f"error[stale-plan]: {reason}\n")
    summary = plan.summary
    sys.stdout.write(
        f"{len(RULES_CHECKED)} rules recomputed over {counted(len(plan.deployments), 'deployment')}, {counted(summary.gpus_used, 'GPU')}, "
        f"{counted(len(plan.domains), 'NVLink domain')}: "
        f"{len(violations)} violations; the plan is {'stale' if reason else 'up to date'}\n"
    )
    if violations or reason:
        raise typer.Exit(Exit.ERROR)
