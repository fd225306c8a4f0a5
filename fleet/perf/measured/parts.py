"""Parts of a worker's time that measurements may move, and an estimate with its parts moved.

    part p of a step, of interference and of the first token: time · exp(level + δ_p)

A handful of measurements cannot tell every term of the calibrated model apart; a level and few parts they can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import exp

import numpy as np
from numpy.typing import NDArray

from fleet.layout import Role
from fleet.perf.calibrated import DECODE_PARTS
from fleet.perf.coefficients import APART_TERMS, FIRST_TOKEN_TERMS
from fleet.perf.interface import Estimate, Point
from fleet.perf.terms import BESIDE_TERMS, STEP_TERMS

Vector = NDArray[np.float64]

STEP_PARTS = (*DECODE_PARTS, "interference")
FIRST_TOKEN_PARTS: dict[str, tuple[str, ...]] = {
    "prefill": ("compute", "attention", "allreduce"),
    "constant": ("constant",),
    "burst": ("burst_compute", "burst_attention", "burst_allreduce"),
    "steps": ("steps",),
    "running": ("running",),
}
APART_PARTS: dict[str, tuple[str, ...]] = {
    "prefill": ("service", "request", "latency"),
    "constant": ("constant",),
    "burst": ("per_request",),
}


def parts_of(role: Role) -> tuple[str, ...]:
    """Return the parts of the first token of a mixed worker, or of workers apart."""
    return tuple(FIRST_TOKEN_PARTS if role is Role.MIXED else APART_PARTS)


def step_vector(effects: Sequence[float]) -> Vector:
    """Return effects by STEP_PARTS as effects on the logs of STEP_TERMS."""
    by_part = dict(zip(STEP_PARTS, effects, strict=True))
    part_of = {term: part for part, terms in DECODE_PARTS.items() for term in terms}
    part_of |= dict.fromkeys(BESIDE_TERMS, "interference")
    return np.array([by_part[part_of[term]] for term in STEP_TERMS])


def first_token_vector(effects: Sequence[float]) -> Vector:
    """Return effects by FIRST_TOKEN_PARTS as effects on the logs of FIRST_TOKEN_TERMS."""
    return _spread(effects, FIRST_TOKEN_PARTS, FIRST_TOKEN_TERMS)


def apart_vector(effects: Sequence[float]) -> Vector:
    """Return effects by APART_PARTS as effects on the logs of APART_TERMS."""
    return _spread(effects, APART_PARTS, APART_TERMS)


def _spread(effects: Sequence[float], parts: dict[str, tuple[str, ...]], terms: Sequence[str]) -> Vector:
    by_part = dict(zip(parts, effects, strict=True))
    part_of = {term: part for part, members in parts.items() for term in members}
    return np.array([by_part[part_of[term]] for term in terms])


def moved(point: Point, estimate: Estimate, step: Sequence[float], first_token: Sequence[float]) -> Estimate:
    """Return an estimate with its parts moved.

    Args:
        step: Effects on logs by STEP_PARTS.
        first_token: Effects on logs by FIRST_TOKEN_PARTS, or by APART_PARTS for workers apart.
    """
    by_part = dict(zip(STEP_PARTS, step, strict=True))
    first = dict(zip(parts_of(point.role), first_token, strict=True))
    decode = sum(share * exp(by_part[name]) for name, share in estimate.decode_shares.items())
    beside, prefill = exp(by_part["interference"]), exp(first["prefill"])
    return replace(
        estimate,
        decode_step_ms=estimate.decode_step_ms * decode,
        interference_ms=estimate.interference_ms * beside,
        prefill_ms=estimate.prefill_ms * (beside if point.role is Role.MIXED else prefill),
        prefill_latency_ms=estimate.prefill_latency_ms * prefill,
        constant_ms=estimate.constant_ms * exp(first["constant"]),
        burst_ms=estimate.burst_ms * exp(first["burst"]),
        prefill_wait_steps=estimate.prefill_wait_steps * exp(first.get("steps", 0.0)),
        per_running_request_ms=estimate.per_running_request_ms * exp(first.get("running", 0.0)),
    )


def between(low: Estimate, high: Estimate, share: float) -> Estimate:
    """Return the estimate on the straight line from one batch to another, `share` of the way; prefill is that of `low`."""
    parts = {
        name: low.decode_step_ms * low.decode_shares[name] * (1.0 - share)
        + high.decode_step_ms * high.decode_shares[name] * share
        for name in low.decode_shares
    }
    total = sum(parts.values())
    shares = {name: value / total for name, value in parts.items()}
    return replace(low, decode_step_ms=total, decode_shares=shares)
