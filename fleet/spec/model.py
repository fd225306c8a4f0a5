"""What the user may write in fleet.yaml: every field typed, its unit in its name or its value."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fleet.spec.base import Day, LabelKey, LabelValue, Name, SpecModel
from fleet.spec.demand import DemandSpec, LengthSpec, PrefixSpec, RateSpec, TraceSpec, WorkloadSpec
from fleet.spec.hardware import Amount, HardwareSpec, OfferingSpec, PriceSpec
from fleet.spec.performance import BackendName, PerformanceSpec
from fleet.spec.policy import (
    DeliverySpec,
    GatewaySpec,
    LayoutPolicy,
    Objective,
    PolicySpec,
    PrecisionPolicy,
    RetrySpec,
    RiskPolicy,
    RoutingSpec,
    SurviveLevel,
    TenantSpec,
)
from fleet.spec.serving import (
    CheckpointSpec,
    EngineName,
    LatencyLimit,
    ModelSpec,
    QualityRecord,
    SloSpec,
    SpeculativeSpec,
)

__all__ = [
    "Amount",
    "BackendName",
    "CheckpointSpec",
    "DeliverySpec",
    "DemandSpec",
    "EngineName",
    "FleetFile",
    "FleetSpec",
    "GatewaySpec",
    "HardwareSpec",
    "LatencyLimit",
    "LayoutPolicy",
    "LengthSpec",
    "Metadata",
    "ModelSpec",
    "Name",
    "Objective",
    "OfferingSpec",
    "PerformanceSpec",
    "PolicySpec",
    "PrecisionPolicy",
    "PrefixSpec",
    "PriceSpec",
    "QualityRecord",
    "RateSpec",
    "RetrySpec",
    "RiskPolicy",
    "RoutingSpec",
    "SloSpec",
    "SpecModel",
    "SpeculativeSpec",
    "SurviveLevel",
    "TenantSpec",
    "TraceSpec",
    "WorkloadSpec",
]


class Metadata(SpecModel):
    """What the fleet is called."""

    name: Name
    """Name of the fleet; part of the names of rendered objects."""
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    """Labels of every rendered object."""


class FleetSpec(SpecModel):
    """The fleet: what is served, to which targets, for which demand, on which hardware."""

    as_of: Day
    """The day the plan is judged on; no clock is read."""
    models: dict[Name, ModelSpec]
    """Models by name."""
    slos: dict[Name, SloSpec]
    """Classes of service by name."""
    workloads: dict[Name, WorkloadSpec]
    """Demands by name."""
    hardware: HardwareSpec
    """What can be had."""
    policy: PolicySpec = PolicySpec()
    """What the plan has to respect beyond demand."""
    performance: PerformanceSpec = PerformanceSpec()
    """Where performance estimates come from."""
    gateway: GatewaySpec = GatewaySpec()
    """Where requests come in."""
    delivery: DeliverySpec = DeliverySpec()
    """How the rendered objects live in the cluster."""


class FleetFile(SpecModel):
    """The whole file."""

    apiVersion: Literal["fleetc.dev/v1"]  # noqa: N815  Kubernetes' own word
    """Version of the file's format."""
    kind: Literal["Fleet"]
    """Fleet, or FleetOverlay in an overlay."""
    metadata: Metadata
    """What the fleet is called."""
    spec: FleetSpec
    """The fleet."""
