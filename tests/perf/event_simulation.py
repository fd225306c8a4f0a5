"""A small iteration-level simulation of one replica, to hold the serving equations against."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fleet.catalog.records import Accelerator, EngineRelease, ModelCard
from fleet.layout import ParallelismLayout, Precision
from fleet.perf.interface import Basis, Bound, Estimate, Lengths, Point, Provenance, Unsupported
from fleet.perf.replica import WorkerSpec

CHUNK = 8192.0


@dataclass(frozen=True)
class LinearWorker:
    """A backend with a step of `base + slope · batch` ms and a prefill of `per_token · new tokens` ms."""

    base_ms: float
    slope_ms: float
    prefill_ms_per_token: float
    kv_capacity_tokens: float = 1e9
    wait_steps: float = 1.5
    error_p90: float = 0.2

    @property
    def name(self) -> str:
        return "linear"

    @property
    def digest(self) -> str:
        return "linear"

    def step(self, batch: float) -> float:
        return self.base_ms + self.slope_ms * batch

    def estimate(self, points: list[Point]) -> list[Estimate | Unsupported]:
        return [self._one(p) for p in points]

    def _one(self, p: Point) -> Estimate:
        fill = self.prefill_ms_per_token * (p.isl - p.cached_prefix)
        return Estimate(
            decode_step_ms=self.step(p.batch),
            prefill_ms=fill,
            prefill_latency_ms=fill,
            interference_ms=fill,
            constant_ms=0.0,
            weight_bytes_per_gpu=1e9,
            kv_bytes_per_token=1e5,
            kv_capacity_tokens=self.kv_capacity_tokens,
            decode_bound=Bound.MEMORY,
            prefill_bound=Bound.COMPUTE,
            decode_shares={"weights": 1.0},
            prefill_shares={"compute": 1.0},
            relative_error_p90=self.error_p90,
            provenance=Provenance("linear", "1", Basis.FITTED),
            ttft_relative_error_p90=self.error_p90,
            prefill_wait_steps=self.wait_steps,
        )


@dataclass(frozen=True)
class Seen:
    """What the simulated requests saw, ms; TPOT of those with two tokens and more."""

    ttft: NDArray[np.float64]
    tpot: NDArray[np.float64]
    e2e: NDArray[np.float64]


@dataclass
class _Request:
    arrived: float
    isl: float
    osl: int
    left: float = 0.0
    emitted: int = 0
    first: float = 0.0
    last: float = 0.0


def draw(lengths: Lengths, rate_req_per_s: float, scv: float, count: int, seed: int) -> list[_Request]:
    """Draw requests with gamma times between arrivals of the given squared coefficient of variation."""
    random = np.random.default_rng(seed)
    gaps = random.gamma(1.0 / scv, scv * 1e3 / rate_req_per_s, count)
    kinds = random.choice(len(lengths.weight), size=count, p=lengths.weight)
    return [
        _Request(t, lengths.input_tokens[k], round(lengths.output_tokens[k]), left=lengths.input_tokens[k])
        for t, k in zip(np.cumsum(gaps).tolist(), kinds.tolist(), strict=True)
    ]


def seen(requests: list[_Request]) -> Seen:
    """Return what requests saw, the first fifth (warm-up) and the last twentieth left out."""
    kept = requests[len(requests) // 5 : -len(requests) // 20]
    ttft = np.array([r.first - r.arrived for r in kept])
    e2e = np.array([r.last - r.arrived for r in kept])
    tpot = np.array([(r.last - r.first) / (r.osl - 1) for r in kept if r.osl > 1])
    return Seen(ttft, tpot, e2e)


def run_mixed(worker: LinearWorker, requests: list[_Request]) -> Seen:
    """Continuous batching: every iteration decodes all running requests and prefills up to a chunk of prompts."""
    arrivals, waiting, running = deque(requests), deque[_Request](), list[_Request]()
    now = 0.0
    while arrivals or waiting or running:
        if not waiting and not running:
            now = max(now, arrivals[0].arrived)
        while arrivals and arrivals[0].arrived <= now:
            waiting.append(arrivals.popleft())
        budget, finished = CHUNK, list[_Request]()
        while waiting and budget > 0:
            took = min(budget, waiting[0].left)
            waiting[0].left -= took
            budget -= took
            if waiting[0].left <= 0:
                finished.append(waiting.popleft())
        now += worker.step(max(len(running), 1)) + (CHUNK - budget) * worker.prefill_ms_per_token
        running = _decode(running, now) + _begin(finished, now)
    return seen(requests)


def _begin(requests: list[_Request], now: float) -> list[_Request]:
    for r in requests:
        r.first = r.last = now
        r.emitted = 1
    return [r for r in requests if r.osl > 1]


def _decode(running: list[_Request], now: float) -> list[_Request]:
    for r in running:
        r.emitted += 1
        r.last = now
    return [r for r in running if r.emitted < r.osl]


def run_apart(
    worker: LinearWorker, requests: list[_Request], *, servers: int, transfer_ms_per_token: float
) -> Seen:
    """Prefill workers serve in order of arrival, the cache travels, one decode worker takes it at its next step."""
    free = [0.0] * servers
    ready = list[tuple[float, int]]()
    for i, r in enumerate(requests):
        start = max(heapq.heappop(free), r.arrived)
        done = start + r.isl * worker.prefill_ms_per_token
        heapq.heappush(free, done)
        ready.append((done + r.isl * transfer_ms_per_token, i))
    queue = deque(sorted(ready))
    running, now = list[_Request](), 0.0
    while queue or running:
        if not running:
            now = max(now, queue[0][0])
        joined = list[_Request]()
        while queue and queue[0][0] <= now:
            joined.append(requests[queue.popleft()[1]])
        now += worker.step(len(running) + len(joined))
        running = _decode(running, now) + _begin(joined, now)
    return seen(requests)


def worker_spec(model: ModelCard, accelerator: Accelerator, engine: EngineRelease) -> WorkerSpec:
    """Return a worker of one GPU; the linear backend looks at none of it."""
    return WorkerSpec(
        model, accelerator, engine, ParallelismLayout(), Precision.FP8, Precision.FP8, Precision.FP8
    )
