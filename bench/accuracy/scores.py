"""Errors of held-out rows by class, beside the targets they are held to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from calibration.dataset import Array, Dataset
from calibration.validate import Errors
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
WIDE_RANKS = 12
METRICS = ("tpot", "throughput", "ttft")
TITLES = {"tpot": "TPOT", "throughput": "output throughput", "ttft": "TTFT"}


@dataclass(frozen=True)
class Target:
    """Mean absolute errors, per cent, that a class must not exceed when something is left out."""

    left_out: str
    of_class: str
    tpot: float
    throughput: float
    ttft: float
    rows: str = "all"  # of TTFT: all, or those with a known batch limit


TARGETS = (
    Target("lengths", "aggregated, dense", 5.0, 5.0, 20.0),
    Target("lengths", "aggregated, MoE", 6.5, 6.5, 20.0),
    Target("layout", "aggregated", 7.0, 7.5, 24.0),
    Target("top third of concurrency", "aggregated", 7.0, 7.5, 30.0),
    Target("model x accelerator x engine", "aggregated", 15.0, 15.0, 35.0),
    Target("the same, after 3 measurements", "aggregated", 8.0, 8.0, 24.0),
    Target("lengths", "disaggregated, one label", 7.0, 9.0, 22.0, rows="batch limit known"),
    Target("accelerator x engine x precision", "disaggregated, one label", 9.0, 12.0, 35.0),
)


@dataclass(frozen=True)
class Summary:
    """Mean, median and 90 % quantile of absolute relative errors, per cent, and how many there are."""

    rows: int
    mean: float
    median: float
    p90: float

    def __str__(self) -> str:
        return f"{self.mean:.1f} / {self.median:.1f} / {self.p90:.0f}"


def summary(errors: Array) -> Summary:
    """Summarise relative errors; there is at least one."""
    size = np.abs(errors) * 100.0
    return Summary(size.size, float(size.mean()), float(np.median(size)), float(np.quantile(size, 0.9)))


def classes(data: Dataset) -> dict[str, Mask]:
    """Return the classes that errors are shown for, each with its rows."""
    mixed, moe = data.is_mixed, np.array([p.model.is_moe for p in data.points])
    ranks, drafts = (
        np.array([p.layout.dp for p in data.points]),
        np.array([p.draft is not None for p in data.points]),
    )
    accelerators = np.array([p.accelerator.id for p in data.points])
    engines = np.array([p.engine.id.value for p in data.points])
    racks = np.array([p.accelerator.domain_gpus > 8 for p in data.points])
    found = {
        "aggregated": mixed,
        "aggregated, dense": mixed & ~moe,
        "aggregated, MoE": mixed & moe,
        **{f"aggregated, {e}": mixed & (engines == e) for e in sorted(set(engines.tolist()))},
        **{f"aggregated, {a}": mixed & (accelerators == a) for a in sorted(set(accelerators.tolist()))},
        "disaggregated, one label": ~mixed,
        "disaggregated, NVL72, 12 ranks and more": ~mixed & racks & (ranks >= WIDE_RANKS),
        "disaggregated, NVL72, narrower": ~mixed & racks & (ranks < WIDE_RANKS),
        "disaggregated, HGX": ~mixed & ~racks,
        "disaggregated, drafting": ~mixed & drafts,
        **{f"disaggregated, {e}": ~mixed & (engines == e) for e in sorted(set(engines.tolist()))},
        **{f"disaggregated, {a}": ~mixed & (accelerators == a) for a in sorted(set(accelerators.tolist()))},
    }
    return {name: rows for name, rows in found.items() if rows.any()}


def knows_its_limit(data: Dataset) -> Mask:
    """Tell which rows have a batch limit."""
    return np.array([row.batch_limit is not None for row in data.rows])


@dataclass(frozen=True)
class Line:
    """One class of one cross-validation."""

    name: str
    figures: dict[str, Summary]  # by metric
    target: Target | None


@dataclass(frozen=True)
class Scored:
    """One cross-validation: what was left out, and a line for each class that has rows."""

    left_out: str
    lines: tuple[Line, ...]


def scored(left_out: str, data: Dataset, errors: Errors) -> Scored:
    """Summarise held-out errors by class; a row that was drawn repeatedly counts each time."""
    values: dict[str, Array] = {"tpot": errors.tpot, "throughput": errors.throughput, "ttft": errors.ttft}
    limited = knows_its_limit(data)[errors.rows]
    lines = []
    for name, rows in classes(data).items():
        chosen = rows[errors.rows]
        if not chosen.any():
            continue
        target = next((t for t in TARGETS if (t.left_out, t.of_class) == (left_out, name)), None)
        figures = {metric: summary(values[metric][chosen]) for metric in METRICS}
        if target and target.rows != "all" and (chosen & limited).any():
            figures["ttft"] = summary(errors.ttft[chosen & limited])
        lines.append(Line(name, figures, target))
    return Scored(left_out, tuple(lines))


def verdict(value: float, at_most: float) -> str:
    """Say whether a figure meets its target."""
    return f"{'met' if value <= at_most else 'missed'} ({at_most:g})"


def outcome(cross_validations: Sequence[Scored]) -> list[tuple[Target, dict[str, Summary]]]:
    """Return every target with the figures that stand against it, in the order of TARGETS."""
    lines = {(s.left_out, line.name): line for s in cross_validations for line in s.lines}
    return [(t, lines[t.left_out, t.of_class].figures) for t in TARGETS if (t.left_out, t.of_class) in lines]
