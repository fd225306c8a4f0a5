"""A sizing program under construction: which one it is, and its variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from ortools.math_opt.python import mathopt

from solver.problem import Level, Offering
from solver.structure import Structure

Linear: TypeAlias = mathopt.LinearTypes


class Cells(StrEnum):
    """What a program tells apart within an offering."""

    NONE = "compact"
    RACKS = "by racks"
    DOMAINS = "by domains"


@dataclass(frozen=True, slots=True)
class Formulation:
    """Which program to write.

    Without `bearable` and slack it excludes no fleet that could be placed, and its bound holds. With them it excludes
    some: its fleets are easier to place, and its bound proves nothing.
    """

    cells: Cells = Cells.NONE
    bearable: Mapping[str, tuple[int, ...]] | None = (
        None  # option -> losses planned for, of which one is chosen
    )
    idle_gpus: Mapping[str, int] = field(default_factory=dict)  # offering -> GPUs left free
    spare_rate: Mapping[str, int] = field(default_factory=dict)  # workload -> milli-requests/s on top


@dataclass(slots=True)
class SizingModel:
    """A program under construction, with the variables that an answer is read from."""

    structure: Structure
    formulation: Formulation
    model: mathopt.Model
    units: dict[str, mathopt.Variable] = field(default_factory=dict)
    replicas: dict[str, mathopt.Variable] = field(default_factory=dict)
    used: dict[str, mathopt.Variable] = field(default_factory=dict)
    pieces: dict[tuple[str, str], mathopt.Variable] = field(default_factory=dict)
    in_cell: dict[tuple[str, int], mathopt.Variable] = field(default_factory=dict)
    cell_domains: dict[tuple[str, int], mathopt.Variable] = field(default_factory=dict)

    def cell_size(self, offering: Offering) -> int:
        """Domains of one cell."""
        return offering.domains_per_rack if self.formulation.cells is Cells.RACKS else 1

    def cell_count(self, offering: Offering) -> int:
        """Cells of the offering when all of it is bought; 0 when they are not told apart."""
        if self.formulation.cells is Cells.NONE:
            return 0
        if self.formulation.cells is Cells.RACKS:
            return self.structure.most_sets(offering, Level.RACK)
        return offering.max_units * offering.unit_domains

    def integer(self, upper: int, name: str, lower: int = 0) -> mathopt.Variable:
        return self.model.add_integer_variable(
            lb=lower, ub=upper, name=f"{name} {self.model.get_num_variables()}"
        )

    def continuous(self, upper: float, name: str) -> mathopt.Variable:
        return self.model.add_variable(lb=0.0, ub=upper, name=f"{name} {self.model.get_num_variables()}")

    def units_first(self) -> dict[mathopt.Variable, int]:
        """Branching priorities: what to buy before anything else."""
        return dict.fromkeys(self.units.values(), 1)

    def row(self, constraint: object, name: str) -> None:
        """Add a constraint; several rows may go by one rule's name, the number keeps them apart."""
        self.model.add_linear_constraint(constraint, name=f"{name} {self.model.get_num_linear_constraints()}")
