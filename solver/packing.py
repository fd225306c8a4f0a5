"""Linear rows that every packing of replicas into hosts and domains obeys.

A replica of at most a host's GPUs stays on one of the H_o-GPU hosts; a larger one takes t_i whole hosts of the T_o in
its domain; a larger one still takes D_i whole domains. Where the sizes divide each other and the container, volume is
all there is to say. Elsewhere dual feasible functions (Fekete and Schepers, Math. Program. 91, 2001) say more: with

    φ_k(s) = s if (k + 1) s is whole, else ⌊(k + 1) s⌋ / k

the φ_k of sizes s ≤ 1 that fit together in one container of size 1 add up to at most 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from solver.problem import Offering, Option


@dataclass(frozen=True, slots=True)
class PackingRow:
    """Σ weight × replicas + ⌈Σ rounded weight × replicas⌉ ≤ per_domain × domains."""

    replicas: tuple[tuple[str, float], ...]
    rounded: tuple[tuple[str, float], ...]  # replicas that share hosts: together they take whole hosts
    per_domain: int


def packing_rows(offering: Offering, options: Sequence[Option]) -> tuple[PackingRow, ...]:
    """Return the rows beyond plain volume, empty where volume is exact."""
    hosts = offering.domain_gpus // offering.host_gpus
    small = [i for i in options if not i.domains and i.gpus <= offering.host_gpus]
    large = [i for i in options if not i.domains and i.gpus > offering.host_gpus]
    whole = [i for i in options if i.domains]
    rows: list[PackingRow] = []
    if small and large:
        rows.append(
            PackingRow(
                _per_replica((i, _hosts(i, offering)) for i in large)
                + _per_replica((i, hosts * i.domains) for i in whole),
                _per_replica((i, Fraction(i.gpus, offering.host_gpus)) for i in small),
                hosts,
            )
        )
    if large and (whole or not _is_chain({_hosts(i, offering) for i in large}, hosts)):
        for k in range(1, hosts):
            sizes = [(i, _step(Fraction(_hosts(i, offering), hosts), k)) for i in large]
            rows.append(PackingRow(_per_replica([*sizes, *((i, i.domains) for i in whole)]), (), 1))
    if small and (whole or large or not _is_chain({i.gpus for i in small}, offering.host_gpus)):
        for k in range(1, offering.host_gpus):
            sizes = [(i, _step(Fraction(i.gpus, offering.host_gpus), k)) for i in small]
            sizes += [(i, Fraction(_hosts(i, offering))) for i in large]
            rows.append(
                PackingRow(_per_replica([*sizes, *((i, hosts * i.domains) for i in whole)]), (), hosts)
            )
    return tuple(dict.fromkeys(row for row in rows if row.replicas))


def _hosts(option: Option, offering: Offering) -> int:
    return option.gpus // offering.host_gpus


def _per_replica(weights: Iterable[tuple[Option, Fraction | int]]) -> tuple[tuple[str, float], ...]:
    return tuple((option.id, float(weight)) for option, weight in weights if weight)


def _step(size: Fraction, k: int) -> Fraction:
    """φ_k of the module's head."""
    scaled = size * (k + 1)
    return size if scaled.denominator == 1 else Fraction(scaled.numerator // scaled.denominator, k)


def _is_chain(sizes: set[int], container: int) -> bool:
    """Whether each size divides the next larger one, and the largest the container."""
    ordered = [*sorted(sizes), container]
    return all(large % small == 0 for small, large in itertools.pairwise(ordered))
