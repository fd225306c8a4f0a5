"""A fit, as the content of the data file and as the backend that reads it: what is scored is what ships."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

from calibration.apart import Apart
from calibration.dataset import Array, Dataset
from calibration.pooled import Effects
from fleet.perf.calibrated import Calibrated
from fleet.perf.coefficients import APART_TERMS, FIRST_TOKEN_TERMS, FORMAT, parse
from fleet.perf.error_bars import ErrorBars
from fleet.perf.terms import DECODE_TERMS, STEP_TERMS

DIGITS = 4
BAR_DIGITS = 3
NO_BARS = ErrorBars({"": 0.0}, {"": 0.0}, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0)


@dataclass(frozen=True)
class Fitted:
    """Step time and TTFT of mixed workers and, where there are rows, of workers apart."""

    step: Effects
    first_token: Effects
    apart: Apart | None
    cells: dict[str, list[float]]  # see `cells_of`


def digits(values: Array) -> list[float]:
    return [float(f"{v:.{DIGITS}g}") for v in values.tolist()]


def written_effects(effects: Effects, terms: tuple[str, ...]) -> dict[str, Any]:
    """Return a regression as JSON data: log coefficients, rounded, terms in order."""
    keep = [effects.terms.index(name) for name in terms]
    by_level = {
        level: {value: digits(row[keep]) for value, row in sorted(values.items())}
        for level, values in effects.levels.items()
    }
    return {"terms": list(terms), "base": digits(effects.base[keep]), "effects": by_level}


def written_first_token(apart: Apart) -> dict[str, Any]:
    """Return the TTFT regression of workers apart as JSON data."""
    effects = {
        level: {value: digits(row) for value, row in sorted(values.items())}
        for level, values in apart.effects.items()
    }
    return {"terms": list(APART_TERMS), "base": digits(apart.base), "effects": effects}


def cells_of(data: Dataset) -> dict[str, list[float]]:
    """Return for every cell its rows, largest batch, longest context and widest worker."""
    cells: dict[str, list[float]] = {}
    for cell, point in sorted(zip(data.cell, data.points, strict=True), key=lambda pair: pair[0]):
        rows, batch, context, gpus = cells.get(cell, [0, 0.0, 0.0, 0])
        widest = max(gpus, point.layout.gpus)
        context = max(context, float(f"{point.isl + point.osl:.6g}"))
        cells[cell] = [rows + 1, max(batch, float(f"{point.batch:.6g}")), context, widest]
    return cells


def coefficients_document(fitted: Fitted, bars: dict[str, ErrorBars]) -> dict[str, Any]:
    """Return what the calibrated backend reads of a fit: coefficients, cells and error bars by metric.

    Raises:
        ValueError: no rows of workers apart were fitted.
    """
    if fitted.apart is None:
        raise ValueError("no disaggregated row has a label: put the folder `labels` beside the table")
    return {
        "format": FORMAT,
        "error_p90": {metric: written_bars(each) for metric, each in bars.items()},
        "cells": fitted.cells,
        "step": written_effects(fitted.step, STEP_TERMS),
        "first_token": written_effects(fitted.first_token, FIRST_TOKEN_TERMS),
        "apart_step": written_effects(fitted.apart.step, DECODE_TERMS),
        "apart": written_first_token(fitted.apart),
    }


def written_bars(bars: ErrorBars) -> dict[str, Any]:
    """Return error bars as JSON data, rounded."""

    def rounded(value: float) -> float:
        return float(f"{value:.{BAR_DIGITS}g}")

    return {
        field.name: rounded(value)
        if isinstance(value := getattr(bars, field.name), float)
        else {name: rounded(error) for name, error in sorted(value.items())}
        for field in fields(bars)
    }


def product(fitted: Fitted) -> Calibrated:
    """Return the backend as it would read these coefficients; its error bars are empty."""
    bars = {"tpot": NO_BARS, "ttft": NO_BARS}
    return Calibrated(parse(json.dumps(coefficients_document(fitted, bars)).encode()))
