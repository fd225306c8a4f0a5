"""Replicas at an operating point: from mean batch to request rate, waiting and latency distributions.

    B   mean requests decoding in one worker, o tokens after the first, λ requests/ms of one decode worker
    z   = 1 + (c_a² - 1) / 2           spread of a batch about its mean; a = D / (D - B D') by how much slow steps widen it
    D   = step(B + z a)                the step that a request sees: its own batch is larger than the mean one
    s   = λ I                          share of a mixed worker's time that prefills take (I: interference, 0 where apart)
    T   = (D + W_0 / o) / (1 - s)      TPOT; W_0 prefill work behind a request that then slows its decoding
    B   = λ o T                        Little's law gives λ for a batch
    TTFT = wait + latency + steps D + D (chunks - 1) + constant + transfer, and what per_running (B + 1) has beyond the wait
    E2E  = TTFT + o T

Prefill workers are a queue of several servers. A mixed worker takes all prompts that came during one step into the next:
    L_n+1 = D + Σ prefills that arrived within L_n      mean D / (1 - s), variance λ E[I²] E[L] / (1 - s²)
    L*    = E[L²] / E[L]                                the step into which a request falls
    wait  = L* (1/2 + s) - D / 2 + (c_a² - 1) I / 2     half of it, then its own step beside the others that came
and waits for a server besides when more comes than a chunk of prompt tokens holds.

TPOT varies with the batch, averaged over a request's own life, and with the prefills it meets: work w delays by a busy
period of mean w / (1 - s) and variance w c_a² λ E[I²] / (1 - s)³. λ and every latency grow with B: capacity is a bisection.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fleet.perf.interface import Percentiles, Target
from fleet.perf.queueing import SMALL, Wait, latency_cdf, quantile, skewed_cdf, waiting
from fleet.perf.rounding import six
from fleet.perf.service import CHUNK_TOKENS, Array, Service

Z99 = 2.3263
STEP_JITTER = 0.2887
"""Standard deviation of a uniform arrival within a step, in steps."""

LEAST_BATCH = 1e-5
MOST_BATCHES = 4.0
"""How far beyond the grid of batch sizes an operating point is sought; the batch limit binds before."""

MOST_AMPLIFIED = 8.0
ILLINOIS = 10
BISECTIONS = 30
"""On a logarithmic scale from LEAST_BATCH: seven digits of the batch."""


@dataclass(frozen=True, slots=True)
class _Moments:
    """Means over requests, shape (R,): of interference, occupied time and chunks beside which decodes run."""

    interference: Array
    interference2: Array
    occupied: Array
    occupied2: Array
    chunks: Array
    chunks2: Array
    occupied_chunks: Array
    transfer: Array

    @classmethod
    def of(cls, service: Service) -> _Moments:
        weight = service.atoms.weight
        chunks = service.atoms.isl / CHUNK_TOKENS
        beside = service.is_mixed / service.prefill_ranks
        return cls(
            interference=service.interference @ weight,
            interference2=service.interference**2 @ weight,
            occupied=service.occupied @ weight,
            occupied2=service.occupied**2 @ weight,
            chunks=beside * float(chunks @ weight),
            chunks2=beside**2 * float(chunks**2 @ weight),
            occupied_chunks=beside * (service.occupied @ (weight * chunks)),
            transfer=service.transfer @ weight,
        )


@dataclass(frozen=True, slots=True)
class _Queue:
    """The prefill queue of R replicas at given steps and rates; times ms, shape (R,)."""

    share: Array  # of a mixed worker's time, taken by prefills
    mean: Array  # E[X]
    utilisation: Array
    wait: Wait
    behind: Array  # W_0


def _queue(service: Service, moments: _Moments, step: Array, each: Array, scv: float) -> _Queue:
    """Return the queue where every decode worker gets `each` requests/ms and steps take `step` ms."""
    share = np.minimum(each * moments.interference, 1.0 - 1e-6)
    mean = moments.occupied + step * moments.chunks
    second = moments.occupied2 + 2.0 * step * moments.occupied_chunks + step**2 * moments.chunks2
    utilisation = each * service.decode_workers * mean / service.prefill_servers
    wait = waiting(mean, np.maximum(second / mean**2 - 1.0, 0.0), utilisation, service.prefill_servers, scv)
    if not service.is_mixed.any():
        return _Queue(share, mean, utilisation, wait, np.zeros_like(share))
    length = step / (1.0 - share)
    variance = each * moments.interference2 * length / (1.0 - share**2)
    hit = length + variance / length
    clump = 0.5 * max(scv - 1.0, 0.0) * moments.interference
    gated = np.maximum(hit * (0.5 + share) - 0.5 * step + clump, SMALL)
    chance = 1.0 - np.exp(-1.2 * each * hit) / max(scv, 1.0)
    chunk = moments.interference * CHUNK_TOKENS / service.atoms.mean(service.atoms.isl)
    overflow = wait.mean_ms * np.exp(-chunk * chance / gated)
    own = step + moments.interference + share * hit + clump
    mixed = service.is_mixed
    chance = np.where(mixed, np.clip(chance, SMALL, 1.0), wait.chance)
    wait = Wait(chance, np.where(mixed, (gated + overflow) / chance, wait.mean_if_any_ms))
    behind = np.where(mixed, share * np.maximum(own + overflow - length, 0.0), 0.0)
    return _Queue(share, mean, utilisation, wait, behind)


def step_at(service: Service, batch: Array) -> tuple[Array, Array]:
    """Return the decode step at a batch size and its slope, each of shape (R,); level beyond the grid's ends."""
    grid = service.batch
    if grid.size == 1:
        return service.step[:, 0], np.zeros_like(batch)
    b = np.clip(batch, grid[0], grid[-1])
    right = np.clip(np.searchsorted(grid, b, side="right"), 1, grid.size - 1)
    rows = np.arange(b.size)
    low, high = service.step[rows, right - 1], service.step[rows, right]
    slope = (high - low) / (grid[right] - grid[right - 1])
    return low + slope * (b - grid[right - 1]), slope


@dataclass(frozen=True, slots=True)
class _Decoding:
    """Decoding at a mean batch, shape (R,): the step seen by requests, its slope, the batch's variance and memory."""

    step: Array
    slope: Array
    amplified: Array
    batch_variance: Array


def _decoding(service: Service, batch: Array, scv: float) -> _Decoding:
    peakedness = 1.0 + (scv - 1.0) / 2.0
    step, slope = step_at(service, batch + 1.0)
    amplified = np.clip(step / np.maximum(step - batch * slope, 1e-9), 1.0, MOST_AMPLIFIED)
    seen, slope = step_at(service, batch + peakedness * amplified)
    return _Decoding(seen, slope, amplified, peakedness * amplified * batch)


def _each_at(service: Service, moments: _Moments, batch: Array, decoding: _Decoding, scv: float) -> Array:
    """Return requests/ms of one decode worker that keep `batch` of them decoding: Little's law, by the Illinois rule."""
    decoded, mean_isl = service.atoms.mean(service.atoms.decoded), service.atoms.mean(service.atoms.isl)
    high = batch / (decoded * decoding.step + batch * moments.interference)
    if not service.is_mixed.any():
        return np.asarray(high)

    def excess(each: Array) -> Array:
        q = _queue(service, moments, decoding.step, each, scv)
        return each * decoded * _token(moments, decoding, q, q.behind / decoded, mean_isl) / batch - 1.0

    low, at_low, at_high = np.zeros_like(high), -np.ones_like(high), excess(high)
    for _ in range(ILLINOIS):
        rise = np.maximum(at_high - at_low, SMALL)
        middle = np.clip((low * at_high - high * at_low) / rise, low, high)
        at_middle = excess(middle)
        within = at_middle <= 0.0
        at_high = np.where(within, 0.5 * at_high, at_middle)
        at_low = np.where(within, at_middle, 0.5 * at_low)
        low, high = np.where(within, middle, low), np.where(within, high, middle)
    return np.where(at_high <= 0.0, high, low)


def _token(moments: _Moments, decoding: _Decoding, q: _Queue, behind_each: Array, mean_isl: float) -> Array:
    """Return the mean time of a token with so much queued prefill work for each: no step holds more than a chunk."""
    free, chunk = 1.0 - q.share, moments.interference * CHUNK_TOKENS / mean_isl
    most = np.maximum(decoding.step + chunk, decoding.step / free)
    return np.asarray(np.minimum((decoding.step + behind_each.T) / free, most).T)


def rate_at(service: Service, batch: Array, burstiness_scv: float) -> Array:
    """Return requests/s of a replica whose decode workers run `batch` requests on average, shape (R,)."""
    decoding = _decoding(service, batch, burstiness_scv)
    each = _each_at(service, _Moments.of(service), batch, decoding, burstiness_scv)
    return np.asarray(each * service.decode_workers * 1e3)


def batch_at(service: Service, rate: Array, burstiness_scv: float) -> Array:
    """Return the mean batch at which a replica serves a rate, shape (R,); the largest sought where it cannot."""
    low, high = np.full(rate.shape, LEAST_BATCH), np.full(rate.shape, MOST_BATCHES * service.batch[-1])
    for _ in range(BISECTIONS):
        middle = np.sqrt(low * high)
        enough = rate_at(service, middle, burstiness_scv) >= rate
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return high


@dataclass(frozen=True, slots=True)
class Operating:
    """R replicas at one operating point each; shapes as in Service. Times are ms, rates requests/s of the replica."""

    service: Service
    batch: Array  # (R,) mean, one decode worker
    rate: Array  # (R,)
    tpot: Array  # (R, K) mean of each kind
    tpot_variance: Array  # (R, K)
    tpot_floor: Array  # (R,)
    first: Array  # (R, K) TTFT without the wait for a prefill
    first_noise: Array  # (R, K)
    wait: Wait
    prefill_utilisation: Array  # (R,)
    kv_utilisation: Array  # (R,) mean
    kv_p99: Array  # (R,) share of a rank's KV cache in use at its 99 % quantile
    kv_slots: Array  # (R,) requests of mean context that a decode worker's ranks hold, whole ones on each, at least one
    batch_p99: Array  # (R,) requests of one decode worker

    @property
    def after_first(self) -> Array:
        return np.maximum(self.service.atoms.osl - 1.0, 0.0)

    @property
    def answers_longer_than_one(self) -> Array:
        """Weights of the kinds that have a TPOT, shape (K,)."""
        atoms = self.service.atoms
        weight = np.where(atoms.osl >= 2.0, atoms.weight, 0.0)
        return weight / weight.sum() if weight.sum() > 0 else atoms.weight

    def cdf(self, metric: str, limit_ms: Array) -> Array:
        """Return the share of requests whose metric is at or below a limit, shape (R,)."""
        weight = self.service.atoms.weight
        if metric == "ttft":
            return latency_cdf(limit_ms, self.first, self.first_noise, self.wait, weight)
        if metric == "tpot":
            return skewed_cdf(
                limit_ms, self.tpot_floor, self.tpot, self.tpot_variance, self.answers_longer_than_one
            )
        mean = self.first + self.after_first * self.tpot
        noise = np.sqrt(self.first_noise**2 + self.after_first**2 * self.tpot_variance)
        return latency_cdf(limit_ms, mean, noise, self.wait, weight)

    def mean(self, metric: str) -> Array:
        """Return the metric's mean over requests, shape (R,)."""
        weight = self.service.atoms.weight
        if metric == "tpot":
            return np.asarray(self.tpot @ self.answers_longer_than_one)
        first = self.first @ weight + self.wait.mean_ms
        return np.asarray(first if metric == "ttft" else first + (self.after_first * self.tpot) @ weight)

    def holds(self, target: Target) -> NDArray[np.bool_]:
        """Return where the target's quantile is at or below its limit, shape (R,)."""
        return self.cdf(target.metric, np.full(self.batch.shape, target.limit_ms)) >= target.quantile / 100.0

    def quantile(self, metric: str, percent: int) -> Array:
        """Return a quantile of a metric over requests, ms, shape (R,)."""
        high = np.maximum(4.0 * self.mean(metric), 1e-3)
        return quantile(lambda limit: self.cdf(metric, limit), percent / 100.0, np.zeros_like(high), high)

    def percentiles(self, metric: str) -> list[Percentiles]:
        """Return mean and quantiles of a metric for every replica."""
        columns = [self.mean(metric), *(self.quantile(metric, q) for q in (50, 90, 95, 99))]
        return [Percentiles(*(six(float(column[r])) for column in columns)) for r in range(self.batch.size)]


def operate(service: Service, batch: Array, burstiness_scv: float) -> Operating:
    """Return the replicas with so many requests decoding on average in each decode worker."""
    moments = _Moments.of(service)
    decoding = _decoding(service, batch, burstiness_scv)
    each = _each_at(service, moments, batch, decoding, burstiness_scv)
    q = _queue(service, moments, decoding.step, each, burstiness_scv)
    rate = each * service.decode_workers * 1e3
    tpot, variance = _tpot(service, moments, decoding, q, each, burstiness_scv)
    link = np.clip(rate / 1e3 * moments.transfer / service.prefill_servers, 0.0, 0.999)
    first, noise = _first(service, decoding, q.wait, batch, link)
    running = service.atoms.weight * service.atoms.decoded / service.atoms.mean(service.atoms.decoded)
    held, held2 = service.held @ running, service.held**2 @ running
    ranks = service.decode_ranks
    spread = Z99 * np.sqrt((batch + 1.0) / ranks * held2 * np.maximum(decoding.batch_variance / batch, 1.0))
    return Operating(
        service=service,
        batch=batch,
        rate=rate,
        tpot=tpot,
        tpot_variance=variance,
        tpot_floor=np.minimum(service.step[:, 0], decoding.step) * 0.95,
        first=first,
        first_noise=noise,
        wait=q.wait,
        prefill_utilisation=np.maximum(q.utilisation, link),
        kv_utilisation=batch * held / service.kv_capacity,
        kv_slots=ranks * np.maximum(np.floor(service.kv_capacity / ranks / held), 1.0),
        kv_p99=((batch + 1.0) / ranks * held + spread) / (service.kv_capacity / ranks),
        batch_p99=1.0 + batch + Z99 * np.sqrt(decoding.batch_variance),
    )


def _tpot(
    service: Service, moments: _Moments, decoding: _Decoding, q: _Queue, each: Array, scv: float
) -> tuple[Array, Array]:
    """Return mean and variance of the TPOT of every kind, each of shape (R, K)."""
    atoms = service.atoms
    decoded = atoms.decoded
    behind_each = q.behind[:, None] / decoded
    mean = _token(moments, decoding, q, behind_each, atoms.mean(atoms.isl))
    work, free = decoding.step[:, None] + behind_each, (1.0 - q.share)[:, None]
    lives = decoded / (atoms.mean(decoded**2) / (2.0 * atoms.mean(decoded))) / decoding.amplified[:, None]
    averaged = np.clip(2.0 * (lives - 1.0 + np.exp(-lives)) / lives**2, 0.0, 1.0)
    from_batch = (decoding.slope**2 * decoding.batch_variance)[:, None] * averaged / free**2
    met = (max(scv, 1.0) * each * moments.interference2)[:, None]
    from_met = met * work / decoded / free**3
    queued = met * (q.wait.mean_ms + q.mean)[:, None] + (q.share**2 * q.wait.variance)[:, None]
    return mean, np.asarray(from_batch + from_met + queued / decoded**2 / free**2)


def _first(
    service: Service, decoding: _Decoding, wait: Wait, batch: Array, link: Array
) -> tuple[Array, Array]:
    """Return TTFT without the wait for a prefill and its noise by kind, each of shape (R, K)."""
    chunks = np.maximum(np.ceil(service.atoms.isl / CHUNK_TOKENS) - 1.0, 0.0)
    more = np.where(service.is_mixed[:, None], decoding.step[:, None] * chunks, 0.0)
    # TTFT of closed loops grows with the requests in flight, their waiting included: here only what is beyond the wait.
    beyond = np.maximum(service.per_running * (batch + 1.0) - wait.mean_ms, 0.0)
    fixed = service.constant + service.wait_steps * decoding.step + beyond
    first = service.latency + more + fixed[:, None] + service.transfer / (1.0 - link)[:, None]
    return first, np.broadcast_to((STEP_JITTER * decoding.step)[:, None], first.shape)
