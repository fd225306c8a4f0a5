"""`fleetc verify`: every rule of the committed plan by arithmetic, and whether it is stale."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from fleet.cli.stack import committed_plan
from fleet.cli.trouble import Exit
from fleet.plan.staleness import staleness
from fleet.plan.verify import RULES_CHECKED, verify_plan
from fleet.review.format import counted


def run(stack: Path) -> None:
    """Print what was recomputed and every rule that does not hold; exit with 1 when one does not."""
    plan = committed_plan(stack)
    violations = verify_plan(plan)
    for violation in violations:
        sys.stderr.write(f"error[{violation.rule}]: {violation.subject}: {violation.message}\n")
    reason = staleness(plan, stack)
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
