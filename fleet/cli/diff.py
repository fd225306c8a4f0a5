"""`fleetc diff`: two plans."""

from __future__ import annotations

from pathlib import Path

from fleet.cli.review import print_review
from fleet.cli.stack import plan_of
from fleet.cli.trouble import Exit
from fleet.plan.diff import diff_plans


def run(old: Path, new: Path, format: str, detailed: bool) -> int:
    """Print the review of NEW against OLD; return the exit code."""
    before, after = plan_of(old), plan_of(new)
    print_review(before, after, format)
    return Exit.CHANGED if detailed and diff_plans(before, after).has_changes else Exit.DONE
