"""Rules about the gateway: what it does to load, caches and limits."""

from __future__ import annotations

from collections.abc import Iterator

from fleet.diagnostics import Diagnostic, Severity, at, check
from fleet.spec.model import FleetFile, SloSpec
from fleet.units import format_ms, format_share


@check(Severity.WARNING)
def cancellation_not_propagated(file: FleetFile) -> Iterator[Diagnostic]:
    """Cancelled requests are computed to their end.

    What: A workload has cancelled requests, and gateway.cancellation is false.
    Why: The engine goes on generating tokens that nobody reads, and they are paid for.
    Fix: Set gateway.cancellation: true, so that a client's disconnect reaches the engine.
    """
    if file.spec.gateway.cancellation:
        return
    for name, workload in file.spec.workloads.items():
        if workload.demand.cancellation > 0:
            share = format_share(workload.demand.cancellation)
            yield cancellation_not_propagated.report(
                f"{share} of the requests of workload '{name}' are computed for nobody",
                at("spec", "workloads", name, "demand", "cancellation", text="cancelled by clients"),
                at("spec", "gateway", "cancellation", text="and not passed on"),
            )


@check(Severity.WARNING)
def routing_defeats_prefix_cache(file: FleetFile) -> Iterator[Diagnostic]:
    """The router scatters requests that share a prefix.

    What: A workload counts on a prefix cache, and gateway.routing.cache_locality is false.
    Why: A prefix is found only where it was computed; scattered requests compute it again on every replica.
    Fix: Set gateway.routing.cache_locality: true, or set hit_ratio to what is found without it.
    """
    if file.spec.gateway.routing.cache_locality:
        return
    for name, workload in file.spec.workloads.items():
        ratio = workload.demand.prefix.hit_ratio
        if ratio > 0:
            yield routing_defeats_prefix_cache.report(
                f"workload '{name}' loses its cached prefixes to the router",
                at(
                    "spec",
                    "workloads",
                    name,
                    "demand",
                    "prefix",
                    "hit_ratio",
                    text=f"{format_share(ratio)} expected",
                ),
                at("spec", "gateway", "routing", "cache_locality", text="requests go anywhere"),
            )


@check(Severity.WARNING)
def timeout_below_slo(file: FleetFile) -> Iterator[Diagnostic]:
    """Requests are cut off before their SLO is missed.

    What: gateway.request_timeout is shorter than an end-to-end limit of a class in use.
    Why: Requests that would meet the SLO fail instead, and are retried.
    Fix: Raise gateway.request_timeout above the limit.
    """
    timeout = file.spec.gateway.request_timeout
    used = {workload.slo for workload in file.spec.workloads.values()}
    for name, slo in file.spec.slos.items():
        quantile = _longest_quantile(slo)
        if name in used and quantile and getattr(slo.e2e, quantile) > timeout:
            yield timeout_below_slo.report(
                f"requests of SLO '{name}' may take longer than the gateway waits",
                at("spec", "slos", name, "e2e", quantile, text="allowed to take this long"),
                at("spec", "gateway", "request_timeout", text=f"cut off after {format_ms(timeout)}"),
            )


def _longest_quantile(slo: SloSpec) -> str | None:
    quantiles = ("p99", "p95", "p90", "p50")
    return next((q for q in quantiles if slo.e2e and getattr(slo.e2e, q) is not None), None)


CHECKS = (cancellation_not_propagated, routing_defeats_prefix_cache, timeout_below_slo)
