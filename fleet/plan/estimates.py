"""Estimates of two plans compared: what a deployment that stays is predicted for the same work, before and after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fleet.plan.document import Deployment, FleetPlan, PlannedWorkload, ProvenanceLine
from fleet.units import format_ms, format_share

Value = str | float | None

FIGURES = {
    "decode_step_ms_alone": "decode step of one request",
    "decode_step_ms_of_64": "decode step of 64",
    "prefill_ms": "prefill of the mean prompt",
    "prefill_latency_ms": "the same alone",
    "constant_ms": "fixed part of TTFT",
}
"""Figures of an estimate and the words for them."""


@dataclass(frozen=True, slots=True)
class EstimateField:
    """One figure of an estimate that differs, by its path in the plan's deployment."""

    path: str
    before: Value
    after: Value


@dataclass(frozen=True, slots=True)
class EstimateChange:
    """A deployment that stays is predicted otherwise for the same work; `sentence` says how, with units."""

    deployment: str
    workloads: tuple[str, ...]
    fields: tuple[EstimateField, ...]
    sentence: str


def estimate_changes(old: FleetPlan, new: FleetPlan) -> tuple[EstimateChange, ...]:
    """Return the estimates that differ, by deployment; where the work itself differs, nothing is said of them."""
    before = {d.id: d for d in old.deployments}
    asked, asks = ({w.name: w for w in plan.workloads} for plan in (old, new))
    changes = []
    for now in sorted(new.deployments, key=lambda d: d.id):
        was = before.get(now.id)
        if was is not None and _work(was, asked) == _work(now, asks) and (fields := tuple(_fields(was, now))):
            workloads = tuple(s.workload for s in now.served)
            changes.append(EstimateChange(now.id, workloads, fields, _sentence(was, now)))
    return tuple(changes)


def _work(d: Deployment, workloads: dict[str, PlannedWorkload]) -> tuple[object, ...]:
    """Return what a deployment's estimate is made for: its workers and engine, and the lengths of its requests."""
    groups = tuple((g.role, g.layout, g.workers_per_replica) for g in d.workers)
    draft = tuple(sorted((d.speculative or {}).items()))
    demands = [(s.workload, workloads[s.workload].demand) for s in d.served if s.workload in workloads]
    lengths = tuple(
        (name, x.input_tokens, x.output_tokens, x.cached_prefix_fraction) for name, x in sorted(demands)
    )
    return (d.model, d.mode, groups, d.engine.id, d.engine.version, d.weights, d.kv_cache, draft, lengths)


def _fields(was: Deployment, now: Deployment) -> Iterator[EstimateField]:
    before, after = dict(_stated(was)), dict(_stated(now))
    told_by_both = was.estimate is not None  # else the old plan is of a fleetc that did not say so much
    for path in before | after:
        if before.get(path) != after.get(path) and (told_by_both or path in before):
            yield EstimateField(path, before.get(path), after.get(path))


def _stated(d: Deployment) -> Iterator[tuple[str, Value]]:
    """Figures of an estimate and where they come from; the version of a backend's data alone changes nothing."""
    for name in FIGURES if d.estimate is not None else ():
        yield f"estimate.{name}", getattr(d.estimate, name)
    for part in ("provenance", "prefill_provenance"):
        line: ProvenanceLine | None = getattr(d, part)
        if line is not None:
            for name in ("backend", "basis", "relative_error_p90", "ttft_relative_error_p90", "note"):
                yield f"{part}.{name}", getattr(line, name)


def _sentence(was: Deployment, now: Deployment) -> str:
    parts = [
        f"{words} {format_ms(getattr(was.estimate, name))} to {format_ms(getattr(now.estimate, name))}"
        for name, words in FIGURES.items()
        if was.estimate and now.estimate and getattr(was.estimate, name) != getattr(now.estimate, name)
    ]
    a, b = was.provenance, now.provenance
    for metric, name in (("TPOT", "relative_error_p90"), ("TTFT", "ttft_relative_error_p90")):
        if getattr(a, name) != getattr(b, name):
            errors = f"{format_share(getattr(a, name))} to {format_share(getattr(b, name))}"
            parts.append(f"90 % error of {metric} {errors}")
    if (a.backend, a.basis) != (b.backend, b.basis):
        parts.append(f"{a.backend}, {a.basis} to {b.backend}, {b.basis}")
    return f"estimate of '{now.id}' moved: {'; '.join(parts) or now.provenance.note or 'its notes differ'}"
