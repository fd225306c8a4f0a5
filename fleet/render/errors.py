"""What rendering refuses, and why."""

from __future__ import annotations


class UnrenderablePlan(ValueError):
    """The plan asks for something that no target of this version can express; the message says what and what to do."""


class RenderedGpusDiffer(AssertionError):
    """The objects would hold other GPUs than the plan solved: a fault of fleetc, never of the user."""

    def __init__(self, where: str, rendered: int, solved: int, rule: str) -> None:
        super().__init__(
            f"{where}: the rendered objects hold {rendered} GPUs, the plan says {solved} ({rule}). This is a fault of fleetc; please report it."
        )
        self.where, self.rendered, self.solved = where, rendered, solved
