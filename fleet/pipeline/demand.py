"""Resolves workloads: lengths, rates at the planning peak, SLO targets, and what a replica is asked to serve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fleet.diagnostics import Diagnostic, Severity, at, register
from fleet.perf.interface import Lengths, Target
from fleet.perf.replica import Load
from fleet.pipeline.lengths import Marginal, joint, marginal
from fleet.pipeline.resolved import ResolvedModel, ResolvedWorkload
from fleet.spec.model import DemandSpec, FleetSpec, LengthSpec, RateSpec, SloSpec, TraceSpec, WorkloadSpec
from fleet.spec.traces import TraceSummary

CONTEXT_TOO_LONG = register(
    "context-too-long-for-model",
    what="The longest request of a workload is longer than its model's context.",
    why="The engine refuses such requests, so part of the demand would never be served.",
    fix="lower the maximum of input or output, or choose a model with a longer context",
)
MODEL_CONTEXT = register(
    "max-context-above-model",
    what="A model's max_context is more than the model was made for.",
    why="Engines refuse a context beyond the model's own unless told to extrapolate.",
    fix="lower max_context, or leave it out",
)
ASSUMED_LENGTHS = register(
    "lengths-from-mean-alone",
    severity=Severity.WARNING,
    what="A length is given as a mean alone, and read as a log-normal with a coefficient of variation of 1.",
    why="Tail latencies follow the tail of the lengths; the same mean can need very different fleets.",
    fix="give p50, p90 and p99, a histogram or a trace; a plain number means that every request has that length",
)
ITL_AS_TPOT = register(
    "itl-planned-as-tpot",
    severity=Severity.WARNING,
    what="A limit on inter-token latency is planned through TPOT at the same quantile.",
    why="ITL's percentile is over gaps, TPOT's over requests; chunked prefill makes single gaps longer than the average.",
    fix="state the limit as tpot, or leave a margin",
)
CONSTANT_DEMAND = register(
    "peak-assumed-equal-to-mean",
    severity=Severity.INFO,
    what="A workload's rate is one number, so peak and mean are taken to be equal.",
    why="Cost per useful token is then that of a fleet busy all day.",
    fix="give rate: {mean, peak} or 24 hourly values",
)

Report = list[Diagnostic]
Traces = Mapping[TraceSpec, TraceSummary]

_QUANTILES = (50, 90, 95, 99)
_MAX_BATCH = 1024


@dataclass(frozen=True, slots=True)
class _Rates:
    peak: float
    mean: float
    burstiness_cv: float


def resolve_workloads(
    spec: FleetSpec,
    models: dict[str, ResolvedModel],
    offerings: tuple[str, ...],
    traces: Traces,
    found: Report,
) -> dict[str, ResolvedWorkload]:
    """Return the workloads that could be resolved; problems are added to `found`."""
    resolved: dict[str, ResolvedWorkload] = {}
    for name, workload in spec.workloads.items():
        model = models.get(workload.model)
        if model is not None:
            resolved[name] = _resolve(name, workload, model, spec, offerings, traces, found)
    return resolved


def _resolve(
    name: str,
    workload: WorkloadSpec,
    model: ResolvedModel,
    spec: FleetSpec,
    offerings: tuple[str, ...],
    traces: Traces,
    found: Report,
) -> ResolvedWorkload:
    demand = workload.demand
    trace = traces[demand.trace] if demand.trace else None
    inputs, outputs, lengths = _lengths(name, demand, trace, found)
    rates = _rates(name, demand, trace, traces, found)
    longest = (
        _largest(demand.input, inputs, trace.max_input_tokens if trace else None),
        _largest(demand.output, outputs, trace.max_output_tokens if trace else None),
    )
    context = _longest(name, demand, longest, model, found)
    slo = spec.slos[workload.slo]
    load = Load(
        lengths=lengths,
        cached_prefix_fraction=round(_cached(demand, inputs, spec.gateway.routing.cache_locality), 6),
        burstiness_scv=rates.burstiness_cv**2,
        targets=_targets(workload.slo, slo, found),
        error_quantile=spec.policy.risk.error_quantile,
        max_utilisation=spec.policy.risk.max_utilisation,
        max_batch=_MAX_BATCH,
    )
    return ResolvedWorkload(
        name=name,
        spec=workload,
        slo=slo,
        model=model,
        input=inputs,
        output=outputs,
        max_context=context,
        peak_req_per_s=rates.peak,
        planning_req_per_s=rates.peak * (1.0 + demand.growth) * (1.0 + demand.retries),
        mean_req_per_s=rates.mean,
        burstiness_cv=rates.burstiness_cv,
        load=load,
        offerings=tuple(o for o in offerings if not workload.offerings or o in workload.offerings),
    )


def _lengths(
    name: str, demand: DemandSpec, trace: TraceSummary | None, found: Report
) -> tuple[Marginal, Marginal, Lengths]:
    if trace is not None and demand.input is None and demand.output is None:
        inputs = _marginal_of(trace.input_tokens, trace.weight)
        outputs = _marginal_of(trace.output_tokens, trace.weight)
        return inputs, outputs, Lengths(trace.input_tokens, trace.output_tokens, trace.weight)
    parts: dict[str, Marginal] = {}
    for field, written in (("input", demand.input), ("output", demand.output)):
        if (
            isinstance(written, LengthSpec)
            and not written.histogram
            and not any((written.p50, written.p90, written.p95, written.p99))
        ):
            found.append(
                ASSUMED_LENGTHS.report(
                    f"workload '{name}': {field} has a mean and no percentile",
                    at("spec", "workloads", name, "demand", field),
                )
            )
        if written is not None:
            parts[field] = marginal(written)
        else:
            assert trace is not None, "the rule demand-without-lengths ran before"
            parts[field] = _marginal_of(
                trace.input_tokens if field == "input" else trace.output_tokens, trace.weight
            )
    return parts["input"], parts["output"], joint(parts["input"], parts["output"])


def _marginal_of(values: tuple[float, ...], weights: tuple[float, ...]) -> Marginal:
    total: dict[float, float] = {}
    for value, weight in zip(values, weights, strict=True):
        total[max(value, 1.0)] = total.get(max(value, 1.0), 0.0) + weight
    ordered = sorted(total)
    return Marginal(tuple(ordered), tuple(total[v] for v in ordered))


def _rates(
    name: str, demand: DemandSpec, trace: TraceSummary | None, traces: Traces, found: Report
) -> _Rates:
    rate = demand.rate
    if isinstance(rate, RateSpec):
        if rate.trace is not None:
            own = traces[rate.trace]
            return _Rates(
                own.peak_req_per_s, own.mean_req_per_s, max(demand.burstiness, own.peak_interarrival_cv)
            )
        if rate.hourly is not None:
            return _Rates(max(rate.hourly), sum(rate.hourly) / len(rate.hourly), demand.burstiness)
        peak = (
            rate.peak if rate.peak is not None else rate.constant if rate.constant is not None else rate.mean
        )
        assert peak is not None, "the rule demand-without-rate ran before"
        return _Rates(peak, rate.mean if rate.mean is not None else peak, demand.burstiness)
    if rate is not None:
        found.append(
            CONSTANT_DEMAND.report(
                f"workload '{name}': peak and mean are both {rate:g} requests/s",
                at("spec", "workloads", name, "demand", "rate"),
            )
        )
        return _Rates(rate, rate, demand.burstiness)
    assert trace is not None, "the rule demand-without-rate ran before"
    return _Rates(
        trace.peak_req_per_s, trace.mean_req_per_s, max(demand.burstiness, trace.peak_interarrival_cv)
    )


def _longest(
    name: str,
    demand: DemandSpec,
    longest: tuple[float, float],
    model: ResolvedModel,
    found: Report,
) -> int:
    """Return the context that the engine must accept: prompt and answer of the longest request.

    Args:
        longest: Tokens of the longest prompt and of the longest answer.
    """
    need = sum(longest)
    card, wish = model.card, model.spec.max_context
    if wish is not None and wish > card.max_context_tokens:
        label = f"{card.name} has {card.max_context_tokens:,}"
        where = at("spec", "models", model.name, "max_context", text=label)
        message = f"model '{model.name}': max_context {wish:,} is above the model's own"
        found.append(MODEL_CONTEXT.report(message, where))
    limit = min(wish or card.max_context_tokens, card.max_context_tokens)
    if need > limit:
        side = "input" if longest[0] >= longest[1] else "output"
        written = demand.input if side == "input" else demand.output
        inner = ("max",) if isinstance(written, LengthSpec) and written.max else ()
        label = f"{need:,.0f} tokens with prompt and answer"
        where = at("spec", "workloads", name, "demand", *((side, *inner) if written else ()), text=label)
        message = (
            f"workload '{name}': its longest request has {need:,.0f} tokens, '{model.name}' takes {limit:,}"
        )
        found.append(CONTEXT_TOO_LONG.report(message, where))
    return int(wish or min(-(-need // 1024) * 1024, limit))


def _largest(written: LengthSpec | int | None, side: Marginal, of_trace: int | None) -> float:
    """Tokens of the longest prompt (or answer): as written, as the trace has it, else the distribution's last cell."""
    if isinstance(written, LengthSpec):
        histogram_end = written.histogram[-1][0] if written.histogram else 0
        return float(written.max or histogram_end or side.values[-1])
    return float(written if written is not None else of_trace or side.values[-1])


def _cached(demand: DemandSpec, inputs: Marginal, keeps_locality: bool) -> float:
    """Share of prompt tokens found in a prefix cache.

    What every request shares is found in every replica; the rest only where routing sends a session back to its replica.
    """
    shared = min(demand.prefix.shared_tokens / inputs.mean, 0.99)
    return min(max(shared, demand.prefix.hit_ratio if keeps_locality else 0.0), 0.99)


def _targets(slo_name: str, slo: SloSpec, found: Report) -> tuple[Target, ...]:
    targets: dict[tuple[str, int], float] = {}
    for field in ("ttft", "tpot", "itl", "e2e"):
        limits = getattr(slo, field)
        if limits is None:
            continue
        if field == "itl":
            found.append(
                ITL_AS_TPOT.report(
                    f"SLO '{slo_name}': itl is planned as tpot",
                    at("spec", "slos", slo_name, "itl", on_key=True),
                )
            )
        metric = "tpot" if field == "itl" else field
        for quantile in _QUANTILES:
            limit = getattr(limits, f"p{quantile}")
            if limit is not None:
                key = (metric, _raised(quantile, slo.attainment))
                targets[key] = min(limit, targets.get(key, float("inf")))
    return tuple(
        Target(metric, quantile, limit)
        for (metric, quantile), limit in sorted(
            targets.items(), key=lambda kv: (("ttft", "tpot", "e2e").index(kv[0][0]), kv[0][1])
        )
    )


def _raised(quantile: int, attainment: float | None) -> int:
    """The quantile to plan: as written, or the first one that reaches the attainment."""
    if attainment is None:
        return quantile
    return next((q for q in _QUANTILES if q >= max(quantile, attainment * 100 - 1e-9)), 99)
