"""What a solve returns: an answer with its proof, the smallest conflict, or a stated lack of both."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Assignment:
    """One replica in its place.

    `parts` says which GPUs it takes: (domain index within the offering, host index within the domain, GPUs) in order.
    """

    option: str
    replica: int  # 0-based among the option's replicas
    parts: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Units bought, replicas, shares and the place of each replica."""

    units: tuple[tuple[str, int], ...]  # offering id -> units bought
    replicas: tuple[tuple[str, int], ...]  # option id -> replicas, used options only
    shares: tuple[
        tuple[str, str, int], ...
    ]  # workload, option, parts per million of the workload's traffic; each workload adds up to 1,000,000
    assignments: tuple[Assignment, ...]
    cost: int  # of the objective: micro-USD/h, GPUs or W


@dataclass(frozen=True, slots=True)
class Attempt:
    """One formulation that was tried, what it found and proved."""

    formulation: str
    cost: int | None
    bound: int | None
    effort: str  # deterministic measure: nodes, branches, iterations


@dataclass(frozen=True, slots=True)
class Certificate:
    """How good the answer is: cost >= optimum >= bound; gap = (cost - bound) / cost."""

    cost: int
    bound: int
    gap: float
    proven_optimal: bool
    solver: str  # name and version
    attempts: tuple[Attempt, ...]
    floor: int  # a bound by plain arithmetic that no formulation can move
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Solved:
    answer: Answer
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class Conflicting:
    """One rule of the conflict: its kind, what it is about, and by how much it has to move alone for an answer to exist."""

    rule: str  # cover, inventory, budget, power, survive, min-replicas, purchase-unit, placement
    subject: str  # workload, offering or limit id
    has: int  # the amount the rule states now, in the problem's units
    needs: int | None  # the amount that would do if only this rule moved; None: moving it alone does not help


@dataclass(frozen=True, slots=True)
class Infeasible:
    """No answer exists: an irreducible set of rules (deletion filter, without the objective)."""

    conflict: tuple[Conflicting, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unknown:
    """Neither an answer nor a proof within the budget."""

    bound: int | None
    attempts: tuple[Attempt, ...] = field(default=())
    reason: str = ""


Outcome = Solved | Infeasible | Unknown
