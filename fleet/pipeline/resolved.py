"""The fleet with every name resolved: catalogue records, targets, lengths and amounts in place of words."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

from fleet.candidates.need import Drop, Place, Weights
from fleet.catalog.records import Accelerator, Catalog, EngineRelease, ModelCard
from fleet.diagnostics import Diagnostic
from fleet.layout import Precision
from fleet.perf.interface import Draft, Target
from fleet.perf.replica import Load
from fleet.pipeline.lengths import Marginal
from fleet.spec.model import FleetFile, ModelSpec, OfferingSpec, SloSpec, WorkloadSpec


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model with its record and the checkpoints, engines and KV formats that policy permits."""

    name: str
    spec: ModelSpec
    card: ModelCard
    card_name: str  # catalogue id, or hf:<file name>
    served_name: str
    weights: tuple[Weights, ...]
    refused: tuple[Drop, ...]  # checkpoints that policy keeps out
    kv_precisions: tuple[Precision, ...]
    engines: tuple[EngineRelease, ...]
    draft: Draft | None


@dataclass(frozen=True, slots=True)
class ResolvedPrice:
    usd_per_gpu_hour: float
    kind: str
    as_of: date
    source: str


@dataclass(frozen=True, slots=True)
class ResolvedOffering:
    """An offering in domains: HGX hosts or NVL72 racks."""

    name: str
    spec: OfferingSpec
    accelerator: Accelerator
    machine_type: str
    domain_label: str
    nic_bytes_per_s: float
    price: ResolvedPrice
    unit_domains: int
    available_units: int
    committed_units: int
    domains_per_rack: int
    spare_hosts_per_domain: int

    @property
    def usable_domain_gpus(self) -> int:
        """GPUs of a domain that replicas may use, spare trays taken out."""
        return self.accelerator.domain_gpus - self.spare_hosts_per_domain * self.accelerator.gpus_per_host

    @property
    def unit_gpus(self) -> int:
        """GPUs bought with one unit, spares included."""
        return self.unit_domains * self.accelerator.domain_gpus

    @property
    def usd_per_unit_hour(self) -> float:
        return self.unit_gpus * self.price.usd_per_gpu_hour

    @property
    def unit_watts(self) -> float:
        """All-in power of one unit, spares included."""
        return self.unit_gpus * self.accelerator.all_in_w.value

    @property
    def place(self) -> Place:
        spares = self.accelerator.domain_gpus / self.usable_domain_gpus
        return Place(
            offering=self.name,
            accelerator=self.accelerator,
            nic_bytes_per_s=self.nic_bytes_per_s,
            usable_domain_gpus=self.usable_domain_gpus,
            available_domains=self.available_units * self.unit_domains,
            usd_per_usable_gpu_hour=self.price.usd_per_gpu_hour * spares,
        )


@dataclass(frozen=True, slots=True)
class ResolvedWorkload:
    """A workload with numbers: lengths as a distribution, rates at the peak, targets as quantiles."""

    name: str
    spec: WorkloadSpec
    slo: SloSpec
    model: ResolvedModel
    input: Marginal
    output: Marginal
    max_context: int  # longest request, prompt and answer
    peak_req_per_s: float  # as written
    planning_req_per_s: float  # growth and retries added
    mean_req_per_s: float
    burstiness_cv: float
    load: Load
    offerings: tuple[str, ...]

    @property
    def targets(self) -> tuple[Target, ...]:
        return self.load.targets

    @property
    def attained(self) -> float:
        """Share of requests that the SLO guarantees within every limit: its lowest planned quantile."""
        return min(target.quantile for target in self.targets) / 100

    @property
    def useful_share(self) -> float:
        """Output tokens delivered in time, not cancelled and not a retry's, as a share of those generated."""
        demand = self.spec.demand
        return self.attained * (1.0 - demand.cancellation) / (1.0 + demand.retries)


@dataclass(frozen=True, slots=True)
class ResolvedFleet:
    file: FleetFile
    catalog: Catalog
    models: dict[str, ResolvedModel]
    offerings: dict[str, ResolvedOffering]
    workloads: dict[str, ResolvedWorkload]
    warnings: tuple[Diagnostic, ...] = field(default=())
