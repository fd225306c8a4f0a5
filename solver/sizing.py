"""How many units to buy and replicas to run: mixed-integer programs that never exclude a fleet that could be placed.

Data
    c_o, p_o   micro-USD/h and W of a unit of offering o      c_i   micro-USD/h of a replica of option i
    g_i        GPUs of a replica; t_i hosts when larger than a host, D_i domains when it takes whole ones
    q_iw       milli-requests/s of workload w that one replica of i serves alone; d_w its rate
Variables
    u_o  units, x_i  replicas, y_i  option i is used, f_iw  replicas of i that w keeps busy, k_iw  pieces of w on i
    m_il       replicas of i that the worst failure of level l (host, rack) takes
    n_ir, h_r  replicas of i in rack r, domains in rack r: only in the formulation by racks
Model
    min  Σ_o c_o u_o + Σ_i c_i x_i
    s.t. Σ_i (q_iw / d_w) f_iw ≥ 1                        (cover)         one workload alone: Σ_i min(q_i / d, 1) x_i ≥ 1
         Σ_w f_iw ≤ x_i,  f_iw ≤ (d_w / q_iw) x_i         (capacity)
         f_iw = d_w / (pieces_w q_iw) k_iw, Σ_i k_iw = pieces_w   (pieces)
         min_units_o ≤ u_o ≤ max_units_o, u_o integer     (inventory, min-units, purchase-unit)
         Σ_o weight_o u_o ≤ amount                        (budget, power)
         Σ_i x_i ≥ min_replicas_w                         (min-replicas)
         x_i ≤ X_i y_i, Σ_{i in slot} y_i ≤ 1             (one-layout)
         Σ_i g_i x_i ≤ GPUs, and the rows of `packing.py` (placement)
         cover and capacity again with x_i − lost_i       (survive)
What a failure loses, each a relaxation of every placement:
    zone     lost_i = x_i in the zone: exact
    compact  for each slot, lost_i = m_il: some host or rack takes at least ⌈x_i touched_i / sets⌉ replicas of i
    by racks lost_i = n_ir, for each rack r of the offering; m_il ≥ n_ir touched_i / hosts in the rack
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from ortools.math_opt.python import mathopt

from solver.goals import Goal, weights
from solver.packing import PackingRow, packing_rows
from solver.problem import Demand, Level, Offering, Option
from solver.structure import Component, Structure

Linear: TypeAlias = mathopt.LinearTypes


@dataclass(frozen=True, slots=True)
class Formulation:
    """Which program to write.

    Without `bearable` and slack it excludes no fleet that could be placed, and its bound holds. With them it excludes
    some: its fleets are easier to place, and its bound proves nothing.
    """

    by_racks: bool = False
    bearable: Mapping[str, tuple[int, ...]] | None = (
        None  # option -> losses planned for, of which one is chosen
    )
    idle_gpus: Mapping[str, int] = field(default_factory=dict)  # offering -> GPUs left free
    spare_rate: Mapping[str, int] = field(default_factory=dict)  # workload -> milli-requests/s on top


@dataclass(frozen=True, slots=True)
class Cap:
    """An earlier goal that must not get worse: its amount stays at most this."""

    goal: Goal
    amount: int


@dataclass(slots=True)
class SizingModel:
    """A program under construction, with the variables that an answer is read from."""

    structure: Structure
    formulation: Formulation
    model: mathopt.Model
    units: dict[str, mathopt.Variable] = field(default_factory=dict)
    replicas: dict[str, mathopt.Variable] = field(default_factory=dict)
    used: dict[str, mathopt.Variable] = field(default_factory=dict)
    pieces: dict[tuple[str, str], mathopt.Variable] = field(default_factory=dict)
    in_rack: dict[tuple[str, int], mathopt.Variable] = field(default_factory=dict)
    rack_domains: dict[tuple[str, int], mathopt.Variable] = field(default_factory=dict)

    def integer(self, upper: int, name: str, lower: int = 0) -> mathopt.Variable:
        return self.model.add_integer_variable(
            lb=lower, ub=upper, name=f"{name} {self.model.get_num_variables()}"
        )

    def continuous(self, upper: float, name: str) -> mathopt.Variable:
        return self.model.add_variable(lb=0.0, ub=upper, name=f"{name} {self.model.get_num_variables()}")

    def units_first(self) -> dict[mathopt.Variable, int]:
        """Branching priorities: what to buy, then which layouts."""
        return dict.fromkeys(self.units.values(), 2) | dict.fromkeys(self.used.values(), 1)

    def row(self, constraint: object, name: str) -> None:
        """Add a constraint; several rows may go by one rule's name, the number keeps them apart."""
        self.model.add_linear_constraint(constraint, name=f"{name} {self.model.get_num_linear_constraints()}")


def build_sizing(
    structure: Structure,
    formulation: Formulation,
    *,
    goal: Goal,
    caps: Iterable[Cap] = (),
) -> SizingModel:
    """Build the program of the module's head for one goal, with earlier goals capped."""
    sizing = SizingModel(structure, formulation, mathopt.Model(name="sizing"))
    problem = structure.problem
    for o in problem.offerings:
        sizing.units[o.id] = sizing.integer(o.max_units, f"u[{o.id}]", o.min_units)
    for i in structure.options:
        sizing.replicas[i.id] = sizing.integer(structure.most_replicas[i.id], f"x[{i.id}]")
    _add_one_layout(sizing)
    _add_limits(sizing)
    for o in problem.offerings:
        if formulation.by_racks:
            _add_racks(sizing, o)
        _add_packing(sizing, o)
    for component in structure.components:
        _add_component(sizing, component)
    for cap in caps:
        sizing.row(_amount(sizing, cap.goal) <= cap.amount / _grain(sizing, cap.goal), f"cap[{cap.goal}]")
    sizing.model.minimize(_amount(sizing, goal))
    return sizing


def goal_grain(structure: Structure, goal: Goal) -> int:
    """Return the greatest common divisor of the goal's weights: every amount is a multiple of it."""
    return weights(structure, goal).grain


def _grain(sizing: SizingModel, goal: Goal) -> int:
    return goal_grain(sizing.structure, goal)


def _amount(sizing: SizingModel, goal: Goal) -> Linear:
    """Return the goal in grains, as an expression."""
    weighed = weights(sizing.structure, goal)
    kept = []
    for option, before in weighed.kept:
        variable = sizing.integer(before, f"kept[{option}]")
        sizing.row(variable <= sizing.replicas[option], f"churn[{option}]")
        kept.append(variable)
    return (
        mathopt.fast_sum(w / weighed.grain * sizing.units[o] for o, w in weighed.units)
        + mathopt.fast_sum(w / weighed.grain * sizing.replicas[i] for i, w in weighed.replicas)
        - mathopt.fast_sum(kept)
    )


def _add_one_layout(sizing: SizingModel) -> None:
    for slot, options in sizing.structure.slots.items():
        if len(options) < 2:
            continue
        for i in options:
            sizing.used[i.id] = sizing.integer(1, f"y[{i.id}]")
            most = sizing.structure.most_replicas[i.id]
            sizing.row(sizing.replicas[i.id] <= most * sizing.used[i.id], f"used[{i.id}]")
        sizing.row(mathopt.fast_sum(sizing.used[i.id] for i in options) <= 1, f"one-layout[{slot}]")


def _add_limits(sizing: SizingModel) -> None:
    problem = sizing.structure.problem
    for limit in problem.limits:
        parts: list[Linear] = []
        grain = max(1, limit.amount)
        for o in problem.offerings:
            if o.id in limit.offerings:
                weight = o.cost_per_unit if limit.kind == "budget" else o.power_per_unit
                parts.append(weight / grain * sizing.units[o.id])
        if limit.kind == "budget":
            parts += [
                i.cost_per_replica / grain * sizing.replicas[i.id]
                for i in sizing.structure.options
                if i.offering in limit.offerings and i.cost_per_replica
            ]
        sizing.row(mathopt.fast_sum(parts) <= limit.amount / grain, f"{limit.kind}[{limit.id}]")


def _add_packing(sizing: SizingModel, offering: Offering) -> None:
    """Rows on what fits, for the offering as a whole or for each of its racks."""
    options = sizing.structure.on_offering[offering.id]
    if not options:
        return
    idle = sizing.formulation.idle_gpus.get(offering.id, 0)
    domains = offering.unit_domains * sizing.units[offering.id]
    gpus = mathopt.fast_sum(i.gpus * sizing.replicas[i.id] for i in options)
    sizing.row(gpus + idle <= offering.domain_gpus * domains, f"placement[{offering.id}]")
    rows = packing_rows(offering, options)
    if not sizing.formulation.by_racks:
        _add_packing_rows(
            sizing, offering, rows, {i.id: sizing.replicas[i.id] for i in options}, domains, "all"
        )
        return
    for rack in range(sizing.structure.most_sets(offering, Level.RACK)):
        inside = {i.id: (1 / max(1, i.domains)) * sizing.in_rack[i.id, rack] for i in options}
        available = sizing.rack_domains[offering.id, rack]
        volume = [i.gpus * inside[i.id] for i in options]
        sizing.row(
            mathopt.fast_sum(volume) <= offering.domain_gpus * available, f"placement[{offering.id},{rack}]"
        )
        _add_packing_rows(sizing, offering, rows, inside, available, str(rack))


def _add_packing_rows(
    sizing: SizingModel,
    offering: Offering,
    rows: tuple[PackingRow, ...],
    count: Mapping[str, Linear],
    domains: Linear,
    label: str,
) -> None:
    for number, row in enumerate(rows):
        parts: list[Linear] = [weight * count[option] for option, weight in row.replicas]
        if row.rounded:
            most = offering.max_units * offering.unit_domains * (offering.domain_gpus // offering.host_gpus)
            hosts = sizing.integer(most, f"hosts[{offering.id},{label},{number}]")
            sizing.row(
                mathopt.fast_sum(w * count[i] for i, w in row.rounded) <= hosts,
                f"hosts[{offering.id},{label}]",
            )
            parts.append(hosts)
        name = f"placement[{offering.id},{label},{number}]"
        sizing.row(mathopt.fast_sum(parts) <= row.per_domain * domains, name)


def _add_racks(sizing: SizingModel, offering: Offering) -> None:
    """Racks fill in order: rack r + 1 has domains only when rack r is full."""
    racks = sizing.structure.most_sets(offering, Level.RACK)
    size = offering.domains_per_rack
    for rack in range(racks):
        sizing.rack_domains[offering.id, rack] = sizing.integer(size, f"h[{offering.id},{rack}]")
        if rack:
            opened = sizing.integer(1, f"opened[{offering.id},{rack}]")
            sizing.row(
                sizing.rack_domains[offering.id, rack] <= size * opened, f"rack-order[{offering.id},{rack}]"
            )
            sizing.row(
                sizing.rack_domains[offering.id, rack - 1] >= size * opened,
                f"rack-order[{offering.id},{rack}]",
            )
    bought = mathopt.fast_sum(sizing.rack_domains[offering.id, r] for r in range(racks))
    sizing.row(bought == offering.unit_domains * sizing.units[offering.id], f"racks[{offering.id}]")
    for i in sizing.structure.on_offering[offering.id]:
        most = sizing.structure.most_replicas_in(i, size) if not i.domains else size
        for rack in range(racks):
            sizing.in_rack[i.id, rack] = sizing.integer(most, f"n[{i.id},{rack}]")
        inside = mathopt.fast_sum(sizing.in_rack[i.id, r] for r in range(racks))
        sizing.row(inside == max(1, i.domains) * sizing.replicas[i.id], f"racks[{i.id}]")


def _add_component(sizing: SizingModel, component: Component) -> None:
    for demand in component.demands:
        serving = [i for i in component.options if any(w == demand.id for w, _ in i.capacity)]
        if demand.min_replicas:
            replicas = mathopt.fast_sum(sizing.replicas[i.id] for i in serving)
            sizing.row(replicas >= demand.min_replicas, f"min-replicas[{demand.id}]")
        if demand.pieces and demand.rate:
            for i in serving:
                sizing.pieces[i.id, demand.id] = sizing.integer(demand.pieces, f"k[{i.id},{demand.id}]")
            pieces = mathopt.fast_sum(sizing.pieces[i.id, demand.id] for i in serving)
            sizing.row(pieces == demand.pieces, f"pieces[{demand.id}]")
    available: dict[str, Linear] = {i.id: sizing.replicas[i.id] for i in component.options}
    _add_cover(sizing, component, frozenset(d.id for d in component.demands), available, "cover")
    for level, workloads in component.levels:
        for label, lost in _failures(sizing, component, level):
            left = {i: available[i] - lost[i] if i in lost else available[i] for i in available}
            _add_cover(sizing, component, workloads, left, f"survive({level})[{label}]")


def _failures(sizing: SizingModel, component: Component, level: Level) -> list[tuple[str, dict[str, Linear]]]:
    """Return the failures of a level that the component is held against: a label and what each loses."""
    structure = sizing.structure
    if level is Level.ZONE:
        zones = sorted({structure.offering[i.offering].zone for i in component.options})
        return [
            (
                z,
                {
                    i.id: sizing.replicas[i.id]
                    for i in component.options
                    if structure.offering[i.offering].zone == z
                },
            )
            for z in zones
        ]
    add_loss = _add_even_loss if sizing.formulation.bearable is None else _add_planned_loss
    lost = {i.id: add_loss(sizing, i, level) for i in component.options}
    slots = sorted({i.slot for i in component.options})
    failures: list[tuple[str, dict[str, Linear]]] = [
        (slot, {i.id: lost[i.id] for i in component.options if i.slot == slot}) for slot in slots
    ]
    if sizing.formulation.by_racks and level is Level.RACK:
        for offering in structure.problem.offerings:
            inside = [i for i in component.options if i.offering == offering.id]
            for rack in range(structure.most_sets(offering, Level.RACK) if inside else 0):
                taken = {i.id: _add_taken(sizing, i, rack) for i in inside}
                failures.append((f"{offering.id},{rack}", taken))
    return failures


def _add_taken(sizing: SizingModel, option: Option, rack: int) -> mathopt.Variable:
    """Replicas that the rack's failure takes; of one spread over whole domains each part counts."""
    inside = sizing.in_rack[option.id, rack]
    if not option.domains:
        return inside
    taken = sizing.integer(sizing.structure.most_replicas[option.id], f"taken[{option.id},{rack}]")
    sizing.row(option.domains * taken >= inside, f"taken[{option.id},{rack}]")
    return taken


def _add_even_loss(sizing: SizingModel, option: Option, level: Level) -> mathopt.Variable:
    """m_il: at least 1 when the option is used, at least its share of an even spread over all sets, or over each rack's."""
    structure = sizing.structure
    offering = structure.offering[option.offering]
    most = structure.most_replicas[option.id]
    touched = structure.sets_touched(option, level)
    sets = structure.most_sets(offering, level)
    most_lost = -(-most * touched // sets) if sets else most
    if most_lost <= 1 and option.id in sizing.used:
        return sizing.used[option.id]
    lost = sizing.integer(max(most_lost, 1), f"m[{option.id},{level}]")
    part = touched / min(sets, most * touched) if most else 1.0
    sizing.row(lost >= sizing.replicas[option.id] * part, f"survive({level})[{option.id}]")
    if option.id in sizing.used:
        sizing.row(lost >= sizing.used[option.id], f"survive({level})[{option.id}]")
    if sizing.formulation.by_racks and level is Level.HOST and not option.domains:
        hosts = offering.domains_per_rack * (offering.domain_gpus // offering.host_gpus)
        for rack in range(structure.most_sets(offering, Level.RACK)):
            inside = sizing.in_rack[option.id, rack] * (touched / hosts)
            sizing.row(lost >= inside, f"survive({level})[{option.id},{rack}]")
    return lost


def _add_planned_loss(sizing: SizingModel, option: Option, level: Level) -> Linear:
    """m_il: one of the losses k planned for, each of which allows k replicas in every failure set that is bought.

    x_i touched_i ≤ Σ_k k v_ik,  v_ik ≤ sets z_ik,  Σ_k v_ik ≤ sets bought,  Σ_k z_ik ≤ 1,  m_il = Σ_k k z_ik
    """
    assert sizing.formulation.bearable is not None
    structure = sizing.structure
    name = f"survive({level})[{option.id}]"
    most_sets = structure.most_sets(structure.offering[option.offering], level)
    planned = sizing.formulation.bearable[option.id]
    chosen = [sizing.integer(1, f"z[{option.id},{level}]") for _ in planned]
    sets = [sizing.continuous(most_sets, f"v[{option.id},{level}]") for _ in planned]
    for z, v in zip(chosen, sets, strict=True):
        sizing.row(v <= most_sets * z, name)
    sizing.row(mathopt.fast_sum(sets) <= _sets_bought(sizing, option, level), name)
    spread = mathopt.fast_sum(k * v for k, v in zip(planned, sets, strict=True))
    sizing.row(structure.sets_touched(option, level) * sizing.replicas[option.id] <= spread, name)
    sizing.row(mathopt.fast_sum(chosen) <= sizing.used.get(option.id, 1.0), name)
    return mathopt.fast_sum(k * z for k, z in zip(planned, chosen, strict=True))


def _sets_bought(sizing: SizingModel, option: Option, level: Level) -> Linear:
    """Failure sets of the level that are bought of the option's offering; part of a rack counts as that part."""
    offering = sizing.structure.offering[option.offering]
    domains = offering.unit_domains * sizing.units[offering.id]
    if level is Level.HOST:
        return domains * (offering.domain_gpus // offering.host_gpus)
    return domains * (1 / offering.domains_per_rack)


def _add_cover(
    sizing: SizingModel,
    component: Component,
    workloads: frozenset[str],
    left: Mapping[str, Linear],
    name: str,
) -> None:
    """(cover) and (capacity) of the workloads by what is left of each option."""
    demands = [d for d in component.demands if d.id in workloads and d.rate > 0]
    serves = {i.id: dict(i.capacity) for i in component.options}
    busy: dict[str, list[Linear]] = {i.id: [] for i in component.options}
    for demand in demands:
        rate = demand.rate + sizing.formulation.spare_rate.get(demand.id, 0)
        parts: list[Linear] = []
        for i in component.options:
            capacity = serves[i.id].get(demand.id)
            if capacity is None:
                continue
            parts.append(_add_part(sizing, i, demand, capacity / rate, left[i.id], busy[i.id], name))
        sizing.row(mathopt.fast_sum(parts) >= 1, f"{name}[{demand.id}]")
    for i in component.options:
        if busy[i.id]:
            sizing.row(mathopt.fast_sum(busy[i.id]) <= left[i.id], f"capacity[{i.id},{name}]")


def _add_part(
    sizing: SizingModel,
    option: Option,
    demand: Demand,
    ratio: float,
    left: Linear,
    busy: list[Linear],
    name: str,
) -> Linear:
    """The part of the demand that the option carries, out of 1; records the replicas that it keeps busy."""
    if demand.pieces:
        part = sizing.pieces[option.id, demand.id] * (1 / demand.pieces)
        busy.append(part * (1 / ratio))
        return part
    if len(option.capacity) == 1:
        return min(ratio, 1.0) * left
    most = min(float(sizing.structure.most_replicas[option.id]), 1 / ratio)
    used = sizing.continuous(most, f"f[{option.id},{demand.id},{name}]")
    if ratio > 1:
        sizing.row(used <= left * (1 / ratio), f"capacity[{option.id},{demand.id},{name}]")
    busy.append(used)
    return ratio * used
