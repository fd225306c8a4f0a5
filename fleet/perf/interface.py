"""The one boundary of every performance backend: points in, the service of one worker out, nothing raised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from fleet.catalog.records import Accelerator, EngineRelease, ModelCard
from fleet.layout import ParallelismLayout, Precision, Role


class Bound(StrEnum):
    """What takes most of a step's time."""

    COMPUTE = "compute"
    MEMORY = "memory-bandwidth"
    COMMUNICATION = "communication"
    FIXED = "fixed-cost"


class Basis(StrEnum):
    """How near to data an estimate is."""

    MEASURED = "measured"  # the user's own results cover this cell
    FITTED = "fitted"  # this model x accelerator x engine is in the calibration data
    EXTRAPOLATED = "extrapolated"  # pooled from neighbouring cells
    FLOOR = "floor"  # a physical bound, no prediction


@dataclass(frozen=True, slots=True)
class Draft:
    """Speculative decoding: draft tokens per step and the mean tokens emitted per step (1 and more)."""

    tokens: int
    acceptance_length: float


@dataclass(frozen=True, slots=True)
class Point:
    """One worker doing one thing.

    `batch` is the number of requests decoding together in the whole worker (all attention-DP ranks), 1 and more.
    Lengths are tokens of one request: `isl` of the prompt, of which `cached_prefix` need no prefill; `osl` of the answer.
    """

    model: ModelCard
    accelerator: Accelerator
    engine: EngineRelease
    role: Role
    layout: ParallelismLayout
    weights: Precision
    dense_weights: Precision
    kv: Precision
    batch: float
    isl: float
    osl: float
    cached_prefix: float = 0.0
    draft: Draft | None = None


@dataclass(frozen=True, slots=True)
class Provenance:
    backend: str
    version: str  # digest of the coefficients, or version of the tables
    basis: Basis
    note: str = ""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The service of one worker at one point, without queueing. Times are milliseconds.

    decode_step_ms: one decode iteration of `batch` requests with no prefill beside it (per emitted token, draft included).
    prefill_ms: time the worker is occupied by the prefill of one request (isl minus cached_prefix tokens).
    prefill_latency_ms: time from start of that prefill to its first token when alone (>= prefill_ms / dp ranks working together).
    interference_ms: what one request's prefill adds to the decoding of all others in a mixed worker.
    constant_ms: fixed part of TTFT (tokeniser, scheduler, network).
    """

    decode_step_ms: float
    prefill_ms: float
    prefill_latency_ms: float
    interference_ms: float
    constant_ms: float
    weight_bytes_per_gpu: float
    kv_bytes_per_token: float  # whole worker: bytes that one token of context takes over all its GPUs
    kv_capacity_tokens: float  # whole worker, by the engine's own rule
    decode_bound: Bound
    prefill_bound: Bound
    decode_shares: dict[str, float]  # term -> share of decode_step_ms, adds up to 1
    prefill_shares: dict[str, float]
    relative_error_p90: (
        float  # TPOT: 90 % of measurements lie within a factor 1 + this of it, either way, held out
    )
    provenance: Provenance
    ttft_relative_error_p90: float = 0.0  # the same of TTFT
    kv_bytes_per_sequence: float = (
        0.0  # whole worker: bytes of a sequence beside its tokens (windows, linear state)
    )
    prefill_wait_steps: float = 0.0  # decode steps that pass before a prefill begins in a mixed worker
    per_running_request_ms: float = 0.0  # TTFT grows by this for each request in flight
    burst_ms: float = 0.0  # closed loop only: mean TTFT grows by this for each request of the first burst


@dataclass(frozen=True, slots=True)
class Unsupported:
    """Why no estimate exists: a rule name in kebab-case (does-not-fit, no-hardware-precision, ...) and a sentence."""

    reason: str
    detail: str


class PerformanceModel(Protocol):
    """A backend. `estimate` is batched, keeps the order and never raises for a missing table."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str:
        """sha256 of the data that the predictions come from."""

    def estimate(self, points: Sequence[Point]) -> list[Estimate | Unsupported]: ...


@dataclass(frozen=True, slots=True)
class Lengths:
    """A workload's lengths as a discrete joint distribution: prompt tokens, answer tokens, weight (adds up to 1)."""

    input_tokens: tuple[float, ...]
    output_tokens: tuple[float, ...]
    weight: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Percentiles:
    """A latency's predicted quantiles, milliseconds, before any error margin."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float

    def at(self, quantile: int) -> float:
        return {50: self.p50, 90: self.p90, 95: self.p95, 99: self.p99}[quantile]


@dataclass(frozen=True, slots=True)
class Target:
    """One line of an SLO: the metric's quantile stays at or below the limit."""

    metric: str  # "ttft", "tpot", "e2e"
    quantile: int  # 50, 90, 95, 99
    limit_ms: float


@dataclass(frozen=True, slots=True)
class ServedPoint:
    """One replica at one request rate."""

    rate_req_per_s: float
    ttft: Percentiles
    tpot: Percentiles
    e2e: Percentiles
    utilisation: float  # of the busiest resource, 0 to 1
    mean_batch: float  # requests decoding together, whole replica
    kv_utilisation: float


@dataclass(frozen=True, slots=True)
class Capacity:
    """The largest rate of one replica at which every target holds, and what stops it there."""

    served: ServedPoint
    binding: str  # "ttft_p95", "tpot_p95", "e2e_p95", "kv", "batch-limit", "stability"
    batch_limit: int  # max running sequences per decode (or mixed) worker to configure
    decode: Estimate  # of the decode (or mixed) worker at the operating point
    prefill: Estimate  # of the prefill (or mixed) worker
    context: dict[str, float] = field(default_factory=dict)  # figures worth showing, units in the names
