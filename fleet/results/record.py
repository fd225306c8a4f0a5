"""One benchmark run as its tool reports it: what was run, under which load, and the latencies it showed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType

MOST_WHOLE = 1_000_000
"""Most replicas or GPUs that a label is believed to mean."""

NO_LABELS: Mapping[str, str] = MappingProxyType({})

LABEL_PREFIX = "fleetc_"
"""Keys of what a rendered benchmark job notes beside its result (`fleetc_deployment`, `fleetc_plan`, ...)."""

FLEET_LABEL = "fleetc_fleet"
"""Name of the fleet that the job belongs to."""
PLAN_LABEL = "fleetc_plan"
"""sha256 of the plan that the job was rendered from."""
DEPLOYMENT_LABEL = "fleetc_deployment"
"""Identity of the deployment that was measured."""
WORKLOAD_LABEL = "fleetc_workload"
"""Name of the workload whose load it was."""
REPLICAS_LABEL = "fleetc_replicas"
"""Replicas that share the load; one where the label is missing."""
GPUS_LABEL = "fleetc_gpus"
"""GPUs of all replicas that share the load."""
CONCURRENCY_LABEL = "fleetc_concurrency"
"""Requests in flight that the job was told to keep, over all its replicas."""
RATE_LABEL = "fleetc_rate"
"""Requests/s that the job was told to offer to these replicas."""
INPUT_LABEL = "fleetc_isl"
"""Mean prompt tokens that the job asked for."""
OUTPUT_LABEL = "fleetc_osl"
"""Mean answer tokens that the job asked for."""
CACHED_LABEL = "fleetc_cached"
"""Share of the prompt tokens that the job's prompts have in common."""
LABELS = (
    FLEET_LABEL, PLAN_LABEL, DEPLOYMENT_LABEL, WORKLOAD_LABEL, REPLICAS_LABEL, GPUS_LABEL, CONCURRENCY_LABEL, RATE_LABEL,
    INPUT_LABEL, OUTPUT_LABEL, CACHED_LABEL,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Latency:
    """A latency's statistics over the requests of a run, milliseconds; None where the tool gives none."""

    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None

    def at(self, quantile: int) -> float | None:
        """Return a quantile by its per cent; None where it was not reported."""
        return {50: self.p50, 90: self.p90, 95: self.p95, 99: self.p99}.get(quantile)


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """One run. Whatever the tool does not say is None or empty; nothing is guessed here.

    Lengths are mean tokens of a request as they were measured; those of a table are as it states them. Exactly one of
    `concurrency` (closed loop: requests always in flight) and `request_rate` (open loop: requests/s offered) is given
    where the load is known.
    """

    source: str  # the file as it was named, with the line or record in it
    tool: str  # "vllm-bench", "sglang-bench", "aiperf", "genai-perf", "csv"
    sha256: str  # of the file
    model: str = ""  # as the tool was told
    day: date | None = None
    engine: str = ""  # vllm, sglang, trtllm
    engine_version: str = ""
    accelerator: str = ""  # as written in a table; empty elsewhere
    precision: str = ""
    parallelism: str = ""  # as written in a table
    gpus: int | None = None
    concurrency: float | None = None
    request_rate: float | None = None  # requests/s
    isl: float | None = None
    osl: float | None = None
    ttft: Latency = field(default_factory=Latency)
    tpot: Latency = field(default_factory=Latency)
    e2e: Latency = field(default_factory=Latency)
    completed_req_per_s: float | None = None
    output_tok_per_s: float | None = None  # of the whole run, not of a GPU
    completed: int | None = None  # requests
    failed: int | None = None  # requests
    duration_s: float | None = None
    labels: Mapping[str, str] = field(
        default_factory=lambda: NO_LABELS
    )  # metadata that the run was given, keys as written
    record_sha256: str = ""  # of this run's own record: the same where a file grew by another run
    row: Mapping[str, str] = field(
        default_factory=lambda: NO_LABELS
    )  # a table's own row, columns as written; empty elsewhere
    line: int = 1  # where the record begins in its file

    def whole(self, label: str) -> int | None:
        """Return a label that says a whole number from 1 to a million; None where it says none."""
        text = self.labels.get(label, "")
        is_whole = text.isascii() and text.isdigit() and len(text) <= len(str(MOST_WHOLE))
        return int(text) if is_whole and 1 <= int(text) <= MOST_WHOLE else None

    @property
    def file(self) -> str:
        """The file as it was named, without the record."""
        return self.source.removesuffix(f":{self.line}")
