"""How long a new point takes the silicon backend, workers compiled. Run: python bench/bench_silicon.py."""

from __future__ import annotations

import sys
import time

from fleet.catalog.load import load_catalog
from fleet.layout import ParallelismLayout, Precision, Role
from fleet.perf.interface import Estimate, Point
from fleet.perf.replica import WorkerSpec
from fleet.perf.silicon import Silicon, available

LIMIT_MS = 0.5
POINTS_OF_A_LAYOUT = 500


def points() -> list[Point]:
    """Return new points of a dense and a mixture model, each in three widths: no two alike."""
    catalog = load_catalog()
    engine = next(e for e in catalog.engines if e.id == "sglang")
    gpu = catalog.accelerators["h200-sxm"]
    mixture = [ParallelismLayout(tp=8), ParallelismLayout(tp=8, ep=8), ParallelismLayout(dp=8, ep=8)]
    dense = [ParallelismLayout(tp=n) for n in (2, 4, 8)]
    precision = Precision.FP8
    found = []
    for model, layout in [("llama-3.3-70b", x) for x in dense] + [("deepseek-r1", x) for x in mixture]:
        card = catalog.models[model]
        worker = WorkerSpec(card, gpu, engine, layout, precision, precision, Precision.BF16)
        found += [
            worker.point(Role.MIXED, batch=1.0 + i % 97, isl=500.0 + 11 * i, osl=100.0 + 3 * i)
            for i in range(POINTS_OF_A_LAYOUT)
        ]
    return found


def main() -> int:
    reason = available()
    if reason:
        print(reason, file=sys.stderr)
        return 2
    asked, silicon = points(), Silicon()
    start = time.perf_counter()
    silicon.estimate(asked[::POINTS_OF_A_LAYOUT])
    compiled, spent = time.perf_counter(), time.process_time()
    answers = silicon.estimate(asked)
    each_ms = (time.process_time() - spent) / len(asked) * 1e3
    priced = sum(isinstance(a, Estimate) for a in answers)
    print(f"{priced} of {len(asked)} points priced, {each_ms:.3f} ms of CPU each (limit {LIMIT_MS})")
    print(f"first of each of {len(asked) // POINTS_OF_A_LAYOUT} layouts: {compiled - start:.2f} s")
    return 0 if each_ms <= LIMIT_MS and priced else 1


if __name__ == "__main__":
    raise SystemExit(main())
