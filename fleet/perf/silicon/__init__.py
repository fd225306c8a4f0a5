"""Kernel tables as a backend: estimates from timings of single kernels, through the extra `silicon`."""

from fleet.perf.silicon.backend import Silicon
from fleet.perf.silicon.extra import available
from fleet.perf.silicon.lint import lint_tables

__all__ = ["Silicon", "available", "lint_tables"]
