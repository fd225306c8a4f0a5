"""What is served, and how well: models with their checkpoints, and SLO classes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fleet.layout import Precision
from fleet.spec.base import Count, Line, Real, SpecModel, Uri
from fleet.units import Fraction, PositiveMs, Tokens

EngineName = Literal["vllm", "sglang", "trtllm"]


class QualityRecord(SpecModel):
    """An evaluation of a low-precision checkpoint against the original, both by the same benchmark."""

    benchmark: Line
    """Name of the benchmark, with its variant."""
    baseline: Annotated[Real, Field(gt=0)]
    """Score of the checkpoint in the model's native precision."""
    score: Annotated[Real, Field(ge=0)]
    """Score of this checkpoint."""
    source: Line
    """Where both scores were read."""


class CheckpointSpec(SpecModel):
    """Weights in one precision."""

    precision: Precision
    """Number format of the weights."""
    uri: Uri | None = None
    """Where the weights lie: hf://org/name, s3://bucket/folder, pvc://claim/folder. Empty: the catalogue's."""
    quality: QualityRecord | None = None
    """What low precision costs in quality, for the policy to judge."""


class SpeculativeSpec(SpecModel):
    """Speculative decoding: a draft is checked by the model, several tokens at a time."""

    method: Literal["mtp", "eagle3", "ngram"]
    """How the draft is made."""
    draft_tokens: Annotated[Count, Field(ge=1, le=8)]
    """Tokens drafted in each step."""
    acceptance_length: Annotated[Real, Field(ge=1, le=9)] | None = None
    """Mean tokens emitted by a step, the bonus token included. Empty: the catalogue's, with a warning."""
    draft_model: Uri | None = None
    """Where the draft model lies, for methods that have one."""


class ModelSpec(SpecModel):
    """One model: exactly one of `card` and `hf_config` says which."""

    card: Line | None = None
    """Id of a model card in the catalogue."""
    hf_config: Line | None = None
    """Path of a Hugging Face config.json, relative to this file."""
    served_name: Line | None = None
    """The model name that clients send. Empty: the key in `models`."""
    checkpoints: tuple[CheckpointSpec, ...] = ()
    """Checkpoints that may serve. Empty: the catalogue's in the native precision."""
    engines: tuple[EngineName, ...] = ()
    """Engines that may serve it. Empty: the policy's."""
    kv_cache: Literal["auto", "bf16", "fp8"] = "auto"
    """Number format of the KV cache. auto: bf16, or fp8 where policy.precisions.fp8_kv_cache allows it."""
    max_context: Tokens | None = None
    """Longest prompt and answer together. Empty: what the workloads need."""
    speculative: SpeculativeSpec | None = None
    """Speculative decoding. Empty: none."""


class LatencyLimit(SpecModel):
    """Limits on quantiles of one latency."""

    p50: PositiveMs | None = None
    """Limit that half of the values stay within."""
    p90: PositiveMs | None = None
    """Limit that 90 % of the values stay within."""
    p95: PositiveMs | None = None
    """Limit that 95 % of the values stay within."""
    p99: PositiveMs | None = None
    """Limit that 99 % of the values stay within."""


class SloSpec(SpecModel):
    """One class of service: targets that are planned for."""

    ttft: LatencyLimit | None = None
    """Time to first token: request sent to first token received."""
    tpot: LatencyLimit | None = None
    """Time per output token, per request: (end-to-end - TTFT) / (output tokens - 1)."""
    itl: LatencyLimit | None = None
    """Inter-token latency: each single gap between tokens; its percentile is over gaps."""
    e2e: LatencyLimit | None = None
    """End-to-end: request sent to last token received."""
    attainment: Fraction | None = None
    """Share of requests that must meet every limit; raises each quantile to at least this."""
    priority: Annotated[Count, Field(ge=-1000, le=1000)] = 0
    """Requests of a higher priority are served first."""
