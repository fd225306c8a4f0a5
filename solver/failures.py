"""What a failure takes from the options of a component, in each sizing program; the rows of `sizing.py` (survive)."""

from __future__ import annotations

from ortools.math_opt.python import mathopt

from solver.problem import Level, Offering, Option
from solver.program import Cells, Linear, SizingModel
from solver.structure import Component


def failures(sizing: SizingModel, component: Component, level: Level) -> list[tuple[str, dict[str, Linear]]]:
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
    found: list[tuple[str, dict[str, Linear]]] = [
        (slot, {i.id: lost[i.id] for i in component.options if i.slot == slot}) for slot in slots
    ]
    if level is Level.RACK and sizing.formulation.cells is not Cells.NONE:
        for offering in structure.problem.offerings:
            inside = [i for i in component.options if i.offering == offering.id]
            for rack, cells in enumerate(_racks(sizing, offering) if inside else ()):
                found.append((f"{offering.id},{rack}", {i.id: _add_taken(sizing, i, cells) for i in inside}))
    return found


def _racks(sizing: SizingModel, offering: Offering) -> list[range]:
    """Return the cells of each physical rack."""
    cells = sizing.cell_count(offering)
    size = offering.domains_per_rack // sizing.cell_size(offering)
    return [range(first, min(first + size, cells)) for first in range(0, cells, size)]


def _add_taken(sizing: SizingModel, option: Option, cells: range) -> Linear:
    """Replicas that a rack's failure takes; one over whole domains goes with any of its parts."""
    inside = mathopt.fast_sum(sizing.in_cell[option.id, c] for c in cells)
    if not option.domains:
        return inside
    taken = sizing.integer(sizing.structure.most_replicas[option.id], f"taken[{option.id}]")
    sizing.row(option.domains * taken >= inside, f"survive(rack)[{option.id}]")
    return taken


def _add_even_loss(sizing: SizingModel, option: Option, level: Level) -> mathopt.Variable:
    """m_il: at least 1 when the option is used, at least its share of an even spread over all sets, or over each rack's."""
    structure = sizing.structure
    offering = structure.offering[option.offering]
    most = structure.most_replicas[option.id]
    touched = structure.sets_touched(option, level)
    sets = structure.most_sets(offering, level)
    has_cells = level is Level.HOST and sizing.cell_count(offering) > 0
    if most * touched <= sets and not has_cells and option.id in sizing.used:
        return sizing.used[option.id]
    lost = sizing.integer(most, f"m[{option.id},{level}]")
    part = touched / min(sets, most * touched) if most else 1.0
    sizing.row(lost >= sizing.replicas[option.id] * part, f"survive({level})[{option.id}]")
    if option.id in sizing.used:
        sizing.row(lost >= sizing.used[option.id], f"survive({level})[{option.id}]")
    if has_cells and not option.domains:
        hosts = sizing.cell_size(offering) * (offering.domain_gpus // offering.host_gpus)
        for cell in range(sizing.cell_count(offering)):
            inside = sizing.in_cell[option.id, cell] * (touched / hosts)
            sizing.row(lost >= inside, f"survive({level})[{option.id},{cell}]")
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
