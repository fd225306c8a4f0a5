"""Prints the review of a plan against another one."""

from __future__ import annotations

import sys

from fleet.cli.trouble import has_color
from fleet.plan.diff import diff_plans
from fleet.plan.document import FleetPlan


def print_review(before: FleetPlan | None, after: FleetPlan, format: str) -> None:
    """Print the review to standard output as text, Markdown or JSON."""
    diff = diff_plans(before, after)
    if format == "markdown":
        from fleet.review.markdown import render_markdown

        sys.stdout.write(render_markdown(diff, after))
    elif format == "json":
        from fleet.review.document import render_json

        sys.stdout.write(render_json(diff, after))
    else:
        from fleet.review.text import render_text

        sys.stdout.write(render_text(diff, after, colour=has_color(sys.stdout)))
