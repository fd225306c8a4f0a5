"""Slow and obviously right: the cheapest fleet by trying every purchase and every way to fill it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product

import numpy as np
from scipy.optimize import linprog

from solver.problem import Level, Limit, Offering, Option, Problem

Places = tuple[frozenset[tuple[str, int, int]], ...]  # of each replica: (offering, domain, host)


def cheapest_by_enumeration(problem: Problem) -> int | None:
    """Return the least cost, or None when no fleet meets the problem."""
    purchases = product(*(range(o.min_units, o.max_units + 1) for o in problem.offerings))
    best: int | None = None
    for units in purchases:
        bought = dict(zip((o.id for o in problem.offerings), units, strict=True))
        if not all(within(problem, bought, limit) for limit in problem.limits):
            continue
        cost = cost_of(problem, bought)
        if (best is None or cost < best) and any(
            works(problem, fleet) for fleet in fillings(problem, bought)
        ):
            best = cost
    return best


def cost_of(problem: Problem, bought: dict[str, int]) -> int:
    """Return what a purchase costs, or draws when power is the objective."""
    by_power = problem.objective == "power"
    return sum((o.power_per_unit if by_power else o.cost_per_unit) * bought[o.id] for o in problem.offerings)


def within(problem: Problem, bought: dict[str, int], limit: Limit) -> bool:
    weight = {
        o.id: o.cost_per_unit if limit.kind == "budget" else o.power_per_unit for o in problem.offerings
    }
    return sum(weight[o] * bought[o] for o in limit.offerings) <= limit.amount


def fillings(problem: Problem, bought: dict[str, int]) -> Iterator[dict[str, Places]]:
    """Yield every way to place replicas in what was bought: option -> places of its replicas."""
    parts = []
    for o in problem.offerings:
        options = [i for i in problem.options if i.offering == o.id]
        parts.append(list(fill_offering(o, options, bought[o.id] * o.unit_domains)))
    for chosen in product(*parts):
        yield {name: places for part in chosen for name, places in part.items()}


def fill_offering(o: Offering, options: list[Option], domains: int) -> Iterator[dict[str, Places]]:
    hosts = o.domain_gpus // o.host_gpus
    free = {(d, h): o.host_gpus for d in range(domains) for h in range(hosts)}
    yield from fill_option(o, options, free, {})


def fill_option(
    o: Offering, options: list[Option], free: dict[tuple[int, int], int], done: dict[str, Places]
) -> Iterator[dict[str, Places]]:
    if not options:
        yield done
        return
    option, rest = options[0], options[1:]
    spots = spots_for(o, option, sorted(free))
    per_host = min(option.gpus, o.host_gpus)

    def add(start: int, left: dict[tuple[int, int], int], places: Places) -> Iterator[dict[str, Places]]:
        yield from fill_option(o, rest, left, done | {option.id: places} if places else done)
        for number in range(start, len(spots)):
            if all(left[host] >= per_host for host in spots[number]):
                less = {host: n - per_host if host in spots[number] else n for host, n in left.items()}
                yield from add(number, less, (*places, frozenset((o.id, d, h) for d, h in spots[number])))

    yield from add(0, free, ())


def spots_for(o: Offering, option: Option, hosts: list[tuple[int, int]]) -> list[tuple[tuple[int, int], ...]]:
    """Return every set of hosts that one replica may take."""
    domains = sorted({d for d, _ in hosts})
    if option.domains:
        return [tuple(x for x in hosts if x[0] in chosen) for chosen in combinations(domains, option.domains)]
    if option.gpus <= o.host_gpus:
        return [(host,) for host in hosts]
    count = option.gpus // o.host_gpus
    return [spot for d in domains for spot in combinations([x for x in hosts if x[0] == d], count)]


def works(problem: Problem, fleet: dict[str, Places]) -> bool:
    """Whether a placed fleet serves everything, and still does after each failure."""
    option = {i.id: i for i in problem.options}
    slots = [option[i].slot for i in fleet]
    if len(set(slots)) < len(slots):
        return False
    if any(
        option[i].max_replicas is not None and len(places) > option[i].max_replicas
        for i, places in fleet.items()
    ):
        return False
    for d in problem.demands:
        if (
            sum(len(places) for i, places in fleet.items() if dict(option[i].capacity).get(d.id))
            < d.min_replicas
        ):
            return False
    counts = {i: len(places) for i, places in fleet.items()}
    if not serves(problem, counts, {d.id for d in problem.demands}):
        return False
    for level in Level:
        names = {d.id for d in problem.demands if level in d.survives}
        for failed in failure_sets(problem, fleet, level) if names else ():
            left = {i: sum(1 for place in places if not place & failed) for i, places in fleet.items()}
            if not serves(problem, left, names):
                return False
    return True


def failure_sets(
    problem: Problem, fleet: dict[str, Places], level: Level
) -> list[frozenset[tuple[str, int, int]]]:
    offering = {o.id: o for o in problem.offerings}
    hosts = {host for places in fleet.values() for place in places for host in place}

    def name(host: tuple[str, int, int]) -> tuple[str, int, int] | tuple[str, int] | str:
        if level is Level.HOST:
            return host
        return (
            (host[0], host[1] // offering[host[0]].domains_per_rack)
            if level is Level.RACK
            else offering[host[0]].zone
        )

    return [
        frozenset(x for x in hosts if name(x) == key) for key in sorted({name(x) for x in hosts}, key=str)
    ]


def serves(problem: Problem, counts: dict[str, int], names: set[str]) -> bool:
    """Whether so many replicas serve these workloads at once; by linear programming when they share options."""
    demands = [d for d in problem.demands if d.id in names and d.rate > 0]
    options = [i for i in problem.options if counts.get(i.id, 0) > 0]
    pairs = [(d, i, dict(i.capacity)[d.id]) for d in demands for i in options if dict(i.capacity).get(d.id)]
    if all(len(i.capacity) == 1 for i in problem.options):
        return all(sum(q * counts[i.id] for e, i, q in pairs if e is d) >= d.rate for d in demands)
    if not pairs:
        return not demands
    cover = np.array([[-q if e is d else 0.0 for e, _, q in pairs] for d in demands])
    room = np.array([[1.0 if j is i else 0.0 for _, j, _ in pairs] for i in options])
    limits = np.array([-float(d.rate) for d in demands] + [float(counts[i.id]) for i in options])
    found = linprog(np.zeros(len(pairs)), A_ub=np.vstack([cover, room]), b_ub=limits, method="highs")
    return bool(found.status == 0)
