"""A user's calibration: read from its document, written to it, and as a performance model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pydantic import ValidationError

from fleet.catalog.load import load_catalog
from fleet.catalog.records import ModelCard
from fleet.diagnostics import Diagnostic, Rejected, Severity, at, register
from fleet.perf import coefficients
from fleet.perf.calibrated import Calibrated
from fleet.perf.coefficients import Coefficients, Lookup
from fleet.perf.interface import Basis, Provenance
from fleet.perf.measured import few_shot
from fleet.perf.measured.document import (
    CalibrationDocument,
    FittedCell,
    UnknownName,
    measurement_of,
    row_of,
)
from fleet.perf.measured.fitted import (
    CellEffects,
    fit_cells,
    named_first_token,
    named_step,
    own_of,
    role_of_cell,
)
from fleet.perf.measured.measurement import Measurement
from fleet.perf.measured.parts import STEP_PARTS, parts_of
from fleet.perf.measured.update import Effects
from fleet.source import SourceText, parse

BROKEN = register(
    "broken-calibration",
    what="A calibration file is not what `fleetc calibrate` writes: no JSON, another kind or version, a figure that cannot be, or a name that the catalogue does not have.",
    why="Estimates that rest on it would differ from what was measured.",
    fix="Remove it, and write it again with `fleetc calibrate STACK RESULTS...`.",
)
REFITTED = register(
    "calibration-refitted",
    severity=Severity.WARNING,
    what="A calibration was fitted against other coefficients, or its rows or effects were edited since; its effects are fitted again on reading.",
    why="The estimates are right, but the file shows effects that are not those in use.",
    fix="Run `fleetc calibrate STACK` with the results once more and commit the file.",
)


class Measured(Calibrated):
    """The calibrated backend with the user's own measurements: cells that they cover are named `measured`."""

    def __init__(self, base: Coefficients, calibration_sha256: str) -> None:
        super().__init__(base)
        self.calibration_sha256 = calibration_sha256

    @property
    def name(self) -> str:
        return "calibrated+measured"

    @property
    def digest(self) -> str:
        """sha256 of the coefficients' digest and the calibration's."""
        return sha256(f"{super().digest}\n{self.calibration_sha256}".encode()).hexdigest()

    def covers(self, cell: str) -> bool:
        """Whether measurements cover a cell (see `cell_and_role`)."""
        return cell in self._coefficients.own

    def _provenance(self, lookup: Lookup, *, outside: bool) -> Provenance:
        if lookup.basis is Basis.MEASURED:
            return Provenance("measured", self.calibration_sha256[:12], lookup.basis, lookup.note)
        pooled = super()._provenance(lookup, outside=outside)
        return Provenance(super().name, super().digest[:12], pooled.basis, pooled.note)


@dataclass(frozen=True)
class Calibration:
    """Measurements, and the effects that were fitted to them against some coefficients."""

    measurements: tuple[Measurement, ...]
    cells: dict[str, CellEffects]
    fitted_to: str  # digest of measurements, coefficients, priors and the effects themselves

    def is_fitted_to(self, base: Coefficients) -> bool:
        """Whether the effects belong to these measurements and coefficients."""
        return self.fitted_to == _fitted_to(self.measurements, self.cells, base)

    def refitted(self, base: Coefficients) -> Calibration:
        """Return the calibration with effects that belong to these coefficients."""
        return self if self.is_fitted_to(base) else fit(self.measurements, base)

    def warnings(self, base: Coefficients | None = None) -> list[Diagnostic]:
        """Return what a user should know before these estimates are used."""
        if self.is_fitted_to(base or coefficients.committed()):
            return []
        message = (
            "the calibration was fitted against other coefficients, or was edited since; it is fitted again"
        )
        return [REFITTED.report(message, at("fitted_to"))]

    def model(self, base: Coefficients | None = None) -> Measured:
        """Return the performance model: the calibrated one, moved in the cells that measurements cover."""
        base = base or coefficients.committed()
        ready = self.refitted(base)
        own = own_of(base, ready.cells, ready.measurements, few_shot.committed())
        return Measured(base.with_own(own), sha256(ready.text().encode()).hexdigest())

    def text(self) -> str:
        """Return the document's text: the same measurements and coefficients give the same bytes."""
        document = CalibrationDocument(
            fitted_to=self.fitted_to,
            models=_own_models(self.measurements),
            rows=tuple(row_of(m) for m in self.measurements),
            cells=_written(self.cells),
        )
        body = document.model_dump(mode="json")
        return json.dumps(body, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def fit(measurements: Iterable[Measurement], base: Coefficients | None = None) -> Calibration:
    """Return the calibration of measurements; their order does not matter, and a run that stands twice counts once."""
    base = base or coefficients.committed()
    by_digest = {m.sha256: m for m in measurements}
    kept = tuple(sorted(by_digest.values(), key=lambda m: (m.cell, m.loop.concurrency, m.sha256)))
    as_kept = tuple(_as_kept(m) for m in kept)
    cells = fit_cells(base, as_kept, few_shot.committed())
    return Calibration(as_kept, cells, _fitted_to(as_kept, cells, base))


def _as_kept(measurement: Measurement) -> Measurement:
    """Return a measurement with figures as the document keeps them, so that a fit and its reading agree."""
    catalog = load_catalog()
    return measurement_of(row_of(measurement), _own_models([measurement]), catalog)


def _own_models(measurements: Iterable[Measurement]) -> dict[str, ModelCard]:
    """Return the models that the catalogue does not have as they are."""
    catalog = load_catalog()
    cards = {m.loop.replica.decoder.model.id: m.loop.replica.decoder.model for m in measurements}
    return {name: card for name, card in sorted(cards.items()) if catalog.models.get(name) != card}


def _written(cells: Mapping[str, CellEffects]) -> dict[str, FittedCell]:
    return {
        cell: FittedCell(
            measurements=fitted.measurements,
            step=named_step(fitted.effects),
            first_token=named_first_token(fitted.effects, cell),
        )
        for cell, fitted in sorted(cells.items())
    }


def _fitted_to(
    measurements: Iterable[Measurement], cells: Mapping[str, CellEffects], base: Coefficients
) -> str:
    rows = [row_of(m).model_dump(mode="json") for m in measurements]
    said = {
        "rows": rows,
        "coefficients": base.digest,
        "priors": sha256(few_shot.PATH.read_bytes()).hexdigest(),
        "cells": {name: cell.model_dump(mode="json") for name, cell in _written(cells).items()},
    }
    return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def load_calibration(text: str, name: str = "calibration.json") -> Calibration:
    """Read a calibration document.

    Raises:
        Rejected: it is broken; carries every fault, located in the text under this name.
    """
    sources = {name: text}
    try:
        document = parse(SourceText(name, text))
    except Rejected as faults:
        broken = [BROKEN.report(d.message, *d.labels) for d in faults.diagnostics]
        raise Rejected(broken, sources) from None

    def rejected(found: list[Diagnostic]) -> Rejected:
        return Rejected(document.locate(found), sources)

    data: Any = document.data
    if not isinstance(data, dict) or data.get("kind") != "Calibration":
        raise rejected([BROKEN.report(f"{name} is no calibration: its kind is not 'Calibration'", at())])
    try:
        read = CalibrationDocument.model_validate(data)
    except ValidationError as faults:
        raise rejected([_fault(dict(fault)) for fault in faults.errors()[:20]]) from None
    measurements, found = [], []
    for index, row in enumerate(read.rows):
        try:
            measurements.append(measurement_of(row, read.models, load_catalog()))
        except UnknownName as unknown:
            found.append(BROKEN.report(str(unknown), at("rows", index, unknown.key)))
    cells = {}
    for cell, fitted in read.cells.items():
        parts = (STEP_PARTS, parts_of(role_of_cell(cell)))
        if any(set(values) != set(names) for values, names in zip(_values(fitted), parts, strict=True)):
            found.append(
                BROKEN.report(f"the effects of '{cell}' are not those of its parts", at("cells", cell))
            )
            continue
        effects = Effects(
            *(tuple(values[n] for n in names) for values, names in zip(_values(fitted), parts, strict=True))
        )
        cells[cell] = CellEffects(effects, fitted.measurements)
    if found:
        raise rejected(found)
    return Calibration(tuple(measurements), cells, read.fitted_to)


def _values(fitted: FittedCell) -> tuple[dict[str, float], dict[str, float]]:
    return fitted.step, fitted.first_token


def _fault(fault: dict[str, Any]) -> Diagnostic:
    """Return a diagnostic of one fault of the document's form."""
    place = tuple(step for step in fault["loc"] if isinstance(step, (str, int)))
    return BROKEN.report(f"{'.'.join(map(str, place))}: {fault['msg'].lower()}", at(*place))


__all__ = ["Calibration", "Measured", "fit", "load_calibration"]
