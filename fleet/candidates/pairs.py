"""Prefill and decode layouts paired in every small whole-number ratio, as columns: most are judged without being built.

A replica has the workers of a ratio a : b once, or the least multiple of them that leaves no part of a host over. It stays
inside one NVLink domain, or on hosts that are their own domains it takes whole ones. KV moves over NVLink where both roles
hold whole trays of a rack (pods that share a host do not see each other's GPUs), else over the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray

from fleet.candidates.need import Place, Shape
from fleet.candidates.workers import Form, reserved_gpus
from fleet.catalog.records import DomainKind
from fleet.perf.replica import ReplicaSpec, WorkerSpec

MOST_WORKERS = 21
"""Workers of one role in a ratio: 21 to 1 is the widest that public benchmarks declare (InferenceX, to 2026-08)."""

MULTIPLES = (1, 2, 4, 8)
RATIOS = np.array(
    [(p, d) for p in range(1, MOST_WORKERS + 1) for d in range(1, MOST_WORKERS + 1) if gcd(p, d) == 1]
)
"""Prefill to decode workers, shape (R, 2)."""

Count = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pairs:
    """The N pairings of one form. Columns have shape (N,); `prefill` and `decode` are places in `workers`."""

    form: Form
    workers: tuple[WorkerSpec, ...]
    prefill: Count
    decode: Count
    prefill_workers: Count
    decode_workers: Count
    reserved_gpus: Count
    whole_domains: Count

    def __len__(self) -> int:
        return int(self.reserved_gpus.size)

    def shape(self, i: int) -> Shape:
        """Build one pairing."""
        return paired(
            self.form,
            (self.workers[self.prefill[i]], int(self.prefill_workers[i])),
            (self.workers[self.decode[i]], int(self.decode_workers[i])),
            int(self.whole_domains[i]),
        )


def paired(
    form: Form, prefill: tuple[WorkerSpec, int], decode: tuple[WorkerSpec, int], whole_domains: int = 0
) -> Shape:
    """Return the shape of so many prefill and decode workers."""
    place, (prefiller, np_), (decoder, nd) = form.place, prefill, decode
    over_nvlink = kv_moves_over_nvlink(place, prefiller, decoder)
    link = place.accelerator.nvlink_bytes_per_s.value if over_nvlink else place.nic_bytes_per_s
    replica = ReplicaSpec(
        prefill=prefiller,
        prefill_workers=np_,
        decode=decoder,
        decode_workers=nd,
        kv_link_bytes_per_s=link * prefiller.layout.gpus,
    )
    return form.shape(replica, whole_domains, kv_over_nvlink=over_nvlink)


def kv_moves_over_nvlink(place: Place, prefill: WorkerSpec, decode: WorkerSpec) -> bool:
    host = place.accelerator.gpus_per_host
    is_rack = place.accelerator.domain is DomainKind.RACK
    return is_rack and prefill.layout.gpus % host == 0 and decode.layout.gpus % host == 0


def pairs_of(form: Form, workers: Sequence[WorkerSpec]) -> Pairs:
    """Return every pairing of a form's workers that its place can hold."""
    plain = tuple(w for w in workers if w.layout.pp == 1)
    width = np.array([w.layout.gpus for w in plain], dtype=np.int64)
    prefill, decode, ratio = (
        axis.ravel()
        for axis in np.meshgrid(
            np.arange(len(plain)), np.arange(len(plain)), np.arange(len(RATIOS)), indexing="ij"
        )
    )
    once = RATIOS[ratio, 0] * width[prefill] + RATIOS[ratio, 1] * width[decode]
    host = form.place.accelerator.gpus_per_host
    tidy = _least_tidy_multiple(once, host)
    parts = []
    for multiple in (np.ones_like(once), np.where(tidy > 1, tidy, 0)):
        gpus = once * multiple
        reserved = _reserved(gpus, host)
        domains, fits = _domains(form, reserved, np.maximum(width[prefill], width[decode]))
        keep = np.flatnonzero((multiple > 0) & fits & (gpus <= form.need.limits.max_gpus_per_replica))
        a, b = (RATIOS[ratio, side] * multiple for side in (0, 1))
        parts.append([column[keep] for column in (prefill, decode, a, b, reserved, domains)])
    return Pairs(form, plain, *(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _least_tidy_multiple(once: Count, host: int) -> Count:
    """Return the least of MULTIPLES with which a ratio fills a part that divides a host, or whole hosts; 0 if none does."""
    multiple = np.zeros_like(once)
    for m in reversed(MULTIPLES):
        multiple = np.where(_reserved(once * m, host) == once * m, m, multiple)
    return multiple


def _reserved(gpus: Count, host: int) -> Count:
    """Return `reserved_gpus` of every element."""
    of_part = np.array([0, *(reserved_gpus(g, host) for g in range(1, host + 1))])
    return np.where(gpus > host, -(-gpus // host) * host, of_part[np.minimum(gpus, host)])


def _domains(form: Form, gpus: Count, widest: Count) -> tuple[Count, NDArray[np.bool_]]:
    """Return how many whole domains a replica takes (0: part of one), and whether the place can hold it."""
    place = form.place
    inside = gpus <= place.usable_domain_gpus
    if place.accelerator.domain is DomainKind.RACK:
        return np.zeros_like(gpus), inside & (widest <= place.usable_domain_gpus)
    domains = np.where(inside, 0, gpus // place.accelerator.gpus_per_host)
    return domains, domains <= place.available_domains
