"""`fleetc check`: diagnostics only."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from fleet.catalog.load import load_catalog
from fleet.cli.stack import refuse_plan
from fleet.cli.trouble import Exit, has_color, print_diagnostics
from fleet.diagnostics import Rejected, render_json, render_text
from fleet.pipeline.stack import open_stack
from fleet.review.format import counted


def run(stack: Path, as_json: bool) -> None:
    """Print every diagnostic of the fleet file; exit with 1 when one is an error."""
    refuse_plan(stack)
    try:
        opened = open_stack(stack, load_catalog())
        warnings = (*opened.diagnostics, *map(opened.located, opened.estimates().warnings))
    except Rejected as rejected:
        print_diagnostics(rejected, as_json=as_json)
        raise typer.Exit(Exit.ERROR) from None
    if as_json:
        sys.stdout.write(render_json(warnings))
        return
    if warnings:
        sys.stdout.write(render_text(warnings, opened.sources, color=has_color(sys.stdout)))
    fleet = opened.fleet
    sizes = ((fleet.workloads, "workload"), (fleet.models, "model"), (fleet.offerings, "offering"))
    counts = ", ".join(counted(len(what), noun) for what, noun in sizes)
    sys.stdout.write(f"{stack}: no errors ({counts})\n")
