"""Every rule recomputed on an answer by whole-number arithmetic, with nothing taken from the formulations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from solver.outcome import Answer, Assignment
from solver.problem import Demand, Level, Offering, Option, Problem

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that an answer breaks, what it is about, and what was found against what is allowed."""

    rule: str
    subject: str
    sentence: str


class UnsoundSizing(Exception):
    """The solver returned an answer that breaks a rule: a bug of ours, please report it with the problem."""

    def __init__(self, violations: list[Violation]) -> None:
        self.violations = violations
        lines = "\n".join(f"  {v.rule} {v.subject}: {v.sentence}" for v in violations[:20])
        super().__init__(
            f"the answer breaks {len(violations)} rule(s); please report this as a bug:\n{lines}"
        )


def verify(problem: Problem, answer: Answer) -> list[Violation]:
    """Return every rule that the answer breaks, in a fixed order; an empty list is a sound answer.

    A share may exceed the exact one by one part per million, which is what rounding shares to whole parts can cost.
    """
    ledger = _Ledger(problem, answer)
    if ledger.unknown:
        return ledger.unknown
    found: list[Violation] = []
    checks: tuple[Callable[[_Ledger], Iterable[Violation]], ...] = (
        _check_units,
        _check_limits,
        _check_replicas,
        _check_shares,
        _check_places,
        _check_survival,
        _check_cost,
    )
    for check in checks:
        found += check(ledger)
    return found


class _Ledger:
    """The answer by identifier, with what each name stands for."""

    def __init__(self, problem: Problem, answer: Answer) -> None:
        self.problem, self.answer = problem, answer
        self.offering = {o.id: o for o in problem.offerings}
        self.option = {i.id: i for i in problem.options}
        self.demand = {d.id: d for d in problem.demands}
        self.capacity = {(i.id, w): q for i in problem.options for w, q in i.capacity}
        self.units = dict(answer.units)
        self.replicas = dict(answer.replicas)
        self.shares = {(w, i): share for w, i, share in answer.shares}
        self.unknown = [
            *(_unknown("offering", o) for o in self.units if o not in self.offering),
            *(_unknown("option", i) for i in self.replicas if i not in self.option),
            *(
                _unknown("share", f"{w}, {i}")
                for w, i in self.shares
                if w not in self.demand or i not in self.option
            ),
            *(_unknown("assignment", a.option) for a in answer.assignments if a.option not in self.option),
        ]
        repeated = [
            ("offering", len(self.units) < len(answer.units)),
            ("option", len(self.replicas) < len(answer.replicas)),
            ("share", len(self.shares) < len(answer.shares)),
        ]
        self.unknown += [
            Violation("answer", kind, "an identifier is repeated") for kind, is_so in repeated if is_so
        ]

    def domains(self, offering: str) -> int:
        return self.units.get(offering, 0) * self.offering[offering].unit_domains


def _unknown(kind: str, name: str) -> Violation:
    return Violation("answer", name, f"no {kind} of the problem has this name")


def _check_units(ledger: _Ledger) -> Iterable[Violation]:
    for o in ledger.problem.offerings:
        units = ledger.units.get(o.id, 0)
        if units != int(units):
            yield Violation("purchase-unit", o.id, f"{units} units bought, allowed are whole units")
        if units > o.max_units:
            yield Violation("inventory", o.id, f"{units} units bought, {o.max_units} may be")
        if units < o.min_units:
            yield Violation("min-units", o.id, f"{units} units bought, {o.min_units} are committed to")


def _check_limits(ledger: _Ledger) -> Iterable[Violation]:
    for limit in ledger.problem.limits:
        total = 0
        for name, units in ledger.units.items():
            if name in limit.offerings:
                o = ledger.offering[name]
                total += units * (o.cost_per_unit if limit.kind == "budget" else o.power_per_unit)
        if limit.kind == "budget":
            for name, replicas in ledger.replicas.items():
                if ledger.option[name].offering in limit.offerings:
                    total += replicas * ledger.option[name].cost_per_replica
        if total > limit.amount:
            yield Violation(limit.kind, limit.id, f"{total} used, {limit.amount} allowed")


def _check_replicas(ledger: _Ledger) -> Iterable[Violation]:
    layouts: dict[str, list[str]] = defaultdict(list)
    for name, replicas in ledger.replicas.items():
        option = ledger.option[name]
        if replicas < 1:
            yield Violation("answer", name, f"{replicas} replicas listed, a used option has at least 1")
        layouts[option.slot].append(name)
        if option.max_replicas is not None and replicas > option.max_replicas:
            yield Violation("max-replicas", name, f"{replicas} replicas, {option.max_replicas} allowed")
    for slot, names in layouts.items():
        if len(names) > 1:
            yield Violation("one-layout", slot, f"{len(names)} options used ({', '.join(names)}), 1 allowed")
    for d in ledger.problem.demands:
        replicas = sum(n for i, n in ledger.replicas.items() if ledger.capacity.get((i, d.id), 0) > 0)
        if replicas < d.min_replicas:
            yield Violation("min-replicas", d.id, f"{replicas} replicas, at least {d.min_replicas} needed")


def _check_shares(ledger: _Ledger) -> Iterable[Violation]:
    busy: dict[str, Fraction] = defaultdict(
        Fraction
    )  # replicas kept busy, one part per million of each share forgiven
    for (w, i), share in ledger.shares.items():
        capacity, demand = ledger.capacity.get((i, w), 0), ledger.demand[w]
        if share < 1 or capacity < 1 or ledger.replicas.get(i, 0) < 1:
            yield Violation(
                "cover", w, f"{share} parts per million go to {i}, which has no replica that serves it"
            )
            continue
        busy[i] += Fraction((share - 1) * demand.rate, MILLION * capacity)
        if demand.pieces and abs(
            Fraction(share * demand.pieces, MILLION) - round(Fraction(share * demand.pieces, MILLION))
        ) > Fraction(demand.pieces, MILLION):
            yield Violation(
                "pieces", w, f"{share} parts per million go to {i}, not whole pieces of 1/{demand.pieces}"
            )
    for d in ledger.problem.demands:
        total = sum(share for (w, _), share in ledger.shares.items() if w == d.id)
        if total != MILLION and (d.rate > 0 or total):
            yield Violation(
                "cover", d.id, f"{total} parts per million of the traffic are served, {MILLION} needed"
            )
    for i, used in busy.items():
        if used > ledger.replicas.get(i, 0):
            yield Violation(
                "capacity", i, f"{float(used):.6f} replicas busy, {ledger.replicas.get(i, 0)} run"
            )
    if short := _unserved(ledger, ledger.replicas, frozenset(ledger.demand)):
        yield Violation("cover", short, "the replicas cannot serve the rate, however it is shared")


def _check_places(ledger: _Ledger) -> Iterable[Violation]:
    used: dict[tuple[str, int, int], int] = defaultdict(int)
    owners: dict[str, set[int]] = defaultdict(set)
    for a in ledger.answer.assignments:
        option = ledger.option[a.option]
        offering = ledger.offering[option.offering]
        if a.replica in owners[a.option]:
            yield Violation("placement", a.option, f"replica {a.replica} is placed twice")
        owners[a.option].add(a.replica)
        if problem_found := _misplaced(a, option, offering):
            yield Violation("placement", a.option, f"replica {a.replica} {problem_found}")
        for domain, host, gpus in a.parts:
            used[option.offering, domain, host] += gpus
    for name, replicas in ledger.replicas.items():
        if owners[name] != set(range(replicas)):
            yield Violation("placement", name, f"{len(owners[name])} replicas are placed, {replicas} run")
    for name in owners:
        if owners[name] and name not in ledger.replicas:
            yield Violation("placement", name, f"{len(owners[name])} replicas are placed, 0 run")
    for (name, domain, host), gpus in used.items():
        offering = ledger.offering[name]
        if (
            not 0 <= domain < ledger.domains(name)
            or not 0 <= host < offering.domain_gpus // offering.host_gpus
        ):
            yield Violation("placement", name, f"host {host} of domain {domain} is not among those bought")
        elif gpus > offering.host_gpus:
            yield Violation(
                "placement",
                name,
                f"{gpus} GPUs used on host {host} of domain {domain}, it has {offering.host_gpus}",
            )


def _misplaced(assignment: Assignment, option: Option, offering: Offering) -> str:
    """Say what is wrong with the shape of one replica's place, or nothing."""
    parts = assignment.parts
    domains = {d for d, _, _ in parts}
    hosts = {(d, h) for d, h, _ in parts}
    if len(hosts) < len(parts) or any(gpus < 1 for _, _, gpus in parts):
        return "lists a host twice or without GPUs"
    if sum(gpus for _, _, gpus in parts) != option.gpus:
        return f"takes {sum(gpus for _, _, gpus in parts)} GPUs, needs {option.gpus}"
    if len(domains) != max(1, option.domains):
        return f"is spread over {len(domains)} domains, allowed is {max(1, option.domains)}"
    if not option.domains and option.gpus <= offering.host_gpus and len(hosts) > 1:
        return f"is spread over {len(hosts)} hosts, allowed is 1"
    if option.gpus > offering.host_gpus and any(gpus != offering.host_gpus for _, _, gpus in parts):
        return "takes part of a host, larger replicas take whole ones"
    return ""


def _check_survival(ledger: _Ledger) -> Iterable[Violation]:
    for level in (Level.HOST, Level.RACK, Level.ZONE):
        workloads = frozenset(d.id for d in ledger.problem.demands if level in d.survives)
        if not workloads:
            continue
        seen: set[tuple[tuple[str, int], ...]] = set()
        for place, lost in sorted(_losses(ledger, level).items()):
            key = tuple(sorted(lost.items()))
            if key in seen:
                continue
            seen.add(key)
            left = {i: n - lost.get(i, 0) for i, n in ledger.replicas.items()}
            if short := _unserved(ledger, left, workloads):
                yield Violation(
                    f"survive({level})", short, f"losing {level} {place} leaves too little to serve it"
                )


def _losses(ledger: _Ledger, level: Level) -> dict[str, dict[str, int]]:
    """Return, for each failure set of the level, the replicas of each option that touch it."""
    losses: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for a in ledger.answer.assignments:
        offering = ledger.offering[ledger.option[a.option].offering]
        if level is Level.ZONE:
            sets = {f"{offering.zone}"}
        elif level is Level.RACK:
            sets = {f"{offering.id}/{d // offering.domains_per_rack}" for d, _, _ in a.parts}
        else:
            sets = {f"{offering.id}/{d}/{h}" for d, h, _ in a.parts}
        for name in sets:
            losses[name][a.option] += 1
    return losses


def _check_cost(ledger: _Ledger) -> Iterable[Violation]:
    problem = ledger.problem
    if problem.objective == "gpus":
        total = sum(n * ledger.offering[o].bought_gpus for o, n in ledger.units.items())
    elif problem.objective == "power":
        total = sum(n * ledger.offering[o].power_per_unit for o, n in ledger.units.items())
    else:
        total = sum(n * ledger.offering[o].cost_per_unit for o, n in ledger.units.items())
        total += sum(n * ledger.option[i].cost_per_replica for i, n in ledger.replicas.items())
    if total != ledger.answer.cost:
        yield Violation("cost", problem.objective, f"{ledger.answer.cost} stated, {total} recomputed")


def _unserved(ledger: _Ledger, left: Mapping[str, int], workloads: frozenset[str]) -> str:
    """Return a workload that so many replicas cannot serve together with the others, or nothing.

    Workloads that share no option are added up; the rest go through an exact flow with gains.
    """
    serving: dict[str, dict[str, int]] = {}
    for d in ledger.problem.demands:
        if d.id in workloads and d.rate:
            serving[d.id] = {
                i: q for i, n in left.items() if n > 0 and (q := ledger.capacity.get((i, d.id), 0)) > 0
            }
            if d.pieces:
                serving[d.id] = {i: q for i, q in serving[d.id].items() if (d.id, i) in ledger.shares}
    claims: dict[str, int] = defaultdict(int)
    for options in serving.values():
        for i in options:
            claims[i] += 1
    shared: list[str] = []
    for w, options in serving.items():
        alone = all(claims[i] == 1 for i in options) and not ledger.demand[w].pieces
        if not alone:
            shared.append(w)
        elif sum(q * left[i] for i, q in options.items()) < ledger.demand[w].rate:
            return w
    return _unserved_together(ledger, left, {w: serving[w] for w in shared}) if shared else ""


def _unserved_together(ledger: _Ledger, left: Mapping[str, int], serving: dict[str, dict[str, int]]) -> str:
    room = {i: Fraction(left[i]) for options in serving.values() for i in options}
    free: dict[str, dict[str, int]] = {}
    for w, options in serving.items():
        demand: Demand = ledger.demand[w]
        if not demand.pieces:
            free[w] = options
            continue
        pieces = {
            i: round(Fraction(ledger.shares[w, i] * demand.pieces, MILLION))
            for i in ledger.option
            if (w, i) in ledger.shares
        }
        if any(n and i not in options for i, n in pieces.items()):
            return w
        for i, n in pieces.items():
            if n:
                room[i] -= Fraction(n * demand.rate, demand.pieces * options[i])
                if room[i] < 0:
                    return w
    return first_unserved({w: ledger.demand[w].rate for w in free}, free, room)


def first_unserved(
    rates: Mapping[str, int], serving: Mapping[str, Mapping[str, int]], room: Mapping[str, Fraction]
) -> str:
    """Return a workload left short when Σ_i q_iw f_iw is made as large as it can be, or nothing when all are served.

    max Σ q_iw f_iw  s.t.  Σ_i q_iw f_iw ≤ d_w,  Σ_w f_iw ≤ room_i,  f ≥ 0, by the simplex method in fractions with
    Bland's rule; f = 0 is where it starts. Everything is served exactly when the maximum is Σ d_w.
    """
    columns = [(w, i) for w, options in serving.items() for i in options]
    rows = [*serving, *room]
    number = {name: r for r, name in enumerate(serving)}
    room_row = {name: len(serving) + r for r, name in enumerate(room)}
    table = [[Fraction(0)] * (len(columns) + 1) for _ in rows]
    for c, (w, i) in enumerate(columns):
        table[number[w]][c] = Fraction(serving[w][i])
        table[room_row[i]][c] = Fraction(1)
    for w, r in number.items():
        table[r][-1] = Fraction(rates[w])
    for i, r in room_row.items():
        table[r][-1] = room[i]
    profit = [Fraction(serving[w][i]) for w, i in columns] + [Fraction(0)]
    basis = [len(columns) + r for r in range(len(rows))]
    names = list(range(len(columns)))
    while (column := _entering(profit, names)) is not None:
        _pivot(table, profit, basis, names, column)
    slack = {basis[r]: table[r][-1] for r in range(len(rows))}
    return next((w for w, r in number.items() if slack.get(len(columns) + r, Fraction(0)) > 0), "")


def _entering(profit: list[Fraction], names: list[int]) -> int | None:
    candidates = [c for c in range(len(names)) if profit[c] > 0]
    return min(candidates, key=lambda c: names[c], default=None)


def _pivot(
    table: list[list[Fraction]], profit: list[Fraction], basis: list[int], names: list[int], column: int
) -> None:
    """Exchange a column with the row that limits it first (condensed tableau)."""
    limiting = [(row[-1] / row[column], basis[r], r) for r, row in enumerate(table) if row[column] > 0]
    _, _, pivot_row = min(limiting)
    row = table[pivot_row]
    pivot = row[column]
    row[:] = [value / pivot for value in row]
    row[column] = 1 / pivot
    for other in (*(t for t in table if t is not row), profit):
        factor = other[column]
        if factor:
            other[:] = [value - factor * base for value, base in zip(other, row, strict=True)]
            other[column] = -factor / pivot
    basis[pivot_row], names[column] = names[column], basis[pivot_row]
