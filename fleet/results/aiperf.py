"""Exports of AIPerf (profile_export_aiperf.json) and of its ancestor GenAI-Perf (profile_export_genai_perf.json), and CSV.

Each metric is an object {unit, avg, p50, ...}; early AIPerf keeps them under `records`. `inter_token_latency` is the
mean gap of a request, (latency - TTFT) / (answer - 1), which is TPOT here. The load stands in `input_config`:
AIPerf `loadgen` or `phases`, GenAI-Perf `concurrency` or `perf_analyzer.stimulus`. The CSV export has the metrics only.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from typing import Any

from fleet.results.checks import requests_in_flight
from fleet.results.faults import CANCELLED, MISSING_FIGURE
from fleet.results.figures import Figures, day_of, labels_of, text_of
from fleet.results.record import BenchmarkResult, Latency
from fleet.results.records import Record, ResultsFile
from fleet.results.vllm import binding

MS_OF = {"ms": 1.0, "s": 1e3, "sec": 1e3, "seconds": 1e3, "us": 1e-3, "ns": 1e-6, "": 1.0}
STATISTICS = ("avg", "p50", "p90", "p95", "p99")
_METRIC = re.compile(r"(?P<name>[^(]*?)\s*(?:\((?P<unit>.*)\))?\s*")


def is_export(data: dict[str, Any]) -> bool:
    """Tell whether a record is an export of either tool."""
    metrics = _metrics(data)
    return isinstance(metrics.get("request_latency"), dict) or isinstance(
        metrics.get("time_to_first_token"), dict
    )


def _metrics(data: dict[str, Any]) -> dict[str, Any]:
    nested = data.get("records")
    return nested if isinstance(nested, dict) else data


def read_export(record: Record, figures: Figures) -> BenchmarkResult:
    """Return an export as a result; what is wrong with its figures goes to `figures`."""
    data, reader = record.data, _Metrics(figures, _metrics(record.data))
    config = data.get("input_config")
    asked: dict[str, Any] = config if isinstance(config, dict) else {}
    if data.get("was_cancelled") is True:
        figures.faults.append(
            record.report(CANCELLED, f"{record.name} was cancelled before its end", "was_cancelled")
        )
    is_aiperf = "aiperf_version" in data or "loadgen" in asked or "phases" in asked or "records" in data
    completed = reader.value("request_count", zero=True)
    result = BenchmarkResult(
        source=record.name,
        tool="aiperf" if is_aiperf else "genai-perf",
        sha256=record.file.sha256,
        model=_model(asked),
        day=day_of(data.get("start_time")),
        isl=reader.value("input_sequence_length", needed="the prompt tokens"),
        osl=reader.value("output_sequence_length", needed="the answer tokens"),
        ttft=reader.latency("time_to_first_token", needed="TTFT"),
        tpot=reader.latency("inter_token_latency", needed="TPOT"),
        e2e=reader.latency("request_latency"),
        completed_req_per_s=reader.value("request_throughput"),
        output_tok_per_s=reader.value("output_token_throughput"),
        completed=None if completed is None else int(completed),
        failed=_failed(reader, data),
        duration_s=reader.value("benchmark_duration"),
        labels=labels_of(data) | _noted(asked),
        record_sha256=record.sha256,
        line=record.line,
    )
    concurrency, offered = binding(*_load(figures, asked), requests_in_flight(result))
    return replace(result, concurrency=concurrency, request_rate=offered)


class _Metrics:
    """Metrics of one export by their tags."""

    def __init__(self, figures: Figures, metrics: dict[str, Any]) -> None:
        self._figures, self._metrics = figures, metrics

    def value(self, tag: str, *, zero: bool = False, needed: str = "") -> float | None:
        """Return a metric's average."""
        found = self._found(tag, needed)
        if found.get("avg") is None:
            return None
        return self._figures.number(tag, found["avg"], zero=zero)

    def latency(self, tag: str, *, needed: str = "") -> Latency:
        """Return a latency in milliseconds, whatever its unit."""
        found = self._found(tag, needed)
        unit = text_of(found.get("unit")).strip().lower()
        if unit not in MS_OF:
            self._figures.number(tag, f"in {unit}, no unit of time")
            return Latency()
        values = [
            None if found.get(name) is None else self._figures.number(tag, found[name]) for name in STATISTICS
        ]
        return Latency(*(None if value is None else value * MS_OF[unit] for value in values))

    def _found(self, tag: str, needed: str) -> dict[str, Any]:
        found = self._metrics.get(tag)
        metric: dict[str, Any] = found if isinstance(found, dict) else {}
        if needed and metric.get("avg") is None:
            record = self._figures.record
            self._figures.faults.append(
                record.report(MISSING_FIGURE, f"{record.name} lacks {needed} ('{tag}')")
            )
        return metric


def _failed(reader: _Metrics, data: dict[str, Any]) -> int | None:
    failed = reader.value("error_request_count", zero=True)
    if failed is not None:
        return int(failed)
    errors = data.get("error_summary")
    if not isinstance(errors, list):
        return None
    counts = [error.get("count") for error in errors if isinstance(error, dict)]
    return sum(count for count in counts if isinstance(count, int))


def _model(asked: dict[str, Any]) -> str:
    endpoint = asked.get("endpoint")
    places: list[Any] = [endpoint.get("model_names")] if isinstance(endpoint, dict) else []
    places += [asked.get("model_names"), asked.get("model"), asked.get("models")]
    for place in places:
        listed = place.get("items") if isinstance(place, dict) else place
        first = listed[0] if isinstance(listed, list) and listed else listed
        name = text_of(first.get("name")) if isinstance(first, dict) else text_of(first)
        if name:
            return name
    return ""


def _load(figures: Figures, asked: dict[str, Any]) -> tuple[float | None, float | None]:
    """Return requests in flight and requests/s offered, as the run was told."""
    perf_analyzer = asked.get("perf_analyzer")
    stimulus = perf_analyzer.get("stimulus") if isinstance(perf_analyzer, dict) else None
    phases = asked.get("phases")
    profiled = [
        phase
        for phase in (phases if isinstance(phases, list) else [])
        if isinstance(phase, dict) and phase.get("name") != "warmup"
    ]
    for place in (asked.get("loadgen"), *profiled, stimulus, asked):
        if not isinstance(place, dict):
            continue
        concurrency, rate = _one(place.get("concurrency")), _one(place.get("request_rate"))
        if concurrency is not None or rate is not None:
            in_flight = None if concurrency is None else figures.number("concurrency", concurrency)
            return in_flight, None if rate is None else figures.number("request_rate", rate)
    return None, None


def _one(value: Any) -> Any:
    """Return a number that may stand in a list of one."""
    return (
        value[0]
        if isinstance(value, list) and len(value) == 1
        else None
        if isinstance(value, list)
        else value
    )


def _noted(asked: dict[str, Any]) -> dict[str, str]:
    """Return our labels among the extra inputs that the run was given."""
    places = [asked.get("extra_inputs")]
    places += [
        part.get("extra") for part in (asked.get("input"), asked.get("endpoint")) if isinstance(part, dict)
    ]
    labels: dict[str, str] = {}
    for place in places:
        if isinstance(place, dict):
            labels |= labels_of(place)
        elif isinstance(place, list):
            pairs = [pair for pair in place if isinstance(pair, list) and len(pair) == 2]
            labels |= labels_of({str(key): value for key, value in pairs})
    return labels


def is_csv_export(text: str) -> bool:
    """Tell whether a text is the CSV export of either tool."""
    first = text.lstrip().split("\n", 1)[0]
    return first.startswith("Metric,")


def csv_record(file: ResultsFile) -> Record:
    """Return the CSV export as a record of the same form as the JSON export, without the load that it does not say."""
    header: list[str] = []
    metrics: dict[str, Any] = {}
    for row in csv.reader(io.StringIO(file.text)):
        if not row:
            header = []
        elif row[0] == "Metric":
            header = row
        elif header and (named := _METRIC.fullmatch(row[0])):
            tag = named["name"].strip().lower().replace(" ", "_").replace("-", "_")
            values = {
                name: cell.replace(",", "") for name, cell in zip(header[1:], row[1:], strict=False) if cell
            }
            metrics[tag] = {"unit": named["unit"] or "", "avg": values.pop("Value", None)} | values
    return Record(file, 1, 0, len(file.text), metrics)
