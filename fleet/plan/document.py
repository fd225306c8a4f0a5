"""The plan: everything that a reviewer, a renderer or `pulumi up` needs, in one committed document."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from fleet.layout import ParallelismLayout, Precision, Role

FORMAT_VERSION = "1.0"


class PlanModel(BaseModel):
    """Base of every part of the plan: closed and immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Digests(PlanModel):
    """sha256 of what the plan was made from; a plan whose `spec` differs from its file's digest is stale."""

    spec: str  # of fleet.yaml and its overlays as bytes, line ends read as LF
    files: dict[str, str] = Field(
        default_factory=dict
    )  # traces and model configs that the spec names: path as written -> sha256
    catalog: str
    prices: str
    performance: str  # of perf.lock.json
    previous: str | None = None  # plan in force, when churn was weighed


# ---------------------------------------------------------------- predictions

RESOURCE_OF = {
    "weights": "memory-bandwidth",
    "kv": "memory-bandwidth",
    "compute": "compute",
    "attention": "compute",
    "all-reduce": "communication",
    "all-to-all": "communication",
    "fixed": "fixed-cost",
}
"""Which resource each part of a phase's time uses; the one that takes most is the phase's bound."""


class Quantiles(PlanModel):
    """A latency's predicted quantiles in milliseconds, without margin: sizes were chosen at `policy.error_quantile` of the error."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float


class LimitLine(PlanModel):
    """One line of the SLO against its prediction."""

    metric: Literal["ttft", "tpot", "e2e"]
    quantile: int
    limit_ms: float
    predicted_ms: float
    error_low_ms: float  # the prediction's 90 % interval
    error_high_ms: float
    margin: float  # (limit - predicted) / limit


class BoundLine(PlanModel):
    """What bounds a phase, with each term's share of its time (adds up to 1)."""

    bound: Literal["compute", "memory-bandwidth", "communication", "fixed-cost"]
    shares: dict[str, float]

    @property
    def bound_share(self) -> float:
        """Share of the phase's time that its bound takes: the sum of the parts that use this resource."""
        return sum(share for name, share in self.shares.items() if RESOURCE_OF.get(name) == self.bound)


class ProvenanceLine(PlanModel):
    """Which backend priced a decision, how near to data it is, and how wrong it may be."""

    backend: str
    version: str  # digest of its data
    basis: Literal["measured", "fitted", "extrapolated", "floor"]
    relative_error_p90: float  # of TPOT: 90 % of measurements lie within a factor 1 + this, either way
    ttft_relative_error_p90: float = 0.0  # the same of TTFT
    note: str = ""  # what the estimate was borrowed from, and what widened its error


class PerformanceLine(PlanModel):
    """Where the plan's estimates come from; perf.lock.json holds them."""

    backends: tuple[str, ...]  # as the fleet file asks for
    calibration: str | None  # file of the user's own results, as the fleet file names it
    model: str  # what they were made into
    digest: str  # of its data


class EstimateLine(PlanModel):
    """A replica's service at points that neither rate nor target moves, mean lengths: by these two plans are compared."""

    decode_step_ms_alone: float  # of one request
    decode_step_ms_of_64: float  # of 64 requests decoding together in one worker
    prefill_ms: float  # a worker's time for one request
    prefill_latency_ms: float  # of that request, alone
    constant_ms: float  # of TTFT


# ---------------------------------------------------------------- workers and deployments


class WorkerGroup(PlanModel):
    """The workers of one role in each replica of a deployment."""

    role: Role
    layout: ParallelismLayout
    workers_per_replica: int
    gpus_per_worker: int
    hosts_per_worker: int  # pods of one worker
    gpus_per_host_used: int  # GPU limit of each pod
    max_num_seqs: int  # running requests of the whole worker
    max_num_batched_tokens: int  # tokens of one step of the whole worker (chunked-prefill budget)
    weight_bytes_per_gpu: float
    kv_capacity_tokens: float  # whole worker

    @property
    def gpus_per_replica(self) -> int:
        return self.workers_per_replica * self.gpus_per_worker


class DeploymentMode(StrEnum):
    AGGREGATED = "aggregated"
    DISAGGREGATED = "disaggregated"


class Target(StrEnum):
    """Which objects carry the deployment."""

    DEPLOYMENT = "deployment"  # apps/v1 Deployment: a worker on one host
    LEADER_WORKER_SET = "leader-worker-set"  # a worker across hosts of one NVLink domain
    DYNAMO = "dynamo"  # DynamoGraphDeployment: disaggregated, or by choice


class Engine(PlanModel):
    id: Literal["vllm", "sglang", "trtllm"]
    version: str
    dynamo_version: str | None = None
    image: str
    memory_fraction: float


class Served(PlanModel):
    """The part of a workload that a deployment serves."""

    workload: str
    share: int  # router weight, parts per million of the workload's traffic
    rate_req_per_s: float  # of this workload at the planning peak
    capacity_req_per_s: float  # of all replicas
    limits: tuple[LimitLine, ...]
    ttft_ms: Quantiles
    tpot_ms: Quantiles
    e2e_ms: Quantiles
    binding: str  # what stops a replica at its capacity


class Deployment(PlanModel):
    """Replicas of one model with one layout on one offering. `id` is its identity: workload and offering, never the layout."""

    id: str
    model: str  # key in `models`
    offering: str
    mode: DeploymentMode
    target: Target
    engine: Engine
    weights: Precision
    checkpoint_uri: str
    kv_cache: Precision
    max_model_len: int
    speculative: dict[str, str | int | float] | None = None
    workers: tuple[WorkerGroup, ...]  # one mixed group, or prefill and decode
    domains_per_replica: int  # 0: inside one NVLink domain; k: k whole domains
    replicas: int
    gpus_per_replica: int
    gpus: int
    served: tuple[Served, ...]
    utilisation: float  # of the busiest resource at the planning peak
    mean_batch_per_replica: float
    decode: BoundLine
    prefill: BoundLine
    prefill_time_share: float = Field(default=0.0, ge=0, le=1)  # of its GPUs' time at the planning peak
    provenance: ProvenanceLine  # of the decode (or mixed) worker
    prefill_provenance: ProvenanceLine | None = None  # of a prefill worker apart
    estimate: EstimateLine | None = None  # None: compiled before plans carried it
    usd_per_hour: float  # GPUs of the replicas at the offering's price for each usable GPU
    usd_per_million_output_tokens: float
    usd_per_million_useful_tokens: float
    power_kw: float
    kv_link: Literal["none", "nvlink", "network"]
    kv_transfer_ms_mean: float = 0.0
    weight_load_s: float  # start-up: bytes of one host's weights over an assumed 1 GB/s, stated in the review


# ---------------------------------------------------------------- models, workloads, hardware


class PlannedModel(PlanModel):
    name: str  # key in the spec
    served_name: str
    card: str  # catalogue id, or hf:<name>
    architecture: str
    total_params: int
    active_params: int
    is_moe: bool
    native_precision: Precision


class LengthSummary(PlanModel):
    mean: float
    p50: float
    p90: float
    p99: float
    max: float


class DemandSummary(PlanModel):
    peak_req_per_s: float  # as written
    planning_req_per_s: float  # with growth and retries
    mean_req_per_s: float
    input_tokens: LengthSummary
    output_tokens: LengthSummary
    cached_prefix_fraction: float  # of prompt tokens, as effective with the plan's routing
    burstiness_cv: float
    cancellation: float
    retries: float
    basis: Literal["measured", "forecast", "guessed"]
    source: str


class Answered(PlanModel):
    """One of the brief's nine questions, answered with numbers, or what is missing for an answer."""

    number: int = Field(ge=1, le=9)
    question: str
    answer: str
    known: bool


class Alternative(PlanModel):
    """A candidate that lost: what serving the whole workload with it alone would cost, failures survived, inventory aside."""

    offering: str
    layout: str
    engine: str
    precision: Precision
    mode: DeploymentMode
    gpus_per_replica: int
    replicas: int
    gpus: int
    usd_per_hour: float
    why_lost: str


class Dropped(PlanModel):
    """Candidates that were dropped before solving, counted by reason."""

    reason: str
    count: int
    example: str


class PlannedWorkload(PlanModel):
    name: str
    model: str
    slo: str
    priority: int
    demand: DemandSummary
    limits_as_written: tuple[tuple[str, int, float], ...]  # metric, quantile, limit in ms
    deployments: tuple[str, ...]
    capacity_req_per_s: float
    survives: dict[str, float]  # failure level -> capacity left after the worst single loss, requests/s
    candidates: int  # that reached the solver
    dropped: tuple[Dropped, ...]
    alternatives: tuple[Alternative, ...]
    questions: tuple[Answered, ...]


class PriceLine(PlanModel):
    usd_per_gpu_hour: float
    kind: str
    as_of: date
    source: str


class PlannedOffering(PlanModel):
    name: str
    accelerator: str  # catalogue id
    accelerator_name: str
    provider: str
    region: str
    zone: str
    machine_type: str
    cpu_arch: Literal["amd64", "arm64"]
    gpu_product: str = ""  # value of the node label nvidia.com/gpu.product; empty: not known
    domain: Literal["host", "rack"]
    domain_gpus: int  # of the hardware: 8 or 72
    gpus_per_host: int
    hosts_per_domain: int
    spare_hosts_per_domain: int  # trays kept free
    domains_per_rack: int
    unit_domains: int
    available_units: int
    bought_units: int
    hosts: int  # bought
    gpus_bought: int
    gpus_used: int
    price: PriceLine
    usd_per_hour: float
    power_kw: float  # all-in, of what is bought
    domain_label: str  # node label naming the NVLink domain
    node_selector: dict[str, str]
    tolerations: tuple[dict[str, str], ...]


class Slot(PlanModel):
    """GPUs of one host (tray) held by one worker of one replica."""

    deployment: str
    replica: int
    role: Role
    worker: int
    gpus: int


class MappedHost(PlanModel):
    index: int  # within the domain
    slots: tuple[Slot, ...]
    is_spare: bool = False


class MappedDomain(PlanModel):
    """One NVLink domain of the rack map: an HGX host or an NVL72 rack."""

    id: str  # <offering>-<two digits and more>, stable
    offering: str
    index: int
    hosts: tuple[MappedHost, ...]


# ---------------------------------------------------------------- certificate, gateway, the whole


class AttemptLine(PlanModel):
    formulation: str
    usd_per_hour: float | None  # None: no answer; in the objective's unit where that is not money
    bound: float | None
    effort: str


class CertificateLine(PlanModel):
    objective: Literal["money", "gpus", "watts", "cost-per-useful-token"]
    unit: str  # "USD/h", "GPUs" or "W"
    cost: float
    bound: float  # no plan under these rules and estimates costs less
    gap: float
    proven_optimal: bool
    floor: float  # by plain arithmetic
    physical_floor_gpus: dict[
        str, float
    ]  # workload -> GPUs of its best accelerator at dense peak; no plan may use less
    solver: str
    attempts: tuple[AttemptLine, ...]
    rules_checked: tuple[str, ...]  # by verify
    notes: tuple[str, ...] = ()


class WarningLine(PlanModel):
    """A diagnostic that stands in the plan."""

    rule: str
    severity: Literal["warning", "info"]
    subject: str
    message: str
    help: str = ""


class TenantLine(PlanModel):
    name: str
    token_budget_per_minute: float | None
    priority: int
    workloads: tuple[str, ...]


class GatewayPlan(PlanModel):
    hostnames: tuple[str, ...]
    gateway: str
    gateway_class: str = "istio"  # GatewayClass of the Gateway object
    namespace: str
    cache_locality: bool
    slo_class: bool
    retry_attempts: int
    retry_backoff_ms: float
    request_timeout_ms: float
    cancellation: bool
    tenants: tuple[TenantLine, ...]


class DeliveryPlan(PlanModel):
    namespace: str
    hf_token_secret: str
    model_cache_claim: str | None
    runtime_class: str | None
    protect_capacity: bool


class PolicyLine(PlanModel):
    survive: tuple[str, ...]
    spare_trays_per_rack: int
    max_utilisation: float
    error_quantile: float
    budget_usd_per_hour: float | None
    power_limit_kw: float | None
    quality_record: str


class Summary(PlanModel):
    usd_per_hour: float  # everything bought, used or not
    usd_per_month: float  # 730 hours
    gpus_bought: int
    gpus_used: int
    hosts: int
    racks: int  # NVL72 racks
    power_kw: float
    usd_per_million_output_tokens: float
    usd_per_million_useful_tokens: float


# ---------------------------------------------------------------- what to measure next


class MeasureOutcome(PlanModel):
    """One outcome of a benchmark run, solved again. Amounts are in the certificate's unit; None: no fleet was found."""

    standard_score: (
        float  # of the cell's time, in standard deviations of what the run can show; below 0: faster
    )
    probability: float
    tpot_factor: float  # on the predicted TPOT, before the physical floor
    keep: float | None  # today's plan with what it has to add
    best: float | None  # the best plan that knows the outcome
    saving: float  # keep - best - slack, where that is above 0
    gap: float  # relative, of the re-solve
    flips: tuple[str, ...] = ()  # what the best plan changes


class MeasureRun(PlanModel):
    """A benchmark run worth making: the closed loop of one replica at its operating point, and what it would decide."""

    workload: str
    deployment: str | None  # whose rendered benchmark job this run is; None: no deployment of the plan
    offering: str
    engine: Literal["vllm", "sglang", "trtllm"]
    engine_version: str
    weights: Precision
    kv_cache: Precision
    mode: DeploymentMode
    layout: str
    gpus: int  # of the one replica that is measured
    also_decides: tuple[str, ...]  # other workloads whose choice rests on the same estimates
    input_tokens_mean: float
    output_tokens_mean: float
    cached_prefix_fraction: float
    concurrency: int  # requests in flight, held constant
    requests: int  # measured, after as many as are in flight for warm-up
    hours: float  # weights loaded, engine started, warmed up, measured
    gpu_hours: float
    usd_per_gpu_hour: float
    usd: float
    error_before_p90: float  # of the cell's TPOT
    error_after_p90: float
    at_stake_usd_per_hour: float  # deployments of this model, accelerator, engine, precision and mode
    slack: float  # today's cost less the best sizing without news: what the re-solve makes of nothing
    worth: float  # expected saving an hour, in the certificate's unit
    outcomes: tuple[MeasureOutcome, ...]

    @property
    def risk_reduced_usd_per_hour(self) -> float:
        """Money at stake times the error that the run takes away."""
        return self.at_stake_usd_per_hour * (self.error_before_p90 - self.error_after_p90)


class FleetPlan(PlanModel):
    """The compiled document."""

    kind: Literal["FleetPlan"] = "FleetPlan"
    format_version: Annotated[str, Field(pattern=r"^1\.\d+$")] = FORMAT_VERSION
    compiled_by: str  # fleetc and its version
    fleet: str
    as_of: date
    labels: dict[str, str] = Field(default_factory=dict)
    digests: Digests
    performance: PerformanceLine | None = None  # None: compiled before plans carried it
    summary: Summary
    policy: PolicyLine
    models: tuple[PlannedModel, ...]
    workloads: tuple[PlannedWorkload, ...]
    offerings: tuple[PlannedOffering, ...]  # every offering of the spec, bought or not
    deployments: tuple[Deployment, ...]
    domains: tuple[MappedDomain, ...]  # bought ones
    certificate: CertificateLine
    gateway: GatewayPlan
    delivery: DeliveryPlan
    warnings: tuple[WarningLine, ...]
    measure_next: tuple[MeasureRun, ...] = ()  # at most three, the most worth first
