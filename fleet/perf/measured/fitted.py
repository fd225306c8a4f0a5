"""Effects of measurements, cell by cell, and the coefficients that carry them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fleet.layout import Role
from fleet.perf.calibrated import Calibrated
from fleet.perf.coefficients import APART_TERMS, FIRST_TOKEN_TERMS, Coefficients, Own
from fleet.perf.error_bars import Known, class_of
from fleet.perf.measured.few_shot import FewShot
from fleet.perf.measured.measurement import Measurement
from fleet.perf.measured.parts import (
    STEP_PARTS,
    apart_vector,
    first_token_vector,
    parts_of,
    step_vector,
)
from fleet.perf.measured.update import Effects, update
from fleet.perf.rounding import six


@dataclass(frozen=True, slots=True)
class CellEffects:
    """One cell's effects and how many measurements they rest on."""

    effects: Effects
    measurements: int


def role_of_cell(cell: str) -> Role:
    """Return MIXED or DECODE (workers apart) from a cell's name."""
    return Role.MIXED if cell.endswith(f"|{Role.MIXED.value}") else Role.DECODE


def role_name(cell: str) -> str:
    """Return mixed or apart from a cell's name."""
    return cell.rsplit("|", 1)[-1]


def fit_cells(
    base: Coefficients, measurements: Sequence[Measurement], few_shot: FewShot
) -> dict[str, CellEffects]:
    """Return the effects of every cell that measurements cover, rounded to six digits; cells in name order."""
    by_cell: dict[str, list[Measurement]] = {}
    for measurement in measurements:
        by_cell.setdefault(measurement.cell, []).append(measurement)
    model, fitted = Calibrated(base), {}
    for cell in sorted(by_cell):
        found = update(model, by_cell[cell], few_shot.priors[role_name(cell)])
        rounded = Effects(*(tuple(six(x) for x in effects) for effects in (found.step, found.first_token)))
        fitted[cell] = CellEffects(rounded, len(by_cell[cell]))
    return fitted


def own_of(
    base: Coefficients,
    cells: Mapping[str, CellEffects],
    measurements: Sequence[Measurement],
    few_shot: FewShot,
) -> dict[str, Own]:
    """Return what the coefficients take: effects by term, and what is left of the error of an unseen cell."""
    class_of_cell = {m.cell: class_of(m.decoding) for m in measurements}
    own = {}
    for cell, fitted in cells.items():
        is_mixed, name = role_of_cell(cell) is Role.MIXED, role_name(cell)
        first = fitted.effects.first_token
        own[cell] = Own(
            step=step_vector(fitted.effects.step),
            first_token=first_token_vector(first) if is_mixed else np.zeros(len(FIRST_TOKEN_TERMS)),
            apart=np.zeros(len(APART_TERMS)) if is_mixed else apart_vector(first),
            rows=fitted.measurements,
            tpot_error_p90=base.tpot_error.at(Known(class_of_cell[cell], rows=0))
            * few_shot.tpot_left(name, fitted.measurements),
            ttft_error_p90=base.ttft_error.at(Known(class_of_cell[cell], rows=0))
            * few_shot.ttft_left(name, fitted.measurements),
        )
    return own


def named_step(effects: Effects) -> dict[str, float]:
    """Return the effects of a step by the names of its parts."""
    return dict(zip(STEP_PARTS, effects.step, strict=True))


def named_first_token(effects: Effects, cell: str) -> dict[str, float]:
    """Return the effects of the first token by the names of its parts."""
    return dict(zip(parts_of(role_of_cell(cell)), effects.first_token, strict=True))
