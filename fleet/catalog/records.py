"""The catalogue's records: accelerators, machines, prices, engines and model cards, every figure with its source."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from fleet.layout import Precision

PRICE_USE_BY_DAYS = 180
"""Days after which a list price is shown with a warning."""


class Record(BaseModel):
    """Base of every catalogue record: closed and immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Sourced(Record):
    """A figure with where it was read and, for prices and measurements, when."""

    value: float
    source: str = Field(min_length=3)
    as_of: date | None = None
    note: str = ""


class CpuArch(StrEnum):
    AMD64 = "amd64"
    ARM64 = "arm64"


class DomainKind(StrEnum):
    """What one NVLink domain is: an 8-GPU HGX host, or a rack of compute trays."""

    HOST = "host"
    RACK = "rack"


class Accelerator(Record):
    """One GPU type in the machine it is sold in. Bandwidths are per GPU and per direction; FLOPS are dense."""

    id: str  # h100-sxm, h200-sxm, b200-hgx, b300-hgx, gb200-nvl72, gb300-nvl72
    name: str
    generation: Literal["hopper", "blackwell", "blackwell-ultra"]
    hbm_bytes: Sourced  # bytes the driver reports as total, not the nameplate
    hbm_bytes_per_s: Sourced
    dense_flops: dict[Precision, Sourced]  # absent key: not in hardware
    nvlink_bytes_per_s: Sourced  # one direction
    nic_bytes_per_s: Sourced  # one direction, per GPU
    domain: DomainKind
    domain_gpus: int  # 8 or 72
    gpus_per_host: int  # 8 (HGX host) or 4 (compute tray)
    hosts_per_domain: int  # 1 or 18
    cpu_arch: CpuArch
    tdp_w: Sourced
    all_in_w: Sourced  # chip plus its share of host, NIC and fabric, at the meter
    liquid_cooled: bool
    gpu_product_labels: tuple[str, ...] = ()  # values of the node label nvidia.com/gpu.product
    source: str = ""  # of the shape (domain, hosts, CPU, cooling); each figure carries its own

    @model_validator(mode="after")
    def _consistent(self) -> Accelerator:
        if self.domain_gpus != self.gpus_per_host * self.hosts_per_domain:
            raise ValueError(f"{self.id}: domain_gpus is not gpus_per_host x hosts_per_domain")
        return self


class Provider(StrEnum):
    GKE = "gke"
    EKS = "eks"
    AKS = "aks"
    OCI = "oci"
    COREWEAVE = "coreweave"
    ON_PREMISES = "on-premises"


class Machine(Record):
    """A machine type of one provider."""

    id: str  # provider/type, for example gke/a3-megagpu-8g
    provider: Provider
    machine_type: str
    accelerator: str
    gpus_per_host: int
    nic_bytes_per_s_per_gpu: Sourced | None = None  # where it differs from the accelerator's usual
    domain_label: str  # node label that names the NVLink domain
    domain_label_alternatives: tuple[str, ...] = ()  # other labels that name it, where the first is not set
    source: str = Field(min_length=3)


class Price(Record):
    """A list price, dated. `usd_per_gpu_hour` is the price divided by the GPUs."""

    provider: str
    accelerator: str
    machine_type: str
    kind: Literal[
        "on-demand",
        "capacity-block",
        "reserved-1y",
        "reserved-3y",
        "spot",
        "committed-1y",
        "committed-3y",
        "flex-start",
        "owned",
    ]
    usd_per_gpu_hour: Sourced  # as_of is required
    region: str = ""

    @model_validator(mode="after")
    def _dated(self) -> Price:
        if self.usd_per_gpu_hour.as_of is None:
            raise ValueError(f"price of {self.machine_type}: as_of is missing")
        return self

    def age_days(self, on: date) -> int:
        """Return the days from the price's date to `on`, negative where the price is of a later day."""
        assert self.usd_per_gpu_hour.as_of is not None
        return (on - self.usd_per_gpu_hour.as_of).days

    def is_out_of_date(self, on: date) -> bool:
        """Tell whether the price is past its use-by date on that day."""
        return self.age_days(on) > PRICE_USE_BY_DAYS


class EngineId(StrEnum):
    VLLM = "vllm"
    SGLANG = "sglang"
    TRTLLM = "trtllm"


class KvMemoryRule(StrEnum):
    """Of what the engine's memory fraction is a fraction."""

    OF_TOTAL = "fraction-of-total"  # vLLM, SGLang: weights and activations included
    OF_FREE_AFTER_WEIGHTS = "fraction-of-free-after-weights"  # TensorRT-LLM


class EngineRelease(Record):
    """One serving engine at one version, and what it supports."""

    id: EngineId
    name: str
    version: str
    released: date
    dynamo_version: str | None  # the Dynamo release that pins this engine version, None: not with Dynamo
    images: dict[CpuArch, str]
    weight_precisions: tuple[Precision, ...]
    kv_precisions: tuple[Precision, ...]
    kv_memory_rule: KvMemoryRule
    kv_memory_fraction: Sourced
    supports_attention_dp: bool
    supports_expert_parallel: bool
    supports_pipeline_parallel: bool
    supports_disaggregation: bool
    architectures: tuple[str, ...]  # Hugging Face architecture classes known to run
    reserve_bytes: Sourced  # activations, CUDA graphs, NCCL: beside weights and KV, per GPU
    targets: tuple[str, ...]  # renderers that exist in this version of fleetc: "kubernetes", "dynamo"
    source: str = Field(min_length=3)


class Attention(StrEnum):
    GQA = "gqa"
    MLA = "mla"
    SLIDING = "sliding-window"  # every second layer (gpt-oss) or a given share looks at a window only
    LINEAR = "linear-hybrid"  # linear attention in most layers, full attention in the rest
    SPARSE = "sparse-mla"  # DeepSeek sparse attention: an indexer picks the tokens


def _shape(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class Checkpoint(Record):
    """Weights published in one precision."""

    precision: Precision
    uri: str  # hf://org/name
    source: str = Field(min_length=3)
    dense_precision: Precision | None = None  # what the layers outside the experts keep (None: the same)
    quality: str = ""  # published evaluation against the original, where there is one
    note: str = ""


class ModelCard(Record):
    """What the arithmetic of a transformer needs. Counts are parameters, not bytes.

    The parts add up: `dense_params + expert_params * experts * moe_layers == total_params`, and no token multiplies
    more than there is: `active_dense_params + embedding_params <= dense_params`.
    """

    id: str
    name: str
    architecture: str  # Hugging Face class
    family: str  # architecture family for the fit: dense, moe, mla, sliding, linear, sparse
    total_params: int
    active_params: int  # touched per token, embedding table excluded
    embedding_params: int  # input embedding (not multiplied); 0 where the output head shares its table
    layers: int
    moe_layers: int = 0
    hidden: int
    heads: int
    kv_heads: int  # MLA: 1, the compressed cache is one for all heads and tensor parallelism copies it
    head_dim: int  # of queries and keys; MLA: with the decoupled rotary part
    value_head_dim: int = 0  # of values, where it differs from head_dim (MLA); 0: the same
    attention: Attention
    kv_lora_rank: int = 0  # MLA: compressed KV width
    rope_head_dim: int = 0  # MLA: decoupled key width
    window: int = 0  # sliding window, tokens
    full_attention_layers: int  # layers whose KV cache grows with the context
    linear_state_bytes: int = 0  # linear attention: state per sequence, whole model
    indexer_topk: int = 0  # sparse attention: tokens attended to
    indexer_head_dim: int = (
        0  # sparse attention: width of the indexer's own key, kept for each token and layer
    )
    experts: int = 0
    experts_per_token: int = 0
    expert_params: int = 0  # one routed expert of one layer
    vocab: int
    max_context_tokens: int
    native_precision: Precision
    checkpoints: Annotated[tuple[Checkpoint, ...], BeforeValidator(_shape)] = ()
    source: str = Field(min_length=3)
    license: str = ""
    note: str = ""

    @model_validator(mode="after")
    def _adds_up(self) -> ModelCard:
        for name, value in (("layers", self.layers), ("hidden", self.hidden), ("vocab", self.vocab)):
            if value < 1:
                raise ValueError(f"{self.id}: {name} is {value}")
        if not 0 <= self.moe_layers <= self.layers or not 0 <= self.full_attention_layers <= self.layers:
            raise ValueError(f"{self.id}: more layers of one kind than layers")
        if not 0 <= self.experts_per_token <= self.experts:
            raise ValueError(f"{self.id}: experts_per_token is not between 0 and experts")
        if self.dense_params < 0 or self.active_dense_params < 0:
            raise ValueError(f"{self.id}: the routed experts have more parameters than the model")
        if self.active_dense_params + self.embedding_params > self.dense_params:
            raise ValueError(
                f"{self.id}: a token multiplies more parameters outside the experts than there are"
            )
        return self

    @property
    def is_moe(self) -> bool:
        return self.experts > 0

    @property
    def routed_params(self) -> int:
        """Parameters in routed experts, whole model."""
        return self.moe_layers * self.experts * self.expert_params

    @property
    def dense_params(self) -> int:
        """Parameters outside routed experts, embeddings included."""
        return self.total_params - self.routed_params

    @property
    def active_routed_params(self) -> int:
        """Routed-expert parameters that one token multiplies."""
        return self.moe_layers * self.experts_per_token * self.expert_params

    @property
    def active_dense_params(self) -> int:
        """Parameters outside routed experts that one token multiplies."""
        return self.active_params - self.active_routed_params

    @property
    def kv_elements_per_token(self) -> int:
        """KV cache elements per token of context over the layers that keep the whole context."""
        per_layer = (
            self.kv_lora_rank + self.rope_head_dim if self.kv_lora_rank else 2 * self.kv_heads * self.head_dim
        )
        return self.full_attention_layers * per_layer

    @property
    def window_kv_elements(self) -> int:
        """KV cache elements of one sequence in the layers that look at a window, once the window is full."""
        windowed = self.layers - self.full_attention_layers if self.window else 0
        return windowed * self.window * 2 * self.kv_heads * self.head_dim

    @property
    def indexer_elements_per_token(self) -> int:
        """Elements of the indexer's key cache per token of context (stored in 8 bits whatever the KV precision)."""
        return self.full_attention_layers * self.indexer_head_dim


class AcceptanceLength(Record):
    """Mean tokens emitted by one verification step of speculative decoding, the bonus token included."""

    model: str  # catalogue id, or the id of a model that has no card
    method: str  # mtp, eagle3, dspark
    mode: Literal["thinking", "plain"]
    mean_tokens: tuple[float, ...]  # at 1, 2, 3, ... draft tokens
    source: str = Field(min_length=3)
    as_of: date | None = None
    note: str = ""

    @model_validator(mode="after")
    def _possible(self) -> AcceptanceLength:
        for drafts, mean in enumerate(self.mean_tokens, start=1):
            if not 1 <= mean <= drafts + 1:
                raise ValueError(f"{self.model}: {mean} tokens from {drafts} draft tokens are impossible")
        return self

    def find_mean_tokens(self, draft_tokens: int) -> float | None:
        """Return the mean tokens of a step with that many draft tokens, or None where it was not measured."""
        return self.mean_tokens[draft_tokens - 1] if 1 <= draft_tokens <= len(self.mean_tokens) else None


class Catalog(Record):
    """Everything the compiler knows of the world, and the digest of the files it was read from."""

    accelerators: dict[str, Accelerator]
    machines: dict[str, Machine]
    prices: tuple[Price, ...]
    engines: tuple[EngineRelease, ...]  # newest last for each id
    models: dict[str, ModelCard]
    acceptance: tuple[AcceptanceLength, ...] = ()
    digest: str  # sha256 over the data files, in name order

    @model_validator(mode="after")
    def _refers_to_itself(self) -> Catalog:
        for table in (self.accelerators, self.machines, self.models):
            for key, record in table.items():
                if key != record.id:
                    raise ValueError(f"the record {record.id} stands under {key}")
        for machine in self.machines.values():
            accelerator = self.accelerators.get(machine.accelerator)
            if accelerator is None or accelerator.gpus_per_host != machine.gpus_per_host:
                raise ValueError(
                    f"{machine.id}: no accelerator {machine.accelerator} with as many GPUs per host"
                )
        for price in self.prices:
            if price.accelerator not in self.accelerators:
                raise ValueError(f"price of {price.machine_type}: no accelerator {price.accelerator}")
        return self
