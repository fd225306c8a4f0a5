"""The user's own measurements: what they change about the cells that they cover."""

from fleet.perf.measured.calibration import Calibration, Measured, load_calibration

__all__ = ["Calibration", "Measured", "load_calibration"]
