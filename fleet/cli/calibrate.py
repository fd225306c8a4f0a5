"""`fleetc calibrate`: the user's own benchmark results into the file that the stack names."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from os.path import relpath
from pathlib import Path
from typing import Any

from fleet.catalog.load import load_catalog
from fleet.cli.progress import reporting
from fleet.cli.review import print_review
from fleet.cli.stack import PLAN, plan_of, refuse_plan, stack_folder
from fleet.cli.trouble import INFEASIBLE_RULES, Exit, Stop, has_color, print_diagnostics
from fleet.cli.version import version
from fleet.diagnostics import Rejected, render_text
from fleet.perf.measured import load_calibration
from fleet.pipeline.calibrate import NAME, Calibrating, Comparison, Predicted, calibrate
from fleet.pipeline.estimates import estimates_of
from fleet.pipeline.stack import OpenedStack, open_stack
from fleet.pipeline.stages import Inputs, Progress, compile_fleet
from fleet.plan.diff import diff_plans
from fleet.plan.document import FleetPlan
from fleet.plan.file import sha256_hex, write_atomically
from fleet.results.read import Read, read_files
from fleet.review.format import counted
from fleet.units import format_ms, format_share
from solver.problem import Budget

EFFORT_S = 20.0


@dataclass(frozen=True, slots=True)
class Asked:
    """The command as it was given."""

    stack: Path
    results: tuple[Path, ...]
    deployment: str | None
    out: Path | None
    dry_run: bool
    as_json: bool
    quiet: bool


def run(asked: Asked) -> int:
    """Calibrate a stack; return the exit code.

    Raises:
        Rejected: results cannot be used; nothing is written then.
        Stop: the call is wrong.
    """
    refuse_plan(asked.stack)
    with reporting(asked.quiet) as progress:
        progress("reading results")
        read = read_files(asked.results)
        opened = open_stack(asked.stack, load_catalog(), may_lack_calibration=True)
        file = asked.out or _named(asked.stack, opened)
        existing = _text_of(file)
        earlier = None if existing is None else load_calibration(existing, str(file))
        plan = plan_of(asked.stack) if (stack_folder(asked.stack) / PLAN).exists() else None
        progress("fitting")
        try:
            done = calibrate(read, opened.fleet, plan, earlier, deployment=asked.deployment)
        except Rejected as rejected:
            raise opened.rejected(rejected) from None
        text = done.calibration.text()
        planned = None if plan is None else _recompiled(opened, text, progress)
    is_changed = text != existing
    if is_changed and not asked.dry_run:
        write_atomically(file, text)
    _warn(read, done)
    report = _Report(asked, opened, file, is_changed, done, plan, planned)
    sys.stdout.write(json.dumps(report.facts(), indent=2) + "\n") if asked.as_json else report.print_text()
    if isinstance(planned, Rejected):
        print_diagnostics(planned)
        is_infeasible = any(d.rule in INFEASIBLE_RULES for d in planned.diagnostics)
        return Exit.INFEASIBLE if is_infeasible else Exit.ERROR
    return Exit.DONE


def _named(stack: Path, opened: OpenedStack) -> Path:
    """Return the calibration file that the fleet file names, or the one to name."""
    return stack_folder(stack) / (opened.fleet.file.spec.performance.calibration or NAME)


def _text_of(file: Path) -> str | None:
    """Return what the calibration file holds so far, None where there is none."""
    if not file.exists():
        return None
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise Stop(f"{file} is not UTF-8 text", "remove it, or name another file with --out") from None


def _recompiled(opened: OpenedStack, calibration: str, progress: Progress) -> FleetPlan | Rejected:
    """Return the plan that the calibration leads to, or why there is none."""
    performance = opened.fleet.file.spec.performance
    name = performance.calibration or NAME
    inputs = Inputs(
        perf=estimates_of(performance, calibration).model,
        spec_digest=opened.spec_digest,
        file_digests={**opened.file_digests, name: sha256_hex(calibration)},
        compiled_by=f"fleetc {version()}",
        budget=Budget(deterministic_seconds=EFFORT_S),
        diagnostics=opened.diagnostics,
    )
    try:
        return compile_fleet(opened.fleet, inputs, progress).plan
    except Rejected as rejected:
        return opened.rejected(rejected)


def _warn(read: Read, done: Calibrating) -> None:
    if done.warnings:
        sys.stderr.write(render_text(done.warnings, read.sources, color=has_color(sys.stderr)))


@dataclass(frozen=True, slots=True)
class _Report:
    """What the command tells."""

    asked: Asked
    opened: OpenedStack
    file: Path
    is_changed: bool
    done: Calibrating
    plan: FleetPlan | None
    planned: FleetPlan | Rejected | None

    @property
    def line_to_add(self) -> str:
        """The line that the fleet file lacks, if it names another file or none."""
        named = self.opened.fleet.file.spec.performance.calibration
        if named is not None and self.asked.out is None:
            return ""
        path = Path(relpath(self.file.resolve(), stack_folder(self.asked.stack).resolve())).as_posix()
        return "" if path == named else f"calibration: {path}"

    def facts(self) -> dict[str, Any]:
        """Return the report for machines."""
        cells = self.done.calibration.cells
        return {
            "format_version": 1,
            "calibration": str(self.file),
            "changed": self.is_changed,
            "written": self.is_changed and not self.asked.dry_run,
            "line_to_add": self.line_to_add,
            "cells": {name: {"measurements": cell.measurements} for name, cell in cells.items()},
            "results": [_comparison_facts(c) for c in self.done.comparisons],
            "plan": self._plan_facts(),
        }

    def _plan_facts(self) -> dict[str, Any] | None:
        if self.planned is None:
            return None
        if isinstance(self.planned, Rejected):
            return {"infeasible": [d.rule for d in self.planned.diagnostics]}
        from fleet.review.document import render_json

        facts: dict[str, Any] = json.loads(render_json(diff_plans(self.plan, self.planned), self.planned))
        return facts

    def print_text(self) -> None:
        """Print the report for people."""
        out = sys.stdout
        out.write(_table(self.done.comparisons))
        cells = self.done.calibration.cells
        for name, cell in cells.items():
            out.write(f"  {name}: {counted(cell.measurements, 'measurement')}\n")
        again = f", {self.done.replaced} of them anew" if self.done.replaced else ""
        results = counted(len(self.done.comparisons), "result")
        out.write(f"\n{results}{again}; {self._what_was_done()}\n")
        if self.line_to_add:
            out.write(f"Add to the fleet file, under spec:\n\n  performance:\n    {self.line_to_add}\n")
        if self.plan is None:
            out.write("\nThe stack has no plan yet: compile it.\n")
        elif isinstance(self.planned, FleetPlan):
            out.write("\nThe plan with it, against the committed one:\n\n")
            print_review(self.plan, self.planned, "text")

    def _what_was_done(self) -> str:
        if not self.is_changed:
            return f"{self.file} holds them already"
        return f"{self.file} would be written" if self.asked.dry_run else f"wrote {self.file}"


def _comparison_facts(c: Comparison) -> dict[str, Any]:
    m = c.measurement
    return {
        "source": m.source,
        "deployment": m.deployment,
        "cell": m.cell,
        "concurrency": m.loop.concurrency,
        "isl": m.loop.isl,
        "osl": m.loop.osl,
        "measured": {"tpot_ms": m.tpot_ms, "ttft_ms": m.ttft_ms, "output_tok_per_s": c.output_tok_per_s},
        "before": _predicted_facts(c.before),
        "after": _predicted_facts(c.after),
    }


def _predicted_facts(predicted: Predicted | None) -> dict[str, Any] | None:
    if predicted is None:
        return None
    return {name: getattr(predicted, name) for name in Predicted.__slots__}


def _table(comparisons: Sequence[Comparison]) -> str:
    """Return every result as measured and as predicted before and after; errors are 90 % quantiles."""
    lines = []
    for c in comparisons:
        m = c.measurement
        what = f" of {m.deployment}" if m.deployment else ""
        lines.append(
            f"{m.source}{what}: {m.loop.isl:g} prompt and {m.loop.osl:g} answer tokens, {m.loop.concurrency:g} in flight"
        )
        lines.append(f"  {'':12}{'measured':>16}{'before':>22}{'after':>22}")
        for name, measured, before, after in _figures(c):
            lines.append(f"  {name:12}{measured:>16}{before:>22}{after:>22}")
        lines.append("")
    return "\n".join(lines) + "\n"


def _figures(c: Comparison) -> list[tuple[str, str, str, str]]:
    """Return TPOT, TTFT and throughput as text: measured, before, after."""
    m, was, now = c.measurement, c.before, c.after
    return [
        ("TPOT", _ms(m.tpot_ms), _tpot(was), _tpot(now)),
        ("TTFT", _ms(m.ttft_ms), _ttft(was), _ttft(now)),
        ("output", _rate(c.output_tok_per_s), _throughput(was), _throughput(now)),
    ]


def _ms(value: float | None) -> str:
    return "-" if value is None else format_ms(value)


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f} tok/s"


def _tpot(p: Predicted | None) -> str:
    return "-" if p is None else f"{format_ms(p.tpot_ms)} ±{format_share(p.tpot_error_p90)}"


def _ttft(p: Predicted | None) -> str:
    return "-" if p is None else f"{format_ms(p.ttft_ms)} ±{format_share(p.ttft_error_p90)}"


def _throughput(p: Predicted | None) -> str:
    return "-" if p is None else _rate(p.output_tok_per_s)
