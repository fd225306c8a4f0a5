"""The benchmark run itself: a closed loop at the operating point, how long it takes and what its GPUs cost."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.perf.interface import Capacity
from fleet.pipeline.deployments import LOAD_BYTES_PER_S, SECONDS_PER_HOUR
from fleet.pipeline.measure.reach import Near
from fleet.plan.document import Deployment

ENGINE_START_S = 300.0
"""Assumed time from loaded weights to the first answer: kernels compiled, graphs captured. It is paid on every start."""

ROUNDS = 10
LEAST_REQUESTS = 100
"""Requests measured: ten for each in flight, a hundred at least: means are known to 2 % where single ones differ by 20 %."""


@dataclass(frozen=True, slots=True)
class Load:
    """A closed loop of one replica and its time: concurrency in requests, from the plan's own rate or the largest one."""

    concurrency: int
    requests: int
    hours: float


def run_of(near: Near, capacity: Capacity, deployment: Deployment | None) -> Load:
    """Return the run of a candidate: at the rate that its deployment has in the plan, else at its largest."""
    served = capacity.served
    rate, latency_ms, load_s = served.rate_req_per_s, served.e2e.mean, _weight_load_s(near, capacity)
    if deployment is not None:
        line = deployment.served[0]
        rate, latency_ms = line.rate_req_per_s / deployment.replicas, line.e2e_ms.mean
        load_s = deployment.weight_load_s
    concurrency = max(round(rate * latency_ms / 1e3), 1)  # Little's law
    requests = max(ROUNDS * concurrency, LEAST_REQUESTS)
    seconds = load_s + ENGINE_START_S + (concurrency + requests) * latency_ms / 1e3 / concurrency
    return Load(concurrency, requests, seconds / SECONDS_PER_HOUR)


def _weight_load_s(near: Near, capacity: Capacity) -> float:
    """Seconds to load the fullest host's weights."""
    host = near.shape.place.accelerator.gpus_per_host
    workers = [
        (near.shape.replica.prefiller, capacity.prefill),
        (near.shape.replica.decoder, capacity.decode),
    ]
    return max(e.weight_bytes_per_gpu * min(w.layout.gpus, host) for w, e in workers) / LOAD_BYTES_PER_S
