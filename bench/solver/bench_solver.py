"""Cost, bound, gap and CPU seconds of the solver on synthetic fleets and on other planners' problems.

python bench/solver/bench_solver.py [--quick] [--peers DIRECTORY]
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench.solver.fleets import reference_fleet, synthetic_fleet  # noqa: E402
from bench.solver.peers import read_inferno, read_melange  # noqa: E402
from solver.outcome import Solved  # noqa: E402
from solver.problem import Budget, Problem  # noqa: E402
from solver.solve import solve  # noqa: E402

EXACT = Budget(gap=0.0)
INFERNO_OPTIMA = {"one type": 41857.75, "mixed": 37936.5}
Row = tuple[str, Problem, float | None]  # name, problem, best cost known elsewhere


def synthetic(quick: bool) -> Iterator[Row]:
    for seed, load in ((1, 0.5), (2, 0.5), (3, 0.3), (4, 0.7), (5, 0.75)):
        yield f"reference fleet, seed {seed}, load {load}", reference_fleet(seed, load), None
    sizes = [(1, 1, 10), (10, 3, 10), (20, 6, 100)]
    if not quick:
        sizes += [(20, 6, 1000), (50, 6, 1000), (10, 4, 1000), (100, 10, 1000)]
    for workloads, kinds, units in sizes:
        yield f"{workloads} x {kinds} x {units}", synthetic_fleet(1, workloads, kinds, units), None


def peers(folder: Path) -> Iterator[Row]:
    with (folder / "melange" / "answers.csv").open() as file:
        answers = list(csv.DictReader(file))
    for row in answers:
        path = folder / "melange" / f"{row['case']}.json"
        for whole, column in ((True, "ref_sliced_cost"), (False, "ref_split_cost")):
            rule = "slices" if whole else "split"
            yield (
                f"{row['case']} {rule}",
                read_melange(path, whole_slices=whole, budget=EXACT),
                float(row[column]),
            )
    for rule, reference in INFERNO_OPTIMA.items():
        path = folder / "inferno" / "candidates_small.json"
        yield f"inferno {rule}", read_inferno(path, mixed=rule == "mixed", budget=EXACT), reference


def report(name: str, problem: Problem, reference: float | None) -> str:
    """Solve one instance and return its line of the table."""
    started = time.process_time()
    outcome = solve(problem)
    seconds = time.process_time() - started
    if not isinstance(outcome, Solved):
        return f"{name:38} {type(outcome).__name__:>14} {'':>12} {'':>8} {seconds:8.2f}"
    found = outcome.certificate
    tried = "; ".join(a.formulation for a in found.attempts)
    known = "" if reference is None else f"  known {reference:.3f}, ours {found.cost / 1e6 - reference:+.3f}"
    return f"{name:38} {found.cost / 1e6:14.3f} {found.bound / 1e6:12.3f} {found.gap:8.2%} {seconds:8.2f}  {tried}{known}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out the largest fleets")
    parser.add_argument(
        "--peers", type=Path, default=ROOT.parent / "shared" / "peers", help="other planners' problem files"
    )
    options = parser.parse_args()
    print(f"{'instance':38} {'cost $/h':>14} {'bound':>12} {'gap':>8} {'CPU s':>8}  formulations")
    for name, problem, reference in synthetic(options.quick):
        print(report(name, problem, reference), flush=True)
    if not options.peers.is_dir():
        print(f"no folder {options.peers.name} of other planners' problems: left out")
        return
    for name, problem, reference in peers(options.peers):
        print(report(name, problem, reference), flush=True)


if __name__ == "__main__":
    main()
