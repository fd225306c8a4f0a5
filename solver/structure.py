"""What follows from a problem before any model is built: options worth having, components, footprints, bounds."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property

from solver.problem import Demand, Level, Offering, Option, Problem

LEVELS = (Level.HOST, Level.RACK, Level.ZONE)  # each failure of a level lies inside one of the next


class MalformedProblem(ValueError):
    """The caller built a problem that means nothing; a bug of the caller, not of the user."""


@dataclass(frozen=True, slots=True)
class Component:
    """Workloads and options that traffic ties together; no share crosses two components."""

    demands: tuple[Demand, ...]
    options: tuple[Option, ...]
    levels: tuple[
        tuple[Level, frozenset[str]], ...
    ]  # workloads that outlive a failure of the level, redundant levels left out

    @property
    def is_dedicated(self) -> bool:
        """Whether replica counts alone decide, with no shares to choose."""
        return len(self.demands) == 1 and self.demands[0].pieces == 0


@dataclass(frozen=True)
class Structure:
    """A problem with its dominated options taken out, and the look-ups that every formulation needs."""

    problem: Problem
    options: tuple[Option, ...]

    @cached_property
    def offering(self) -> dict[str, Offering]:
        return {o.id: o for o in self.problem.offerings}

    @cached_property
    def on_offering(self) -> dict[str, tuple[Option, ...]]:
        return {o.id: tuple(i for i in self.options if i.offering == o.id) for o in self.problem.offerings}

    @cached_property
    def slots(self) -> dict[str, tuple[Option, ...]]:
        members: dict[str, list[Option]] = defaultdict(list)
        for option in self.options:
            members[option.slot].append(option)
        return {slot: tuple(options) for slot, options in members.items()}

    @cached_property
    def components(self) -> tuple[Component, ...]:
        return _components(self.problem.demands, self.options)

    def hosts_touched(self, option: Option) -> int:
        """Hosts that one replica of the option is spread over."""
        return -(-option.gpus // self.offering[option.offering].host_gpus)

    def racks_touched(self, option: Option) -> int:
        """Least number of physical racks that one replica of the option is spread over."""
        return max(1, -(-option.domains // self.offering[option.offering].domains_per_rack))

    def sets_touched(self, option: Option, level: Level) -> int:
        return self.hosts_touched(option) if level is Level.HOST else self.racks_touched(option)

    def most_sets(self, offering: Offering, level: Level) -> int:
        """Failure sets of the level (host or rack) that the offering has when all of it is bought."""
        domains = offering.max_units * offering.unit_domains
        if level is Level.HOST:
            return domains * (offering.domain_gpus // offering.host_gpus)
        return -(-domains // offering.domains_per_rack)

    def most_replicas_in(self, option: Option, domains: int) -> int:
        """Replicas of the option that fit in so many whole domains with nothing else there."""
        offering = self.offering[option.offering]
        if option.domains:
            return domains // option.domains
        hosts = offering.domain_gpus // offering.host_gpus
        if option.gpus <= offering.host_gpus:
            return domains * hosts * (offering.host_gpus // option.gpus)
        return domains * (hosts // (option.gpus // offering.host_gpus))

    @cached_property
    def most_replicas(self) -> dict[str, int]:
        """Replicas of each option beyond which one more is never needed, nor possible."""
        needed = {d.id: d for d in self.problem.demands}
        dedicated = {c.demands[0].id for c in self.components if c.is_dedicated}
        limits = {}
        for option in self.options:
            offering = self.offering[option.offering]
            most = self.most_replicas_in(option, offering.max_units * offering.unit_domains)
            if option.max_replicas is not None:
                most = min(most, option.max_replicas)
            if len(option.capacity) == 1 and option.capacity[0][0] in dedicated and not option.domains:
                most = min(most, most_useful(needed[option.capacity[0][0]], option.capacity[0][1]))
            limits[option.id] = most
        return limits


def most_useful(demand: Demand, capacity: int) -> int:
    """Return the replicas of one option beyond which a minimal answer of a dedicated workload never goes.

    c = ceil(rate / capacity) replicas serve everything. Were there more than 2 c, either any one could go, or some
    failure takes more than c of them: one of those could go, since every other failure spares c. (`min_replicas` aside.)
    """
    enough = -(-demand.rate // capacity)
    return max(2 * enough if demand.survives else enough, demand.min_replicas)


def analyse(problem: Problem) -> Structure:
    """Check the problem's form, drop options that cannot run or are dominated, and return the rest with look-ups.

    Raises:
        MalformedProblem: an identifier is unknown or repeated, a size does not divide, a number is negative.
    """
    _check(problem)
    offering = {o.id: o for o in problem.offerings}
    kept_before = {option for option, _ in problem.previous.replicas} if problem.previous else set()
    runnable = [
        replace(option, capacity=tuple((w, q) for w, q in option.capacity if q > 0))
        for option in problem.options
        if _fits(option, offering[option.offering])
    ]
    by_slot: dict[tuple[str, str], list[Option]] = defaultdict(list)
    for option in runnable:
        if option.capacity:
            by_slot[option.slot, option.offering].append(option)
    dropped = {
        option.id
        for group in by_slot.values()
        for option in group
        if option.id not in kept_before
        and any(_dominates(other, option, offering[option.offering], group) for other in group)
    }
    return Structure(problem, tuple(o for o in runnable if o.capacity and o.id not in dropped))


def _fits(option: Option, offering: Offering) -> bool:
    domains = offering.max_units * offering.unit_domains
    return (
        option.domains <= domains if option.domains else option.gpus <= offering.domain_gpus and domains > 0
    )


def _dominates(good: Option, poor: Option, offering: Offering, group: list[Option]) -> bool:
    """Whether some replicas of `good`, where a replica of `poor` would stand, are never worse.

    They fit there, serve at least as much of everything and cost no more; any failure takes no more than before.
    Of two options that dominate each other the earlier one stays.
    """
    if good is poor or good.max_replicas is not None:
        return False
    serves = dict(good.capacity)
    if any(w not in serves for w, _ in poor.capacity):
        return False
    times = max(-(-q // serves[w]) for w, q in poor.capacity)
    if (
        times > _fitting_in_place(good, poor, offering)
        or times * good.cost_per_replica > poor.cost_per_replica
    ):
        return False
    is_mutual = poor.max_replicas is None and _worth(good) == _worth(poor)
    return not is_mutual or group.index(good) < group.index(poor)


def _worth(option: Option) -> tuple[object, ...]:
    return option.gpus, option.domains, dict(option.capacity), option.cost_per_replica


def _fitting_in_place(good: Option, poor: Option, offering: Offering) -> int:
    """Count replicas of `good` that fit exactly where one replica of `poor` stands."""
    poor_hosts = poor.gpus // offering.host_gpus
    if good.domains:
        return poor.domains // good.domains
    is_small = good.gpus <= offering.host_gpus
    if poor.gpus <= offering.host_gpus and not poor.domains:
        return poor.gpus // good.gpus
    if is_small:
        return poor_hosts * (offering.host_gpus // good.gpus)
    if poor.domains:
        return poor.domains * (offering.domain_gpus // good.gpus)
    return poor_hosts // (good.gpus // offering.host_gpus)


def _components(demands: tuple[Demand, ...], options: tuple[Option, ...]) -> tuple[Component, ...]:
    parent = {d.id: d.id for d in demands}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for option in options:
        first = root(option.capacity[0][0])
        for workload, _ in option.capacity[1:]:
            parent[root(workload)] = first
    groups: dict[str, list[Demand]] = defaultdict(list)
    for demand in demands:
        groups[root(demand.id)].append(demand)
    served: dict[str, list[Option]] = defaultdict(list)
    for option in options:
        served[root(option.capacity[0][0])].append(option)
    return tuple(
        Component(tuple(members), tuple(served[name]), _levels(members)) for name, members in groups.items()
    )


def _levels(demands: list[Demand]) -> tuple[tuple[Level, frozenset[str]], ...]:
    """Drop a level whose workloads all outlive a wider level: what is lost with a host is lost with its rack."""
    kept: list[tuple[Level, frozenset[str]]] = []
    for level in reversed(LEVELS):
        workloads = frozenset(d.id for d in demands if level in d.survives and d.rate > 0)
        if workloads and not any(workloads <= wider for _, wider in kept):
            kept.append((level, workloads))
    return tuple(reversed(kept))


def _check(problem: Problem) -> None:
    offering = {o.id: o for o in problem.offerings}
    workloads = {d.id for d in problem.demands}
    _check_unique("offering", [o.id for o in problem.offerings])
    _check_unique("option", [o.id for o in problem.options])
    _check_unique("demand", [d.id for d in problem.demands])
    _check_unique("limit", [limit.id for limit in problem.limits])
    if problem.objective not in {"cost", "gpus", "power"}:
        raise MalformedProblem(f"objective {problem.objective!r} is not cost, gpus or power")
    for o in problem.offerings:
        positive = (o.unit_domains, o.domain_gpus, o.host_gpus, o.domains_per_rack)
        if min(positive) < 1 or min(o.max_units, o.min_units, o.cost_per_unit, o.power_per_unit) < 0:
            raise MalformedProblem(f"offering {o.id!r} has a size below 1 or a negative amount")
        if o.domain_gpus % o.host_gpus:
            raise MalformedProblem(
                f"offering {o.id!r}: {o.host_gpus} host GPUs do not divide {o.domain_gpus} domain GPUs"
            )
    for i in problem.options:
        if i.offering not in offering:
            raise MalformedProblem(f"option {i.id!r} names the unknown offering {i.offering!r}")
        _check_option(i, offering[i.offering], workloads)
    for d in problem.demands:
        if min(d.rate, d.min_replicas, d.pieces) < 0:
            raise MalformedProblem(f"demand {d.id!r} has a negative amount")
    for limit in problem.limits:
        if limit.kind not in {"budget", "power"} or not limit.offerings <= offering.keys():
            raise MalformedProblem(f"limit {limit.id!r} has an unknown kind or offering")


def _check_option(option: Option, offering: Offering, workloads: set[str]) -> None:
    if option.gpus < 1 or option.domains < 0 or option.cost_per_replica < 0:
        raise MalformedProblem(f"option {option.id!r} has no GPUs or a negative amount")
    if option.domains and option.gpus != option.domains * offering.domain_gpus:
        raise MalformedProblem(
            f"option {option.id!r}: {option.gpus} GPUs are not {option.domains} whole domains"
        )
    if not option.domains and option.gpus > offering.host_gpus and option.gpus % offering.host_gpus:
        raise MalformedProblem(
            f"option {option.id!r}: {option.gpus} GPUs are not whole hosts of {offering.host_gpus}"
        )
    names = [w for w, _ in option.capacity]
    if len(set(names)) < len(names) or not set(names) <= workloads:
        raise MalformedProblem(f"option {option.id!r} serves an unknown or repeated workload")
    if any(q < 0 for _, q in option.capacity):
        raise MalformedProblem(f"option {option.id!r} has a negative capacity")


def _check_unique(kind: str, names: list[str]) -> None:
    repeated = sorted({n for n in names if names.count(n) > 1}) if len(set(names)) < len(names) else []
    if repeated:
        raise MalformedProblem(f"{kind} id {repeated[0]!r} is repeated")
