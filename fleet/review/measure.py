"""What to measure next, as the review and `fleetc measure` show it."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.plan.document import FleetPlan, MeasureOutcome, MeasureRun
from fleet.review.format import counted
from fleet.review.proof import amount
from fleet.review.report import Facts, Item, Items, Section, Table, columns
from fleet.units import format_share, format_usd, format_usd_per_hour


def measure_section(plan: FleetPlan, importance: int) -> Section:
    """Return the runs that the plan carries, with what each could change."""
    unit = plan.certificate.unit
    notes = tuple(
        Item(f"{number}. {run_name(run)}", notes=tuple(why(run, unit)))
        for number, run in enumerate(plan.measure_next, start=1)
    )
    return Section(
        "What to measure next", (runs_table(plan.measure_next, unit), Items(notes), METHOD), importance
    )


METHOD = Facts(
    (
        ("worth", "expected saving an hour of a plan that knows the outcome, each outcome sized again"),
        ("tokens", "means of prompt and answer; in flight: requests of one replica, held constant"),
        ("error", "90 % bar of TPOT before and after the run"),
    )
)


def runs_table(runs: Sequence[MeasureRun], unit: str) -> Table:
    """Return one row for each run, numbered."""
    names = columns(
        ">",
        f">Worth {unit}",
        "Workload",
        "Layout",
        "Offering",
        ">Tokens",
        ">In flight",
        ">GPU-h",
        ">Cost",
        ">Error",
    )
    rows = tuple(
        (
            f"{number}",
            f"{run.worth:,.2f}",
            run.workload,
            f"{run.layout} {run.weights.value} {run.engine}",
            run.offering,
            f"{run.input_tokens_mean:,.0f}/{run.output_tokens_mean:,.0f}",
            f"{run.concurrency:,}",
            f"{run.gpu_hours:.2f}",
            format_usd(run.usd),
            f"{format_share(run.error_before_p90)} > {format_share(run.error_after_p90)}",
        )
        for number, run in enumerate(runs, start=1)
    )
    return Table(names, rows)


def run_name(run: MeasureRun) -> str:
    """Name a run: the workload's load on one replica of what."""
    return f"{run.workload} as {run.layout}, {run.weights.value}, {run.engine} {run.engine_version}"


def why(run: MeasureRun, unit: str) -> list[str]:
    """Say how the run is made, what rests on it, and what its outcomes change."""
    job = (
        f"the benchmark job of deployment '{run.deployment}' offers this load at a rate, which tells TPOT; for TTFT too, "
        f"hold {counted(run.concurrency, 'request')} in flight at one replica"
        if run.deployment
        else "no deployment of the plan has this layout yet: start one replica of it and run the same loop"
    )
    lines = [f"{job}: {counted(run.requests, 'request')} after warm-up, {run.hours * 60:.0f} minutes"]
    if run.at_stake_usd_per_hour:
        shared = f", also of {', '.join(run.also_decides)}" if run.also_decides else ""
        lines.append(
            f"{format_usd_per_hour(run.at_stake_usd_per_hour)} of the plan rests on this estimate{shared}"
        )
    told = [line for outcome in run.outcomes if (line := outcome_line(outcome, unit, run.slack))]
    return lines + (told or ["no outcome that is likely changes the plan: the run confirms it"])


def outcome_line(outcome: MeasureOutcome, unit: str, slack: float) -> str:
    """Say what an outcome changes; empty where it changes nothing."""
    if not outcome.flips:
        return ""
    slower = (
        "slower" if outcome.standard_score > 0 else "faster" if outcome.standard_score < 0 else "as predicted"
    )
    head = f"if {slower} (TPOT x {outcome.tpot_factor:.2f}): "
    flips = "; ".join(outcome.flips)
    if outcome.keep is None or outcome.best is None:
        return f"{head}today's plan cannot be completed; {flips}"
    best = amount(outcome.best, unit)
    return f"{head}{best} instead of {amount(outcome.keep, unit)}; {flips} (gap {format_share(outcome.gap)})"
