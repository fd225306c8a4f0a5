"""Cross-validated errors, error bars and decisions of the calibrated backend. Run: python bench/accuracy/run.py [CSV].

Everything is predicted by a fit that has not seen it. Prints the tables that docs/explanation/accuracy.md holds, writes
that page and its plots; progress goes to stderr. Rows that are neither fitted nor scored are counted by rule.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("", "tools", "bench")]

from calibration.bars import Coverage, Evidence, nested_bars, nested_coverage  # noqa: E402
from calibration.dataset import Dataset, load  # noqa: E402
from calibration.held_out import (  # noqa: E402
    Folds,
    HeldOut,
    held_out,
    held_out_by_age,
)
from calibration.validate import (  # noqa: E402
    Errors,
    cross_validate,
    folds_by_group,
    folds_by_high_concurrency,
    folds_by_layout,
    folds_by_lengths,
    folds_by_machine,
    folds_by_newer_sibling,
    lent,
)

from accuracy import few_shot, plots, report  # noqa: E402
from accuracy.ablation import VARIANTS, Ablation, ablate  # noqa: E402
from accuracy.aiconfigurator import PREDICTIONS, compare, ids_of, read_predictions  # noqa: E402
from accuracy.ambiguous import ambiguous  # noqa: E402
from accuracy.decisions import PLANNED, choices, options, orders  # noqa: E402
from accuracy.noise import noise_floor  # noqa: E402
from accuracy.public_points import Domains, Figure, Models, predicted_domains, predicted_runs, read_points  # noqa: E402
from accuracy.scores import Scored, scored  # noqa: E402
from fleet.catalog.load import load_catalog  # noqa: E402
from fleet.perf.calibrated import Calibrated  # noqa: E402

DEFAULT_TABLE = ROOT.parent / "shared" / "bench" / "calibration.csv"
PAGE, IMAGES = ROOT / "docs" / "explanation" / "accuracy.md", ROOT / "docs" / "images"
FOLDS = {
    "lengths": folds_by_lengths,
    "layout": folds_by_layout,
    "top third of concurrency": folds_by_high_concurrency,
    "model x accelerator x engine": folds_by_group,
    "newer accelerator, as its older sibling": folds_by_newer_sibling,
    "accelerator x engine x precision": folds_by_machine,
}
SIBLINGS, GROUPS, MACHINES = (list(FOLDS)[i] for i in (4, 3, 5))
Thing = TypeVar("Thing")


@cache
def _loaded(table: Path) -> Dataset:
    labels = table.parent / "labels"
    return load(table, labels if labels.is_dir() else None, load_catalog())


def _validated(table: Path, name: str) -> Errors:
    data = _loaded(table)
    fold = FOLDS[name](data)
    return cross_validate(data, fold, lent) if name == SIBLINGS else cross_validate(data, fold)


def _aged(table: Path) -> HeldOut:
    return held_out_by_age(_loaded(table))


def _few_shot(table: Path, group: str) -> few_shot.Found:
    return few_shot.few_shot_of(_loaded(table), group)


def _ablated(table: Path, place: int) -> Ablation:
    return ablate(VARIANTS[place], table, load_catalog(), _loaded(table))


def _public(table: Path) -> tuple[list[Figure], list[Domains]]:
    points, models, catalog = read_points(), Models(_loaded(table)), load_catalog()
    return predicted_runs(points, models, catalog), predicted_domains(points, models, catalog)


@dataclass(frozen=True)
class Results:
    """What the fits of a run gave."""

    errors: dict[str, Errors]
    ages: HeldOut
    few_shot: list[few_shot.Found]
    ablations: list[Ablation]
    public: tuple[list[Figure], list[Domains]]


def fitted(table: Path, data: Dataset, jobs: int) -> Results:
    """Fit everything, so many processes side by side."""
    groups = sorted(set(data.group))
    with ProcessPoolExecutor(jobs) as pool:
        validated = {
            name: pool.submit(_validated, table, name) for name in sorted(FOLDS, key=lambda n: n != GROUPS)
        }
        aged = pool.submit(_aged, table)
        shots = [pool.submit(_few_shot, table, group) for group in groups]
        parts = [pool.submit(_ablated, table, i) for i in range(len(VARIANTS))]
        public = pool.submit(_public, table)
        return Results(
            errors={name: validated[name].result() for name in _told(FOLDS, "left out")},
            ages=aged.result(),
            few_shot=[shots[groups.index(g)].result() for g in _told(groups, "after a few measurements")],
            ablations=[parts[VARIANTS.index(v)].result() for v in _told(VARIANTS, "switched off")],
            public=public.result(),
        )


def _told(things: Iterable[Thing], what: str) -> Iterator[Thing]:
    """Yield things and say on stderr when each is done."""
    everything, start = list(things), time.monotonic()
    for number, thing in enumerate(everything, 1):
        yield thing
        name = getattr(thing, "name", thing)
        print(
            f"[{time.monotonic() - start:4.0f} s] {what} {number}/{len(everything)}: {name}",
            file=sys.stderr,
            flush=True,
        )


def evidence_of(data: Dataset, results: Results) -> Evidence:
    """Return what error bars come from."""

    def held(name: str) -> HeldOut:
        seen_as = lent if name == SIBLINGS else None
        return held_out(data, _fold(data, name), results.errors[name], seen_as)

    return Evidence(
        lengths=held("lengths"),
        groups=held(GROUPS),
        layouts=held("layout"),
        loads=held("top third of concurrency"),
        ages=results.ages,
        siblings=held(SIBLINGS),
    )


def _fold(data: Dataset, name: str) -> Folds:
    return FOLDS[name](data)


def cross_validations(data: Dataset, results: Results) -> list[Scored]:
    """Return a table for each thing that was left out."""
    tables = [scored(name, data, errors) for name, errors in results.errors.items()]
    for count in few_shot.COUNTS:
        name = f"the same, after {count} measurement{'s' if count > 1 else ''}"
        tables.insert(
            3 + few_shot.COUNTS.index(count) + 1, scored(name, data, few_shot.joined(results.few_shot, count))
        )
    return tables


def coverages(evidence: Evidence) -> dict[str, list[Coverage]]:
    """Return nested coverage by what was left out and metric."""
    return {
        f"{name}, {metric.upper()}": nested_coverage(evidence, name, metric)
        for name in ("lengths", "groups")
        for metric in ("tpot", "ttft")
    }


def decided(data: Dataset, results: Results, evidence: Evidence) -> Sequence[str]:
    """Return the tables of decisions: aggregated, then disaggregated."""
    errors = results.errors["lengths"]
    bars = nested_bars(evidence, "lengths", "tpot")
    found = []
    for name, wanted in (("Aggregated", True), ("Disaggregated", False)):
        chosen = np.flatnonzero(data.is_mixed[errors.rows] == wanted)
        if chosen.size:
            groups = options(
                data, errors.rows[chosen], errors.tpot[chosen], errors.throughput[chosen], bars[chosen]
            )
            found.append(report.decisions(name, orders(groups), [choices(groups, q) for q in PLANNED]))
    return found


def page(
    data: Dataset, table: Path, results: Results, evidence: Evidence, covered: dict[str, list[Coverage]]
) -> str:
    """Return the page."""
    tables = cross_validations(data, results)
    sections = [
        ("Targets", "Mean absolute error, %, of rows that the fit has not seen; the target in brackets.\n\n" + report.targets(tables)),
        ("Rows", report.counts(int(data.is_mixed.sum()), int((~data.is_mixed).sum()), data.left_out)),
        ("Noise floor", NOISE + report.noise(noise_floor(data))),
        *((f"Left out: {t.left_out}", ERRORS + report.errors(t)) for t in tables),
        *_ambiguous(table),
        ("Decisions", DECISIONS + "\n".join(decided(data, results, evidence))),
        ("Error bars", COVERAGE + report.coverage(covered) + "\n" + report.coverage_groups(covered["lengths, TPOT"], covered["groups, TPOT"])),
        ("What every part is worth", ABLATION + report.ablations(results.ablations)),
        *_compared(data, table, results),
        ("Public results", PUBLIC_POINTS + report.public(*results.public)),
    ]  # fmt: skip
    pictures = "\n\n".join(f"![{text}](../images/{name}.svg)" for name, text in PICTURES.items())
    body = "\n".join(f"## {title}\n\n{text}" for title, text in sections)
    return f"# Accuracy of the estimates\n\n{HEAD}\n\n{pictures}\n\n{body}"


HEAD = """Written by `make accuracy` from a table of public benchmark runs; nothing here is edited by hand. Every figure is of rows
that the fit had not seen. How an estimate is made is told in [estimates](estimates.md)."""
ERRORS = "Absolute error, %: mean / median / 90 % quantile.\n\n"
AMBIGUOUS = "Never fitted, no target; rows without any label cannot be predicted. Absolute error, %: mean / median / 90 %.\n\n"
NOISE = "Difference between two runs of one thing, %. No model does better than that.\n\n"
DECISIONS = """Layouts of one model, accelerator, engine, precision and lengths, none of whose lengths were fitted. A limit on TPOT is
one of 8 to 100 ms, where some measured option holds it and some does not. The choice is the layout and concurrency of the highest predicted
throughput per GPU whose TPOT holds the limit at the planned quantile of the error; regret is what the best that held would have
yielded more. Concurrencies were measured in powers of two: a margin often costs a whole step, even a perfect predictor.

"""
COVERAGE = """Share of measurements within the 90 % interval. Bars of a group come from all other groups; every group has the same weight.

"""
ABLATION = (
    "Mean absolute error of TPOT, %, of aggregated rows; in brackets the difference to the full model.\n\n"
)
PUBLIC_POINTS = "Predicted without any row of their model x accelerator x engine. Sources: `bench/accuracy/public_points.yaml`.\n\n"
PICTURES = {
    "accuracy-predicted": "Predicted against measured TPOT, TTFT and throughput, lengths left out; the band is 20 %",
    "accuracy-residuals": "Errors of TPOT by group when the whole group is left out",
    "accuracy-coverage": "Coverage of the 90 % interval by group",
}


def _ambiguous(table: Path) -> list[tuple[str, str]]:
    labels = table.parent / "labels"
    found = ambiguous(Calibrated(), table, labels, load_catalog()) if labels.is_dir() else None
    return [("Disaggregated rows with several labels", AMBIGUOUS + report.ambiguous(found))] if found else []


def _compared(data: Dataset, table: Path, results: Results) -> list[tuple[str, str]]:
    if not PREDICTIONS.is_file():
        return []
    ids, theirs = ids_of(data, table), read_predictions()
    return [
        (
            f"Against AIConfigurator 0.12: {name} left out",
            "Mean absolute error, %, on rows that both predict; ours without what is left out, theirs from its own tables.\n\n"
            + report.comparison(compare(data, ids, theirs, results.errors[name])),
        )
        for name in ("lengths", GROUPS)
    ]


def draw(data: Dataset, results: Results, covered: dict[str, list[Coverage]], folder: Path) -> None:
    """Write the plots."""
    folder.mkdir(parents=True, exist_ok=True)
    plots.predicted_against_measured(
        folder / "accuracy-predicted.svg", data, results.errors["lengths"], "lengths"
    )
    plots.residuals_by_cell(
        folder / "accuracy-residuals.svg", data, results.errors[GROUPS], "the whole group"
    )
    panels = (
        ("Lengths left out", covered["lengths, TPOT"], report.INTERPOLATION),
        ("Whole group left out", covered["groups, TPOT"], report.UNSEEN),
    )
    plots.coverage_by_group(folder / "accuracy-coverage.svg", panels)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "table", nargs="?", type=Path, default=DEFAULT_TABLE, help="CSV, labels in a folder beside it"
    )
    parser.add_argument("--out", type=Path, default=PAGE, help="page to write")
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder of the plots")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    arguments = parser.parse_args()
    if not arguments.table.is_file():
        print(f"{arguments.table} is not there: give the path of a calibration table", file=sys.stderr)
        return 2
    data = _loaded(arguments.table)
    results = fitted(arguments.table, data, arguments.jobs)
    evidence = evidence_of(data, results)
    covered = coverages(evidence)
    text = page(data, arguments.table, results, evidence, covered)
    arguments.out.write_text(text, encoding="utf-8")
    draw(data, results, covered, arguments.images)
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
