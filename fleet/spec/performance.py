"""Where performance estimates come from: the backends, stated and never detected, and results of the user's own."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from fleet.spec.base import Line, SpecModel


class BackendName(StrEnum):
    """A source of performance estimates."""

    CALIBRATED = "calibrated"
    SILICON = "silicon"


class PerformanceSpec(SpecModel):
    """Where performance estimates come from. The same file gives the same plan on every machine."""

    backends: Annotated[tuple[BackendName, ...], Field(min_length=1, max_length=2)] = (
        BackendName.CALIBRATED,
    )
    """Backends: [calibrated], or [calibrated, silicon] for the better of the two in each cell."""
    calibration: Line | None = None
    """File that `fleetc calibrate` wrote from results of your own, relative to this file. Empty: none."""
