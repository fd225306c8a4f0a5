"""The levels whose effects add up to a coefficient: from all hardware of a generation down to one cell and version.

    log coefficient = global + Σ over levels of the effect of this point's value there

A value that the data does not have contributes nothing: the coefficient is then what its neighbours share.
"""

from __future__ import annotations

from datetime import date

from fleet.catalog.records import ModelCard
from fleet.perf.interface import Point

LEVELS = (
    "generation", "engine", "architecture", "precision", "accelerator", "generation_engine", "engine_architecture",
    "generation_engine_architecture", "model", "model_generation", "cell", "era", "version",
)  # fmt: skip
DATED = ("era", "version")
"""Levels of engine versions; workers apart have too few data for their own."""
UNDATED = "undated"
WIDE_RANKS = 12
"""Attention ranks from which a worker is wider than any NVLink domain of a host."""


def build_of(model: ModelCard) -> str:
    """Name a model by its build: fine-tunes and re-releases with the same shape share their effects.

    Llama-3.1-70B and 3.3-70B are one build, so are DeepSeek-V3 and R1, Kimi-K2 and K2.5.
    """
    parts = [model.family, f"{model.layers}x{model.hidden}", f"h{model.heads}"]
    if model.is_moe:
        parts.append(f"e{model.experts}k{model.experts_per_token}")
    return "-".join(parts)


def quarter_of(day: date) -> str:
    """Return the quarter of a date as 2026Q3; dates that are not known are `date.min`."""
    return UNDATED if day == date.min else f"{day.year}Q{(day.month + 2) // 3}"


def cell_of(point: Point) -> str:
    """Name a cell: one model build on one accelerator with one engine in one precision."""
    return "|".join((build_of(point.model), point.accelerator.id, point.engine.id.value, point.weights.value))


def levels_of(point: Point) -> dict[str, str]:
    """Return the value of every level for a point; `era` and `version` as the engine release states them."""
    generation = "hopper" if point.accelerator.generation == "hopper" else "blackwell"
    engine = point.engine.id.value
    architecture = "mla" if point.model.family == "sparse" else point.model.family
    cell, quarter = cell_of(point), quarter_of(point.engine.released)
    return {
        "generation": generation,
        "engine": engine,
        "architecture": architecture,
        "precision": point.weights.value,
        "accelerator": point.accelerator.id,
        "generation_engine": f"{generation}|{engine}",
        "engine_architecture": f"{engine}|{architecture}",
        "generation_engine_architecture": f"{generation}|{engine}|{architecture}",
        "model": build_of(point.model),
        "model_generation": f"{build_of(point.model)}|{generation}",
        "cell": cell,
        "era": f"{engine}|{quarter}",
        "version": f"{cell}|{point.engine.version}|{quarter}",
    }


def apart_levels_of(point: Point) -> dict[str, str]:
    """Return the value of every level that workers apart have effects of, beside those of mixed workers."""
    shared = levels_of(point)
    names = ("generation", "engine", "precision", "accelerator", "model", "cell")
    attention = "dp" if point.layout.dp > 1 else "tp"
    width = "wide" if point.layout.dp >= WIDE_RANKS else "narrow"
    engine = shared["engine"]
    return {name: shared[name] for name in names} | {
        "engine_precision": f"{engine}|{shared['precision']}",
        "draft": str(point.draft.tokens if point.draft else 0),
        "attention": attention,
        "engine_attention": f"{engine}|{attention}",
        "generation_engine_width": f"{shared['generation_engine']}|{width}",
    }
