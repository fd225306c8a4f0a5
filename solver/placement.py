"""Where each replica stands: largest first, always where its workload loses least, never beyond what it can bear.

For sizes that divide each other no order of hosts leaves a hole, so each choice is free to spread. Racks whose replicas
do not divide them are also tried with the snuggest fit first.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from solver.outcome import Assignment
from solver.problem import Level, Offering, Option
from solver.program import Cells
from solver.shares import Allowance
from solver.structure import Component, Structure

Parts = tuple[tuple[int, int, int], ...]  # (domain, host, GPUs)


class Want(Enum):
    """What stopped a replica from being placed."""

    SPACE = auto()  # no room for it
    SPREAD = auto()  # room only where one failure would take too much


@dataclass(frozen=True, slots=True)
class Unplaced:
    """The first option that did not fit, and how many of its replicas were left over."""

    option: Option
    want: Want
    left_over: int


@dataclass(frozen=True, slots=True)
class Order:
    """A fleet to place: units, replicas, the losses each component bears, and replicas by cell when that is decided."""

    units: Mapping[str, int]
    replicas: Mapping[str, int]
    allowances: Mapping[tuple[int, Level], Allowance]  # (component's index, level)
    cells: Cells = Cells.NONE
    in_cell: Mapping[tuple[str, int], int] = field(default_factory=dict)


def place(structure: Structure, order: Order) -> tuple[Assignment, ...] | Unplaced:
    """Return the place of every replica, or the first that could not be placed; a failure proves nothing."""
    failure: Unplaced | None = None
    assignments: list[Assignment] = []
    for offering in structure.problem.offerings:
        for snug in (False, True):
            floor = _Floor(structure, offering, order, snug)
            outcome = floor.place_all()
            if not isinstance(outcome, Unplaced):
                break
        if isinstance(outcome, Unplaced):
            failure = failure or outcome
        else:
            assignments += outcome
    return failure or tuple(assignments)


@dataclass
class _Floor:
    """The domains of one offering while they fill up."""

    structure: Structure
    offering: Offering
    order: Order
    snug: bool
    free: list[list[int]] = field(init=False)  # GPUs left, by domain and host
    rack_free: dict[int, int] = field(init=False)
    lost: dict[tuple[int, Level, int], dict[str, int]] = field(
        default_factory=dict
    )  # by component, level, failure set

    def __post_init__(self) -> None:
        self.component_of = {i.id: n for n, c in enumerate(self.structure.components) for i in c.options}
        bought = self.order.units.get(self.offering.id, 0) * self.offering.unit_domains
        domains = min(bought, self._most_domains())
        hosts = self.offering.domain_gpus // self.offering.host_gpus
        self.free = [[self.offering.host_gpus] * hosts for _ in range(domains)]
        self.rack_free = defaultdict(int)
        for domain in range(domains):
            self.rack_free[self._rack_of(domain)] += self.offering.domain_gpus

    def _most_domains(self) -> int:
        """Domains that are looked at: twice the volume and, where a failure must be outlived, a rack for each replica."""
        options = self.structure.on_offering[self.offering.id]
        replicas = {i.id: self.order.replicas.get(i.id, 0) for i in options}
        volume = -(-sum(i.gpus * replicas[i.id] for i in options) // self.offering.domain_gpus)
        apart = [
            replicas[i.id] * (i.domains + self.offering.domains_per_rack)
            for i in options
            if any(True for _ in self._rules(i))
        ]
        return 2 * volume + len(options) + max(apart, default=0)

    def place_all(self) -> list[Assignment] | Unplaced:
        options = [
            i for i in self.structure.on_offering[self.offering.id] if self.order.replicas.get(i.id, 0)
        ]
        options.sort(key=lambda i: (-i.domains, -i.gpus, -self._tightness(i)))
        placed: list[Assignment] = []
        for option in options:
            parts = self._place_spanning(option) if option.domains else self._place_inside(option)
            if isinstance(parts, Unplaced):
                return parts
            placed += [Assignment(option.id, number, part) for number, part in enumerate(sorted(parts))]
        return placed

    def _rules(self, option: Option) -> Iterable[tuple[Level, Allowance]]:
        """Yield the allowance of each failure that the option's workloads must bear."""
        component = self.component_of[option.id]
        for level in (Level.HOST, Level.RACK):
            allowance = self.order.allowances.get((component, level))
            if allowance is not None and allowance.weight.get(option.id, 0):
                yield level, allowance

    def _tightness(self, option: Option) -> float:
        return max((a.weight[option.id] / max(a.amount, 1) for _, a in self._rules(option)), default=0.0)

    def _host_set(self, domain: int, host: int) -> int:
        return domain * len(self.free[domain]) + host

    def _rack_of(self, domain: int) -> int:
        return domain // self.offering.domains_per_rack

    def _use_after(
        self, option: Option, level: Level, allowance: Allowance, failure_set: int
    ) -> float | None:
        """Part of the allowance that the failure would use with one replica more in it; None when it cannot be borne."""
        lost = self.lost.get((self.component_of[option.id], level, failure_set), {})
        after = tuple(sorted({**lost, option.id: lost.get(option.id, 0) + 1}.items()))
        if not allowance.bears(after):
            return None
        return sum(allowance.weight[i] * n for i, n in after) / allowance.amount

    def _fit(self, option: Option, domain: int) -> tuple[tuple[float, ...], Parts] | None:
        """Return (what the placing costs, parts) for the best hosts of a domain, or None when nothing there will do."""
        rules = dict(self._rules(option))
        rack_use = 0.0
        if Level.RACK in rules:
            used = self._use_after(option, Level.RACK, rules[Level.RACK], self._rack_of(domain))
            if used is None:
                return None
            rack_use = used
        choose = self._whole_hosts if option.gpus > self.offering.host_gpus else self._one_host
        chosen = choose(option, domain, rules.get(Level.HOST))
        if chosen is None:
            return None
        host_use, left, parts = chosen
        spread = (rack_use, host_use)
        if self.snug:
            return (float(left), *spread, domain), parts
        return (*spread, -float(self.rack_free[self._rack_of(domain)]), domain), parts

    def _whole_hosts(
        self, option: Option, domain: int, allowance: Allowance | None
    ) -> tuple[float, int, Parts] | None:
        """Return (use of the allowance, hosts still empty, parts) on the first empty hosts of the domain."""
        size = self.offering.host_gpus
        empty = [h for h, gpus in enumerate(self.free[domain]) if gpus == size]
        count = option.gpus // size
        if len(empty) < count:
            return None
        if allowance is not None and not allowance.bears(((option.id, 1),)):
            return None
        return 0.0, len(empty) - count, tuple((domain, h, size) for h in empty[:count])

    def _one_host(
        self, option: Option, domain: int, allowance: Allowance | None
    ) -> tuple[float, int, Parts] | None:
        """Return (use of the allowance, GPUs still free there, parts) on the host that loses least, then fits best."""
        best: tuple[float, int, int] | None = None
        for host, gpus in enumerate(self.free[domain]):
            if gpus < option.gpus:
                continue
            use: float | None = 0.0
            if allowance is not None:
                use = self._use_after(option, Level.HOST, allowance, self._host_set(domain, host))
            if use is not None and (best is None or (use, gpus, host) < best):
                best = (use, gpus, host)
        if best is None:
            return None
        use, gpus, host = best
        return use, gpus - option.gpus, ((domain, host, option.gpus),)

    def _take(self, option: Option, parts: Parts) -> None:
        component = self.component_of[option.id]
        for domain, host, gpus in parts:
            self.free[domain][host] -= gpus
            self.rack_free[self._rack_of(domain)] -= gpus
        for level, _ in self._rules(option):
            touched = {self._host_set(d, h) if level is Level.HOST else self._rack_of(d) for d, h, _ in parts}
            for failure_set in touched:
                lost = self.lost.setdefault((component, level, failure_set), {})
                lost[option.id] = lost.get(option.id, 0) + 1

    def _place_inside(self, option: Option) -> list[Parts] | Unplaced:
        """Place replicas one by one in the domain where they cost least; costs only rise, so a stale one is asked again."""
        wanted = self.order.replicas[option.id]
        quota = self._quota(option)
        heap = [(fit[0], d) for d in range(len(self.free)) if (fit := self._fit(option, d)) is not None]
        heapq.heapify(heap)
        placed: list[Parts] = []
        while heap and len(placed) < wanted:
            cost, domain = heapq.heappop(heap)
            fit = self._fit(option, domain)
            if fit is None or (quota is not None and quota[self._cell_of(domain)] < 1):
                continue
            if fit[0] > cost:
                heapq.heappush(heap, (fit[0], domain))
                continue
            self._take(option, fit[1])
            placed.append(fit[1])
            if quota is not None:
                quota[self._cell_of(domain)] -= 1
            again = self._fit(option, domain)
            if again is not None:
                heapq.heappush(heap, (again[0], domain))
        return placed if len(placed) == wanted else self._unplaced(option, wanted - len(placed))

    def _quota(self, option: Option) -> dict[int, int] | None:
        if self.order.cells is Cells.NONE:
            return None
        cells = {self._cell_of(d) for d in range(len(self.free))}
        return {cell: self.order.in_cell.get((option.id, cell), 0) for cell in sorted(cells)}

    def _cell_of(self, domain: int) -> int:
        return self._rack_of(domain) if self.order.cells is Cells.RACKS else domain

    def _unplaced(self, option: Option, left_over: int) -> Unplaced:
        size = self.offering.host_gpus
        room = any(
            sum(gpus == size for gpus in free) >= option.gpus // size
            if option.gpus > size
            else max(free) >= option.gpus
            for free in self.free
        )
        return Unplaced(option, Want.SPREAD if room else Want.SPACE, left_over)

    def _place_spanning(self, option: Option) -> list[Parts] | Unplaced:
        """Give each replica whole domains, from as few racks as will do, the least loaded first."""
        size, wanted = self.offering.host_gpus, self.order.replicas[option.id]
        empty: dict[int, list[int]] = defaultdict(list)
        for domain, free in enumerate(self.free):
            if sum(free) == self.offering.domain_gpus:
                empty[self._rack_of(domain)].append(domain)
        placed: list[Parts] = []
        for number in range(wanted):
            chosen = self._choose_domains(option, empty)
            if len(chosen) < option.domains:
                room = sum(len(domains) for domains in empty.values()) >= option.domains
                return Unplaced(option, Want.SPREAD if room else Want.SPACE, wanted - number)
            parts = tuple((d, h, size) for d in sorted(chosen) for h in range(len(self.free[d])))
            self._take(option, parts)
            for domain in chosen:
                empty[self._rack_of(domain)].remove(domain)
            placed.append(parts)
        return placed

    def _choose_domains(self, option: Option, empty: dict[int, list[int]]) -> list[int]:
        """Return empty domains for one replica from racks that may lose it; fewer than it needs when there are no more."""
        chosen: list[int] = []
        if not any(True for _ in self._rules(option)):
            for domains in empty.values():
                chosen += domains[: option.domains - len(chosen)]
                if len(chosen) == option.domains:
                    break
            return chosen
        use = {rack: self._spanning_use(option, rack) for rack, domains in empty.items() if domains}
        for _, _, rack in sorted(
            (used, -len(empty[rack]), rack) for rack, used in use.items() if used is not None
        ):
            chosen += empty[rack][: option.domains - len(chosen)]
        return chosen

    def _spanning_use(self, option: Option, rack: int) -> float | None:
        """Part of the rack's allowance used with one replica over whole domains more; None when it cannot be borne."""
        rules = dict(self._rules(option))
        if Level.HOST in rules and not rules[Level.HOST].bears(((option.id, 1),)):
            return None
        return self._use_after(option, Level.RACK, rules[Level.RACK], rack) if Level.RACK in rules else 0.0


def allowance_rules(components: tuple[Component, ...]) -> list[tuple[int, Level, frozenset[str]]]:
    """Return (component, level, workloads) of the failures that placement decides: hosts and racks."""
    return [
        (number, level, workloads)
        for number, component in enumerate(components)
        for level, workloads in component.levels
        if level is not Level.ZONE
    ]
