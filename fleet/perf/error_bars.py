"""How wrong an estimate may be: residual quantiles of cross-validation by class, and what widens them."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.layout import Role
from fleet.perf.interface import Point

THIN_CELL_ROWS = 3.0
"""Rows at which a cell's error is half-way between that of an unseen group and that of interpolation."""


@dataclass(frozen=True, slots=True)
class ErrorBars:
    """90 % quantiles of the absolute relative error in cross-validation, by class (see `class_of`)."""

    interpolation: dict[str, float]
    unseen: dict[str, float]

    def at(self, class_name: str, rows: int) -> float:
        """Return the error of a cell with so many rows of data: the fewer, the nearer to an unseen one."""
        widest = max(self.unseen.values())
        near, far = self.interpolation.get(class_name, widest), self.unseen.get(class_name, widest)
        return near + max(far - near, 0.0) * THIN_CELL_ROWS / (THIN_CELL_ROWS + rows)


def class_of(point: Point) -> str:
    """Return the class that errors are kept for: the engine, and dense or MoE, or workers apart."""
    kind = "apart" if point.role is not Role.MIXED else "moe" if point.model.is_moe else "dense"
    return f"{point.engine.id.value}|{kind}"
