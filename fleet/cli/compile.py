"""`fleetc compile`: solve, verify, write the plan and its lock, print the review."""

from __future__ import annotations

import sys
from pathlib import Path

from fleet.catalog.load import load_catalog
from fleet.cli.progress import reporting
from fleet.cli.review import print_review
from fleet.cli.stack import LOCK, PLAN, plan_of, refuse_plan, stack_folder
from fleet.cli.trouble import Exit
from fleet.cli.version import version
from fleet.diagnostics import Rejected
from fleet.pipeline.lock import Lock, Origin, read_lock
from fleet.pipeline.stack import OpenedStack, open_stack
from fleet.pipeline.stages import Compiled, Inputs, Progress, compile_fleet
from fleet.plan.diff import diff_plans
from fleet.plan.document import FleetPlan
from fleet.plan.file import UnreadablePlan, dump_plan, read_plan, sha256_hex, write_atomically
from solver.problem import Budget


def run(
    stack: Path,
    *,
    check: bool,
    against: Path | None,
    format: str,
    effort_s: float,
    detailed: bool,
    quiet: bool,
    locked: bool,
) -> int:
    """Compile a stack; return the exit code."""
    reference = plan_of(against) if against is not None else None
    with reporting(quiet) as progress:
        compiled = compile_stack(stack, effort_s, progress, churn_against=reference, locked=locked)
    text = dump_plan(compiled.plan)
    folder = stack_folder(stack)
    committed = _committed(folder)
    before = reference or committed
    print_review(before, compiled.plan, format)
    if check:
        return _checked(folder, {PLAN: text, LOCK: compiled.lock})
    for name, content in ((PLAN, text), (LOCK, compiled.lock)):
        _write_if_changed(folder / name, content)
    changed = before is None or diff_plans(before, compiled.plan).has_changes
    return Exit.CHANGED if detailed and changed else Exit.DONE


def compile_stack(
    stack: Path,
    effort_s: float,
    progress: Progress,
    *,
    churn_against: FleetPlan | None = None,
    locked: bool = False,
) -> Compiled:
    """Read a stack and compile it; `locked` from the estimates of its lock alone, with no backend.

    Raises:
        Rejected: with the sources that the diagnostics point into.
    """
    refuse_plan(stack)
    progress("reading the fleet file")
    opened = open_stack(stack, load_catalog())
    weighs_churn = opened.fleet.file.spec.policy.churn_weight > 0
    previous = churn_against if weighs_churn else None
    lock = _lock_of(opened, stack) if locked else None
    estimates = lock.estimates if lock else opened.estimates()
    inputs = Inputs(
        perf=estimates.model,
        perf_warnings=estimates.warnings,
        spec_digest=opened.spec_digest,
        file_digests=opened.file_digests,
        compiled_by=f"fleetc {version()}",
        budget=Budget(deterministic_seconds=effort_s),
        diagnostics=opened.diagnostics,
        previous_plan=previous,
        previous_digest=None if previous is None else sha256_hex(dump_plan(previous)),
        lock=lock,
    )
    try:
        return compile_fleet(opened.fleet, inputs, progress)
    except Rejected as rejected:
        raise opened.rejected(rejected) from None


def _lock_of(opened: OpenedStack, stack: Path) -> Lock:
    """Return the stack's lock, as far as it was written for what the fleet file says of estimates now.

    Raises:
        Rejected: it cannot be read, was edited, or holds other estimates.
    """
    lock = read_lock(stack_folder(stack) / LOCK)
    try:
        lock.check(Origin.of(opened.fleet.file.spec.performance, opened.file_digests))
    except Rejected as rejected:
        raise opened.rejected(rejected) from None
    return lock


def _committed(folder: Path) -> FleetPlan | None:
    """Return the stack's plan, None where there is none that can be read."""
    path = folder / PLAN
    if not path.exists():
        return None
    try:
        return read_plan(path)
    except UnreadablePlan as unreadable:
        sys.stderr.write(f"fleetc: {unreadable} It is taken as absent.\n")
        return None


def _checked(folder: Path, wanted: dict[str, str]) -> int:
    """Say which committed files differ from what the fleet file gives now."""
    stale = [name for name, text in wanted.items() if not _holds(folder / name, text)]
    if not stale:
        return Exit.DONE
    differs = "differs" if len(stale) == 1 else "differ"
    sys.stderr.write(
        f"fleetc: {' and '.join(stale)} in {folder} {differs} from what the fleet file gives now\n"
        f"  = help: run `fleetc compile {folder}` and commit the result\n"
    )
    return Exit.CHANGED


def _holds(path: Path, content: str) -> bool:
    """Whether a file holds just this text, whatever bytes it holds now."""
    return path.is_file() and path.read_bytes() == content.encode()


def _write_if_changed(path: Path, content: str) -> None:
    """Write a file unless it holds just that, so that nothing is touched without a change."""
    if not _holds(path, content):
        write_atomically(path, content)
