"""Results as the tools write them, with figures that agree with each other."""

from __future__ import annotations

import json
from typing import Any

ISL, OSL = 2000, 300


def vllm(concurrency: int = 16, ttft_ms: float = 150.0, tpot_ms: float = 14.0, **more: Any) -> dict[str, Any]:
    """One record of `vllm bench serve --save-result`."""
    requests = concurrency * 10
    rate = concurrency / ((ttft_ms + (OSL - 1) * tpot_ms) / 1e3)
    return {
        "date": "20260825-142233",
        "endpoint_type": "openai",
        "backend": "openai",
        "label": None,
        "model_id": "llama-8b",
        "tokenizer_id": "meta-llama/Llama-3.1-8B-Instruct",
        "num_prompts": requests,
        "request_rate": "inf",
        "burstiness": 1.0,
        "max_concurrency": concurrency,
        "duration": requests / rate,
        "completed": requests,
        "failed": 0,
        "total_input_tokens": requests * ISL,
        "total_output_tokens": requests * OSL,
        "request_throughput": rate,
        "request_goodput": None,
        "output_throughput": rate * OSL,
        "total_token_throughput": rate * (ISL + OSL),
        "mean_ttft_ms": ttft_ms,
        "median_ttft_ms": ttft_ms * 0.9,
        "std_ttft_ms": ttft_ms * 0.2,
        "p99_ttft_ms": ttft_ms * 2,
        "mean_tpot_ms": tpot_ms,
        "median_tpot_ms": tpot_ms,
        "std_tpot_ms": tpot_ms * 0.05,
        "p99_tpot_ms": tpot_ms * 1.2,
        "mean_itl_ms": tpot_ms,
        "median_itl_ms": tpot_ms,
        "p99_itl_ms": tpot_ms * 1.5,
        **more,
    }


def sglang(concurrency: int = 16, ttft_ms: float = 90.0, tpot_ms: float = 9.0, **more: Any) -> dict[str, Any]:
    """One record of SGLang's `bench_serving`."""
    requests = concurrency * 10
    e2e_ms = ttft_ms + (OSL - 1) * tpot_ms
    rate = concurrency / (e2e_ms / 1e3)
    return {
        "tag": None,
        "backend": "sglang",
        "dataset_name": "random",
        "request_rate": float("inf"),
        "max_concurrency": concurrency,
        "sharegpt_output_len": None,
        "random_input_len": ISL,
        "random_output_len": OSL,
        "random_range_ratio": 1.0,
        "server_info": {"model_path": "meta-llama/Llama-3.1-8B-Instruct", "version": "0.5.9"},
        "duration": requests / rate,
        "completed": requests,
        "total_input_tokens": requests * ISL,
        "total_output_tokens": requests * OSL,
        "total_output_tokens_retokenized": requests * OSL - 7,
        "request_throughput": rate,
        "input_throughput": rate * ISL,
        "output_throughput": rate * OSL,
        "mean_e2e_latency_ms": e2e_ms,
        "median_e2e_latency_ms": e2e_ms,
        "p99_e2e_latency_ms": e2e_ms * 1.3,
        "mean_ttft_ms": ttft_ms,
        "median_ttft_ms": ttft_ms,
        "p99_ttft_ms": ttft_ms * 2,
        "mean_tpot_ms": tpot_ms,
        "median_tpot_ms": tpot_ms,
        "p99_tpot_ms": tpot_ms * 1.1,
        "mean_itl_ms": tpot_ms,
        "concurrency": float(concurrency),
        "accept_length": None,
        **more,
    }


def _metric(unit: str, avg: float, *, spread: bool = False) -> dict[str, Any]:
    return {"unit": unit, "avg": avg} | ({"p50": avg, "p90": avg * 1.2, "p99": avg * 1.5} if spread else {})


def metrics(
    concurrency: int = 16, ttft_ms: float = 120.0, tpot_ms: float = 10.0, unit: str = "ms"
) -> dict[str, Any]:
    """The metrics that AIPerf and GenAI-Perf export, latencies in `unit`."""
    scale = {"ms": 1.0, "sec": 1e-3, "ns": 1e6}[unit]
    e2e_ms = ttft_ms + (OSL - 1) * tpot_ms
    rate = concurrency / (e2e_ms / 1e3)
    return {
        "request_count": _metric("requests", 10.0 * concurrency),
        "request_latency": _metric(unit, e2e_ms * scale, spread=True),
        "time_to_first_token": _metric(unit, ttft_ms * scale, spread=True),
        "inter_token_latency": _metric(unit, tpot_ms * scale, spread=True),
        "input_sequence_length": _metric("tokens", ISL, spread=True),
        "output_sequence_length": _metric("tokens", OSL, spread=True),
        "request_throughput": _metric("requests/sec", rate),
        "output_token_throughput": _metric("tokens/sec", rate * OSL),
    }


def aiperf(concurrency: int = 16, **more: Any) -> dict[str, Any]:
    """profile_export_aiperf.json of schema version 1.0."""
    return {
        "schema_version": "1.0",
        "aiperf_version": "0.9.0",
        "input_config": {
            "endpoint": {"model_names": ["llama-8b"], "streaming": True},
            "loadgen": {"concurrency": concurrency},
        },
        "was_cancelled": False,
        "error_summary": [],
        "start_time": "2026-06-17T16:08:57.327203",
        **metrics(concurrency),
        **more,
    }


def genai_perf(concurrency: int = 16, **more: Any) -> dict[str, Any]:
    """profile_export_genai_perf.json of its 2025 releases."""
    return {
        **metrics(concurrency),
        "input_config": {"model": ["llama-8b"], "concurrency": concurrency, "streaming": True},
        **more,
    }


CSV_EXPORT = """Metric,avg,min,max,p99,p95,p90,p75,p50,p25
Time To First Token (ms),"1,120.50",90.00,2000.00,"1,900.00","1,500.00","1,400.00","1,200.00","1,100.00",800.00
Inter Token Latency (ms),10.00,9.00,12.00,11.00,11.00,11.00,10.00,10.00,9.50
Request Latency (ms),"4,110.50",90.00,6000.00,"5,900.00","5,500.00","5,400.00","4,200.00","4,100.00",800.00
Input Sequence Length,"2,000.00","2,000.00","2,000.00","2,000.00","2,000.00","2,000.00","2,000.00","2,000.00","2,000.00"
Output Sequence Length,300.00,300.00,300.00,300.00,300.00,300.00,300.00,300.00,300.00

Metric,Value
Request Throughput (per sec),3.89
Request Count (count),160
Output Token Throughput (per sec),1167.00
"""

TABLE_HEADER = (
    "source,date,model,precision,gpu,n_gpus,engine,engine_version,mode,parallelism,isl,osl,concurrency_or_batch,"
    "ttft_ms,tpot_ms"
)


def table(*rows: str) -> str:
    """A table of results; each row gives model to tpot_ms."""
    return "\n".join([TABLE_HEADER, *rows]) + "\n"


def row(concurrency: int = 16, ttft_ms: float = 150.0, tpot_ms: float = 14.0) -> str:
    """One row: Llama-3.1-8B on one H100 with vLLM."""
    return (
        f"own,2026-08-25,meta-llama/Llama-3.1-8B-Instruct,bf16,H100-SXM-80GB,1,vllm,0.19.0,agg,"
        f"TP1 PP1 attnDP1 moeTP1 moeEP1,2000,300,{concurrency},{ttft_ms},{tpot_ms}"
    )


def dumped(*records: dict[str, Any]) -> str:
    """Records one a line, as SGLang and `--append-result` leave them."""
    return "\n".join(json.dumps(record) for record in records) + "\n"
