"""The performance lock: the estimates that a plan rests on, frozen, so that a change of estimates is a diff that a reviewer sees."""

from __future__ import annotations

from typing import Any

from fleet.candidates.need import Candidate
from fleet.perf.interface import Capacity, Estimate, Percentiles, PerformanceModel
from fleet.perf.rounding import six
from fleet.plan.file import canonical_json, sha256_hex

FORMAT_VERSION = "1.0"


def lock_text(candidates: dict[str, list[Candidate]], perf: PerformanceModel) -> str:
    """Return the lock's canonical text: every candidate that reached the solver with its capacity and service times."""
    rows = {c.id: _row(c) for name in sorted(candidates) for c in candidates[name]}
    body = {
        "kind": "PerformanceLock",
        "format_version": FORMAT_VERSION,
        "backend": perf.name,
        "backend_digest": perf.digest,
        "candidates": rows,
    }
    return canonical_json({**body, "content_digest": sha256_hex(canonical_json(body))})


def _row(candidate: Candidate) -> dict[str, Any]:
    capacity: Capacity = candidate.capacity
    served = capacity.served
    return {
        "gpus": candidate.shape.gpus,
        "capacity_req_per_s": six(served.rate_req_per_s),
        "binding": capacity.binding,
        "batch_limit": capacity.batch_limit,
        "ttft_ms": _percentiles(served.ttft),
        "tpot_ms": _percentiles(served.tpot),
        "e2e_ms": _percentiles(served.e2e),
        "decode": _estimate(capacity.decode),
        "prefill": _estimate(capacity.prefill),
    }


def _percentiles(p: Percentiles) -> dict[str, float]:
    return {
        "mean": six(p.mean),
        "p50": six(p.p50),
        "p90": six(p.p90),
        "p95": six(p.p95),
        "p99": six(p.p99),
    }


def _estimate(e: Estimate) -> dict[str, Any]:
    return {
        "decode_step_ms": six(e.decode_step_ms),
        "prefill_ms": six(e.prefill_ms),
        "interference_ms": six(e.interference_ms),
        "constant_ms": six(e.constant_ms),
        "kv_capacity_tokens": six(e.kv_capacity_tokens),
        "relative_error_p90": six(e.relative_error_p90),
        "basis": e.provenance.basis.value,
    }
