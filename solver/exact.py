"""Placement of a fixed fleet as an integer program in CP-SAT, for what the constructive placement cannot do.

Variables
    n_ih  replicas of i on host h (at most a host's GPUs), n_id  in domain d (whole hosts), b_kd  spanning replica k takes d
    e_h   host h is left empty by the small replicas
s.t. Σ_h n_ih = x_i, Σ_d n_id = x_i, Σ_d b_kd = D_i
     Σ_i g_i n_ih ≤ H (1 − e_h)                                              (placement)
     Σ_i t_i n_id + T Σ_k b_kd ≤ Σ_{h in d} e_h                              (placement)
     Σ_i weight_i n_ih ≤ amount;  Σ over the domains of a rack ≤ amount       (survive)
One worker, a fixed seed and a deterministic time limit: the same answer everywhere.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from ortools.sat.python import cp_model

from solver.outcome import Assignment
from solver.placement import Order, Parts
from solver.problem import Level, Offering, Option
from solver.structure import Structure

_MOST_VARIABLES = 30_000


def place_exactly(structure: Structure, order: Order, effort: float) -> tuple[Assignment, ...] | None:
    """Return the place of every replica, or None when none was found within the deterministic time."""
    assignments: list[Assignment] = []
    for offering in structure.problem.offerings:
        options = [i for i in structure.on_offering[offering.id] if order.replicas.get(i.id, 0)]
        if not options:
            continue
        hall = _Hall(structure, order, offering, options)
        if hall.size > _MOST_VARIABLES:
            return None
        placed = hall.solve(effort)
        if placed is None:
            return None
        assignments += placed
    return tuple(assignments)


@dataclass
class _Hall:
    """The program of one offering."""

    structure: Structure
    order: Order
    offering: Offering
    options: list[Option]
    model: cp_model.CpModel = field(default_factory=cp_model.CpModel)
    on_host: dict[tuple[str, int, int], cp_model.IntVar] = field(default_factory=dict)
    in_domain: dict[tuple[str, int], cp_model.IntVar] = field(default_factory=dict)
    spans: dict[tuple[str, int, int], cp_model.IntVar] = field(
        default_factory=dict
    )  # option, replica, domain

    def __post_init__(self) -> None:
        self.domains = self.order.units.get(self.offering.id, 0) * self.offering.unit_domains
        self.hosts = self.offering.domain_gpus // self.offering.host_gpus

    @property
    def size(self) -> int:
        return sum(
            self.domains
            * (self.order.replicas[i.id] if i.domains else 1 if self._is_large(i) else self.hosts)
            for i in self.options
        )

    def _is_large(self, option: Option) -> bool:
        return option.gpus > self.offering.host_gpus

    def solve(self, effort: float) -> list[Assignment] | None:
        for option in self.options:
            self._add_option(option)
        self._add_space()
        for number, component in enumerate(self.structure.components):
            names = {i.id for i in component.options}
            inside = [i for i in self.options if i.id in names]
            for level in (Level.HOST, Level.RACK):
                if inside and (number, level) in self.order.allowances:
                    self._add_survival(number, level, inside)
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.random_seed = 0
        solver.parameters.max_deterministic_time = effort
        status = solver.solve(self.model)
        return self._read(solver) if status in (cp_model.OPTIMAL, cp_model.FEASIBLE) else None

    def _add_option(self, option: Option) -> None:
        wanted = self.order.replicas[option.id]
        if option.domains:
            for k in range(wanted):
                for d in range(self.domains):
                    self.spans[option.id, k, d] = self.model.new_bool_var(f"b[{option.id},{k},{d}]")
                self.model.add(
                    sum(self.spans[option.id, k, d] for d in range(self.domains)) == option.domains
                )
        elif self._is_large(option):
            most = self.offering.domain_gpus // option.gpus
            for d in range(self.domains):
                self.in_domain[option.id, d] = self.model.new_int_var(0, most, f"n[{option.id},{d}]")
            self.model.add(sum(self.in_domain[option.id, d] for d in range(self.domains)) == wanted)
        else:
            most = self.offering.host_gpus // option.gpus
            for d in range(self.domains):
                for h in range(self.hosts):
                    self.on_host[option.id, d, h] = self.model.new_int_var(0, most, f"n[{option.id},{d},{h}]")
            self.model.add(
                sum(self.on_host[option.id, d, h] for d in range(self.domains) for h in range(self.hosts))
                == wanted
            )

    def _add_space(self) -> None:
        small = [i for i in self.options if not i.domains and not self._is_large(i)]
        large = [i for i in self.options if not i.domains and self._is_large(i)]
        for d in range(self.domains):
            empty = [self.model.new_bool_var(f"e[{d},{h}]") for h in range(self.hosts)]
            for h in range(self.hosts):
                used = sum(i.gpus * self.on_host[i.id, d, h] for i in small)
                self.model.add(used <= self.offering.host_gpus * (1 - empty[h]))
            taken = sum(i.gpus // self.offering.host_gpus * self.in_domain[i.id, d] for i in large)
            spanned = self.hosts * sum(b for (_, _, at), b in self.spans.items() if at == d)
            self.model.add(taken + spanned <= sum(empty))

    def _add_survival(self, component: int, level: Level, options: list[Option]) -> None:
        allowance = self.order.allowances[component, level]
        lost: dict[int, list[cp_model.LinearExprT]] = defaultdict(list)
        for option in options:
            weight = allowance.weight.get(option.id, 0)
            if option.domains:
                self._add_spanning_loss(option, weight, level, lost)
            for d in range(self.domains):
                rack = d // self.offering.domains_per_rack
                if (option.id, d) in self.in_domain:
                    variable = self.in_domain[option.id, d]
                    if level is Level.RACK:
                        lost[rack].append(weight * variable)
                    elif weight > allowance.amount:
                        self.model.add(variable == 0)
                for h in range(self.hosts):
                    if (option.id, d, h) in self.on_host:
                        failure_set = rack if level is Level.RACK else d * self.hosts + h
                        lost[failure_set].append(weight * self.on_host[option.id, d, h])
        for parts in lost.values():
            self.model.add(sum(parts) <= allowance.amount)

    def _add_spanning_loss(
        self, option: Option, weight: int, level: Level, lost: dict[int, list[cp_model.LinearExprT]]
    ) -> None:
        """A replica over whole domains is lost with any rack that holds one of them."""
        if level is Level.HOST:
            return
        size = self.offering.domains_per_rack
        for k in range(self.order.replicas[option.id]):
            for rack in range(-(-self.domains // size)):
                inside = [
                    self.spans[option.id, k, d]
                    for d in range(rack * size, min((rack + 1) * size, self.domains))
                ]
                touched = self.model.new_bool_var(f"t[{option.id},{k},{rack}]")
                self.model.add_max_equality(touched, inside)
                lost[rack].append(weight * touched)

    def _read(self, solver: cp_model.CpSolver) -> list[Assignment]:
        """Turn counts into places: small replicas where they are counted, larger ones on the hosts left empty."""
        parts: dict[str, list[Parts]] = defaultdict(list)
        occupied: set[tuple[int, int]] = set()
        gpus = {i.id: i.gpus for i in self.options}
        for (name, d, h), variable in self.on_host.items():
            for _ in range(solver.value(variable)):
                parts[name].append(((d, h, gpus[name]),))
                occupied.add((d, h))
        size = self.offering.host_gpus
        for option in self.options:
            for k in range(self.order.replicas[option.id] if option.domains else 0):
                taken = [d for d in range(self.domains) if solver.value(self.spans[option.id, k, d])]
                parts[option.id].append(tuple((d, h, size) for d in taken for h in range(self.hosts)))
            for d in range(self.domains if (option.id, 0) in self.in_domain else 0):
                for _ in range(solver.value(self.in_domain[option.id, d])):
                    hosts = [h for h in range(self.hosts) if (d, h) not in occupied][: option.gpus // size]
                    occupied |= {(d, h) for h in hosts}
                    parts[option.id].append(tuple((d, h, size) for h in hosts))
        return [
            Assignment(option.id, number, part)
            for option in self.options
            for number, part in enumerate(sorted(parts[option.id]))
        ]
