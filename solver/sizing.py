"""How many units to buy and replicas to run: mixed-integer programs that never exclude a fleet that could be placed.

Data
    c_o, p_o   micro-USD/h and W of a unit of offering o      c_i   micro-USD/h of a replica of option i
    g_i        GPUs of a replica; t_i hosts when larger than a host, D_i domains when it takes whole ones
    q_iw       milli-requests/s of workload w that one replica of i serves alone; d_w its rate
Variables
    u_o  units, x_i  replicas, y_i  option i is used, f_iw  replicas of i that w keeps busy, k_iw  pieces of w on i
    m_il       replicas of i that the worst failure of level l (host, rack) takes
    n_ir, h_r  replicas of i (of one over whole domains: its parts) in cell r, domains in cell r: a cell is a rack or a
               domain of the offering, told apart when there are few
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
    cells    lost_i = Σ n_ir over each rack's cells; m_il ≥ n_ir touched_i / hosts in the cell
    cautious m_il is chosen among losses planned for, which bound the replicas in every host or rack: excludes fleets
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ortools.math_opt.python import mathopt

from solver.failures import failures
from solver.goals import Goal, weights
from solver.packing import PackingRow, packing_rows
from solver.problem import Demand, Offering, Option
from solver.program import Cells, Formulation, Linear, SizingModel
from solver.structure import Component, Structure


@dataclass(frozen=True, slots=True)
class Cap:
    """An earlier goal that must not get worse: its amount stays at most this."""

    goal: Goal
    amount: int


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
        sizing.units[o.id] = sizing.integer(o.max_units, f"u[{o.id}]")
        if o.min_units:
            sizing.row(sizing.units[o.id] >= o.min_units, f"min-units[{o.id}]")
    for i in structure.options:
        sizing.replicas[i.id] = sizing.integer(structure.most_replicas[i.id], f"x[{i.id}]")
    _add_one_layout(sizing)
    _add_limits(sizing)
    for o in problem.offerings:
        if formulation.cells is not Cells.NONE:
            _add_cells(sizing, o)
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
        - weighed.kept_worth / weighed.grain * mathopt.fast_sum(kept)
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
    if sizing.formulation.cells is Cells.NONE:
        count = {i.id: sizing.replicas[i.id] for i in options}
        _add_packing_rows(sizing, offering, rows, count, domains, "all")
        return
    for cell in range(sizing.cell_count(offering)):
        inside = {i.id: (1 / max(1, i.domains)) * sizing.in_cell[i.id, cell] for i in options}
        available = sizing.cell_domains[offering.id, cell]
        volume = mathopt.fast_sum(i.gpus * inside[i.id] for i in options)
        sizing.row(volume <= offering.domain_gpus * available, f"placement[{offering.id},{cell}]")
        _add_packing_rows(sizing, offering, rows, inside, available, str(cell))


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


def _add_cells(sizing: SizingModel, offering: Offering) -> None:
    """Cells fill in order: cell r + 1 has domains only when cell r is full."""
    cells, size = sizing.cell_count(offering), sizing.cell_size(offering)
    for cell in range(cells):
        sizing.cell_domains[offering.id, cell] = sizing.integer(size, f"h[{offering.id},{cell}]")
        if cell:
            opened = sizing.integer(1, f"opened[{offering.id},{cell}]")
            this, last = sizing.cell_domains[offering.id, cell], sizing.cell_domains[offering.id, cell - 1]
            sizing.row(this <= size * opened, f"cell-order[{offering.id},{cell}]")
            sizing.row(last >= size * opened, f"cell-order[{offering.id},{cell}]")
    bought = mathopt.fast_sum(sizing.cell_domains[offering.id, c] for c in range(cells))
    sizing.row(bought == offering.unit_domains * sizing.units[offering.id], f"cells[{offering.id}]")
    for i in sizing.structure.on_offering[offering.id]:
        most = size if i.domains else sizing.structure.most_replicas_in(i, size)
        for cell in range(cells):
            sizing.in_cell[i.id, cell] = sizing.integer(most, f"n[{i.id},{cell}]")
        inside = mathopt.fast_sum(sizing.in_cell[i.id, c] for c in range(cells))
        sizing.row(inside == max(1, i.domains) * sizing.replicas[i.id], f"cells[{i.id}]")


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
        for label, lost in failures(sizing, component, level):
            left = {i: available[i] - lost[i] if i in lost else available[i] for i in available}
            _add_cover(sizing, component, workloads, left, f"survive({level})[{label}]")


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
