"""`fleetc verify-bench`: benchmark results against the committed plan."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from fleet.cli.stack import committed_plan
from fleet.cli.trouble import Exit, Stop, has_color
from fleet.diagnostics import Diagnostic, Rejected, did_you_mean, enumerated, render_text
from fleet.pipeline.runs import UNCLEAR_DEPLOYMENT, UNKNOWN_DEPLOYMENT, diagnostic
from fleet.plan.document import FleetPlan
from fleet.results.read import Read, read_files
from fleet.results.record import WORKLOAD_LABEL
from fleet.review.bench import Comparison, compare
from fleet.review.bench_report import render_bench_json, render_bench_text
from fleet.review.bench_runs import Unplaced, runs_of


def run(stack: Path, results: Sequence[Path], deployment: str | None, as_json: bool) -> Exit:
    """Print what every benchmark says of the plan; return what it comes to.

    Raises:
        Stop: there is no plan, or no such deployment.
        Rejected: a file is wrong, or belongs to no deployment.
    """
    plan = committed_plan(stack)
    _check(plan, deployment)
    read = read_files(results)
    found, unplaced = runs_of(plan, read.results, deployment)
    if unplaced:
        raise Rejected([_report(item) for item in unplaced], read.sources)
    if not as_json:
        _warn(read)
    compared = [compare(plan, item) for item in found]
    command = shlex.join(["fleetc", "calibrate", str(stack), *map(str, results)])
    render = render_bench_json if as_json else render_bench_text
    sys.stdout.write(render(compared, command))
    return outcome(compared)


def outcome(compared: Sequence[Comparison]) -> Exit:
    """Return FAILED where a limit is broken under the planned load, ERROR where nothing can be said, else DONE."""
    planned = [comparison for comparison in compared if comparison.is_planned_load]
    if any(comparison.fails for comparison in planned):
        return Exit.FAILED
    said = len(planned) == len(compared) and all(comparison.holds for comparison in compared)
    return Exit.DONE if compared and said else Exit.ERROR


def _check(plan: FleetPlan, deployment: str | None) -> None:
    known = [d.id for d in plan.deployments]
    if deployment is not None and deployment not in known:
        raise Stop(f"the plan has no deployment '{deployment[:80]}'", did_you_mean(deployment, known))


def _report(item: Unplaced) -> Diagnostic:
    if item.named:
        is_workload = item.named == item.result.labels.get(WORKLOAD_LABEL)
        lacks = "the deployment serves no workload" if is_workload else "the plan has no deployment"
        message = f"{lacks} '{item.named[:80]}'"
        return diagnostic(UNKNOWN_DEPLOYMENT, item.result, message, did_you_mean(item.named, item.known))
    which = f"which deployment it measured is not clear (model '{item.result.model[:80]}')"
    help = f"give --deployment with one of {enumerated(sorted(item.known), last='or')}"
    return diagnostic(UNCLEAR_DEPLOYMENT, item.result, which, help)


def _warn(read: Read) -> None:
    if read.warnings:
        sys.stderr.write(render_text(read.warnings, read.sources, color=has_color(sys.stderr)))
