"""Seconds of estimates on one core: 100,000 points of the calibrated backend, capacities of 600 replicas, new silicon points.

Run: OMP_NUM_THREADS=1 python bench/bench_estimate.py
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, islice, product
from time import perf_counter, process_time
from typing import TypeVar

from fleet.catalog.load import load_catalog
from fleet.catalog.records import Catalog
from fleet.layout import ParallelismLayout, Role
from fleet.perf.backends import MissingBackend, silicon
from fleet.perf.calibrated import Calibrated
from fleet.perf.interface import Capacity, Estimate, Lengths, PerformanceModel, Point, Target, Unsupported
from fleet.perf.replica import Load, ReplicaSpec, WorkerSpec
from fleet.perf.serving import capacities
from fleet.pipeline.recording import Recording

POINTS, REPLICAS, NEW_POINTS = 100_000, 600, 400
MOST_S, MOST_SILICON_MS = 2.0, 0.5
MODELS = ("llama-3.1-8b", "llama-3.3-70b", "qwen3-32b", "gpt-oss-120b", "deepseek-r1", "qwen3-235b-a22b")
LAYOUTS = (
    *(ParallelismLayout(tp=tp) for tp in (1, 2, 4, 8)),
    ParallelismLayout(tp=8, ep=8),
    ParallelismLayout(dp=8, ep=8),
)
Result = TypeVar("Result")


def workers(catalog: Catalog) -> list[WorkerSpec]:
    """Every model in its native precision on every accelerator with every engine, in every layout."""
    rows = product(MODELS, catalog.accelerators.values(), catalog.engines, LAYOUTS)
    return [
        WorkerSpec(card, gpu, engine, layout, card.native_precision, card.native_precision, kv)
        for name, gpu, engine, layout in rows
        for card in (catalog.models[name],)
        for kv in engine.kv_precisions[:1]
        if layout.ep == 1 or card.is_moe
    ]


def points(specs: list[WorkerSpec], count: int) -> list[Point]:
    """The specs over and over, each time with another batch and other lengths."""
    grid = product((1, 2, 4, 8, 16, 32, 64, 128, 256), (500, 1000, 2000, 4000, 8000), (100, 500, 1000))
    loads = cycle(list(grid))
    spread = (w.point(Role.MIXED, batch=b, isl=i, osl=o) for w, (b, i, o) in zip(cycle(specs), loads))
    return list(islice(spread, count))


def timed(what: str, work: Callable[[], Result], note: Callable[[Result, float], str]) -> Result:
    """Run once and print CPU and wall seconds."""
    cpu, wall = process_time(), perf_counter()
    result = work()
    cpu, wall = process_time() - cpu, perf_counter() - wall
    print(f"{what:<46} {cpu:7.2f} CPU s {wall:7.2f} s  {note(result, cpu)}")
    return result


def supported(answers: list[Estimate | Unsupported], seconds: float) -> str:
    """Return how many estimates there are and what each point took."""
    count = sum(isinstance(a, Estimate) for a in answers)
    return f"{count:,} estimates, {1e6 * seconds / len(answers):.1f} us a point"


def bench_points(perf: PerformanceModel, asked: list[Point], what: str, most_s: float) -> None:
    """Time one batch of points against a limit."""

    def note(answers: list[Estimate | Unsupported], seconds: float) -> str:
        return f"{supported(answers, seconds)}: {'met' if seconds <= most_s else 'MISSED'}"

    timed(what, lambda: perf.estimate(asked), note)


def bench_capacities(perf: PerformanceModel, specs: list[WorkerSpec]) -> None:
    """The largest rates of replicas under an SLO of 1,155 + 211 tokens in eight kinds of requests."""
    lengths = Lengths(
        (200, 600, 1000, 1300, 1700, 2200, 3000, 4100), (60, 120, 150, 200, 250, 300, 350, 400), (0.125,) * 8
    )
    load = Load(lengths, targets=(Target("ttft", 95, 1000.0), Target("tpot", 95, 50.0)), max_batch=1024)
    replicas = [ReplicaSpec(mixed=w) for w in islice(cycle(specs), REPLICAS)]
    timed(
        f"capacities of {REPLICAS} replicas",
        lambda: capacities(perf, replicas, load),
        lambda found, _: f"{sum(isinstance(c, Capacity) for c in found)} within the SLO",
    )


def main() -> None:
    """Print a row for each benchmark, and whether the two targets are met."""
    specs = workers(load_catalog())
    asked = points(specs, POINTS)
    perf = Calibrated()
    perf.estimate(asked[:1000])
    bench_points(perf, asked, f"calibrated, {POINTS:,} points (at most {MOST_S:g} s)", MOST_S)
    bench_points(Recording(perf), asked, "the same, recorded for the lock", MOST_S)
    bench_capacities(perf, specs)
    try:
        tables = silicon()
    except MissingBackend as missing:
        print(f"silicon: {missing}")
        return
    fp8 = [w for w in specs if w.engine.id.value == "trtllm" and w.layout.ep == 1][:20]
    new = points(fp8, NEW_POINTS)
    timed(
        "silicon, compiling the workers of it",
        lambda: tables.estimate(new[: len(fp8)]),
        lambda a, s: supported(a, s),
    )
    fresh = new[len(fp8) :]
    what = f"silicon, new points (at most {MOST_SILICON_MS:g} ms each)"
    bench_points(tables, fresh, what, 1e-3 * MOST_SILICON_MS * len(fresh))


if __name__ == "__main__":
    main()
