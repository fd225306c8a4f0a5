"""Keeps the candidates that can win, each with all it serves, and counts why the others were dropped."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from fleet.candidates.enumerate import space_of
from fleet.candidates.need import Candidate, Drop, Need, Place, Shape
from fleet.candidates.price import Priced, price
from fleet.candidates.rounding import rounded
from fleet.perf.interface import Capacity, PerformanceModel
from fleet.perf.serving import capacities

MOST_OF_A_PLACE = 6
"""Candidates of one workload at one place beyond which the near-equal ones go: the solver has to choose one of them."""

GAINS = (0.01, 0.02, 0.03, 0.05, 0.08)


def candidates_of(
    need: Need, places: Sequence[Place], perf: PerformanceModel
) -> tuple[list[Candidate], list[Drop]]:
    """Return the candidates of one workload that the solver should see, in a canonical order, and all drops."""
    drops: list[Drop] = []
    kept: list[Priced] = []
    for place in places:
        priced, dropped = price(need, space_of(need, place), perf)
        drops += dropped
        kept += _few(need, _undominated(priced, drops), drops)
    if not places:
        detail = "every offering that may serve this workload has 0 hosts or racks available"
        drops.append(Drop("nothing-available", detail))
    found = capacities(perf, [p.shape.replica for p in kept], need.load)
    candidates = [
        Candidate(identity(need, p.shape), need.workload, p.shape, capacity)
        for p, capacity in zip(kept, found, strict=True)
        if isinstance(capacity, Capacity)
    ]
    assert len(candidates) == len(kept), "what had a rate has a capacity"
    return sorted(candidates, key=_order), drops


def identity(need: Need, shape: Shape) -> str:
    """Name a shape that serves a need, for the solver and the lock."""
    return f"{need.workload}@{shape.place.offering}/{_form_and_layout(shape)}"


def _form_and_layout(shape: Shape) -> str:
    form = f"{shape.engine.id}-{shape.weights.precision}-kv{shape.kv}"
    return f"{form}/{shape.label.replace(' ', '')}"


def _order(candidate: Candidate) -> tuple[str, float, int, str]:
    return (
        candidate.shape.place.offering,
        -rounded(candidate.rate_req_per_s) / candidate.shape.reserved_gpus,
        candidate.shape.reserved_gpus,
        candidate.id,
    )


def _undominated(priced: Sequence[Priced], drops: list[Drop]) -> list[Priced]:
    """Drop what smaller replicas of another shape on the same offering always replace.

    With k = floor(g' / g) the k smaller ones fit wherever the larger does (sizes divide a host, or are whole hosts), lose
    less in a failure, and serve no less when q' <= k q.
    """
    kept: list[Priced] = []
    for one in sorted(priced, key=_by_size):
        by = next((other for other in kept if _dominates(other, one)), None)
        if by is None:
            kept.append(one)
        else:
            detail = f"{one.shape.label} on {one.shape.place.offering}: {by.shape.label} serves as much with no more GPUs"
            drops.append(Drop("dominated", detail))
    return kept


def _few(need: Need, kept: Sequence[Priced], drops: list[Drop]) -> list[Priced]:
    """Keep at most about MOST_OF_A_PLACE candidates: each larger one serves clearly more for each GPU than all smaller ones.

    The least step of that gain is taken that leaves few enough. Beside them stay those that serve the whole need in the
    fewest GPUs, alone and with one replica to lose: whole replicas decide there, not efficiency.
    """
    if len(kept) <= MOST_OF_A_PLACE:
        return list(kept)
    fitting = {
        _form_and_layout(min(kept, key=lambda p: (_gpus_alone(need, p, spare), _by_size(p))).shape)
        for spare in (0, 1)
    }
    frontiers = (_frontier(kept, gain) for gain in GAINS)
    frontier = next((f for f in frontiers if len(f) <= MOST_OF_A_PLACE), _frontier(kept, GAINS[-1]))
    names = fitting | {_form_and_layout(p.shape) for p in frontier}
    few = [p for p in kept if _form_and_layout(p.shape) in names]
    lost = [p for p in kept if _form_and_layout(p.shape) not in names]
    if lost:
        detail = f"{lost[0].shape.label} on {lost[0].shape.place.offering}: a smaller replica serves about as much for each GPU"
        drops.append(Drop("near-dominated", detail, len(lost)))
    return few


def _frontier(kept: Sequence[Priced], gain: float) -> list[Priced]:
    """Return, from the smallest on, those that serve by `gain` more for each GPU than the best before."""
    best = 0.0
    frontier: list[Priced] = []
    for one in kept:
        each = one.rate_req_per_s / one.shape.reserved_gpus
        if each >= best * (1.0 + gain):
            best = each
            frontier.append(one)
    return frontier


def _gpus_alone(need: Need, one: Priced, spare: int) -> int:
    """Return the GPUs that serve the whole need with replicas of one candidate, `spare` of them idle."""
    return (ceil(need.rate_req_per_s / rounded(one.rate_req_per_s) - 1e-9) + spare) * one.shape.reserved_gpus


def _by_size(one: Priced) -> tuple[int, float, bool, str]:
    shape = one.shape
    return shape.reserved_gpus, -rounded(one.rate_req_per_s), shape.is_disaggregated, _form_and_layout(shape)


def _dominates(small: Priced, large: Priced) -> bool:
    a, b = small.shape, large.shape
    if a.whole_domains and not b.whole_domains:
        return False
    return rounded(large.rate_req_per_s) <= b.reserved_gpus // a.reserved_gpus * rounded(small.rate_req_per_s)
