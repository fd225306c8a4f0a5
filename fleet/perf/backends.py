"""Makes the performance model that a fleet file or a command asks for: the one place that knows every backend."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.perf.calibrated import Calibrated
from fleet.perf.combined import Combined
from fleet.perf.interface import PerformanceModel
from fleet.perf.measured import Calibration
from fleet.perf.silicon import Silicon, available

SILICON = "silicon"


class MissingBackend(Exception):
    """A backend was asked for whose package is not installed; says why."""


def model_of(backends: Sequence[str], calibration: Calibration | None) -> PerformanceModel:
    """Return the model of `backends` ("calibrated", or "calibrated" and "silicon"), results of the user's own on top.

    Raises:
        MissingBackend: the package of a backend is not installed.
    """
    calibrated = Calibrated() if calibration is None else calibration.model()
    return Combined(calibrated, silicon()) if SILICON in backends else calibrated


def silicon() -> PerformanceModel:
    """Return the kernel tables' own model.

    Raises:
        MissingBackend: its package is not installed.
    """
    if missing := available():
        raise MissingBackend(missing)
    return Silicon()
