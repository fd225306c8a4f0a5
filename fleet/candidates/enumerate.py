"""All ways to serve a workload at a place: mixed workers as shapes, prefill and decode workers apart as columns of pairs."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.candidates.need import Drop, Need, Place, Shape
from fleet.candidates.pairs import Pairs, pairs_of
from fleet.candidates.workers import forms_of, whole_domains_of, workers_of
from fleet.perf.replica import ReplicaSpec


@dataclass(frozen=True, slots=True)
class Space:
    """Everything that fits memory, topology and the engines, and what was dropped on the way."""

    mixed: list[Shape]
    apart: list[Pairs]
    drops: list[Drop]

    def __len__(self) -> int:
        return len(self.mixed) + sum(len(pairs) for pairs in self.apart)


def space_of(need: Need, place: Place) -> Space:
    """Return the space of one workload at one place."""
    forms, drops = forms_of(need, place)
    space = Space([], [], drops)
    for form in forms:
        workers, refused = workers_of(form)
        space.drops.extend(refused)
        if form.serves_mixed:
            space.mixed.extend(form.shape(ReplicaSpec(mixed=w), whole_domains_of(w, place)) for w in workers)
        if form.serves_apart:
            space.apart.append(pairs_of(form, workers))
    return space
