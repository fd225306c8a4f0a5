"""Benchmark results put to the deployments of a plan, and the results of one job's clients put together.

Clients of a job run at once and measure the same deployment, each with the share of some replicas. Together their rates
add up, and a statistic is the mean of theirs, weighted by requests; of a quantile that is an approximation, good while
the clients see the same distribution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from fleet.plan.document import Deployment, FleetPlan, Served
from fleet.results.record import DEPLOYMENT_LABEL, REPLICAS_LABEL, WORKLOAD_LABEL, BenchmarkResult, Latency


@dataclass(frozen=True, slots=True)
class Run:
    """One benchmark of a deployment under a workload. `result` has the sums and means of its clients."""

    deployment: Deployment
    served: Served
    result: BenchmarkResult
    sources: tuple[str, ...]
    replicas: int  # whose share was offered
    replicas_are_said: bool


@dataclass(frozen=True, slots=True)
class Unplaced:
    """A result that belongs to no deployment of the plan, or not clearly to one."""

    result: BenchmarkResult
    named: str  # the deployment or workload that the plan lacks; empty where nothing is named
    known: tuple[str, ...]  # what could have been meant


def runs_of(
    plan: FleetPlan, results: Iterable[BenchmarkResult], deployment: str | None = None
) -> tuple[list[Run], list[Unplaced]]:
    """Return the runs by deployment and workload in the plan's order, and what has no place.

    Args:
        deployment: Of which all results are, whatever they say.
    """
    unplaced: list[Unplaced] = []
    members: dict[tuple[str, str], list[BenchmarkResult]] = {}
    for result in results:
        found = _placed(plan, result, deployment)
        if isinstance(found, Unplaced):
            unplaced.append(found)
        else:
            members.setdefault((found[0].id, found[1].workload), []).append(result)
    runs = [
        run
        for d in plan.deployments
        for served in d.served
        for run in _runs(d, served, members.get((d.id, served.workload), []))
    ]
    return runs, unplaced


def _placed(
    plan: FleetPlan, result: BenchmarkResult, deployment: str | None
) -> tuple[Deployment, Served] | Unplaced:
    named = deployment or result.labels.get(DEPLOYMENT_LABEL, "")
    by_model = [] if result.row else [d for d in plan.deployments if result.model in _names(plan, d)]
    fitting = [d for d in plan.deployments if d.id == named] if named else by_model
    if len(fitting) != 1:
        known = tuple(d.id for d in (fitting or plan.deployments))
        return Unplaced(result, named, known)
    workload = result.labels.get(WORKLOAD_LABEL, "")
    served = [s for s in fitting[0].served if s.workload == workload or not workload]
    if len(served) != 1:
        return Unplaced(result, workload, tuple(s.workload for s in fitting[0].served))
    return fitting[0], served[0]


def _names(plan: FleetPlan, deployment: Deployment) -> set[str]:
    served = {model.name: model.served_name for model in plan.models}
    return {served[deployment.model], deployment.checkpoint_uri.removeprefix("hf://")}


def _runs(deployment: Deployment, served: Served, results: Sequence[BenchmarkResult]) -> list[Run]:
    """Put together as many results in a row as share all replicas under one load; others stand alone."""
    runs, taken = [], 0
    while taken < len(results):
        each, said = _replicas(deployment, results[taken])
        clients = max(deployment.replicas // each, 1) if said else 1
        members = [results[taken]]
        for other in results[taken + 1 : taken + clients]:
            if _replicas(deployment, other) != (each, said) or _load(other) != _load(members[0]):
                break
            members.append(other)
        taken += len(members)
        sources = tuple(member.source for member in members)
        runs.append(Run(deployment, served, _together(members), sources, each * len(members), said))
    return runs


def _load(result: BenchmarkResult) -> tuple[float | None, float | None]:
    """Return what a client was asked to offer: the clients of one job are asked for the same."""
    return result.concurrency, result.request_rate


def _replicas(deployment: Deployment, result: BenchmarkResult) -> tuple[int, bool]:
    """Return the replicas that shared the load, and whether the result says so; else all of the deployment."""
    if said := result.whole(REPLICAS_LABEL):
        return said, True
    if result.gpus is not None and result.gpus % deployment.gpus_per_replica == 0:
        return result.gpus // deployment.gpus_per_replica, True
    return deployment.replicas, False


def _together(members: Sequence[BenchmarkResult]) -> BenchmarkResult:
    if len(members) == 1:
        return members[0]

    def total(of: Callable[[BenchmarkResult], float | None]) -> float | None:
        values = [value for member in members if (value := of(member)) is not None]
        return sum(values) if len(values) == len(members) else None

    def mean(of: Callable[[BenchmarkResult], float | None]) -> float | None:
        pairs = [(value, member.completed or 1) for member in members if (value := of(member)) is not None]
        return sum(v * w for v, w in pairs) / sum(w for _, w in pairs) if len(pairs) == len(members) else None

    def latency(of: Callable[[BenchmarkResult], Latency]) -> Latency:
        return Latency(
            mean(lambda m: of(m).mean),
            mean(lambda m: of(m).p50),
            mean(lambda m: of(m).p90),
            mean(lambda m: of(m).p95),
            mean(lambda m: of(m).p99),
        )

    completed, failed = total(lambda m: m.completed), total(lambda m: m.failed)
    return replace(
        members[0],
        concurrency=total(lambda m: m.concurrency),
        request_rate=total(lambda m: m.request_rate),
        isl=mean(lambda m: m.isl),
        osl=mean(lambda m: m.osl),
        ttft=latency(lambda m: m.ttft),
        tpot=latency(lambda m: m.tpot),
        e2e=latency(lambda m: m.e2e),
        completed_req_per_s=total(lambda m: m.completed_req_per_s),
        output_tok_per_s=total(lambda m: m.output_tok_per_s),
        completed=None if completed is None else int(completed),
        failed=None if failed is None else int(failed),
        duration_s=max((m.duration_s for m in members if m.duration_s), default=None),
    )
