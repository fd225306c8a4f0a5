"""What is asked for: request rates, token lengths, and what requests share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fleet.spec.base import BY_SHAPE, IS_MAPPING, IS_NUMBER, Count, Line, Name, Real, Remark, SpecModel
from fleet.units import SHARE, Fraction, MeanTokens, PositiveMs, Ratio, RequestsPerS, Tokens


class TraceSpec(SpecModel):
    """A request trace: Azure CSV (TIMESTAMP, ContextTokens, GeneratedTokens) or Mooncake JSONL."""

    path: Line
    """Path of the trace, relative to this file."""
    format: Literal["auto", "azure", "mooncake"] = "auto"
    """auto: by the first line of the trace."""
    scale: Annotated[Real, Field(gt=0, le=1e6)] = 1.0
    """Multiplies the rate of the trace."""
    window: PositiveMs = 60_000.0
    """The peak is the busiest window of this length."""


class RateSpec(SpecModel):
    """Request rate: a constant, mean and peak, 24 hourly values, or a trace. The plan is for the peak."""

    constant: RequestsPerS | None = None
    """The same rate at all times."""
    mean: RequestsPerS | None = None
    """Rate over the whole day."""
    peak: RequestsPerS | None = None
    """Rate in the busiest minutes."""
    hourly: Annotated[tuple[RequestsPerS, ...], Field(min_length=24, max_length=24)] | None = None
    """Rate in each hour of the day, from midnight."""
    trace: TraceSpec | None = None
    """A trace to take the rate from."""


class LengthSpec(SpecModel):
    """Token counts of a request: a mean and percentiles, or a histogram."""

    mean: MeanTokens | None = None
    """Arithmetic mean."""
    p50: Tokens | None = None
    """Half of the requests have at most this."""
    p90: Tokens | None = None
    """90 % of the requests have at most this."""
    p95: Tokens | None = None
    """95 % of the requests have at most this."""
    p99: Tokens | None = None
    """99 % of the requests have at most this."""
    max: Tokens | None = None
    """No request has more."""
    histogram: (
        Annotated[tuple[tuple[Tokens, Annotated[float, SHARE]], ...], Field(min_length=1, max_length=1000)]
        | None
    ) = None
    """Rows of [up to, share]: the share of requests with at most this many tokens and more than the row before."""


class PrefixSpec(SpecModel):
    """What requests share with earlier ones."""

    shared_tokens: Tokens = 0
    """System prompt and tools: the same for every request."""
    hit_ratio: Fraction = 0.0
    """Share of all prompt tokens found in a cache when routing keeps locality."""
    session_requests: Annotated[Real, Field(ge=1, le=1e6)] = 1.0
    """Requests of one session, mean."""


class DemandSpec(SpecModel):
    """The demand of one workload, and how it was obtained."""

    rate: Annotated[Annotated[RequestsPerS, IS_NUMBER] | Annotated[RateSpec, IS_MAPPING], BY_SHAPE] | None = (
        None
    )
    """Request rate: one number, or a mapping. Empty: from `trace`."""
    input: Annotated[Annotated[Tokens, IS_NUMBER] | Annotated[LengthSpec, IS_MAPPING], BY_SHAPE] | None = None
    """Prompt tokens: one number if every request has the same, or a mapping. Empty: from `trace`."""
    output: Annotated[Annotated[Tokens, IS_NUMBER] | Annotated[LengthSpec, IS_MAPPING], BY_SHAPE] | None = (
        None
    )
    """Answer tokens: one number if every request has the same, or a mapping. Empty: from `trace`."""
    trace: TraceSpec | None = None
    """A trace to take lengths from, and the rate if `rate` is empty."""
    prefix: PrefixSpec = PrefixSpec()
    """What requests share with earlier ones."""
    burstiness: Annotated[Real, Field(gt=0, le=20)] = 1.0
    """Coefficient of variation of the times between arrivals; 1 is Poisson."""
    cancellation: Fraction = 0.0
    """Share of requests cancelled before they end."""
    retries: Ratio = 0.0
    """Retries for each request that was asked for."""
    growth: Ratio = 0.0
    """Added to the peak."""
    basis: Literal["measured", "forecast", "guessed"]
    """How the demand was obtained."""
    source: Remark = ""
    """Where the figures come from."""


class WorkloadSpec(SpecModel):
    """The demand for one model under one SLO."""

    model: Name
    """A key of `models`."""
    slo: Name
    """A key of `slos`."""
    demand: DemandSpec
    """How much is asked for."""
    offerings: tuple[Name, ...] = ()
    """Keys of hardware.offerings that may serve it. Empty: all."""
    min_replicas: Annotated[Count, Field(ge=1, le=100_000)] = 1
    """Replicas that are kept even without demand."""
