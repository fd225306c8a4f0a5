"""Workloads of a resolved fleet as the candidates see them: what is needed, and the places that could serve it."""

from __future__ import annotations

from fleet.candidates.need import Limits, Need, Place
from fleet.pipeline.resolved import ResolvedFleet, ResolvedWorkload
from fleet.spec.model import PolicySpec


def need_of(workload: ResolvedWorkload, policy: PolicySpec) -> Need:
    """Return what one workload needs."""
    model = workload.model
    return Need(
        workload=workload.name,
        card=model.card,
        weights=model.weights,
        kv_precisions=model.kv_precisions,
        engines=model.engines,
        draft=model.draft,
        load=workload.load,
        rate_req_per_s=workload.planning_req_per_s,
        max_model_len=workload.max_context,
        limits=Limits(
            max_tp=policy.layouts.max_tp,
            max_gpus_per_replica=policy.layouts.max_gpus_per_replica,
            allow_pipeline=policy.layouts.allow_pipeline,
            allow_aggregated=policy.disaggregation != "require",
            allow_disaggregated=policy.disaggregation != "forbid",
        ),
    )


def places_of(workload: ResolvedWorkload, fleet: ResolvedFleet) -> list[Place]:
    """Return the offerings that may serve a workload and of which anything exists."""
    offerings = (fleet.offerings[name] for name in workload.offerings)
    return [offering.place for offering in offerings if offering.available_units]
