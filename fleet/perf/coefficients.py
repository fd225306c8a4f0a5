"""The committed coefficients of the calibrated backend: read, looked up for a worker, and how wrong they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleet.layout import Role
from fleet.perf.error_bars import ErrorBars, Known, class_of, parse_bars, quarters_between
from fleet.perf.interface import Basis, Bound, Point
from fleet.perf.levels import DATED, UNDATED, apart_levels_of, cell_of, levels_of, quarter_of
from fleet.perf.siblings import lender_of, memory_share
from fleet.perf.terms import BESIDE_TERMS, DECODE_TERMS, STEP_TERMS, TERM_BOUND

FORMAT = 2
PATH = Path(__file__).parent / "data" / "calibrated.json"
FIRST_TOKEN_TERMS = (
    "compute", "attention", "allreduce", "constant", "burst_compute", "burst_attention", "burst_allreduce",
    "steps", "running",
)  # fmt: skip
APART_TERMS = ("service", "request", "latency", "constant", "per_request")
APART_LEVELS = ("engine", "precision", "generation", "accelerator", "model", "engine_precision", "cell")
APART_STEP_LEVELS = (
    "engine", "generation", "precision", "engine_precision", "accelerator", "model", "draft", "attention",
    "engine_attention", "generation_engine_width", "cell",
)  # fmt: skip
ON_SERVICE, ON_CONSTANT = 3, 2
"""Effects of APART_LEVELS come in pairs: the first moves the first three of APART_TERMS, the second the rest."""
Vector = NDArray[np.float64]
MEMORY_TERMS = np.array([TERM_BOUND.get(name) is Bound.MEMORY for name in STEP_TERMS])
NO_EFFECT = np.zeros(2)


@dataclass(frozen=True, slots=True)
class Range:
    """What the data of a cell covers: rows, largest batch, longest context and widest worker."""

    rows: int
    batch: float
    context_tokens: float
    gpus: int


@dataclass(frozen=True, slots=True)
class Lookup:
    """One worker's coefficients, in the order of STEP_TERMS and FIRST_TOKEN_TERMS, and how near to data they are."""

    step: Vector
    first_token: Vector
    apart: Vector  # APART_TERMS of a prefill worker apart
    basis: Basis
    note: str
    range: Range | None
    tpot_error_p90: float
    ttft_error_p90: float


def cell_and_role(point: Point) -> str:
    """Name a cell together with whether its workers are mixed or apart: what data is counted by."""
    return f"{cell_of(point)}|{'mixed' if point.role is Role.MIXED else 'apart'}"


@dataclass(frozen=True, slots=True)
class Own:
    """What the user's own results add to one cell: effects on log coefficients, and how wrong it still is."""

    step: Vector
    first_token: Vector
    apart: Vector  # of APART_TERMS
    rows: int  # measured points that cover the cell
    tpot_error_p90: float
    ttft_error_p90: float

    def move(self, pooled: Lookup) -> Lookup:
        """Return pooled coefficients with the effects of these results; errors are those of the better informed."""
        return replace(
            pooled,
            step=pooled.step * np.exp(self.step),
            first_token=pooled.first_token * np.exp(self.first_token),
            apart=pooled.apart * np.exp(self.apart),
            basis=Basis.MEASURED,
            note=f"{self.rows} own measurement{'s' if self.rows > 1 else ''} on top of: {pooled.note or 'fitted'}",
            tpot_error_p90=min(self.tpot_error_p90, pooled.tpot_error_p90),
            ttft_error_p90=min(self.ttft_error_p90, pooled.ttft_error_p90),
        )


@dataclass(frozen=True)
class Coefficients:
    """The parsed data file."""

    digest: str
    step_base: Vector
    first_token_base: Vector
    step: dict[str, dict[str, Vector]]
    first_token: dict[str, dict[str, Vector]]
    apart_base: Vector
    apart: dict[str, dict[str, Vector]]  # effects on service, request and latency, and on the constants
    apart_step_base: Vector  # of STEP_TERMS, on top of what mixed workers share
    apart_step: dict[str, dict[str, Vector]]
    cells: dict[str, Range]
    versions: dict[str, tuple[str, ...]]  # cell -> its values of the level `version`, oldest first
    eras: dict[str, tuple[str, ...]]  # engine -> its values of the level `era`, oldest first
    tpot_error: ErrorBars
    ttft_error: ErrorBars
    own: Mapping[str, Own] = field(
        default_factory=dict
    )  # by `cell_and_role`: what the user's own results add

    def with_own(self, own: Mapping[str, Own]) -> Coefficients:
        """Return the coefficients with what the user's own results add to the cells that they cover."""
        return replace(self, own=own)

    def look_up(self, point: Point) -> Lookup:
        """Return the coefficients of a point's worker, moved by the user's own results where they cover its cell."""
        pooled, own = self._pooled(point), self.own.get(cell_and_role(point))
        return pooled if own is None else own.move(pooled)

    def _pooled(self, point: Point) -> Lookup:
        """Return the coefficients of a point's worker; what the data does not have comes from its neighbours.

        A worker whose cell has no data takes those of the older sibling of its accelerator where there is one: with
        hardware that is no worse it is then no slower. Its error stays that of an unseen group.
        """
        known = self.cells.get(cell_and_role(point))
        lender = None if known else lender_of(point)
        levels, notes = self._levels(lender or point, is_known=known is not None)
        if known is None:
            notes.append(self._neighbours(levels, lender))
        without_data = _layout_without_data(point)
        if without_data:
            notes.append(f"no data for {without_data}")
        rows = known.rows if known and not without_data else 0
        bar = Known(class_of(point), rows, known is None and self._lends(lender), self._age(lender or point))
        step = self._step(lender or point, levels)
        return Lookup(
            step=np.where(MEMORY_TERMS, step * memory_share(point, lender), step) if lender else step,
            first_token=_coefficients(self.first_token_base, self.first_token, levels),
            apart=self._apart(lender or point),
            basis=Basis.FITTED if rows else Basis.EXTRAPOLATED,
            note="; ".join(notes),
            range=known,
            tpot_error_p90=self.tpot_error.at(bar),
            ttft_error_p90=self.ttft_error.at(bar),
        )

    def _levels(self, point: Point, *, is_known: bool) -> tuple[dict[str, str], list[str]]:
        """Return a point's levels at the newest era and version that the data has, and what to note of it."""
        levels, notes = levels_of(point), []
        levels["era"] = _latest(levels["era"], self.eras.get(point.engine.id.value, ()))
        version = _latest(levels["version"], self.versions.get(cell_of(point), ()))
        if is_known and point.role is Role.MIXED and version != levels["version"]:
            notes.append(f"nearest engine version with data: {version.split('|')[-2] or 'unnamed'}")
        levels["version"] = version
        return levels, notes

    def _lends(self, lender: Point | None) -> bool:
        """Whether the older sibling has data of the cell that it lends."""
        return lender is not None and cell_and_role(lender) in self.cells

    def _age(self, point: Point) -> int:
        """Return by how many quarters the engine version is newer than the newest data that the estimate rests on.

        That of the point's cell, else that of its engine. A cell whose data has no date counts as the oldest of its engine.
        """
        quarters = [v.rsplit("|", 1)[-1] for v in self.versions.get(cell_of(point), ())]
        dated = [q for q in quarters if q != UNDATED]
        eras = [v.rsplit("|", 1)[-1] for v in self.eras.get(point.engine.id.value, ())]
        of_engine = [q for q in eras if q != UNDATED]
        newest = max(dated or of_engine, default=UNDATED)
        if quarters and not dated:
            newest = min(of_engine, default=UNDATED)
        return quarters_between(newest, quarter_of(point.engine.released))

    def _neighbours(self, levels: dict[str, str], lender: Point | None) -> str:
        """Say where the coefficients of a cell without data come from."""
        if lender and self._lends(lender):
            return f"coefficients of {lender.accelerator.id}"
        missing = [
            name
            for name in ("model", "accelerator", "generation_engine")
            if levels[name] not in self.step[name]
        ]
        which = f", no data for {', '.join(levels[n] for n in missing)}" if missing else ""
        of = f", coefficients of {lender.accelerator.id}" if lender else ""
        return f"pooled from neighbouring cells{of}{which}"

    def _step(self, point: Point, levels: dict[str, str]) -> Vector:
        """Return STEP_TERMS; workers apart add their own effects to those of the mixed ones, versions left out."""
        if point.role is Role.MIXED:
            return _coefficients(self.step_base, self.step, levels)
        shared = {name: value for name, value in levels.items() if name not in DATED}
        prior = _coefficients(self.step_base, self.step, shared)
        return prior * _coefficients(self.apart_step_base, self.apart_step, apart_levels_of(point))

    def _apart(self, point: Point) -> Vector:
        levels = apart_levels_of(point)
        effects = [self.apart[name].get(levels[name], NO_EFFECT) for name in APART_LEVELS]
        both = np.repeat(np.sum(effects, axis=0), (ON_SERVICE, ON_CONSTANT))
        return np.asarray(np.exp(self.apart_base + both))


def _layout_without_data(point: Point) -> str:
    """Name what of a layout no measurement has, empty where there is some."""
    if point.layout.pp > 1 or point.layout.cp > 1:
        return "pipeline or context parallelism"
    return "tensor parallelism over hosts" if point.layout.tp > point.accelerator.domain_gpus else ""


def _latest(wanted: str, known: tuple[str, ...]) -> str:
    """Return the wanted value if it is known, else the newest of those known, else the wanted one."""
    return wanted if wanted in known or not known else known[-1]


def _coefficients(base: Vector, effects: dict[str, dict[str, Vector]], levels: dict[str, str]) -> Vector:
    total = base.copy()
    for name, by_value in effects.items():
        effect = by_value.get(levels.get(name, ""))
        if effect is not None:
            total += effect
    return np.asarray(np.exp(total))


def _effects(parsed: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, Vector]]:
    return {name: {value: np.array(row) for value, row in values.items()} for name, values in parsed.items()}


def _by_quarter(value: str) -> tuple[str, str]:
    """Sort key of a level value that ends in a quarter; undated ones are the oldest."""
    quarter = value.rsplit("|", 1)[-1]
    return ("" if quarter == "undated" else quarter, value)


def parse(text: bytes) -> Coefficients:
    """Parse the data file; it is ours, so a fault in it is an error of ours."""
    parsed: dict[str, Any] = json.loads(text)
    if parsed["format"] != FORMAT or tuple(parsed["step"]["terms"]) != STEP_TERMS:
        raise ValueError("calibrated.json was written for other terms: run tools/fit_calibrated.py")
    if tuple(parsed["apart_step"]["terms"]) != DECODE_TERMS or tuple(parsed["apart"]["terms"]) != APART_TERMS:
        raise ValueError("calibrated.json was written for other terms: run tools/fit_calibrated.py")
    if tuple(parsed["first_token"]["terms"]) != FIRST_TOKEN_TERMS:
        raise ValueError("calibrated.json was written for other terms: run tools/fit_calibrated.py")
    step, first = _effects(parsed["step"]["effects"]), _effects(parsed["first_token"]["effects"])
    versions: dict[str, list[str]] = {}
    for value in sorted(step.get("version", {}), key=_by_quarter):
        versions.setdefault(value.rsplit("|", 2)[0], []).append(value)
    eras: dict[str, list[str]] = {}
    for value in sorted(step.get("era", {}), key=_by_quarter):
        eras.setdefault(value.split("|")[0], []).append(value)
    beside = np.zeros(len(BESIDE_TERMS))  # workers apart do not interfere
    apart_step = _effects(parsed["apart_step"]["effects"])
    errors = parsed["error_p90"]
    return Coefficients(
        digest=hashlib.sha256(text).hexdigest(),
        step_base=np.array(parsed["step"]["base"]),
        first_token_base=np.array(parsed["first_token"]["base"]),
        step=step,
        first_token=first,
        apart_base=np.array(parsed["apart"]["base"]),
        apart=_effects(parsed["apart"]["effects"]),
        apart_step_base=np.append(parsed["apart_step"]["base"], beside),
        apart_step={
            name: {value: np.append(row, beside) for value, row in values.items()}
            for name, values in apart_step.items()
        },
        cells={cell: Range(*values) for cell, values in parsed["cells"].items()},
        versions={cell: tuple(values) for cell, values in versions.items()},
        eras={engine: tuple(values) for engine, values in eras.items()},
        tpot_error=parse_bars(errors["tpot"]),
        ttft_error=parse_bars(errors["ttft"]),
    )


@lru_cache(maxsize=1)
def committed() -> Coefficients:
    """Return the coefficients that ship with the package."""
    return parse(PATH.read_bytes())
