"""Checks what each workload gets: demand, shares, capacity, what failures leave of it, and latencies against the SLO.

With d the planning rate of a workload, s_i its share on deployment i in parts per million, λ_i the rate there, q_i the
capacity lent to it there and x_i the replicas:

    d ≥ peak · (1 + retries),  p50 ≤ p90 ≤ p99 ≤ max of its lengths                       (demand)
    Σ_i s_i = 1,000,000,  λ_i = s_i · d / 1,000,000                                       (shares)
    λ_i ≤ q_i                                                                             (capacity)
    Σ_i q_i ≥ d, and the plan states Σ_i q_i                                              (cover)
    Σ_i q_i · (x_i - lost_i) / x_i ≥ d for each host, rack and zone, one at a time        (survive)
    the least of these sums is what the plan states                                       (survivors)
    each limit as written: a line at an equal or higher quantile, predicted ≤ limit       (slo)
    quantiles rise, a line's prediction is its quantile and lies in its error interval    (prediction)
    utilisation ≤ policy's                                                                (utilisation)

A replica is lost with any host, rack or zone that it touches. A physical rack is an NVL72 domain, or `domains_per_rack`
consecutive hosts of an offering.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from fleet.plan.document import (
    BoundLine,
    Deployment,
    LengthSummary,
    LimitLine,
    MappedDomain,
    PlannedWorkload,
    Quantiles,
    Served,
)
from fleet.plan.verify_ledger import (
    DIGITS,
    EXACT,
    MILLION,
    OPERATING_POINT,
    SUMS,
    TIME_SHARES,
    Ledger,
    Tolerance,
    Violation,
    at_least,
    at_most,
    lent_req_per_s,
    same,
)

LEVELS = ("host", "rack", "zone")
SURVIVE_RULES = tuple(f"survive({level})" for level in LEVELS)
RULES = (
    "demand",
    "shares",
    "capacity",
    "cover",
    *SURVIVE_RULES,
    "survivors",
    "slo",
    "prediction",
    "utilisation",
)


def demand_and_capacity(ledger: Ledger) -> Iterator[Violation]:
    """Yield workloads whose demand, shares or capacity do not add up."""
    for workload in ledger.plan.workloads:
        yield from _demand(workload)
        yield from _shares(ledger, workload)
        capacity = sum(lent_req_per_s(d, line) for d, line in ledger.served[workload.name])
        yield from same(
            "cover", workload.name, "capacity in req/s", workload.capacity_req_per_s, capacity, SUMS
        )
        yield from at_least(
            "cover",
            workload.name,
            "capacity in req/s of its deployments",
            capacity,
            workload.demand.planning_req_per_s,
            SUMS,
        )


def _demand(workload: PlannedWorkload) -> Iterator[Violation]:
    demand = workload.demand
    least = demand.peak_req_per_s * (1.0 + demand.retries)
    tolerance = Tolerance(SUMS.relative, SUMS.absolute * (1.0 + demand.retries))
    yield from at_least(
        "demand", workload.name, "planning rate in req/s", demand.planning_req_per_s, least, tolerance
    )
    yield from at_most(
        "demand", workload.name, "share of cancelled requests", demand.cancellation, 1.0, EXACT
    )
    yield from at_most(
        "demand", workload.name, "share of cached prompt tokens", demand.cached_prefix_fraction, 1.0, EXACT
    )
    for side, lengths in (("input", demand.input_tokens), ("output", demand.output_tokens)):
        yield from _lengths(workload.name, side, lengths)


def _lengths(subject: str, side: str, lengths: LengthSummary) -> Iterator[Violation]:
    rising = (("p50", lengths.p50), ("p90", lengths.p90), ("p99", lengths.p99), ("maximum", lengths.max))
    for (name, tokens), (next_name, next_tokens) in pairwise(rising):
        yield from at_most(
            "demand",
            subject,
            f"{name} of {side} tokens, beside its {next_name},",
            tokens,
            next_tokens,
            DIGITS,
        )
    yield from at_most(
        "demand", subject, f"mean of {side} tokens, beside its maximum,", lengths.mean, lengths.max, DIGITS
    )


def _shares(ledger: Ledger, workload: PlannedWorkload) -> Iterator[Violation]:
    lines, planning = ledger.served[workload.name], workload.demand.planning_req_per_s
    if lines or planning > 0:
        yield from same(
            "shares",
            workload.name,
            "sum of shares in parts per million",
            sum(s.share for _, s in lines),
            MILLION,
            EXACT,
        )
    # Rounding to whole parts may give a deployment one part per million more than its exact share.
    one_part = Tolerance(SUMS.relative, SUMS.absolute + planning / MILLION)
    for deployment, line in lines:
        subject = f"{deployment.id}/{workload.name}"
        yield from same(
            "shares", subject, "rate in req/s", line.rate_req_per_s, line.share * planning / MILLION, SUMS
        )
        lent = lent_req_per_s(deployment, line)
        yield from at_most("capacity", subject, "rate in req/s", line.rate_req_per_s, lent, one_part)


# ---------------------------------------------------------------- survive


def survival(ledger: Ledger) -> Iterator[Violation]:
    """Yield workloads that some single loss leaves short, and figures of what is left that are not so."""
    losses = {level: _losses(ledger, level) for level in LEVELS}
    for workload in ledger.plan.workloads:
        for level in sorted({*ledger.plan.policy.survive} | {*workload.survives}):
            if level not in losses:
                yield Violation(
                    "survivors",
                    workload.name,
                    f"level '{level}' is not known, allowed are {', '.join(LEVELS)}",
                )
                continue
            place, left = _worst(ledger, workload, losses[level])
            if level in ledger.plan.policy.survive:
                figure = f"capacity in req/s without {level} {place}"
                yield from at_least(
                    f"survive({level})", workload.name, figure, left, workload.demand.planning_req_per_s, SUMS
                )
            if level in workload.survives:
                tolerance = Tolerance(0.0, SUMS.of(workload.capacity_req_per_s))
                figure = f"capacity in req/s after the worst loss of a {level}"
                yield from same("survivors", workload.name, figure, workload.survives[level], left, tolerance)
            else:
                yield Violation(
                    "survivors",
                    workload.name,
                    f"what is left after the loss of a {level} is not stated, and policy asks for it",
                )


def _losses(ledger: Ledger, level: str) -> dict[str, dict[str, int]]:
    """Return for each host, rack or zone how many replicas of each deployment touch it."""
    touching: dict[str, dict[tuple[str, int], None]] = defaultdict(dict)
    for worker, places in ledger.places.items():
        for place in places:
            touching[_failure(ledger, level, ledger.domain[place.domain], place.host)][
                worker.deployment, worker.replica
            ] = None
    losses: dict[str, dict[str, int]] = {}
    for place_name, replicas in touching.items():
        counts = losses.setdefault(place_name, defaultdict(int))
        for deployment, _ in replicas:
            counts[deployment] += 1
    return losses


def _failure(ledger: Ledger, level: str, domain: MappedDomain, host: int) -> str:
    """Return the name of what fails together with a host at a level."""
    offering = ledger.offerings[domain.offering]
    if level == "host":
        return f"{domain.id}/{host}"
    if level == "rack":
        return f"{offering.name}/{domain.index // offering.domains_per_rack}"
    return offering.zone


def _worst(ledger: Ledger, workload: PlannedWorkload, losses: dict[str, dict[str, int]]) -> tuple[str, float]:
    """Return the loss that takes most of a workload's capacity, and what it leaves, requests/s."""
    lines = ledger.served[workload.name]
    capacity = sum(lent_req_per_s(d, line) for d, line in lines)
    each = {d.id: lent_req_per_s(d, line) / d.replicas for d, line in lines}
    worst, most = "(none)", 0.0
    for place, counts in losses.items():
        lost = sum(each[name] * count for name, count in counts.items() if name in each)
        if lost > most:
            worst, most = place, lost
    return worst, capacity - most


# ---------------------------------------------------------------- latencies


def latencies(ledger: Ledger) -> Iterator[Violation]:
    """Yield limits that are not met, and predictions that contradict themselves."""
    for deployment in ledger.plan.deployments:
        yield from at_most(
            "utilisation",
            deployment.id,
            "utilisation",
            deployment.utilisation,
            ledger.plan.policy.max_utilisation,
            OPERATING_POINT,
        )
        for phase, bound in (("decode", deployment.decode), ("prefill", deployment.prefill)):
            yield from _time_shares(deployment, phase, bound)
        for line in deployment.served:
            yield from _slo(deployment, line, ledger.workloads[line.workload])
            predicted = {"ttft": line.ttft_ms, "tpot": line.tpot_ms, "e2e": line.e2e_ms}
            for metric, quantiles in predicted.items():
                yield from _rising(f"{deployment.id}/{line.workload}/{metric}", quantiles)
            for limit in line.limits:
                yield from _prediction(
                    f"{deployment.id}/{line.workload}/{limit.metric}_p{limit.quantile}",
                    limit,
                    predicted[limit.metric],
                )


def _time_shares(deployment: Deployment, phase: str, bound: BoundLine) -> Iterator[Violation]:
    yield from same(
        "prediction",
        deployment.id,
        f"sum of the shares of {phase} time",
        sum(bound.shares.values()),
        1.0,
        TIME_SHARES,
    )


def _slo(deployment: Deployment, line: Served, workload: PlannedWorkload) -> Iterator[Violation]:
    subject = f"{deployment.id}/{workload.name}"
    for metric, quantile, limit_ms in workload.limits_as_written:
        kept = (
            x for x in line.limits if x.metric == metric and x.quantile >= quantile and x.limit_ms <= limit_ms
        )
        if not any(kept):
            yield Violation(
                "slo",
                subject,
                f"no line keeps {metric} p{quantile} <= {limit_ms:.10g} ms, needed is one at p{quantile} or higher",
            )
    for limit in line.limits:
        written = any(
            (m, ms) == (limit.metric, limit.limit_ms) and q <= limit.quantile
            for m, q, ms in workload.limits_as_written
        )
        if not written:
            yield Violation(
                "slo",
                subject,
                f"the limit {limit.metric} p{limit.quantile} <= {limit.limit_ms:.10g} ms is none of those as written",
            )
        figure = f"predicted {limit.metric} p{limit.quantile} in ms"
        yield from at_most("slo", subject, figure, limit.predicted_ms, limit.limit_ms, DIGITS)


def _rising(subject: str, quantiles: Quantiles) -> Iterator[Violation]:
    rising = (("p50", quantiles.p50), ("p90", quantiles.p90), ("p95", quantiles.p95), ("p99", quantiles.p99))
    for (name, ms), (next_name, next_ms) in pairwise(rising):
        yield from at_most("prediction", subject, f"{name} in ms, beside {next_name},", ms, next_ms, DIGITS)


def _prediction(subject: str, limit: LimitLine, predicted: Quantiles) -> Iterator[Violation]:
    quantiles = {50: predicted.p50, 90: predicted.p90, 95: predicted.p95, 99: predicted.p99}
    if limit.quantile in quantiles:
        yield from same(
            "prediction", subject, "prediction in ms", limit.predicted_ms, quantiles[limit.quantile], DIGITS
        )
    else:
        yield Violation(
            "prediction", subject, f"p{limit.quantile} is not predicted, allowed are p50, p90, p95 and p99"
        )
    yield from at_most(
        "prediction",
        subject,
        "low end of the error interval in ms",
        limit.error_low_ms,
        limit.predicted_ms,
        DIGITS,
    )
    yield from at_least(
        "prediction",
        subject,
        "high end of the error interval in ms",
        limit.error_high_ms,
        limit.predicted_ms,
        DIGITS,
    )
    margin = (limit.limit_ms - limit.predicted_ms) / limit.limit_ms
    yield from same("prediction", subject, "margin", limit.margin, margin, DIGITS)
