"""What is asked of the serving model: replicas made of workers, and the load they serve."""

from __future__ import annotations

from dataclasses import dataclass, field

from fleet.catalog.records import Accelerator, EngineRelease, ModelCard
from fleet.layout import ParallelismLayout, Precision, Role
from fleet.perf.interface import Draft, Lengths, Point, Target


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """One worker, its role left open."""

    model: ModelCard
    accelerator: Accelerator
    engine: EngineRelease
    layout: ParallelismLayout
    weights: Precision
    dense_weights: Precision
    kv: Precision
    draft: Draft | None = None

    def point(self, role: Role, *, batch: float, isl: float, osl: float, cached_prefix: float = 0.0) -> Point:
        """Return this worker doing one thing."""
        return Point(
            model=self.model,
            accelerator=self.accelerator,
            engine=self.engine,
            role=role,
            layout=self.layout,
            weights=self.weights,
            dense_weights=self.dense_weights,
            kv=self.kv,
            batch=batch,
            isl=isl,
            osl=osl,
            cached_prefix=cached_prefix,
            draft=self.draft,
        )


@dataclass(frozen=True, slots=True)
class ReplicaSpec:
    """The smallest unit that serves a request alone: one mixed worker, or prefill and decode workers apart.

    `kv_link_bytes_per_s` is what one prefill worker can send to a decode worker (all its GPUs together).
    """

    mixed: WorkerSpec | None = None
    prefill: WorkerSpec | None = None
    prefill_workers: int = 0
    decode: WorkerSpec | None = None
    decode_workers: int = 0
    kv_link_bytes_per_s: float = 0.0

    @property
    def is_disaggregated(self) -> bool:
        return self.mixed is None

    @property
    def decoder(self) -> WorkerSpec:
        """The worker that decodes."""
        worker = self.mixed or self.decode
        if worker is None:
            raise ValueError("a replica needs a mixed worker, or a prefill and a decode worker")
        return worker

    @property
    def prefiller(self) -> WorkerSpec:
        """The worker that prefills."""
        worker = self.mixed or self.prefill
        if worker is None:
            raise ValueError("a replica needs a mixed worker, or a prefill and a decode worker")
        return worker

    @property
    def gpus(self) -> int:
        """GPUs of the whole replica."""
        if self.mixed is not None:
            return self.mixed.layout.gpus
        return (
            self.prefiller.layout.gpus * self.prefill_workers + self.decoder.layout.gpus * self.decode_workers
        )


@dataclass(frozen=True, slots=True)
class Load:
    """What a replica is asked to serve, and how carefully.

    cached_prefix_fraction: share of each prompt that is found in the prefix cache.
    burstiness_scv: squared coefficient of variation of the times between arrivals, 1 for Poisson.
    error_quantile: quantile of the prediction error to plan on; 0.5 plans on the median.
    max_utilisation: share of the busiest resource that may be used, below 1.
    max_batch: most requests that one decode (or mixed) worker may run together.
    """

    lengths: Lengths
    cached_prefix_fraction: float = 0.0
    burstiness_scv: float = 1.0
    targets: tuple[Target, ...] = field(default=())
    error_quantile: float = 0.5
    max_utilisation: float = 0.95
    max_batch: int = 1024
