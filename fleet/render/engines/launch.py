"""Launch commands: from a worker's plan to argv, through templates, parsed back against the engine's flags."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleet.layout import Precision, Role
from fleet.plan.document import Deployment, WorkerGroup
from fleet.render.engines.checkpoint import Checkpoint
from fleet.render.engines.templates import read_versions, render_template
from fleet.render.errors import UnrenderablePlan

API_PORT = 8000
SYSTEM_PORT = 9090
"""Where Dynamo's workers answer probes and show metrics (DYN_SYSTEM_PORT)."""
KV_EVENTS_PORT = 20080
DATA_PARALLEL_RPC_PORT = 5555
DYNAMO_DATA_PARALLEL_RPC_PORT = 29500
MASTER_PORT = 29501

_RUN_TIME_VALUE = re.compile(r"\$\((\(.*\)|[A-Z_]+)\)")
_SPECULATIVE_KEYS = {
    "num_speculative_tokens": "num_speculative_tokens",
    "draft_tokens": "num_speculative_tokens",
    "draft_model": "model",
    "model": "model",
    "method": "method",
}
_SPECULATIVE_FACTS = ("acceptance_length",)


@dataclass(frozen=True, slots=True)
class Launch:
    """How a container starts. `argv` is the parsed command line; `command` and `args` are the container's."""

    argv: tuple[str, ...]
    command: tuple[str, ...]
    args: tuple[str, ...]


def serve_launch(
    deployment: Deployment,
    group: WorkerGroup,
    served_name: str,
    checkpoint: Checkpoint,
    shutdown_timeout_s: int,
    *,
    is_follower: bool = False,
) -> Launch:
    """`vllm serve` for a worker, or for one host of a worker that spans several.

    Across hosts a worker with attention DP runs one API server on each host (hybrid load balancing); one without runs
    on the leader and its followers are headless.

    Raises:
        UnrenderablePlan: vLLM cannot express the layout.
    """
    values = {
        **_engine_values(deployment, group, served_name, checkpoint),
        "port": API_PORT,
        "shutdown_timeout_s": shutdown_timeout_s,
        "data_parallel_rpc_port": DATA_PARALLEL_RPC_PORT,
        "master_port": MASTER_PORT,
        "is_follower": is_follower,
    }
    argv = tuple(shlex.split(render_template("vllm/serve.args.j2", values)))
    check_flags(argv[1:], vllm_flags(deployment.engine.version))
    if group.hosts_per_worker > 1 and group.layout.dp > 1:
        # Arithmetic on the pod's index needs a shell; `exec` keeps the engine the process that gets SIGTERM.
        script = " ".join(["exec", "vllm", "serve", *(_shell_word(word) for word in argv)])
        return Launch(argv, ("/bin/sh", "-c"), (script,))
    return Launch(argv, ("vllm", "serve"), argv)


def dynamo_worker_launch(
    deployment: Deployment,
    group: WorkerGroup,
    served_name: str,
    checkpoint: Checkpoint,
    *,
    publishes_kv_events: bool,
) -> Launch:
    """`python3 -m dynamo.vllm` for a worker of a graph.

    Raises:
        UnrenderablePlan: vLLM cannot express the layout, or this Dynamo release pins another vLLM.
    """
    _check_dynamo_release(deployment)
    values = {
        **_engine_values(deployment, group, served_name, checkpoint),
        "data_parallel_rpc_port": DYNAMO_DATA_PARALLEL_RPC_PORT,
        "disaggregation_mode": "" if group.role is Role.MIXED else str(group.role),
        "kv_transfer": {
            "kv_connector": "NixlConnector",
            "kv_role": "kv_both",
            "kv_load_failure_policy": "fail",
        },
        # A decode worker gets its KV cache from prefill workers: routing by prefix looks at those.
        "kv_events": {
            "enable_kv_cache_events": True,
            "publisher": "zmq",
            "topic": "kv-events",
            "endpoint": f"tcp://*:{KV_EVENTS_PORT}",
        }
        if publishes_kv_events and group.role is not Role.DECODE
        else None,
    }
    argv = tuple(shlex.split(render_template("dynamo/worker.args.j2", values)))
    engine_flags = {
        name: row for name, row in vllm_flags(deployment.engine.version).items() if not row.get("server")
    }
    check_flags(argv, {**engine_flags, **read_versions("dynamo")["flags"]["worker"]})
    return Launch(argv, ("python3", "-m", "dynamo.vllm"), argv)


def dynamo_frontend_launch(replicas: int, *, cache_locality: bool, migration_limit: int) -> Launch:
    """`python3 -m dynamo.frontend`; a request of a lost worker moves to another one up to `migration_limit` times."""
    values = {
        "port": API_PORT,
        "cache_locality": cache_locality,
        "replicas": replicas,
        "migration_limit": migration_limit,
    }
    argv = tuple(shlex.split(render_template("dynamo/frontend.args.j2", values)))
    check_flags(argv, read_versions("dynamo")["flags"]["frontend"])
    return Launch(argv, ("python3", "-m", "dynamo.frontend"), argv)


def _engine_values(
    deployment: Deployment, group: WorkerGroup, served_name: str, checkpoint: Checkpoint
) -> dict[str, Any]:
    layout = group.layout
    _check_layout(deployment, group)
    if served_name.startswith("-") or not served_name.strip():
        raise UnrenderablePlan(
            f"deployment {deployment.id}: clients cannot send the model name {served_name!r}."
        )
    num_seqs = max(1, group.max_num_seqs // layout.dp)
    num_tokens = group.max_num_batched_tokens // layout.dp
    if num_tokens < num_seqs:
        raise UnrenderablePlan(
            f"deployment {deployment.id}: {num_tokens} tokens for each step and rank are fewer than its {num_seqs} requests; vLLM refuses that. Raise max_num_batched_tokens."
        )
    return {
        "model": checkpoint.model,
        "load_format": checkpoint.load_format,
        "served_name": served_name,
        "tp": layout.tp,
        "pp": layout.pp,
        "cp": layout.cp,
        "dp": layout.dp,
        "is_expert_parallel": layout.ep > 1,
        "hosts": group.hosts_per_worker,
        "local_ranks": layout.dp // group.hosts_per_worker,
        "max_model_len": deployment.max_model_len,
        "rank_num_seqs": num_seqs,
        "rank_num_batched_tokens": num_tokens,
        "memory_fraction": deployment.engine.memory_fraction,
        "kv_cache_dtype": "fp8" if deployment.kv_cache is Precision.FP8 else "auto",
        "speculative": _speculative(deployment),
    }


def _check_layout(deployment: Deployment, group: WorkerGroup) -> None:
    """vLLM has no flag for the number of expert ranks: experts are spread over all of a stage's GPUs, or not at all."""
    layout, where = group.layout, f"deployment {deployment.id}, {group.role} worker {group.layout.label}"
    if layout.ep not in (1, layout.stage_gpus):
        raise UnrenderablePlan(
            f"{where}: vLLM spreads experts over all {layout.stage_gpus} GPUs of a stage, not over {layout.ep}."
        )
    if group.hosts_per_worker == 1 or layout.dp == 1:
        return
    if layout.pp > 1:
        raise UnrenderablePlan(f"{where}: attention DP with pipeline stages across hosts is not rendered.")
    if layout.dp % group.hosts_per_worker:
        raise UnrenderablePlan(
            f"{where}: an attention DP rank of {layout.tp * layout.cp} GPUs does not fit one host with {group.gpus_per_host_used}."
        )


def _speculative(deployment: Deployment) -> dict[str, str | int | float] | None:
    if not deployment.speculative:
        return None
    unknown = sorted(set(deployment.speculative) - set(_SPECULATIVE_KEYS) - set(_SPECULATIVE_FACTS))
    if unknown:
        raise UnrenderablePlan(
            f"deployment {deployment.id}: speculative decoding has the unknown settings {', '.join(unknown)}."
        )
    return {
        _SPECULATIVE_KEYS[key]: value
        for key, value in deployment.speculative.items()
        if key in _SPECULATIVE_KEYS
    }


def vllm_flags(version: str, table: str = "flags") -> Mapping[str, Any]:
    """Return a table of flags of this version: `flags` of the engine, `benchmark_flags` of `vllm bench serve`.

    Raises:
        UnrenderablePlan: the version is not known.
    """
    known = read_versions("vllm")
    if not _release(known["oldest"]) <= _release(version) <= _release(known["newest"]):
        raise UnrenderablePlan(
            f"vLLM {version} is not known to this fleetc, which knows {known['oldest']} to {known['newest']}."
        )
    flags: Mapping[str, Any] = known[table]
    return flags


def _release(version: str) -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", version)
    if not match:
        raise UnrenderablePlan(f"{version!r} is no version of an engine.")
    return int(match[1]), int(match[2])


def _check_dynamo_release(deployment: Deployment) -> None:
    releases = read_versions("dynamo")["releases"]
    release = deployment.engine.dynamo_version or "(none)"
    if release not in releases:
        raise UnrenderablePlan(
            f"deployment {deployment.id}: Dynamo {release} is not known to this fleetc, which knows {', '.join(releases)}."
        )
    if (pinned := releases[release]["vllm"]) != deployment.engine.version:
        raise UnrenderablePlan(
            f"deployment {deployment.id}: Dynamo {release} ships vLLM {pinned}, the plan says {deployment.engine.version}."
        )


def check_flags(argv: Sequence[str], known: Mapping[str, Any]) -> None:
    """Parse a command line back: every flag known by its full name, every value of its kind, nothing left over."""
    words = list(argv)
    while words:
        flag = words.pop(0)
        row = known.get(flag.removeprefix("--")) if flag.startswith("--") else None
        if row is None:
            raise ValueError(f"{flag!r} is no flag of the launch command's table")
        if row["kind"] == "words":
            while words and not words[0].startswith("--"):
                _check_value(flag, "word", words.pop(0))
        elif row["kind"] != "switch":
            _check_value(flag, row["kind"], words.pop(0) if words else "")


def _check_value(flag: str, kind: str, value: str) -> None:
    parsers: dict[str, Callable[[str], object]] = {
        "integer": int,
        "number": float,
        "json": json.loads,
        "word": _non_empty,
    }
    try:
        parsers[kind](value)
    except ValueError:
        raise ValueError(f"{flag} {value!r}: not of kind {kind}") from None


def _non_empty(value: str) -> str:
    if not value or value.startswith("--"):
        raise ValueError(value)
    return value


def _shell_word(word: str) -> str:
    """Quote a word for a script, but let variables that are known only at run time be expanded."""
    return f'"{word}"' if _RUN_TIME_VALUE.fullmatch(word) else shlex.quote(word)
