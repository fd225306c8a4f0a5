"""Why no fleet exists: an irreducible set of rules, and by how much each would have to move alone.

A rule is relaxed by changing the problem, never a formulation, so a conflict is judged by the same programs that found
none. The deletion filter starts from all rules and drops groups of them, then single ones, as long as what is left is
still proven to have no answer; every rule that remains is needed. A check that ends without a proof counts as having an
answer: the set stays a conflict, and a note says that it may not be the smallest. How far a rule would have to move is
searched for with the programs alone, and what is found is then placed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from solver.outcome import Conflicting, Infeasible
from solver.problem import Level, Limit, Offering, Option, Problem
from solver.structure import LEVELS, most_useful

_CHECKS = 240  # solves that one explanation may take
_PRECISION = 100
_COUNTS = ("inventory", "max-replicas", "min-replicas", "min-units")

Verdict = Callable[[Problem], bool | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """Something the problem asks for that could be given up or moved."""

    kind: str
    subject: str
    has: int


class EffortSpent(Exception):
    """The checks of one explanation are used up."""


@dataclass
class _Judge:
    """Asks about relaxed problems, and counts how often."""

    problem: Problem
    is_excluded: Verdict
    is_feasible: Verdict
    progress: Callable[[str], None]
    checks: int = 0
    is_unsure: bool = False

    def excludes(self, problem: Problem) -> bool:
        """Whether a program proves that no fleet meets the problem."""
        self._count()
        verdict = self.is_excluded(problem)
        self.is_unsure |= verdict is None
        return verdict is True

    def finds(self, problem: Problem) -> bool:
        """Whether a fleet that meets the problem is found and placed."""
        self._count()
        return self.is_feasible(problem) is True

    def _count(self) -> None:
        if self.checks >= _CHECKS:
            raise EffortSpent
        self.checks += 1
        self.progress(f"conflict: check {self.checks}")


def find_conflict(
    problem: Problem, is_excluded: Verdict, is_feasible: Verdict, progress: Callable[[str], None]
) -> Infeasible:
    """Return an irreducible conflict of a problem that is known to have no answer.

    Args:
        problem: The problem, infeasible as it stands.
        is_excluded: Whether a program proves that a problem has no answer; None when its limit ends it first.
        is_feasible: Whether an answer to a problem is found; None when neither that nor a proof.
        progress: Told before each check.
    """
    budget = replace(problem.budget, deterministic_seconds=problem.budget.deterministic_seconds / 8)
    judge = _Judge(replace(problem, previous=None, budget=budget), is_excluded, is_feasible, progress)
    kept, notes = _filter(judge, rules_of(problem))
    conflict = []
    for rule in kept:
        try:
            needs = _needed(judge, rule)
        except EffortSpent:
            needs = None
            notes.append(
                f"how far {rule.kind} {rule.subject} would have to move was not found in {_CHECKS} checks"
            )
        conflict.append(Conflicting(rule.kind, rule.subject, rule.has, needs))
    return Infeasible(tuple(conflict), tuple(notes))


def rules_of(problem: Problem) -> list[Rule]:
    """Return every rule of the problem, the ones users give up last first."""
    slots: dict[str, int] = {}
    for i in problem.options:
        slots[i.slot] = slots.get(i.slot, 0) + 1
    return [
        *(Rule("cover", d.id, d.rate) for d in problem.demands if d.rate > 0),
        *(Rule("inventory", o.id, o.max_units) for o in problem.offerings),
        *(Rule(limit.kind, limit.id, limit.amount) for limit in problem.limits),
        *(
            Rule(f"survive({level})", d.id, 1)
            for d in problem.demands
            for level in LEVELS
            if level in d.survives
        ),
        *(Rule("placement", o.id, o.domain_gpus) for o in problem.offerings),
        *(Rule("one-layout", slot, 1) for slot, count in slots.items() if count > 1),
        *(Rule("min-replicas", d.id, d.min_replicas) for d in problem.demands if d.min_replicas > 0),
        *(Rule("min-units", o.id, o.min_units) for o in problem.offerings if o.min_units > 0),
        *(Rule("purchase-unit", o.id, o.unit_domains) for o in problem.offerings if o.unit_domains > 1),
        *(Rule("max-replicas", i.id, i.max_replicas) for i in problem.options if i.max_replicas is not None),
        *(Rule("pieces", d.id, d.pieces) for d in problem.demands if d.pieces > 0),
    ]


def without(problem: Problem, rules: Sequence[Rule]) -> Problem:
    """Return the problem with these rules given up.

    Placement goes first: it re-cuts an offering into single GPUs by what may be bought of it at that moment.
    """
    for rule in sorted(rules, key=lambda r: r.kind != "placement"):
        problem = _RELAXERS[rule.kind.partition("(")[0]](problem, rule)
    return problem


def _filter(judge: _Judge, rules: list[Rule]) -> tuple[list[Rule], list[str]]:
    """Drop groups from the back, halving a group that cannot be dropped whole."""
    kept = list(rules)
    kinds = list(dict.fromkeys(r.kind for r in rules))
    stack = [[r for r in rules if r.kind == kind] for kind in kinds]
    notes = []
    try:
        while stack:
            group = stack.pop()
            rest = [r for r in kept if r not in group]
            if judge.excludes(without(judge.problem, [r for r in rules if r not in rest])):
                kept = rest
            elif len(group) > 1:
                half = len(group) // 2
                stack += [group[:half], group[half:]]
    except EffortSpent:
        notes.append(f"the conflict was not made smaller any further after {_CHECKS} checks")
    if judge.is_unsure:
        notes.append("some checks ended without a proof: a smaller conflict may exist")
    return kept, notes


def _needed(judge: _Judge, rule: Rule) -> int | None:
    """Return the amount that would do if only this rule moved, None when giving it up does not help."""
    relaxed = without(judge.problem, [rule])
    if rule.kind == "cover":
        return _search(judge, rule, works=1)
    if judge.excludes(relaxed):
        return None
    if rule.kind in ("budget", "power", "inventory"):
        return _search(judge, rule, _amount_that_frees(relaxed, rule))
    if rule.kind == "max-replicas":
        return _search(judge, rule, _enough_replicas(judge.problem, rule.subject))
    if rule.kind in ("min-replicas", "min-units"):
        return _search(judge, rule, works=0)
    if not judge.finds(relaxed):
        return None
    if rule.kind == "placement":
        offering = next(o for o in judge.problem.offerings if o.id == rule.subject)
        return offering.max_units * offering.unit_domains * offering.domain_gpus
    if rule.kind == "one-layout":
        return sum(i.slot == rule.subject for i in judge.problem.options)
    return 1 if rule.kind == "purchase-unit" else 0


def _search(judge: _Judge, rule: Rule, works: int) -> int | None:
    """Return the amount nearest to what the rule has that no program excludes and that is found to work.

    Counts are searched for exactly; rates, money and power to one part in `_PRECISION`, on the side that works.
    """
    fails = rule.has
    precision = 1 if rule.kind in _COUNTS else max(1, max(works, fails) // _PRECISION)
    if judge.excludes(moved(judge.problem, rule, works)):
        return None
    while abs(works - fails) > precision:
        middle = (works + fails) // 2
        if judge.excludes(moved(judge.problem, rule, middle)):
            fails = middle
        else:
            works = middle
        if rule.kind not in _COUNTS:
            precision = max(1, works // _PRECISION)
    return _confirmed(judge, rule, works, precision if works > fails else -precision)


def _confirmed(judge: _Judge, rule: Rule, nearest: int, step: int) -> int | None:
    """Return an amount that a placed fleet confirms: a tenth past the nearest one, then that or, failing, a third past.

    The nearest amount is where no program proves the contrary any more, which is where fleets are hardest to find.
    """
    away = 1 if step > 0 else -1
    tenth, third = (nearest + away * max(abs(step), nearest // part) for part in (10, 3))
    for amount, fallback in ((tenth, None), (nearest, tenth)) if nearest > 1 else ((nearest, None),):
        if amount >= 0 and judge.finds(moved(judge.problem, rule, amount)):
            continue
        if fallback is not None:
            return fallback
        return third if third >= 0 and judge.finds(moved(judge.problem, rule, third)) else None
    return nearest


def _amount_that_frees(relaxed: Problem, rule: Rule) -> int:
    """Amount of a limit, or units of an offering, that can never bind."""
    if rule.kind == "inventory":
        return next(o.max_units for o in relaxed.offerings if o.id == rule.subject)
    return max(
        rule.has + 1, sum(o.max_units * max(o.cost_per_unit, o.power_per_unit) for o in relaxed.offerings)
    )


def moved(problem: Problem, rule: Rule, amount: int) -> Problem:
    """Return the problem with the rule's amount changed."""
    if rule.kind == "cover":
        return replace(
            problem,
            demands=tuple(replace(d, rate=amount) if d.id == rule.subject else d for d in problem.demands),
        )
    if rule.kind == "min-replicas":
        return replace(
            problem,
            demands=tuple(
                replace(d, min_replicas=amount) if d.id == rule.subject else d for d in problem.demands
            ),
        )
    if rule.kind == "inventory":
        return _with_offering(problem, rule, lambda o: replace(o, max_units=amount))
    if rule.kind == "min-units":
        return _with_offering(problem, rule, lambda o: replace(o, min_units=amount))
    if rule.kind == "max-replicas":
        return _with_option(problem, rule, lambda i: replace(i, max_replicas=amount))
    return replace(
        problem,
        limits=tuple(replace(x, amount=amount) if x.id == rule.subject else x for x in problem.limits),
    )


def _with_offering(problem: Problem, rule: Rule, change: Callable[[Offering], Offering]) -> Problem:
    return replace(
        problem, offerings=tuple(change(o) if o.id == rule.subject else o for o in problem.offerings)
    )


def _with_option(problem: Problem, rule: Rule, change: Callable[[Option], Option]) -> Problem:
    return replace(problem, options=tuple(change(i) if i.id == rule.subject else i for i in problem.options))


def _without_inventory(problem: Problem, rule: Rule) -> Problem:
    return _with_offering(
        problem, rule, lambda o: replace(o, max_units=max(o.max_units, _enough_units(problem, o)))
    )


def _enough_units(problem: Problem, offering: Offering) -> int:
    """Units of an offering beyond which no more are ever needed.

    Each replica there could be gets a rack of its own when a failure must be outlived, else its domains or a part of one.
    """
    survivors = {d.id for d in problem.demands if d.survives}
    most: dict[str, int] = {}
    for i in problem.options:
        if i.offering != offering.id:
            continue
        replicas = _enough_replicas(problem, i.id)
        if any(w in survivors for w, _ in i.capacity):
            domains = (i.domains + offering.domains_per_rack) * replicas
        else:
            domains = (
                i.domains * replicas if i.domains else -(-replicas // max(1, _in_one_domain(i, offering)))
            )
        most[i.slot] = max(most.get(i.slot, 0), domains)
    return -(-sum(most.values()) // offering.unit_domains) + 1


def _in_one_domain(option: Option, offering: Offering) -> int:
    if option.gpus > offering.host_gpus:
        return offering.domain_gpus // option.gpus
    return offering.host_gpus // option.gpus * (offering.domain_gpus // offering.host_gpus)


def _enough_replicas(problem: Problem, option: str) -> int:
    rates = {d.id: d for d in problem.demands}
    found = next(i for i in problem.options if i.id == option)
    return sum(most_useful(rates[w], q) for w, q in found.capacity if q > 0)


def _without_cover(problem: Problem, rule: Rule) -> Problem:
    return moved(problem, rule, 0)


def _without_survival(problem: Problem, rule: Rule) -> Problem:
    level = Level(rule.kind.partition("(")[2].rstrip(")"))
    return replace(
        problem,
        demands=tuple(
            replace(d, survives=d.survives - {level}) if d.id == rule.subject else d for d in problem.demands
        ),
    )


def _without_limit(problem: Problem, rule: Rule) -> Problem:
    return replace(problem, limits=tuple(limit for limit in problem.limits if not _is(limit, rule)))


def _is(limit: Limit, rule: Rule) -> bool:
    return limit.id == rule.subject and limit.kind == rule.kind


def _without_placement(problem: Problem, rule: Rule) -> Problem:
    """Let replicas be spread over any GPUs of the offering: every GPU is a host and a domain of its own."""
    gpus = next(o.domain_gpus for o in problem.offerings if o.id == rule.subject)
    options = tuple(
        replace(i, domains=i.gpus if i.gpus > 1 else 0) if i.offering == rule.subject else i
        for i in problem.options
    )

    def single(o: Offering) -> Offering:
        return replace(
            o,
            unit_domains=o.unit_domains * gpus,
            domain_gpus=1,
            host_gpus=1,
            domains_per_rack=o.domains_per_rack * gpus,
        )

    return _with_offering(replace(problem, options=options), rule, single)


def _without_one_layout(problem: Problem, rule: Rule) -> Problem:
    return replace(
        problem,
        options=tuple(
            replace(i, slot=f"{i.slot} {i.id}") if i.slot == rule.subject else i for i in problem.options
        ),
    )


def _without_purchase_unit(problem: Problem, rule: Rule) -> Problem:
    """Sell single domains; a domain's price is the unit's divided and rounded down."""

    def by_domain(o: Offering) -> Offering:
        size = o.unit_domains
        return replace(
            o,
            unit_domains=1,
            max_units=o.max_units * size,
            min_units=o.min_units * size,
            cost_per_unit=o.cost_per_unit // size,
            power_per_unit=o.power_per_unit // size,
        )

    return _with_offering(problem, rule, by_domain)


def _without_pieces(problem: Problem, rule: Rule) -> Problem:
    return replace(
        problem, demands=tuple(replace(d, pieces=0) if d.id == rule.subject else d for d in problem.demands)
    )


_RELAXERS: dict[str, Callable[[Problem, Rule], Problem]] = {
    "cover": _without_cover,
    "inventory": _without_inventory,
    "budget": _without_limit,
    "power": _without_limit,
    "survive": _without_survival,
    "placement": _without_placement,
    "one-layout": _without_one_layout,
    "min-replicas": lambda problem, rule: moved(problem, rule, 0),
    "min-units": lambda problem, rule: moved(problem, rule, 0),
    "purchase-unit": _without_purchase_unit,
    "max-replicas": lambda problem, rule: _with_option(
        problem, rule, lambda i: replace(i, max_replicas=None)
    ),
    "pieces": _without_pieces,
}
