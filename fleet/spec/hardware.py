"""What can be had: offerings of accelerators in a place, at a price, in an amount."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fleet.spec.base import Count, Day, LabelKey, LabelValue, Line, Name, Remark, SpecModel
from fleet.units import BytesPerS, Kilowatts, UsdPerHour


class Amount(SpecModel):
    """How many: hosts of an HGX offering, racks of an NVL72 offering."""

    hosts: Annotated[Count, Field(ge=0, le=1_000_000)] | None = None
    """Hosts: machines with one operating system each."""
    racks: Annotated[Count, Field(ge=0, le=100_000)] | None = None
    """Racks: NVLink domains of 72 GPUs."""


class PriceSpec(SpecModel):
    """What it costs: exactly one of the first four."""

    per_gpu: UsdPerHour | None = None
    """Price of one GPU."""
    per_host: UsdPerHour | None = None
    """Price of one host."""
    per_rack: UsdPerHour | None = None
    """Price of one rack."""
    catalog: (
        Literal[
            "on-demand",
            "capacity-block",
            "reserved-1y",
            "reserved-3y",
            "spot",
            "committed-1y",
            "committed-3y",
            "flex-start",
        ]
        | None
    ) = None
    """Takes the catalogue's price of this kind for the machine type."""
    as_of: Day | None = None
    """Day of the price; required unless it is the catalogue's."""
    source: Remark = ""
    """Where the price was read."""


class OfferingSpec(SpecModel):
    """An accelerator in a place, at a price, in an amount."""

    accelerator: Line
    """Id of an accelerator in the catalogue, for example h100-sxm or gb200-nvl72."""
    provider: Literal["gke", "eks", "aks", "oci", "coreweave", "on-premises"]
    """Who runs the Kubernetes cluster that the nodes join."""
    region: Remark = ""
    """Region in the provider's words."""
    zone: Line
    """Failure domain: offerings of one zone may be lost together."""
    machine_type: Remark = ""
    """Machine type in the provider's words. Empty: the catalogue's for the provider."""
    available: Amount
    """Hosts or racks that exist or may be bought."""
    committed: Amount = Amount()
    """Already paid for, used or not."""
    unit: Amount = Amount()
    """Bought together. Empty: one host or one rack."""
    price: PriceSpec
    """What it costs."""
    hosts_per_rack: Annotated[Count, Field(ge=1, le=64)] | None = None
    """HGX hosts in one physical rack; those that are bought fill one rack after the other. Empty: each its own."""
    network_per_gpu: BytesPerS | None = None
    """Network bandwidth of one GPU in one direction. Empty: the catalogue's."""
    power_limit: Kilowatts | None = None
    """Power that may be drawn in all."""
    cooling: Literal["air", "liquid", "any"] = "any"
    """Cooling that the place has."""
    node_selector: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    """Node labels that pods of this offering ask for, beside those that follow from the provider."""
    tolerations: tuple[dict[Line, Remark], ...] = ()
    """Taints that pods of this offering tolerate: mappings of key, operator, value and effect."""


class HardwareSpec(SpecModel):
    """Everything that can be had."""

    offerings: dict[Name, OfferingSpec]
    """Offerings by name."""
