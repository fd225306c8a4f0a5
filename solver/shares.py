"""Which part of its traffic each workload sends to each option, and which losses the traffic can route around.

A dedicated workload spreads its traffic in proportion to the capacity of its options. Workloads that share options are
routed by a linear program:

    min  λ                                        λ     highest use of an option, 1 = full
    s.t. Σ_i q_iw f_iw ≥ d_w      (cover)         f_iw  replicas of i that w keeps busy
         Σ_w f_iw ≤ λ (x_i − lost_i)   (capacity)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ortools.math_opt.python import mathopt

from solver.engines import run_lp
from solver.problem import Demand, Option
from solver.structure import Component

MILLION = 1_000_000
_WEIGHT_SCALE = 1 << 24
_TOLERANCE = 1e-7  # of the linear programs; what it lets through by mistake, `verify` stops


Pieces = Mapping[tuple[str, str], int]  # (option, workload) -> pieces of its traffic
Losses = tuple[tuple[str, int], ...]  # replicas lost of each option, sorted


@dataclass(slots=True)
class Allowance:
    """Losses that workloads bear: surely those with Σ_i weight_i × replicas lost of i ≤ amount.

    For a dedicated workload that is the whole truth. For shared options it is a sufficient test that compares losses;
    `bears` asks a linear program about those that it turns down.
    """

    weight: Mapping[str, int]
    amount: int
    demands: tuple[Demand, ...] = ()
    options: tuple[Option, ...] = ()  # with replicas; none for a dedicated workload
    replicas: Mapping[str, int] = field(default_factory=dict)
    pieces: Pieces = field(default_factory=dict)
    _known: dict[Losses, bool] = field(default_factory=dict)

    def bears(self, losses: Losses) -> bool:
        """Whether the traffic can be routed around these losses."""
        if sum(self.weight[i] * n for i, n in losses) <= self.amount:
            return True
        if not self.options:
            return False
        if losses not in self._known:
            left = {**self.replicas}
            for i, n in losses:
                left[i] -= n
            self._known[losses] = _is_served(self.demands, self.options, left, self.pieces)
        return self._known[losses]


def allowance(
    component: Component, workloads: frozenset[str], replicas: Mapping[str, int], pieces: Pieces
) -> Allowance:
    """Return which losses the workloads can bear with so many replicas.

    With shared options the bearable losses are a convex set: when a_i replicas of i alone may go, then so may every
    loss with Σ_i lost_i / a_i ≤ 1.
    """
    used = tuple(i for i in component.options if replicas.get(i.id, 0))
    if component.is_dedicated:
        demand = component.demands[0]
        weight = {i.id: dict(i.capacity)[demand.id] for i in used}
        return Allowance(weight, sum(weight[i] * replicas[i] for i in weight) - demand.rate)
    demands = tuple(d for d in component.demands if d.id in workloads)
    weights = {}
    for i in used:
        if not any(w in workloads for w, _ in i.capacity):
            weights[i.id] = 0
            continue
        alone = _bearable(demands, used, replicas, pieces, i)
        weights[i.id] = _WEIGHT_SCALE + 1 if alone is None else int(_WEIGHT_SCALE / (alone + _TOLERANCE))
    return Allowance(weights, _WEIGHT_SCALE, demands, used, replicas, pieces)


def _is_served(
    demands: tuple[Demand, ...], options: tuple[Option, ...], replicas: Mapping[str, int], pieces: Pieces
) -> bool:
    model = mathopt.Model()
    busy = _add_cover(model, demands, options, pieces)
    for i in options:
        model.add_linear_constraint(busy.get(i.id, mathopt.fast_sum([])) <= float(replicas[i.id]))
    return run_lp(model) is not None


def _bearable(
    demands: tuple[Demand, ...],
    options: tuple[Option, ...],
    replicas: Mapping[str, int],
    pieces: Pieces,
    lost: Option,
) -> float | None:
    """Return how many replicas of one option may go, a fraction included; None when the workloads are short as it is."""
    model = mathopt.Model()
    gone = model.add_variable(lb=0.0, ub=float(replicas[lost.id]), name="gone")
    busy = _add_cover(model, demands, options, pieces)
    for i in options:
        left = replicas[i.id] - gone if i is lost else float(replicas[i.id])
        model.add_linear_constraint(busy.get(i.id, mathopt.fast_sum([])) <= left)
    model.maximize(gone)
    values = run_lp(model)
    return None if values is None else max(0.0, values[gone])


def _add_cover(
    model: mathopt.Model, demands: tuple[Demand, ...], options: tuple[Option, ...], pieces: Pieces
) -> dict[str, mathopt.LinearTypes]:
    """Add (cover) and return the replicas of each option that are busy."""
    busy: dict[str, list[mathopt.LinearTypes]] = {}
    for demand in demands:
        parts = []
        for i in options:
            capacity = dict(i.capacity).get(demand.id)
            if capacity is None:
                continue
            part: mathopt.LinearTypes = model.add_variable(lb=0.0)
            if demand.pieces:
                whole = pieces.get((i.id, demand.id), 0) / demand.pieces
                model.add_linear_constraint(part == whole)
            parts.append(part)
            busy.setdefault(i.id, []).append(part * (demand.rate / capacity))
        model.add_linear_constraint(mathopt.fast_sum(parts) == 1)
    return {i: mathopt.fast_sum(parts) for i, parts in busy.items()}


def split_traffic(
    component: Component, replicas: Mapping[str, int], pieces: Pieces
) -> tuple[tuple[str, str, int], ...]:
    """Return (workload, option, parts per million) for each workload; each adds up to 1,000,000.

    Rounding gives an option at most one part per million more than its exact share.
    """
    used = [i for i in component.options if replicas.get(i.id, 0)]
    exact: dict[tuple[str, str], float] = {}
    shared: list[Demand] = []
    for demand in component.demands:
        serving = {
            i.id: dict(i.capacity)[demand.id] * replicas[i.id] for i in used if demand.id in dict(i.capacity)
        }
        if component.is_dedicated or demand.rate == 0:
            total = sum(serving.values())
            exact |= {(demand.id, i): capacity / total for i, capacity in serving.items()}
        else:
            shared.append(demand)
    if shared:
        exact |= _balanced(tuple(shared), used, replicas, pieces)
    return tuple(
        (demand.id, option, share)
        for demand in component.demands
        for option, share in _rounded(
            [(i.id, exact[demand.id, i.id]) for i in used if (demand.id, i.id) in exact]
        )
    )


def _balanced(
    demands: tuple[Demand, ...], options: list[Option], replicas: Mapping[str, int], pieces: Pieces
) -> dict[tuple[str, str], float]:
    model = mathopt.Model()
    highest = model.add_variable(lb=0.0, name="highest")
    parts: dict[tuple[str, str], mathopt.Variable] = {}
    busy: dict[str, list[mathopt.LinearTypes]] = {}
    for demand in demands:
        for i in options:
            capacity = dict(i.capacity).get(demand.id)
            if capacity is None:
                continue
            whole = pieces.get((i.id, demand.id), 0) / demand.pieces if demand.pieces else None
            part = model.add_variable(lb=0.0 if whole is None else whole, ub=1.0 if whole is None else whole)
            parts[demand.id, i.id] = part
            busy.setdefault(i.id, []).append(part * (demand.rate / capacity))
        own = mathopt.fast_sum(part for (w, _), part in parts.items() if w == demand.id)
        model.add_linear_constraint(own == 1)
    for i in options:
        if i.id in busy:
            model.add_linear_constraint(mathopt.fast_sum(busy[i.id]) <= replicas[i.id] * highest)
    model.minimize(highest)
    values = run_lp(model)
    if values is None:
        return {}
    return {key: values[part] for key, part in parts.items()}


def _rounded(exact: list[tuple[str, float]]) -> list[tuple[str, int]]:
    """Round to parts per million that add up, by largest remainder; drop what rounds to nothing."""
    scaled = [(option, max(0.0, part) * MILLION) for option, part in exact]
    whole = {option: int(part + 1e-6) for option, part in scaled}
    missing = MILLION - sum(whole.values())
    by_remainder = sorted(scaled, key=lambda pair: whole[pair[0]] - pair[1])
    for option, _ in by_remainder[: max(0, missing)]:
        whole[option] += 1
    return [(option, whole[option]) for option, _ in exact if whole[option]]
