"""What the plan has to respect beyond demand: objective, failures, risk, the gateway, the cluster."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from fleet.layout import Precision
from fleet.spec.base import Count, Flag, Hostname, Name, SpecModel
from fleet.spec.serving import EngineName
from fleet.units import SHARE, DurationMs, Fraction, Kilowatts, PositiveMs, TokensPerMinute, UsdPerHour


class Objective(StrEnum):
    """What the plan has least of."""

    MONEY = "money"
    GPUS = "gpus"
    WATTS = "watts"
    USEFUL_TOKENS = "cost-per-useful-token"


class SurviveLevel(StrEnum):
    """What may be lost, one at a time, with every SLO still met."""

    HOST = "host"
    RACK = "rack"
    ZONE = "zone"


class PrecisionPolicy(SpecModel):
    """Which precisions may serve, and what low precision has to prove."""

    allowed: Annotated[tuple[Precision, ...], Field(min_length=1)] = tuple(Precision)
    """Precisions that may serve."""
    quality_record: Literal["required", "warn", "not-needed"] = "warn"
    """What a checkpoint below the model's native precision needs."""
    max_quality_loss: Fraction = 0.01
    """Largest (baseline - score) / baseline of a quality record."""
    fp8_kv_cache: Flag = False
    """Whether kv_cache: auto may choose FP8."""


class RiskPolicy(SpecModel):
    """How much room the plan leaves."""

    max_utilisation: Annotated[float, SHARE.within(above=0, at_most=1)] = 0.85
    """Largest utilisation of a replica's busiest resource."""
    error_quantile: Annotated[float, SHARE.within(0.5, at_most=0.99)] = 0.5
    """Quantile of the prediction error that is planned on; 0.5 plans on the prediction itself."""


class LayoutPolicy(SpecModel):
    """Which layouts are considered."""

    max_tp: Annotated[Count, Field(ge=1, le=1024)] = 72
    """Largest tensor parallelism."""
    max_gpus_per_replica: Annotated[Count, Field(ge=1, le=8192)] = 72
    """Most GPUs of one replica."""
    allow_pipeline: Flag = True
    """Whether pipeline parallelism is considered."""


class PolicySpec(SpecModel):
    """What the plan has to respect beyond demand."""

    objective: Objective = Objective.MONEY
    """What the plan has least of."""
    survive: tuple[SurviveLevel, ...] = ()
    """What may be lost, one at a time, with every SLO still met."""
    spare_trays_per_rack: Annotated[Count, Field(ge=0, le=17)] = 1
    """Compute trays that stay empty in every NVL72 rack."""
    risk: RiskPolicy = RiskPolicy()
    """How much room the plan leaves."""
    precisions: PrecisionPolicy = PrecisionPolicy()
    """Which precisions may serve."""
    engines: Annotated[tuple[EngineName, ...], Field(min_length=1)] = ("vllm",)
    """Engines that may serve."""
    disaggregation: Literal["allow", "forbid", "require"] = "allow"
    """Whether prefill and decode may, must not or must have workers of their own."""
    layouts: LayoutPolicy = LayoutPolicy()
    """Which layouts are considered."""
    budget: UsdPerHour | None = None
    """Most that the fleet may cost."""
    power_limit: Kilowatts | None = None
    """Most power that the fleet may draw."""
    churn_weight: UsdPerHour = 0.0
    """What keeping one replica as it is may cost."""
    price_use_by_days: Annotated[Count, Field(ge=1, le=36_500)] = 180
    """Age from which a price is called out of date."""


class TenantSpec(SpecModel):
    """Who sends requests, and how many tokens they may use."""

    token_budget: TokensPerMinute | None = None
    """Tokens that may be used. Empty: no limit."""
    priority: Annotated[Count, Field(ge=-1000, le=1000)] = 0
    """Requests of a higher priority are served first."""
    workloads: tuple[Name, ...] = ()
    """Workloads that may be used. Empty: all."""


class RoutingSpec(SpecModel):
    """What the router looks at, beside load."""

    cache_locality: Flag = True
    """Whether a request goes where its prefix is cached."""
    slo_class: Flag = True
    """Whether a request's SLO class decides who is served first."""


class RetrySpec(SpecModel):
    """What the gateway does with a request that failed."""

    attempts: Annotated[Count, Field(ge=0, le=5)] = 0
    """Retries of one request."""
    backoff: DurationMs = 250.0
    """Wait before the first retry."""


class GatewaySpec(SpecModel):
    """Where requests come in."""

    hostnames: Annotated[tuple[Hostname, ...], Field(min_length=1, max_length=16)] = ("llm.example.com",)
    """Hostnames of the routes."""
    gateway: Name = "inference-gateway"
    """Name of the Gateway object that routes attach to."""
    gateway_class: Name = "istio"
    """GatewayClass that implements it."""
    tenants: dict[Name, TenantSpec] = Field(default_factory=dict)
    """Who sends requests. Empty: nobody is told apart."""
    routing: RoutingSpec = RoutingSpec()
    """What the router looks at."""
    retries: RetrySpec = RetrySpec()
    """What is done with failed requests."""
    request_timeout: PositiveMs = 300_000.0
    """Longest that a request may take."""
    cancellation: Flag = True
    """Whether clients' disconnects reach the engine."""


class DeliverySpec(SpecModel):
    """How the rendered objects live in the cluster."""

    namespace: Name = "inference"
    """Namespace of every object."""
    hf_token_secret: Name = "hf-token"  # noqa: S105  the name of a Secret, no secret
    """Name of the Secret that holds the Hugging Face token."""
    model_cache_claim: Name | None = None
    """PersistentVolumeClaim with weights. Empty: downloaded at start."""
    runtime_class: Name | None = None
    """RuntimeClass of GPU pods."""
    protect_capacity: Flag = True
    """Whether `pulumi destroy` refuses to delete capacity."""
