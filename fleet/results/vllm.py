"""Results of `vllm bench serve --save-result` (and `--append-result`); SGLang's `bench_serving` descends from it.

Fields, in milliseconds where the name ends in _ms: vllm/benchmarks/serve.py of 0.6 to 0.31. `--metadata KEY=VALUE`
becomes a key of the record; percentiles appear as asked for (`p99_ttft_ms`). Newer versions say `endpoint_type` beside
`backend`, and count `failed`.
"""

from __future__ import annotations

from typing import Any

from fleet.results.faults import MISSING_FIGURE
from fleet.results.figures import Figures, day_of, labels_of, text_of
from fleet.results.record import BenchmarkResult, Latency
from fleet.results.records import Record

BINDING_SHARE = 0.9
"""A limit on requests in flight binds where at least so much of it is in use."""


def is_vllm(data: dict[str, Any]) -> bool:
    """Tell whether a record is a result of `vllm bench serve`."""
    return "model_id" in data and "completed" in data and "total_input_tokens" in data


def read_vllm(record: Record, figures: Figures) -> BenchmarkResult:
    """Return a record as a result; what is wrong with its figures goes to `figures`."""
    return read_serving(record, figures, "vllm-bench", text_of(record.data.get("model_id")), "e2el")


def read_serving(
    record: Record,
    figures: Figures,
    tool: str,
    model: str,
    e2e_name: str,
    engine: str = "",
    version: str = "",
) -> BenchmarkResult:
    """Return a record in the form that vLLM's and SGLang's benchmarks share."""
    data = record.data
    completed = figures.count("completed", needed="the number of completed requests")
    prompt = figures.number("total_input_tokens", zero=completed == 0, needed="the prompt tokens")
    answer = figures.number("total_output_tokens", zero=completed == 0, needed="the answer tokens")
    latencies = {name: latency(figures, name) for name in ("ttft", "tpot", e2e_name)}
    rate = figures.number("request_throughput", zero=completed == 0)
    ttft, tpot = latencies["ttft"], latencies["tpot"]
    if completed and (ttft.mean is None or tpot.mean is None) and not figures.faults:
        which = "TTFT" if ttft.mean is None else "TPOT"
        figures.faults.append(
            record.report(MISSING_FIGURE, f"{record.name} has no {which}", f"mean_{which.lower()}_ms")
        )
    concurrency, offered = load_of(
        figures, rate, ttft.mean, tpot.mean, (answer or 0) / max(completed or 0, 1)
    )
    return BenchmarkResult(
        source=record.name,
        tool=tool,
        sha256=record.file.sha256,
        model=model,
        day=day_of(data.get("date")),
        engine=engine,
        engine_version=version,
        concurrency=concurrency,
        request_rate=offered,
        isl=prompt / completed if prompt and completed else None,
        osl=answer / completed if answer and completed else None,
        ttft=ttft,
        tpot=tpot,
        e2e=latencies[e2e_name],
        completed_req_per_s=rate,
        output_tok_per_s=figures.number("output_throughput", zero=completed == 0),
        completed=completed,
        failed=_failed(figures, completed),
        duration_s=figures.number("duration"),
        labels=labels_of(data) | tagged(data.get("tag")),
        record_sha256=record.sha256,
        line=record.line,
    )


def latency(figures: Figures, name: str) -> Latency:
    """Return mean and percentiles of one latency; a mean of zero is one that was not measured."""
    unmeasured = figures.record.data.get(f"mean_{name}_ms") in (0, None)
    if unmeasured:
        return Latency()
    keys = ("mean_{}_ms", "median_{}_ms", "p90_{}_ms", "p95_{}_ms", "p99_{}_ms")
    return Latency(*(figures.number(key.format(name)) for key in keys))


def load_of(
    figures: Figures, rate: float | None, ttft_ms: float | None, tpot_ms: float | None, osl: float
) -> tuple[float | None, float | None]:
    """Return requests in flight, or requests/s offered: whichever holds the run back; neither where it is not known.

    With both given the limit on requests in flight binds where Little's law has it in use.
    """
    limit = figures.number("max_concurrency")
    offered = figures.record.data.get("request_rate")
    is_endless = offered in (None, "inf", "trace") or offered == float("inf")
    arriving = None if is_endless else figures.number("request_rate")
    prompts = figures.count("num_prompts")
    if limit is not None and prompts:
        limit = min(limit, float(prompts))
    if rate and ttft_ms and tpot_ms:
        return binding(limit, arriving, rate * (ttft_ms + max(osl - 1.0, 0.0) * tpot_ms) / 1e3)
    return binding(limit, arriving, None)


def binding(
    limit: float | None, arriving: float | None, in_flight: float | None
) -> tuple[float | None, float | None]:
    """Return the limit on requests in flight, or the requests/s offered, by which of the two holds a run back.

    >>> binding(16.0, 99.0, 15.5), binding(150.0, 3.7, 15.5), binding(16.0, None, None)
    ((16.0, None), (None, 3.7), (16.0, None))
    """
    if limit is None or arriving is None:
        return limit, arriving
    if in_flight is None:
        return None, None
    return (limit, None) if in_flight >= BINDING_SHARE * limit else (None, arriving)


def _failed(figures: Figures, completed: int | None) -> int | None:
    """Return the requests that failed: counted, or those asked for that did not complete, or those with an error."""
    failed = figures.count("failed")
    if failed is not None:
        return failed
    errors = figures.record.data.get("errors")
    if isinstance(errors, list):
        return sum(1 for error in errors if error)
    prompts = figures.count("num_prompts")
    return None if prompts is None or completed is None else max(prompts - completed, 0)


def tagged(tag: Any) -> dict[str, str]:
    """Return labels given in one text, as SGLang's `--tag` takes it: KEY=VALUE, separated by commas.

    >>> tagged("fleetc_deployment=chat-h100,fleetc_replicas=2")
    {'fleetc_deployment': 'chat-h100', 'fleetc_replicas': '2'}
    """
    pairs = [part.split("=", 1) for part in text_of(tag).split(",") if "=" in part]
    return labels_of({key.strip(): value.strip() for key, value in pairs})
