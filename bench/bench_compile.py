"""Compile time by stage, search CPU, solve time and gap for the committed stacks: `python bench/bench_compile.py [STACK ...]`.

One cold run of each stack in this process. Seconds are CPU seconds of the process, wall seconds beside them; machines are
noisy, so compare ratios of runs made together.
"""

from __future__ import annotations

import sys
from pathlib import Path
from time import perf_counter, process_time

from fleet.catalog.load import load_catalog
from fleet.cli.version import version
from fleet.pipeline.lift import lift
from fleet.pipeline.lock import Origin, lock_text
from fleet.pipeline.lower import lower
from fleet.pipeline.measure.choose import IN_PLAN, RESOLVED_IN_COMPILE, rank_runs
from fleet.pipeline.measure.narrowing import after_runs
from fleet.pipeline.recording import Recording
from fleet.pipeline.stack import open_stack
from fleet.pipeline.stages import Inputs, digests_of, find_candidates
from fleet.plan.file import dump_plan
from fleet.plan.verify import verify_plan
from fleet.render.build import build_graph
from solver.outcome import Solved
from solver.problem import Budget
from solver.solve import solve

STACKS = Path(__file__).resolve().parent.parent / "stacks"


class Clock:
    """CPU and wall seconds since the last mark."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float, float]] = []
        self._cpu, self._wall = process_time(), perf_counter()

    def mark(self, stage: str) -> None:
        cpu, wall = process_time(), perf_counter()
        self.rows.append((stage, cpu - self._cpu, wall - self._wall))
        self._cpu, self._wall = cpu, wall


def bench(stack: Path) -> None:
    """Compile one stack and print a row for each stage."""
    clock = Clock()
    opened = open_stack(stack, load_catalog())
    clock.mark("read, check, resolve")
    estimates = opened.estimates()
    perf = Recording(estimates.model)
    found = find_candidates(opened.fleet, perf)
    clock.mark("candidates (search)")
    problem, trace = lower(opened.fleet, dict(found.candidates), Budget())
    clock.mark("lower")
    solved = solve(problem)
    clock.mark("solve (sizing, placement, verify)")
    assert isinstance(solved, Solved), "the committed stacks are feasible"
    inputs = Inputs(
        estimates,
        opened.spec_digest,
        opened.file_digests,
        f"fleetc {version()}",
        Budget(),
        opened.diagnostics,
    )
    plan = lift(
        opened.fleet,
        found,
        solved,
        trace,
        perf,
        digests_of(opened.fleet, inputs),
        inputs.compiled_by,
        opened.diagnostics,
    )
    clock.mark("lift")
    after = after_runs()
    ranking = rank_runs(opened.fleet, found, plan, perf, after, most_resolved=RESOLVED_IN_COMPILE)
    plan = plan.model_copy(update={"measure_next": ranking.runs[:IN_PLAN]})
    clock.mark("what to measure next")
    origin = Origin.of(opened.fleet.file.spec.performance, opened.file_digests)
    candidates = [c for rows in found.candidates.values() for c in rows]
    lock = lock_text(origin, estimates.warnings, perf, after, candidates)
    clock.mark("lock")
    assert not verify_plan(plan)
    text = dump_plan(plan)
    clock.mark("verify, write")
    graph = build_graph(plan)
    clock.mark("render")
    dropped = sum(drop.count for rows in found.drops.values() for drop in rows)
    print(
        f"{stack.name}: {len(candidates)} candidates of {len(candidates) + dropped}, {len(plan.deployments)} deployments, {plan.summary.gpus_used} GPUs, {len(text) / 1024:.0f} KiB plan, {len(lock) / 1024:.0f} KiB lock, {len(graph)} objects"
    )
    print(
        f"  cost {plan.certificate.cost:,.2f} {plan.certificate.unit}, bound {plan.certificate.bound:,.2f}, gap {plan.certificate.gap:.3%}"
    )
    for stage, cpu, wall in [
        *clock.rows,
        ("total", sum(r[1] for r in clock.rows), sum(r[2] for r in clock.rows)),
    ]:
        print(f"  {stage:<36} {cpu:7.2f} CPU s {wall:7.2f} s")


def main() -> None:
    """Run the benchmark over the stacks that are named, or all committed ones."""
    for name in sys.argv[1:] or ["dev", "prod"]:
        bench(STACKS / name if not Path(name).exists() else Path(name))


if __name__ == "__main__":
    main()
