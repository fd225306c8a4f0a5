"""Prices every shape and drops those that cannot win, counting why."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, log10

from fleet.candidates.enumerate import enumerate_shapes
from fleet.candidates.need import Candidate, Drop, Need, Place, Shape
from fleet.perf.interface import PerformanceModel, Unsupported
from fleet.perf.serving import capacities

_DIGITS = 4  # of a capacity, so that the last bit of a float never decides


def candidates_of(
    need: Need, places: Sequence[Place], perf: PerformanceModel
) -> tuple[list[Candidate], list[Drop]]:
    """Return the candidates of one workload that the solver should see, in a canonical order, and all drops."""
    shapes: list[Shape] = []
    drops: list[Drop] = []
    for place in places:
        found, refused = enumerate_shapes(need, place)
        shapes += found
        drops += refused
    if not places:
        drops.append(
            Drop(
                "nothing-available",
                "every offering that may serve this workload has 0 hosts or racks available",
            )
        )
    priced: list[Candidate] = []
    for shape, result in zip(shapes, capacities(perf, [s.replica for s in shapes], need.load), strict=True):
        if isinstance(result, Unsupported):
            drops.append(
                Drop(
                    result.reason,
                    f"{shape.label} {shape.weights.precision} on {shape.place.offering}: {result.detail}",
                )
            )
        elif result.served.rate_req_per_s * 1000 < 1:
            drops.append(
                Drop(
                    "slo-unreachable",
                    f"{shape.label} on {shape.place.offering} serves less than 0.001 requests/s",
                )
            )
        else:
            priced.append(Candidate(_identity(need, shape), need.workload, shape, result))
    priced.sort(key=_order)
    return _undominated(priced, drops), drops


def _identity(need: Need, shape: Shape) -> str:
    form = f"{shape.engine.id}-{shape.weights.precision}-kv{shape.kv}"
    return f"{need.workload}@{shape.place.offering}/{form}/{shape.label.replace(' ', '')}"


def _order(candidate: Candidate) -> tuple[str, float, int, str]:
    return (
        candidate.shape.place.offering,
        -rounded(candidate.rate_req_per_s) / candidate.shape.gpus,
        candidate.shape.gpus,
        candidate.id,
    )


def rounded(value: float) -> float:
    """Return a positive value with four significant digits, the rest cut off: a capacity is never promised that is not there.

    >>> rounded(11.3297), rounded(0.0123456)
    (11.32, 0.01234)
    """
    scale = 10.0 ** (_DIGITS - 1 - floor(log10(value)))
    return floor(value * scale) / scale


def _undominated(priced: list[Candidate], drops: list[Drop]) -> list[Candidate]:
    """Drop what smaller replicas of another shape on the same offering always replace.

    With k = floor(g' / g) the k smaller ones fit wherever the larger does (sizes divide a host, or are whole hosts), lose
    less in a failure, and serve no less when q' <= k q.
    """
    kept: list[Candidate] = []
    for candidate in sorted(
        priced, key=lambda c: (c.shape.gpus, -rounded(c.rate_req_per_s), c.shape.is_disaggregated, c.id)
    ):
        by = next((other for other in kept if _dominates(other, candidate)), None)
        if by is None:
            kept.append(candidate)
        else:
            detail = f"{candidate.shape.label} on {candidate.shape.place.offering}: {by.shape.label} serves as much with no more GPUs"
            drops.append(Drop("dominated", detail))
    return sorted(kept, key=_order)


def _dominates(small: Candidate, large: Candidate) -> bool:
    a, b = small.shape, large.shape
    if a.place.offering != b.place.offering or (a.whole_domains and not b.whole_domains):
        return False
    return rounded(large.rate_req_per_s) <= b.gpus // a.gpus * rounded(small.rate_req_per_s)
