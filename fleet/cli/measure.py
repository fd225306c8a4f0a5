"""`fleetc measure`: the benchmark runs most worth making, by what their outcome could save or change."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from fleet.catalog.load import load_catalog
from fleet.cli.progress import reporting
from fleet.cli.stack import committed_plan, refuse_plan
from fleet.cli.trouble import Stop
from fleet.pipeline.measure.choose import PlanNotReproduced, Ranking, rank_runs
from fleet.pipeline.measure.narrowing import after_runs
from fleet.pipeline.stack import open_stack
from fleet.pipeline.stages import find_candidates
from fleet.plan.document import FleetPlan, MeasureRun
from fleet.plan.staleness import staleness
from fleet.review.format import counted
from fleet.review.lines import clean, table_lines, wrap
from fleet.review.measure import run_name, runs_table, why

WIDTH = 120
EVERY_CELL = 10_000


def run(stack: Path, *, top: int, as_json: bool, quiet: bool) -> None:
    """Print the runs; every cell within reach is solved again.

    Raises:
        Stop: the plan is stale, or was made from other estimates.
        Rejected: the stack has faults.
    """
    refuse_plan(stack)
    plan = committed_plan(stack)
    if reason := staleness(plan, stack):
        raise Stop(reason, f"run `fleetc compile {stack}`")
    with reporting(quiet) as progress:
        progress("reading the fleet file")
        opened = open_stack(stack, load_catalog())
        perf = opened.performance()
        found = find_candidates(opened.fleet, perf, progress)
        try:
            ranking = rank_runs(
                opened.fleet, found, plan, perf, after_runs(), most_resolved=EVERY_CELL, progress=progress
            )
        except PlanNotReproduced as other:
            raise Stop(
                f"the plan was made from other estimates: {other}", f"run `fleetc compile {stack}`"
            ) from None
    sys.stdout.write(_json(plan, ranking, top) if as_json else _text(plan, ranking, top, stack))


def _text(plan: FleetPlan, ranking: Ranking, top: int, stack: Path) -> str:
    unit, shown = plan.certificate.unit, ranking.runs[:top]
    table = runs_table(shown, unit)
    rows = tuple(tuple(clean(cell) for cell in row) for row in table.rows)
    lines = table_lines(table.columns, rows, WIDTH) if shown else ["no run could decide anything"]
    for number, one in enumerate(shown, start=1):
        lines += ["", f"{number}  {clean(run_name(one))}"]
        lines += [f"   {part}" for text in why(one, unit) for part in wrap(clean(text), WIDTH - 3)]
    lines += ["", *_closing(plan, ranking, top, stack)]
    return "\n".join(lines) + "\n"


def _closing(plan: FleetPlan, ranking: Ranking, top: int, stack: Path) -> list[str]:
    lines = []
    hidden = ranking.runs[top:]
    if hidden:
        best = (
            f", worth {hidden[0].worth:,.2f} {plan.certificate.unit} at most"
            if hidden[0].worth
            else ", worth nothing expected"
        )
        lines.append(f"{counted(len(hidden), 'run')} more{best}: --top {len(ranking.runs)} shows all.")
    if differ := difference(plan, ranking):
        lines.append(differ)
    if any(run.deployment for run in ranking.runs[:top]):
        lines.append(
            f"Make a run: `fleetc render {stack} --out DIR`, apply the benchmark job of the deployment, "
            f"then `fleetc calibrate {stack} RESULT`."
        )
    return [part for line in lines for part in wrap(line, WIDTH)]


def difference(plan: FleetPlan, ranking: Ranking) -> str:
    """Say why the plan's first runs are not those of the list; empty where they are."""
    listed = [_key(run) for run in ranking.runs[: len(plan.measure_next)]]
    if [_key(run) for run in plan.measure_next] == listed:
        return ""
    if not plan.measure_next:
        return "The plan carries no runs: it was compiled by an older fleetc, or none was within reach."
    return (
        "The plan's first runs differ: a compile solves only the cells again whose first-order gain is largest, "
        f"here all {ranking.within_reach} were; or the estimates changed since."
    )


def _key(run: MeasureRun) -> tuple[str, str, str, str, str]:
    return run.workload, run.offering, run.engine, run.weights.value, run.layout


def _json(plan: FleetPlan, ranking: Ranking, top: int) -> str:
    facts = {
        "fleet": plan.fleet,
        "unit": plan.certificate.unit,
        "cells_within_reach": ranking.within_reach,
        "cells_solved_again": ranking.resolved,
        "difference_from_plan": difference(plan, ranking),
        "runs": [run.model_dump(mode="json") for run in ranking.runs[:top]],
    }
    return json.dumps(facts, indent=2, sort_keys=True) + "\n"
