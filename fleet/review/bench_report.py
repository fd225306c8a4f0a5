"""The comparison of benchmarks with the plan, for a terminal and for machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fleet.plan.file import canonical_json
from fleet.review.bench import Comparison, Judged, LoadLine, Verdict
from fleet.review.bench_causes import causes
from fleet.review.format import count, counted, latency, signed
from fleet.review.lines import clean, table_lines, wrap
from fleet.review.report import columns
from fleet.units import format_share

FORMAT_VERSION = "1.0"
WIDTH = 100
NOT_PLANNED = "not the planned load"
_LIMITS = columns("limit", ">allowed", ">predicted", ">90 % interval", ">measured", "verdict")
_LOAD = columns("load", ">planned", ">measured", "")


def verdict_of(found: Comparison) -> str:
    """Return the judgement of one run in a few words."""
    if not found.is_planned_load:
        return NOT_PLANNED
    if found.fails:
        return str(Verdict.FAILS)
    if not found.limits:
        return "no limit is stated"
    return str(Verdict.HOLDS) if found.holds else str(Verdict.UNKNOWN)


def render_bench_text(found: Sequence[Comparison], calibrate: str) -> str:
    """Return every run with its verdict, load, limits, causes and what to do; `calibrate` is the command that learns from it."""
    lines = [line for comparison in found for line in [*_run(comparison, calibrate), ""]]
    hold = sum(c.is_planned_load and c.holds and bool(c.limits) for c in found)
    verb = "holds" if len(found) == 1 else "hold"
    return "\n".join([*lines, f"{hold} of {counted(len(found), 'benchmark')} {verb} what the plan says.", ""])


def _run(found: Comparison, calibrate: str) -> Iterator[str]:
    run, result = found.run, found.run.result
    yield from wrap(
        clean(f"{run.deployment.id}, workload {run.served.workload}: {verdict_of(found).upper()}"), WIDTH
    )
    said = "" if run.replicas_are_said else ", for the result does not say otherwise"
    said += "; its job was rendered from another plan" if found.is_of_this_plan is False else ""
    what = f"{counted(result.completed, 'request')}, " if result.completed is not None else ""
    what += f"{counted(result.failed, 'failed', 'failed')}, " if result.failed else ""
    yield from _indented(
        f"{', '.join(run.sources)}: {what}shared by {counted(run.replicas, 'replica')} of {run.deployment.replicas}{said}"
    )
    yield ""
    yield from _table(_LOAD, [_load_row(line) for line in found.load])
    if found.limits:
        yield ""
        yield from _table(_LIMITS, [_limit_row(judged) for judged in found.limits])
    yield from _indented(_record(found))
    explained = causes(found)
    if explained:
        yield ""
        yield "  Why it could be"
        for cause in explained:
            yield from _indented(f"- {cause.sentence} [{cause.kind}]", 4)
    for todo in next_steps(found, calibrate):
        yield from _indented(f"Next: {todo}")


def _record(found: Comparison) -> str:
    means = [
        f"{mean.metric.upper()} {latency(mean.measured_ms)} (plan {latency(mean.predicted_ms)})"
        for mean in found.means
        if mean.measured_ms is not None
    ]
    result, parts = found.run.result, [f"means: {', '.join(means)}"] if means else []
    if result.completed_req_per_s is not None:
        parts.append(f"completed {result.completed_req_per_s:.3g} requests/s")
    if result.output_tok_per_s is not None:
        parts.append(f"{count(result.output_tok_per_s)} answer tokens/s")
    if found.in_flight is not None:
        parts.append(f"{count(found.in_flight)} in flight")
    return "; ".join(parts)


def next_steps(found: Comparison, calibrate: str) -> tuple[str, ...]:
    """Return what to do: like with like first, then the limits, then what the plan can learn."""
    if not found.is_planned_load:
        return ("run the deployment's rendered benchmark job, which offers the planned load",)
    steps = []
    if found.run.result.failed:
        steps.append("find out why requests failed, and run it again")
    if any(judged.verdict is Verdict.UNKNOWN for judged in found.limits):
        steps.append("report the limited percentiles (--percentile-metrics, --metric-percentiles)")
    if any(judged.verdict is not Verdict.HOLDS for judged in found.limits):
        steps.append(f"run it twice; if it stays so, `{calibrate}` and compile again")
    return tuple(steps)


def _load_row(line: LoadLine) -> tuple[str, ...]:
    agrees = {None: "", True: "as planned", False: "differs"}[line.agrees]
    measured = "not said" if line.measured is None else _figure(line.measured, line.unit)
    return (line.name, _figure(line.planned, line.unit), measured, agrees)


def _figure(value: float, unit: str) -> str:
    if unit == "of the prompt":
        return format_share(value)
    return f"{value:,.4g} {unit}".rstrip() if value < 1e4 else f"{value:,.0f} {unit}".rstrip()


def _limit_row(judged: Judged) -> tuple[str, ...]:
    line = judged.line
    verdict = str(judged.verdict)
    if judged.over_limit is not None:
        side = "over" if judged.over_limit > 0 else "below"
        verdict += f": {format_share(abs(judged.over_limit))} {side} the limit"
    if judged.over_prediction is not None:
        verdict += f", {signed(judged.over_prediction, format_share)} to the prediction"
    other = f" (p{judged.quantile})" if judged.quantile != line.quantile else ""
    measured = "-" if judged.measured_ms is None else f"{latency(judged.measured_ms)}{other}"
    interval = f"{latency(line.error_low_ms)} to {latency(line.error_high_ms)}"
    name = f"{line.metric.upper()} p{line.quantile}"
    return (name, latency(line.limit_ms), latency(line.predicted_ms), interval, measured, verdict)


def _table(head: tuple[Any, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    for line in table_lines(head, tuple(tuple(clean(cell) for cell in row) for row in rows), WIDTH - 2):
        yield f"  {line}"


def _indented(text: str, by: int = 2) -> Iterator[str]:
    for line in wrap(clean(text), WIDTH - by):
        yield " " * by + line


def render_bench_json(found: Sequence[Comparison], calibrate: str) -> str:
    """Return the same for machines. Latencies are milliseconds; `format_version` rises when a field changes its meaning."""
    return canonical_json(
        {
            "format_version": FORMAT_VERSION,
            "benchmarks": [_object(comparison, calibrate) for comparison in found],
        }
    )


def _object(found: Comparison, calibrate: str) -> dict[str, Any]:
    run, result = found.run, found.run.result
    return {
        "deployment": run.deployment.id,
        "workload": run.served.workload,
        "sources": list(run.sources),
        "replicas": run.replicas,
        "verdict": verdict_of(found),
        "is_planned_load": found.is_planned_load,
        "is_of_this_plan": found.is_of_this_plan,
        "load": [
            {
                "name": line.name,
                "unit": line.unit,
                "planned": _six(line.planned),
                "measured": _six(line.measured),
                "agrees": line.agrees,
            }
            for line in found.load
        ],
        "limits": [_limit_object(judged) for judged in found.limits],
        "means": [
            {
                "metric": mean.metric,
                "predicted_ms": _six(mean.predicted_ms),
                "measured_ms": _six(mean.measured_ms),
            }
            for mean in found.means
        ],
        "completed": result.completed,
        "failed": result.failed,
        "completed_req_per_s": _six(result.completed_req_per_s),
        "output_tok_per_s": _six(result.output_tok_per_s),
        "in_flight": _six(found.in_flight),
        "causes": [{"kind": cause.kind, "sentence": cause.sentence} for cause in causes(found)],
        "next": list(next_steps(found, calibrate)),
    }


def _limit_object(judged: Judged) -> dict[str, Any]:
    line = judged.line
    return {
        "metric": line.metric,
        "quantile": line.quantile,
        "limit_ms": line.limit_ms,
        "predicted_ms": line.predicted_ms,
        "error_low_ms": line.error_low_ms,
        "error_high_ms": line.error_high_ms,
        "measured_ms": _six(judged.measured_ms),
        "measured_quantile": judged.quantile,
        "verdict": str(judged.verdict),
        "over_limit": _six(judged.over_limit),
        "over_prediction": _six(judged.over_prediction),
    }


def _six(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
