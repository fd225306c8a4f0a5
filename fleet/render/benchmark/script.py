"""What a benchmark's container runs: the requests are made, offered, and the result is printed as the last line."""

from __future__ import annotations

import shlex
from math import isinf

from fleet.render.benchmark.lengths import Knots
from fleet.render.benchmark.load import BenchmarkLoad
from fleet.render.engines.launch import check_flags, vllm_flags
from fleet.render.engines.templates import render_template, templates_folder
from fleet.render.view import DeploymentView
from fleet.results.record import (
    CACHED_LABEL,
    DEPLOYMENT_LABEL,
    FLEET_LABEL,
    GPUS_LABEL,
    INPUT_LABEL,
    OUTPUT_LABEL,
    PLAN_LABEL,
    RATE_LABEL,
    REPLICAS_LABEL,
    WORKLOAD_LABEL,
)

RESULTS = "/results"
READY_TIMEOUT_S = 600


def script(view: DeploymentView, workload: str, load: BenchmarkLoad, base_url: str) -> str:
    """Return the shell script of a client: `JOB_COMPLETION_INDEX` tells clients apart, `POD_UID` runs.

    Raises:
        UnrenderablePlan: the engine's version is not known.
    """
    trace = f"{RESULTS}/{workload}.jsonl"
    asked = [
        f"--requests={load.requests}",
        f"--input={_knots(load.inputs)}",
        f"--output={_knots(load.outputs)}",
        f"--cached={load.cached_prefix_fraction:g}",
        f"--chunk={load.chunk_tokens}",
        f"--most={load.most_tokens}",
    ]
    which = '--client="$JOB_COMPLETION_INDEX" --run="$POD_UID"'
    bench = _bench(view, workload, load, base_url, trace)
    program = (templates_folder() / "benchmark" / "trace.py").read_text(encoding="utf-8")
    lines = [
        "set -eu",
        f"python3 - {shlex.join(asked)} {which} > {shlex.quote(trace)} <<'TRACE'",
        program + "TRACE",
        shlex.join(["vllm", "bench", "serve", *bench]),
        f"echo && cat {shlex.quote(f'{RESULTS}/{workload}.json')} && echo",
    ]
    return "\n".join(lines) + "\n"


def _bench(view: DeploymentView, workload: str, load: BenchmarkLoad, base_url: str, trace: str) -> list[str]:
    labels = {
        FLEET_LABEL: view.plan.fleet,
        DEPLOYMENT_LABEL: view.deployment.id,
        WORKLOAD_LABEL: workload,
        REPLICAS_LABEL: str(load.replicas),
        GPUS_LABEL: str(load.gpus),
        RATE_LABEL: f"{load.rate_req_per_s:g}",
        INPUT_LABEL: f"{load.input_tokens_mean:g}",
        OUTPUT_LABEL: f"{load.output_tokens_mean:g}",
        CACHED_LABEL: f"{load.cached_prefix_fraction:g}",
    }
    values = {
        "base_url": base_url,
        "served_name": view.model.served_name,
        "tokenizer": view.checkpoint.model,
        "trace": trace,
        "chunk_tokens": load.chunk_tokens,
        "requests": load.requests,
        "rate_req_per_s": load.rate_req_per_s,
        "burstiness_shape": load.burstiness_shape,
        "warmups": load.warmups,
        "ready_timeout_s": READY_TIMEOUT_S,
        "result_dir": RESULTS,
        "result_file": f"{workload}.json",
        "labels": [f"{key}={value}" for key, value in labels.items()],
        "plan_label": PLAN_LABEL,
    }
    argv = shlex.split(render_template("vllm/benchmark.args.j2", values))
    check_flags(argv, vllm_flags(view.deployment.engine.version, "benchmark_flags"))
    return argv


def _knots(knots: Knots) -> str:
    return ",".join(f"{score:g}:{tokens:g}" for score, tokens in knots)


def describe(load: BenchmarkLoad) -> str:
    """Return the load in words, for an annotation.

    >>> from math import inf
    >>> describe(BenchmarkLoad(2, 1, 2, 5.0, inf, 600, 8, (), (), 100.0, 20.0, 0.0, 16, 999))
    '2 clients, each 5 requests/s for 120 s (600 requests at even gaps)'
    """
    clients = "1 client:" if load.clients == 1 else f"{load.clients} clients, each"
    gaps = (
        "at even gaps"
        if isinf(load.burstiness_shape)
        else f"with gamma gaps of shape {load.burstiness_shape:g}"
    )
    return f"{clients} {load.rate_req_per_s:g} requests/s for {load.seconds:.0f} s ({load.requests} requests {gaps})"
