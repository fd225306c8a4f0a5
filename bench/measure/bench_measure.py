"""Three runs that `fleetc measure` would pick against three random ones. Run: python bench/measure/bench_measure.py [CSV].

Decisions are made of calibration rows (see decisions.py). Each line is the mean regret over decisions, in per cent, of the
choice that is made with no run, with three random ones (mean over draws) and with the three that are picked.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools"), str(Path(__file__).parent)]

from calibration.dataset import load  # noqa: E402
from decisions import (  # noqa: E402
    Decision,
    Figures,
    Predictor,
    coefficients_without,
    decisions_of,
    measured_figures,
    picked,
    random_operating_runs,
    random_runs,
    regret,
)

from fleet.catalog.load import load_catalog  # noqa: E402

DEFAULT_TABLE = ROOT.parent / "shared" / "bench" / "calibration.csv"
DRAWS = 10
NAMES = ("no run", "three random runs", "three random operating points", "three picked", "all runs")


def regrets(
    decision: Decision,
    predictor: Predictor,
    measured: Mapping[int, Figures],
    draws: int,
    random: np.random.Generator,
) -> list[float]:
    """Return the regret of one decision, in per cent, in the order of NAMES; random picks are averaged over draws."""

    def after(runs: Sequence[int]) -> float:
        return 100 * regret(decision, predictor, measured, runs)

    return [
        after(()),
        float(np.mean([after(random_runs(decision, random)) for _ in range(draws)])),
        float(np.mean([after(random_operating_runs(decision, predictor, random)) for _ in range(draws)])),
        after(picked(predictor, decision)),
        after(decision.rows),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", nargs="?", type=Path, default=DEFAULT_TABLE)
    parser.add_argument("--draws", type=int, default=DRAWS, help="random picks of each decision")
    arguments = parser.parse_args()
    if not arguments.table.is_file():
        print(f"{arguments.table} is not there: give the path of a calibration table", file=sys.stderr)
        return 2
    data = load(arguments.table, None, load_catalog())
    measured = measured_figures(data)
    groups = sorted(set(data.group))
    predictor = Predictor(data, {g: coefficients_without(data, [g]) for g in groups})
    decisions = decisions_of(data, measured)
    print(f"{len(decisions)} decisions of {len(groups)} groups, each predicted by a fit without it")
    random = np.random.default_rng(0)
    table = np.array([regrets(d, predictor, measured, arguments.draws, random) for d in decisions])
    print(f"{'regret in %':32s}{'mean':>8s}{'90 %':>8s}{'missed':>8s}")
    for name, column in zip(NAMES, table.T, strict=True):
        print(f"{name:32s}{column.mean():8.2f}{np.quantile(column, 0.9):8.1f}{np.mean(column > 1e-9):8.0%}")
    for other in (1, 2):
        better = int((table[:, 3] < table[:, other] - 1e-9).sum())
        worse = int((table[:, 3] > table[:, other] + 1e-9).sum())
        print(f"picked against {NAMES[other]}: better in {better} decisions, worse in {worse}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
