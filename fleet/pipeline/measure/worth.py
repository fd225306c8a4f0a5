"""What a run of a cell is worth: each outcome solved again, today's plan against the best one.

worth  = Σ_z p_z saving_z                          z  outcomes of the run, in standard deviations
saving = max( keep_z - best_z - slack, 0 )
keep   today's purchase and layouts, and what has to be added to them under the outcome
best   the workloads of the cell choose anew among all within reach; others keep their layouts, their numbers move
slack  today's cost less the best without any news: what sizing without placement, or the gap, makes of nothing
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fleet.pipeline.lower import milli, option_of
from fleet.pipeline.measure.reach import FAST, MIDDLE, SLOW, Near
from solver.problem import Offering, Option, Problem
from solver.relaxed import Sized, size

GAP = 0.005
"""Relative gap of a re-solve."""


@dataclass(frozen=True, slots=True)
class Today:
    """The plan in force: units by offering, replicas by candidate, and its amount in the solver's units."""

    units: Mapping[str, int]
    replicas: Mapping[str, int]
    amount: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one outcome of a run leads to; amounts in the solver's units, None: no fleet was found."""

    keep: int | None
    best: int | None
    saving: int
    gap: float
    replicas: Mapping[str, int]  # of the best fleet; empty where nothing was solved


@dataclass(frozen=True, slots=True)
class Worth:
    outcomes: tuple[Outcome, Outcome, Outcome]
    slack: int


@dataclass
class Valuer:
    """Solves outcomes of runs against one plan.

    Args:
        base: The problem that the plan answers; its options give way to those within reach.
    """

    base: Problem
    today: Today
    near: Sequence[Near]
    _slack: dict[frozenset[str], int] = field(default_factory=dict)

    def value(self, cell: str) -> Worth:
        """Solve every outcome of a run of the cell."""
        free = frozenset(n.workload for n in self.near if n.cell == cell)
        slack = self._slack_of(free)
        fast, middle, slow = (self._outcome(cell, z, free, slack) for z in (FAST, MIDDLE, SLOW))
        return Worth((fast, middle, slow), slack)

    def _outcome(self, cell: str, z: int, free: frozenset[str], slack: int) -> Outcome:
        if not self._has_news(cell, z):
            return Outcome(self.today.amount, self.today.amount, 0, 0.0, {})
        options = self._options(cell, z, free)
        best = self._size(options)
        keep = self._keep(options, is_slower=z == SLOW)
        if keep is None or best is None:
            return Outcome(keep, best.amount if best else None, 0, best.gap if best else 0.0, _of(best))
        return Outcome(keep, best.amount, max(keep - best.amount - slack, 0), best.gap, _of(best))

    def _has_news(self, cell: str, z: int) -> bool:
        """Whether an outcome moves a rate that could matter: a slower one only that of a candidate in use."""
        here = [n for n in self.near if n.cell == cell]
        if z == SLOW:
            here = [n for n in here if n.id in self.today.replicas]
        return any(milli(n.rates[z]) != milli(n.rate_now) for n in here if z != MIDDLE or n.candidate)

    def _keep(self, options: Sequence[Option], *, is_slower: bool) -> int | None:
        """Return the amount of today's plan with what it has to add: of its own layouts, or of any where those run out."""
        if not is_slower:
            return self.today.amount
        own = [o for o in options if o.id in self.today.replicas]
        kept = self._size(own, keeps_units=True) or self._size(options, keeps_units=True)
        return kept.amount if kept else None

    def _slack_of(self, free: frozenset[str]) -> int:
        if free not in self._slack:
            best = self._size(self._options("", MIDDLE, free))
            self._slack[free] = max(self.today.amount - best.amount, 0) if best else 0
        return self._slack[free]

    def _options(self, cell: str, z: int, free: frozenset[str]) -> list[Option]:
        """Return the options at an outcome: all within reach of the free workloads, of others those of today."""
        found = []
        for n in self.near:
            rate = n.rates[z] if n.cell == cell else n.rate_now
            capacity = milli(rate)
            if capacity and (n.workload in free or n.id in self.today.replicas):
                found.append(option_of(n.id, n.workload, n.shape, capacity))
        return found

    def _size(self, options: Iterable[Option], *, keeps_units: bool = False) -> Sized | None:
        offerings = self.base.offerings
        if keeps_units:
            offerings = tuple(self._kept(o) for o in offerings)
        budget = replace(self.base.budget, gap=GAP)
        return size(replace(self.base, options=tuple(options), offerings=offerings, budget=budget))

    def _kept(self, offering: Offering) -> Offering:
        return replace(offering, min_units=max(offering.min_units, self.today.units.get(offering.id, 0)))


def _of(sized: Sized | None) -> Mapping[str, int]:
    return {option: count for option, count in sized.replicas.items() if count} if sized else {}
