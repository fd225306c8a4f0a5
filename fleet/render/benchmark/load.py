"""The load of a benchmark: a workload's rate on one deployment at the planning peak, in open loop.

    clients   fewest N that divide the replicas, so that rate x answer tokens / N is within what one client takes in
    requests  rate x the longest of 120 s, ten mean latencies and the time of TAIL requests beyond the highest
              quantile that is limited; at most half an hour
    shape     1 / cv² of the gamma distribution of the gaps between requests

Each client offers the share of the same number of replicas, and its result says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf

from fleet.plan.document import Deployment, LengthSummary, PlannedWorkload, Served
from fleet.render.benchmark.lengths import Knots, length_knots, mean_of

CLIENT_TOK_PER_S = 10_000
"""Answer tokens/s of one Python client, each a message of its own: some 50 µs each, half of a core. An assumption."""

TAIL_REQUESTS = 20
"""Requests beyond a quantile: its value is then that of a quantile within a quarter of its distance from 1."""

SHORTEST_S, LONGEST_S, MEAN_LATENCIES = 120.0, 1800.0, 10.0
FEWEST_REQUESTS = 30
MOST_WARMUPS = 256
BLOCK_TOKENS = 16
"""Tokens of a KV block of vLLM: only whole ones are found again."""


@dataclass(frozen=True, slots=True)
class BenchmarkLoad:
    """What every client offers, and how many clients there are."""

    clients: int
    replicas: int  # whose share one client offers
    gpus: int  # of these
    rate_req_per_s: float  # of one client
    burstiness_shape: float  # inf: gaps of one length
    requests: int  # of one client
    warmups: int
    inputs: Knots
    outputs: Knots
    input_tokens_mean: float
    output_tokens_mean: float
    cached_prefix_fraction: float
    chunk_tokens: int  # prompts are made of pieces of so many tokens, shared ones first
    most_tokens: int  # prompt and answer together

    @property
    def seconds(self) -> float:
        """Time in which the requests arrive."""
        return self.requests / self.rate_req_per_s


def benchmark_load(deployment: Deployment, served: Served, workload: PlannedWorkload) -> BenchmarkLoad:
    """Return the load of a workload on a deployment; its rate is above zero."""
    demand = workload.demand
    rate = served.rate_req_per_s
    clients = _clients(deployment.replicas, rate * demand.output_tokens.mean)
    inputs, outputs = length_knots(demand.input_tokens), length_knots(demand.output_tokens)
    cv = demand.burstiness_cv
    in_flight = rate * served.e2e_ms.mean / 1e3 / clients
    return BenchmarkLoad(
        clients=clients,
        replicas=deployment.replicas // clients,
        gpus=deployment.gpus // clients,
        rate_req_per_s=_six(rate / clients),
        burstiness_shape=_six(1.0 / cv**2) if cv else inf,
        requests=ceil(_requests(served, rate) / clients),
        warmups=min(max(ceil(in_flight), 1), MOST_WARMUPS),
        inputs=inputs,
        outputs=outputs,
        input_tokens_mean=_six(mean_of(inputs)),
        output_tokens_mean=_six(mean_of(outputs)),
        cached_prefix_fraction=demand.cached_prefix_fraction,
        chunk_tokens=_chunk(demand.input_tokens, demand.cached_prefix_fraction),
        most_tokens=deployment.max_model_len,
    )


def _clients(replicas: int, tokens_per_s: float) -> int:
    """Return the fewest clients that take in the answers, each for as many replicas.

    >>> _clients(24, 60_000.0), _clients(1, 60_000.0), _clients(11, 9_000.0), _clients(26, 47_000.0)
    (6, 1, 1, 13)
    """
    divisors = (n for n in range(1, replicas + 1) if replicas % n == 0)
    return next((n for n in divisors if tokens_per_s / n <= CLIENT_TOK_PER_S), replicas)


def _requests(served: Served, rate: float) -> int:
    """Return the requests of all clients together."""
    highest = max((line.quantile for line in served.limits), default=95)
    wanted = max(
        rate * SHORTEST_S,
        rate * MEAN_LATENCIES * served.e2e_ms.mean / 1e3,
        TAIL_REQUESTS / (1.0 - highest / 100.0),
    )
    return max(ceil(min(wanted, rate * LONGEST_S)), FEWEST_REQUESTS)


def _chunk(lengths: LengthSummary, cached: float) -> int:
    """Return the tokens of a piece: about a sixty-fourth of the mean where some are shared, else the whole prompt."""
    if not cached:
        return BLOCK_TOKENS * ceil(max(lengths.max, 1.0) / BLOCK_TOKENS)
    return BLOCK_TOKENS * max(1, round(lengths.mean / (64 * BLOCK_TOKENS)))


def _six(value: float) -> float:
    return float(f"{value:.6g}")
