"""Committed plots: predicted against measured, residuals by cell, coverage by group. The same data gives the same bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np
from calibration.bars import Coverage
from calibration.dataset import Dataset
from calibration.validate import Errors
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fleet.perf.interface import Point

INK, GRID = "#24292f", "#d8dee4"
ENGINES = {
    "vllm": ("vLLM", "#0969da"),
    "sglang": ("SGLang", "#bc4c00"),
    "trtllm": ("TensorRT-LLM", "#1a7f37"),
}
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "fleetc",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "figure.facecolor": "white",
    "legend.frameon": False,
}


@contextmanager
def _drawn(path: Path, width: float, height: float, columns: int = 1) -> Iterator[tuple[Figure, list[Axes]]]:
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, columns, figsize=(width, height), layout="constrained", squeeze=False)
        yield figure, list(axes[0])
        figure.savefig(path, format="svg", dpi=200, metadata={"Date": None, "Creator": None})
        plt.close(figure)


def predicted_against_measured(path: Path, data: Dataset, errors: Errors, left_out: str) -> None:
    """Draw TPOT, TTFT and throughput of held-out rows, log against log, by engine."""
    rows = errors.rows
    osl = np.array([r.osl for r in data.rows])[rows]
    gpus = np.array([r.replica.gpus for r in data.rows])[rows]
    took = data.ttft_ms[rows] + osl * data.tpot_ms[rows]
    panels = (
        ("TPOT, ms", data.tpot_ms[rows], errors.tpot),
        ("TTFT, ms", data.ttft_ms[rows], errors.ttft),
        ("output tokens/s per GPU", 1e3 * data.concurrency[rows] * osl / took / gpus, errors.throughput),
    )
    engines = np.array([data.points[i].engine.id.value for i in rows])
    with _drawn(path, 9.6, 3.9, 3) as (figure, axes):
        for axis, (title, measured, error) in zip(axes, panels, strict=True):
            for engine, (name, colour) in ENGINES.items():
                chosen = engines == engine
                axis.scatter(
                    measured[chosen],
                    measured[chosen] * (1.0 + error[chosen]),
                    s=5,
                    alpha=0.45,
                    lw=0,
                    c=colour,
                    label=name,
                    rasterized=True,
                )
            ends = np.array([measured.min() / 1.3, measured.max() * 1.3])
            axis.plot(ends, ends, color=INK, lw=0.9)
            axis.fill_between(ends, ends / 1.2, ends * 1.2, color=INK, alpha=0.07, lw=0)
            axis.set(
                xscale="log",
                yscale="log",
                xlim=ends,
                ylim=ends,
                title=title,
                xlabel="measured",
                aspect="equal",
            )
        axes[0].set_ylabel(f"predicted, {left_out} left out")
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3, markerscale=3)


def residuals_by_cell(path: Path, data: Dataset, errors: Errors, left_out: str) -> None:
    """Draw the median and the middle 80 % of every group's TPOT errors, groups in order of their median."""
    groups = np.array([data.group[i] for i in errors.rows])
    points = {data.group[i]: data.points[i] for i in errors.rows}
    spread = {
        g: np.quantile(100.0 * errors.tpot[groups == g], (0.1, 0.5, 0.9))
        for g in sorted(set(groups.tolist()))
    }
    order = sorted(spread, key=lambda g: (spread[g][1], g))
    with _drawn(path, 9.0, 0.19 * len(order) + 1.3) as (_, axes):
        axis = axes[0]
        for place, group in enumerate(order):
            low, middle, high = spread[group]
            colour = ENGINES[points[group].engine.id.value][1]
            axis.plot((low, high), (place, place), color=colour, lw=2.2, alpha=0.45, solid_capstyle="round")
            axis.plot(middle, place, "o", color=colour, ms=4.5)
        for name, colour in ENGINES.values():
            axis.plot([], [], "o-", color=colour, ms=4.5, lw=2.2, label=name)
        axis.axvline(0.0, color=INK, lw=0.9)
        axis.set_yticks(range(len(order)), [_name(points[g]) for g in order], fontsize=7)
        axis.set_ylim(-0.8, len(order) - 0.2)
        axis.set(
            xlabel="error of TPOT, %: median and middle 80 %", title=f"Errors by group, {left_out} left out"
        )
        axis.legend(loc="lower right")


def coverage_by_group(
    path: Path, panels: Sequence[tuple[str, Sequence[Coverage], tuple[float, float]]]
) -> None:
    """Draw the share of each group's measurements within its 90 % interval; the target of the mean is shaded."""
    with _drawn(path, 9.6, 4.4, len(panels)) as (figure, axes):
        for axis, (title, groups, (least, most)) in zip(axes, panels, strict=True):
            order = sorted(groups, key=lambda c: (c.covered, c.group))
            share = [100.0 * c.covered for c in order]
            mean = float(np.mean(share))
            colours = [ENGINES[c.group.rsplit("|", 1)[-1]][1] for c in order]
            axis.axhspan(
                least,
                most,
                color="#1a7f37",
                alpha=0.10,
                lw=0,
                label=f"target of the mean, {least:g} to {most:g} %",
            )
            axis.axhline(mean, color=INK, lw=0.9, label=f"mean over groups, {mean:.0f} %")
            sizes = [12.0 + 1.2 * c.rows**0.5 * 2 for c in order]
            axis.scatter(range(len(order)), share, s=sizes, c=colours, lw=0)
            axis.set(ylim=(0, 103), xlabel="groups, worst first", title=title)
            axis.set_xticks([])
            axis.legend(loc="lower right")
        axes[0].set_ylabel("measurements of TPOT within the 90 % interval, %")
        dots = [Line2D([], [], marker="o", ls="", color=colour) for _, colour in ENGINES.values()]
        figure.legend(dots, [name for name, _ in ENGINES.values()], loc="outside lower center", ncols=3)


def _name(point: Point) -> str:
    return f"{point.model.id} · {point.accelerator.id} · {ENGINES[point.engine.id.value][0]}"
