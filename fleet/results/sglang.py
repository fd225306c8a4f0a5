"""Results of SGLang's `bench_serving`: a record a line, appended run by run (`--output-file`).

Fields: python/sglang/bench_serving.py of 0.4 to 0.5. The record names no model unless it carries `server_info`; the
rate of a run without one is Infinity, which is no JSON but what Python writes. Labels go into `--tag`.
"""

from __future__ import annotations

from typing import Any

from fleet.results.figures import Figures, text_of
from fleet.results.record import BenchmarkResult
from fleet.results.records import Record
from fleet.results.vllm import read_serving


def is_sglang(data: dict[str, Any]) -> bool:
    """Tell whether a record is a result of SGLang's benchmark."""
    return "total_output_tokens_retokenized" in data or (
        "mean_e2e_latency_ms" in data and "completed" in data
    )


def read_sglang(record: Record, figures: Figures) -> BenchmarkResult:
    """Return a record as a result; what is wrong with its figures goes to `figures`."""
    said = record.data.get("server_info")
    server: dict[str, Any] = said if isinstance(said, dict) else {}
    backend = text_of(record.data.get("backend"))
    model = text_of(server.get("served_model_name")) or text_of(server.get("model_path"))
    return read_serving(
        record,
        figures,
        "sglang-bench",
        model or text_of(record.data.get("model")),
        "e2e_latency",
        engine="sglang" if backend.startswith("sglang") else "",
        version=text_of(server.get("version")),
    )
