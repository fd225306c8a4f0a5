"""The nine questions a plan must answer for each workload, with numbers, or with what is missing for an answer."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.candidates.need import Candidate
from fleet.catalog.records import DomainKind
from fleet.pipeline.resolved import ResolvedFleet, ResolvedWorkload
from fleet.plan.document import Answered, BoundLine, Deployment
from fleet.units import format_share, format_usd, format_usd_per_hour

QUESTIONS = (
    "Is it memory-bound, compute-bound or communication-bound at its target concurrency?",
    "Which precisions keep the stated quality for this model?",
    "Does it gain from a larger NVLink domain, or is it embarrassingly parallel?",
    "How much of the cost is recomputing prefixes that a better cache path would avoid?",
    "Which metrics prove that the hardware helps, and does the engine expose them?",
    "Is the gateway ready to route by model, precision, cache locality and SLO class?",
    "What is the cost per useful token at the target TTFT and TPOT?",
    "Which parallelism matches prefill, decode and expert communication?",
    "Which hardware and software stack has the best realised economics for this workload?",
)

Reply = tuple[str, bool]


def answers(
    workload: ResolvedWorkload,
    fleet: ResolvedFleet,
    deployments: Sequence[Deployment],
    candidates: Sequence[Candidate],
) -> tuple[Answered, ...]:
    """Return the answers in the order of the questions."""
    replies = (
        _bounds(deployments),
        _precisions(workload),
        _domain(fleet, candidates),
        _prefix(workload, deployments),
        _metrics(deployments),
        _gateway(workload, fleet),
        _cost(workload, deployments),
        _parallelism(deployments),
        _economics(workload, candidates),
    )
    return tuple(
        Answered(number=number, question=question, answer=answer, known=known)
        for number, (question, (answer, known)) in enumerate(zip(QUESTIONS, replies, strict=True), start=1)
    )


def _bound(line: BoundLine) -> str:
    largest = sorted(line.shares.items(), key=lambda item: -item[1])[:3]
    return f"{line.bound} {format_share(line.bound_share)} ({', '.join(f'{name} {format_share(share)}' for name, share in largest)})"


def _bounds(deployments: Sequence[Deployment]) -> Reply:
    lines = [
        f"{d.id}: prefill {_bound(d.prefill)}; decode {_bound(d.decode)} at {d.mean_batch_per_replica:.3g} requests decoding together, mean per replica"
        for d in deployments
    ]
    return "; ".join(lines), True


def _precisions(workload: ResolvedWorkload) -> Reply:
    native = workload.model.card.native_precision
    kept, unknown = [], []
    for weights in workload.model.weights:
        written = next((c for c in workload.model.spec.checkpoints if c.precision == weights.precision), None)
        if weights.precision.bits >= native.bits:
            kept.append(f"{weights.precision} (as published)")
        elif written and written.quality:
            q = written.quality
            kept.append(f"{weights.precision} ({q.benchmark}: {q.score:g} against {q.baseline:g})")
        else:
            unknown.append(str(weights.precision))
    told = ", ".join(kept) or "none proven"
    if unknown:
        return f"{told}; not known for {', '.join(unknown)}: no quality record is given", False
    return told, True


def _domain(fleet: ResolvedFleet, candidates: Sequence[Candidate]) -> Reply:
    """Compare requests/s for each GPU: the best candidate wider than 8 GPUs against the best of up to 8."""
    wide = [
        c for c in candidates if fleet.offerings[c.shape.place.offering].accelerator.domain is DomainKind.RACK
    ]
    if not wide:
        return (
            "not known: no offering with a domain larger than 8 GPUs is declared, or none reaches the SLO",
            False,
        )
    best_wide = max((c for c in wide if c.shape.gpus > 8), key=_rate_per_gpu, default=None)
    best_narrow = max((c for c in wide if c.shape.gpus <= 8), key=_rate_per_gpu, default=None)
    if best_wide is None:
        return (
            "no: in an NVL72 no replica of more than 8 GPUs serves more for each GPU; it is embarrassingly parallel",
            True,
        )
    if best_narrow is None:
        return (
            f"yes: in an NVL72 only replicas of more than 8 GPUs reach the SLO (best: {best_wide.shape.label})",
            True,
        )
    gain = _rate_per_gpu(best_wide) / _rate_per_gpu(best_narrow) - 1
    verdict = "yes" if gain > 0.05 else "no"
    return (
        f"{verdict}: in an NVL72 {best_wide.shape.label} ({best_wide.shape.gpus} GPUs) serves {gain:+.0%} requests/s for each GPU against {best_narrow.shape.label}",
        True,
    )


def _rate_per_gpu(candidate: Candidate) -> float:
    return candidate.rate_req_per_s / candidate.shape.gpus


def _prefix(workload: ResolvedWorkload, deployments: Sequence[Deployment]) -> Reply:
    demand, cached = workload.spec.demand, workload.load.cached_prefix_fraction
    prefix = demand.prefix
    if prefix.hit_ratio == 0 and prefix.shared_tokens == 0:
        return "not known: demand.prefix states neither shared tokens nor a hit ratio", False
    prefill_share = sum(d.usd_per_hour * d.prefill_time_share for d in deployments)
    computed = 1.0 - cached
    missed = max(prefix.hit_ratio - cached, 0.0)
    spent = f"prefill of uncached tokens takes about {format_usd_per_hour(prefill_share)}"
    if missed > 0:
        return (
            f"{format_usd_per_hour(prefill_share * missed / computed)} of it: routing finds {format_share(cached)} of the {format_share(prefix.hit_ratio)} that could be cached; {spent}",
            True,
        )
    return (
        f"none of the stated sharing is lost: {format_share(cached)} of prompt tokens come from the cache; {spent}",
        True,
    )


def _metrics(deployments: Sequence[Deployment]) -> Reply:
    engines = sorted({f"{d.engine.id} {d.engine.version}" for d in deployments})
    names = "vllm:time_to_first_token_seconds, vllm:request_time_per_output_token_seconds, vllm:kv_cache_usage_perc, vllm:num_requests_waiting, vllm:prefix_cache_hits_total"
    verb = "exposes" if len(engines) == 1 else "expose"
    return f"{', '.join(engines)} {verb} {names}; the rendered rules watch them against the SLO", True


def _gateway(workload: ResolvedWorkload, fleet: ResolvedFleet) -> Reply:
    routing = fleet.file.spec.gateway.routing
    yes = {True: "yes", False: "no"}
    precision = "one precision is deployed on each offering, its weight is a route's weight"
    return (
        f"model: yes (served as {workload.model.served_name}); SLO class: {yes[routing.slo_class]}; cache locality: {yes[routing.cache_locality]}; precision: {precision}",
        routing.cache_locality and routing.slo_class,
    )


def _cost(workload: ResolvedWorkload, deployments: Sequence[Deployment]) -> Reply:
    usd = sum(d.usd_per_hour for d in deployments)
    output = workload.planning_req_per_s * workload.output.mean * 3600 / 1e6
    useful = output * workload.useful_share
    return (
        f"{format_usd(usd / useful)} for a million useful output tokens at the peak ({format_usd(usd / output)} for a million generated); "
        f"useful: within the SLO ({format_share(workload.attained)} at least), not cancelled ({format_share(workload.spec.demand.cancellation)}), not a retry ({format_share(workload.spec.demand.retries)})",
        True,
    )


def _parallelism(deployments: Sequence[Deployment]) -> Reply:
    lines = []
    for d in deployments:
        parts = [
            f"{g.role.value} {g.layout.label}"
            + (f" x{g.workers_per_replica}" if g.workers_per_replica > 1 else "")
            for g in d.workers
        ]
        lines.append(f"{d.id}: {', '.join(parts)}")
    return "; ".join(lines), True


def _economics(workload: ResolvedWorkload, candidates: Sequence[Candidate]) -> Reply:
    """Rank the offerings by what serving the workload costs at their best candidate, whole replicas left aside."""
    best: dict[str, Candidate] = {}
    for candidate in candidates:
        place = candidate.shape.place.offering
        if place not in best or candidate.usd_per_request_rate < best[place].usd_per_request_rate:
            best[place] = candidate
    ranked = sorted(best.values(), key=lambda c: (c.usd_per_request_rate, c.id))
    lines = [
        f"{c.shape.place.offering} {c.shape.weights.precision} {c.shape.label} {format_usd_per_hour(c.usd_per_request_rate * workload.planning_req_per_s)}"
        for c in ranked
    ]
    return (
        f"by candidates' cost at the peak, whole replicas and failures left aside: {'; '.join(lines)}; a migration path between generations is not worked out yet",
        True,
    )
