"""What candidates are made from: one workload's need, and the places that could serve it."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.catalog.records import Accelerator, EngineRelease, ModelCard
from fleet.layout import Precision
from fleet.perf.interface import Capacity, Draft
from fleet.perf.replica import Load, ReplicaSpec, WorkerSpec


@dataclass(frozen=True, slots=True)
class Weights:
    """A checkpoint that the user's policy lets us serve."""

    precision: Precision
    dense_precision: Precision
    uri: str


@dataclass(frozen=True, slots=True)
class Place:
    """An offering as candidates see it: one NVLink domain's GPUs and what they cost."""

    offering: str
    accelerator: Accelerator
    nic_bytes_per_s: float  # per GPU, one direction
    usable_domain_gpus: int  # spares taken out
    available_domains: int
    usd_per_usable_gpu_hour: float


@dataclass(frozen=True, slots=True)
class Limits:
    """The policy's limits on layouts and modes."""

    max_tp: int
    max_gpus_per_replica: int
    allow_pipeline: bool
    allow_aggregated: bool
    allow_disaggregated: bool


@dataclass(frozen=True, slots=True)
class Need:
    """One workload: its model in every form that may serve it, its load and the rate to plan for."""

    workload: str
    card: ModelCard
    weights: tuple[Weights, ...]
    kv_precisions: tuple[Precision, ...]
    engines: tuple[EngineRelease, ...]
    draft: Draft | None
    load: Load
    rate_req_per_s: float
    max_model_len: int
    limits: Limits


@dataclass(frozen=True, slots=True)
class Shape:
    """One way to build a replica at a place, not yet priced."""

    place: Place
    engine: EngineRelease
    weights: Weights
    kv: Precision
    replica: ReplicaSpec
    gpus: int  # of one replica
    reserved_gpus: int  # of its domains: parts of hosts that no other replica can use are counted
    whole_domains: int  # 0: inside one domain; k: k whole domains
    kv_over_nvlink: bool = False  # between prefill and decode workers; else over the network

    @property
    def is_disaggregated(self) -> bool:
        return self.replica.mixed is None

    @property
    def workers(self) -> tuple[tuple[WorkerSpec, int], ...]:
        """Each worker with how many of it a replica has: one mixed, or prefill and decode."""
        spec = self.replica
        if spec.mixed is not None:
            return ((spec.mixed, 1),)
        return ((spec.prefiller, spec.prefill_workers), (spec.decoder, spec.decode_workers))

    @property
    def label(self) -> str:
        """TP4, or P 2x TP2 / D 1x DP8 EP8."""
        if spec := self.replica.mixed:
            return spec.layout.label
        (p, np), (d, nd) = self.workers
        return f"P {np}x {p.layout.label} / D {nd}x {d.layout.label}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A priced shape: what one replica can serve within the SLO, and what that costs."""

    id: str
    workload: str
    shape: Shape
    capacity: Capacity

    @property
    def rate_req_per_s(self) -> float:
        """The largest request rate of one replica at which every target holds."""
        return self.capacity.served.rate_req_per_s

    @property
    def usd_per_hour(self) -> float:
        """One replica's GPUs at the place's price."""
        return self.shape.gpus * self.shape.place.usd_per_usable_gpu_hour

    @property
    def usd_per_request_rate(self) -> float:
        """USD per hour for each request per second."""
        return self.usd_per_hour / self.rate_req_per_s


@dataclass(frozen=True, slots=True)
class Drop:
    """Candidates that were dropped: the reason's rule name, one sentence about the first of them, and how many."""

    reason: str
    detail: str
    count: int = 1
