"""Accelerators that an older one of the same generation lends its coefficients to, where their own cell has no data."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from fleet.catalog.load import load_catalog
from fleet.catalog.records import Accelerator
from fleet.perf.interface import Point

OLDER = {"h200-sxm": "h100-sxm", "b300-hgx": "b200-hgx", "gb300-nvl72": "gb200-nvl72"}
"""Newer accelerator -> older one of the same silicon generation and the same machine."""

PUBLISHED_BANDWIDTH_SPREAD = 0.05
"""Published memory bandwidths of one accelerator differ by so much: 8.0, 7.7 and 7.67 TB/s of B200, 8 and 7.75 of B300."""


def is_no_worse(newer: Accelerator, older: Accelerator) -> bool:
    """Tell whether every physical figure of the newer one is at least the older's, bandwidth up to its published spread."""
    figures = [
        (newer.hbm_bytes_per_s.value * (1.0 + PUBLISHED_BANDWIDTH_SPREAD), older.hbm_bytes_per_s.value),
        (newer.hbm_bytes.value, older.hbm_bytes.value),
        (newer.nvlink_bytes_per_s.value, older.nvlink_bytes_per_s.value),
        (newer.nic_bytes_per_s.value, older.nic_bytes_per_s.value),
        (newer.domain_gpus, older.domain_gpus),
    ]
    for precision, rate in older.dense_flops.items():
        own = newer.dense_flops.get(precision)
        figures.append((own.value if own else 0.0, rate.value))
    return all(own >= other for own, other in figures)


@cache
def _older(accelerator_id: str) -> Accelerator | None:
    """Return the catalogue's older sibling of an accelerator of the catalogue, or None."""
    known = load_catalog().accelerators
    newer, older = known.get(accelerator_id), known.get(OLDER.get(accelerator_id, ""))
    return older if newer and older and is_no_worse(newer, older) else None


def lender_of(point: Point) -> Point | None:
    """Return the point on the older sibling of its accelerator, or None where there is none that is no better."""
    older = _older(point.accelerator.id)
    return replace(point, accelerator=older) if older else None


def memory_share(point: Point, lender: Point) -> float:
    """Return the factor, at most 1, on memory terms that makes up for a bandwidth published lower than the lender's."""
    return min(point.accelerator.hbm_bytes_per_s.value / lender.accelerator.hbm_bytes_per_s.value, 1.0)
