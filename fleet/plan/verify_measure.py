"""Checks what the plan would measure next: what each run is about, what it costs, what it is worth.

at most three, worth never rising                                                        (measure-order)
lengths are the workload's, the deployment serves it there, C ≤ requests                 (measure-load)
GPU-hours = GPUs · hours; USD = GPU-hours · price                                        (measure-cost)
stake = Σ USD/h of the deployments of this model, accelerator, engine, precision, mode
saving = max(keep - best - slack, 0); worth = Σ p · saving; Σ p = 1; keep ≥ cost; error after ≤ before  (measure-worth)
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from fleet.plan.document import MeasureRun
from fleet.plan.verify_ledger import DIGITS, EXACT, SUMS, Ledger, Violation, at_least, at_most, same

RULES = ("measure-order", "measure-load", "measure-cost", "measure-worth")
MOST_RUNS = 3


def measure_runs(ledger: Ledger) -> Iterator[Violation]:
    """Yield runs that are out of order, or whose load, cost or worth does not follow from the rest of the plan."""
    runs = ledger.plan.measure_next
    yield from at_most("measure-order", "measure_next", "runs", len(runs), MOST_RUNS, EXACT)
    for above, below in pairwise(runs):
        yield from at_most("measure-order", subject(below), "worth", below.worth, above.worth, EXACT)
    for run in runs:
        yield from _load(ledger, run)
        yield from _cost(ledger, run)
        yield from _worth(ledger, run)


def subject(run: MeasureRun) -> str:
    """Name a run: what is measured where."""
    return f"{run.workload}, {run.layout} {run.weights.value} on {run.offering}"


def _load(ledger: Ledger, run: MeasureRun) -> Iterator[Violation]:
    rule, name, demand = "measure-load", subject(run), ledger.workloads[run.workload].demand
    for figure, found, own in (
        ("prompt tokens", run.input_tokens_mean, demand.input_tokens.mean),
        ("answer tokens", run.output_tokens_mean, demand.output_tokens.mean),
        ("cached share", run.cached_prefix_fraction, demand.cached_prefix_fraction),
    ):
        yield from same(rule, name, figure, found, own, EXACT)
    yield from at_least(rule, name, "requests", run.requests, run.concurrency, EXACT)
    if run.deployment is None:
        return
    deployment = ledger.deployments[run.deployment]
    workloads = [s.workload for s in deployment.served]
    if run.workload not in workloads or deployment.offering != run.offering:
        yield Violation(
            rule,
            name,
            f"deployment '{run.deployment}' serves {', '.join(workloads)} on {deployment.offering}",
        )
    yield from same(rule, name, "GPUs", run.gpus, deployment.gpus_per_replica, EXACT)


def _cost(ledger: Ledger, run: MeasureRun) -> Iterator[Violation]:
    rule, name = "measure-cost", subject(run)
    price = ledger.offerings[run.offering].price.usd_per_gpu_hour
    yield from same(rule, name, "GPU-hours", run.gpu_hours, run.gpus * run.hours, DIGITS)
    yield from same(rule, name, "USD per GPU-hour", run.usd_per_gpu_hour, price, EXACT)
    yield from same(rule, name, "USD", run.usd, run.gpu_hours * run.usd_per_gpu_hour, DIGITS)


def _worth(ledger: Ledger, run: MeasureRun) -> Iterator[Violation]:
    rule, name = "measure-worth", subject(run)
    cost = ledger.plan.certificate.cost
    for outcome in run.outcomes:
        saving = 0.0
        if outcome.keep is not None:
            yield from at_least(rule, name, "today's plan in an outcome", outcome.keep, cost, SUMS)
            if outcome.best is not None:
                saving = max(outcome.keep - outcome.best - run.slack, 0.0)
        yield from same(rule, name, "saving", outcome.saving, saving, SUMS)
    yield from same(rule, name, "probability", sum(o.probability for o in run.outcomes), 1.0, DIGITS)
    worth = sum(o.probability * o.saving for o in run.outcomes)
    yield from same(rule, name, "worth", run.worth, worth, DIGITS)
    yield from at_most(rule, name, "error after", run.error_after_p90, run.error_before_p90, EXACT)
    yield from same(rule, name, "USD/h at stake", run.at_stake_usd_per_hour, _stake(ledger, run), DIGITS)


def _stake(ledger: Ledger, run: MeasureRun) -> float:
    card = ledger.models[ledger.workloads[run.workload].model].card
    accelerator = ledger.offerings[run.offering].accelerator
    return sum(
        d.usd_per_hour
        for d in ledger.plan.deployments
        if ledger.models[d.model].card == card
        and ledger.offerings[d.offering].accelerator == accelerator
        and (d.engine.id, d.weights, d.mode) == (run.engine, run.weights, run.mode)
    )
