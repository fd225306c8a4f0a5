"""Typed changes between two plans: what `diff_plans` returns and every review prints."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fleet.plan.document import Deployment, PriceLine, Served
from fleet.plan.estimates import EstimateChange
from fleet.plan.inputs import UNSEEN_RULES, InputChange

Value = str | int | float | None


class Action(StrEnum):
    """What happens to a deployment."""

    CREATE = "create"
    RESIZE = "resize"  # replicas only: running replicas stay
    RELAYOUT = "relayout"  # layout, engine, precision or batch limits: every replica restarts
    MOVE = "move"  # the same workload and model on another offering
    REMOVE = "remove"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One deployed property that differs, by its path in the plan's deployment."""

    path: str
    before: Value
    after: Value


@dataclass(frozen=True, slots=True)
class Change:
    """A deployment's change. A move has two identities: `before.id` goes and `after.id` comes."""

    action: Action
    before: Deployment | None
    after: Deployment | None
    fields: tuple[FieldChange, ...] = ()
    reasons: tuple[InputChange, ...] = ()
    replicas_placed_elsewhere: int = (
        0  # that exist in both plans and stand on other hosts in the new rack map
    )

    @property
    def id(self) -> str:
        deployment = self.after or self.before
        assert deployment is not None, "a change has a before or an after"
        return deployment.id

    @property
    def gpus_before(self) -> int:
        return self.before.gpus if self.before else 0

    @property
    def gpus_after(self) -> int:
        return self.after.gpus if self.after else 0

    @property
    def usd_per_hour_delta(self) -> float:
        return (self.after.usd_per_hour if self.after else 0.0) - (
            self.before.usd_per_hour if self.before else 0.0
        )


@dataclass(frozen=True, slots=True)
class CapacityChange:
    """Units bought of an offering."""

    offering: str
    accelerator_name: str
    units_before: int
    units_after: int
    gpus_before: int
    gpus_after: int
    usd_per_hour_before: float
    usd_per_hour_after: float


@dataclass(frozen=True, slots=True)
class RouteChange:
    """A workload's router weights, parts per million by deployment id; empty: no such workload."""

    workload: str
    before: tuple[tuple[str, int], ...]
    after: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class EngineChange:
    """Deployments that stay and go from one engine release to another."""

    before: str
    after: str
    deployments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PriceChange:
    offering: str
    before: PriceLine
    after: PriceLine


@dataclass(frozen=True, slots=True)
class FigureChange:
    """A deployment that stays serves a workload with other figures: rate, capacity or predictions."""

    deployment: str
    before: Served
    after: Served


@dataclass(frozen=True, slots=True)
class Delta:
    """A total before and after; without a previous plan, before is 0."""

    before: float
    after: float

    @property
    def change(self) -> float:
        return self.after - self.before

    @property
    def relative(self) -> float | None:
        """The change as a share of before; None without a before."""
        return self.change / self.before if self.before else None


@dataclass(frozen=True, slots=True)
class Totals:
    usd_per_hour: Delta
    usd_per_million_useful_tokens: Delta
    gpus_bought: Delta
    gpus_used: Delta
    hosts: Delta
    racks: Delta
    power_kw: Delta


@dataclass(frozen=True, slots=True)
class Counts:
    """Deployments in Terraform's words: a move is one to add and one to destroy."""

    add: int
    change: int
    destroy: int
    keep: int


@dataclass(frozen=True, slots=True)
class PlanDiff:
    """Everything that differs between two plans; parts in the order of their ids. `is_first`: there was no plan before."""

    fleet: str
    is_first: bool
    changes: tuple[Change, ...]
    capacity: tuple[CapacityChange, ...]
    routes: tuple[RouteChange, ...]
    engines: tuple[EngineChange, ...]
    prices: tuple[PriceChange, ...]
    inputs: tuple[InputChange, ...]
    settings: tuple[FieldChange, ...]  # gateway, delivery, labels, models, node selection
    figures: tuple[FigureChange, ...]
    estimates: tuple[EstimateChange, ...]
    totals: Totals

    @property
    def counts(self) -> Counts:
        of = [change.action for change in self.changes]
        return Counts(
            add=of.count(Action.CREATE) + of.count(Action.MOVE),
            change=of.count(Action.RESIZE) + of.count(Action.RELAYOUT),
            destroy=of.count(Action.REMOVE) + of.count(Action.MOVE),
            keep=of.count(Action.KEEP),
        )

    @property
    def has_changes(self) -> bool:
        """Whether anything that is deployed, bought, routed, watched or charged differs; the proof alone does not count."""
        moved = any(c.action is not Action.KEEP or c.replicas_placed_elsewhere for c in self.changes)
        asked = any(i.rule not in UNSEEN_RULES for i in self.inputs)
        typed = self.capacity or self.routes or self.engines or self.prices or self.settings or self.figures
        return bool(self.is_first or moved or asked or typed)
