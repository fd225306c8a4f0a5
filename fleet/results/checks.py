"""What cannot be right about a result as a whole: failed requests, figures that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from fleet.diagnostics import Diagnostic, Severity
from fleet.results.faults import CONTRADICTION, NOTHING_COMPLETED, REQUESTS_FAILED, SHORT
from fleet.results.record import BenchmarkResult, Latency
from fleet.results.records import Record

FAILED_SHARE, FAILED_SHARE_NOTED = 0.05, 0.02
"""Failed requests above which a run is refused, and above which it is warned of."""

AGREEMENT = 1.05
"""Figures of one run that say the same agree within this factor: tools differ in where they start the clock."""

OVERFULL = 1.1
"""More requests in flight than the run's limit, by this factor, cannot be: means are over requests, not over time."""

EMPTIER = 20.0
"""Fewer requests in flight than the run kept, by this factor, are no long drain but times of another unit."""

REQUESTS_EACH = 3
"""Requests for each one in flight below which a run is mostly its beginning and its end."""


def faults_of(record: Record, result: BenchmarkResult) -> list[Diagnostic]:
    """Return what is wrong with a result whose figures are sound one by one."""
    if result.completed == 0:
        return [record.report(NOTHING_COMPLETED, f"{record.name} completed no request", "completed")]
    return [*_failed(record, result), *_contradictions(record, result), *_short(record, result)]


def _failed(record: Record, result: BenchmarkResult) -> Iterator[Diagnostic]:
    if not result.failed:
        return
    total = result.failed + (result.completed or 0)
    share = result.failed / total
    if share <= FAILED_SHARE_NOTED:
        return
    found = record.report(
        REQUESTS_FAILED, f"{record.name}: {result.failed} of {total} requests failed ({share:.0%})", "failed"
    )
    yield found if share > FAILED_SHARE else replace(found, severity=Severity.WARNING)


def _contradictions(record: Record, result: BenchmarkResult) -> Iterator[Diagnostic]:
    def contradiction(what: str, key: str) -> Diagnostic:
        return record.report(CONTRADICTION, f"{record.name}: {what}", key)

    for name, latency in (("ttft", result.ttft), ("tpot", result.tpot), ("e2e", result.e2e)):
        if what := _out_of_order(latency):
            yield contradiction(f"{name.upper()}: {what}", f"p99_{name}_ms")
    rate, completed = result.completed_req_per_s, result.completed
    if rate and completed and result.duration_s:
        counted = completed / result.duration_s
        if _apart(rate, counted):
            what = f"{rate:g} requests/s, but {completed} requests in {result.duration_s:g} s are {counted:g}"
            yield contradiction(what, "request_throughput")
    if rate and result.output_tok_per_s and result.osl and _apart(result.output_tok_per_s, rate * result.osl):
        what = f"{result.output_tok_per_s:g} answer tokens/s, but {rate:g} requests/s of {result.osl:g} tokens are {rate * result.osl:g}"
        yield contradiction(what, "output_throughput")
    in_flight = requests_in_flight(result)
    if result.concurrency and in_flight and in_flight > OVERFULL * result.concurrency:
        what = (
            f"{in_flight:.1f} requests in flight by Little's law, but the run allows {result.concurrency:g}"
        )
        yield contradiction(what, "max_concurrency")
    if result.concurrency and in_flight and in_flight * EMPTIER < result.concurrency:
        what = f"{in_flight:.2g} requests in flight by Little's law, but the run kept {result.concurrency:g}: are its times milliseconds?"
        yield contradiction(what, "max_concurrency")


def _out_of_order(latency: Latency) -> str:
    quantiles = [(name, latency.at(name)) for name in (50, 90, 95, 99)]
    known = [(name, value) for name, value in quantiles if value is not None]
    for (low, lower), (high, higher) in pairwise(known):
        if higher < lower:
            return f"p{high} is {higher:g} ms, below p{low} of {lower:g} ms"
    return ""


def _apart(said: float, follows: float) -> bool:
    return max(said, follows) > AGREEMENT * min(said, follows)


def requests_in_flight(result: BenchmarkResult) -> float | None:
    """Return the mean number of requests in flight by Little's law, None where a figure for it is missing."""
    if result.completed_req_per_s is None:
        return None
    if result.e2e.mean is not None:
        return result.completed_req_per_s * result.e2e.mean / 1e3
    if result.ttft.mean is None or result.tpot.mean is None or result.osl is None:
        return None
    return result.completed_req_per_s * (result.ttft.mean + (result.osl - 1.0) * result.tpot.mean) / 1e3


def _short(record: Record, result: BenchmarkResult) -> Iterator[Diagnostic]:
    if result.completed and result.concurrency and result.completed < REQUESTS_EACH * result.concurrency:
        what = f"{result.completed} requests with {result.concurrency:g} in flight"
        yield record.report(SHORT, f"{record.name}: {what}", "completed")
