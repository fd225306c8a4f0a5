"""How one worker's GPUs share a model: tensor, pipeline, data and expert parallelism."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Role(StrEnum):
    """What a worker does: `mixed` prefills and decodes, the other two do one of both."""

    MIXED = "mixed"
    PREFILL = "prefill"
    DECODE = "decode"


class Precision(StrEnum):
    """Number format of weights (and, for KV caches, bf16 or fp8)."""

    BF16 = "bf16"
    FP8 = "fp8"
    NVFP4 = "nvfp4"
    MXFP4 = "mxfp4"

    @property
    def bits(self) -> float:
        """Bits of one weight, block scales included (NVFP4: 8-bit scale per 16; MXFP4: per 32)."""
        return {"bf16": 16.0, "fp8": 8.0, "nvfp4": 4.5, "mxfp4": 4.25}[self.value]


class ParallelismLayout(BaseModel):
    """tp × pp × dp × ep × cp of one worker.

    `tp` shards attention and dense layers, `dp` is data-parallel attention (each rank its own sequences and KV
    cache), `ep` spreads the experts over ranks (1: experts are tensor-parallel), `pp` cuts the layers into stages,
    `cp` shards a long prefill. A worker has `tp * pp * dp * cp` GPUs; `ep` re-uses the `tp * dp * cp` GPUs of a stage.

    >>> ParallelismLayout(tp=1, dp=8, ep=8).gpus
    8
    >>> ParallelismLayout(tp=4, pp=2).label
    'TP4 PP2'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tp: int = Field(default=1, ge=1)
    pp: int = Field(default=1, ge=1)
    dp: int = Field(default=1, ge=1)
    ep: int = Field(default=1, ge=1)
    cp: int = Field(default=1, ge=1)

    @property
    def gpus(self) -> int:
        """GPUs of one worker."""
        return self.tp * self.pp * self.dp * self.cp

    @property
    def stage_gpus(self) -> int:
        """GPUs of one pipeline stage; `ep` is 1 or divides this."""
        return self.tp * self.dp * self.cp

    @property
    def label(self) -> str:
        """The layout in the field's shorthand: TP4, TP4 PP2, DP8 EP8 (DEP8), TP8 EP8 (TEP8)."""
        parts = [f"TP{self.tp}"] if self.tp > 1 or self.gpus == 1 else []
        parts += [
            f"{name}{n}"
            for name, n in (("PP", self.pp), ("DP", self.dp), ("EP", self.ep), ("CP", self.cp))
            if n > 1
        ]
        return " ".join(parts)
