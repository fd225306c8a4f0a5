"""The benchmark jobs: the load they offer, what they hold, and that nothing syncs them."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from fleet.plan.document import FleetPlan, LengthSummary
from fleet.plan.file import plan_digest
from fleet.render.benchmark.job import benchmarks, plan_config
from fleet.render.benchmark.lengths import length_knots, mean_of
from fleet.render.build import build_graph
from fleet.render.engines.launch import check_flags, vllm_flags
from fleet.render.gpus import gpus_of
from fleet.render.omissions import omissions
from fleet.render.write import tree_files
from tests.plans import dev_plan, prod_plan
from tests.render.reading import bodies, deployment_of, with_deployment
from tests.render.wide import wide_plan


def _job(plan: FleetPlan, deployment: str) -> Mapping[str, Any]:
    (found,) = [item for item in benchmarks(plan) if item.folder == deployment]
    (job,) = [item.body for item in found.resources if item.id.kind == "Job"]
    return job


def _script(job: Mapping[str, Any], number: int = 0) -> str:
    (script,) = job["spec"]["template"]["spec"]["containers"][number]["args"]
    return str(script)


def _bench(script: str) -> list[str]:
    """The words of the benchmark's command line after `vllm bench serve`."""
    (line,) = [line for line in script.splitlines() if line.startswith("vllm bench serve")]
    return shlex.split(line)[3:]


def _option(words: list[str], name: str) -> str:
    return words[words.index(f"--{name}") + 1]


def _rows(script: str, folder: Path, client: int = 0, run: str = "a") -> list[dict[str, Any]]:
    """Run the part of a job's script that makes the requests, as its container does."""
    made = script[: script.index("\nvllm bench serve")].replace("/results/", f"{folder}/")
    environment = {"PATH": os.environ["PATH"], "JOB_COMPLETION_INDEX": str(client), "POD_UID": run}
    subprocess.run(["/bin/sh", "-c", made], check=True, env=environment)
    (trace,) = folder.glob("*.jsonl")
    return [json.loads(line) for line in trace.read_text().splitlines()]


@pytest.mark.parametrize("make", [dev_plan, prod_plan, wide_plan])
def test_every_deployment_has_its_own_folder_outside_what_is_synced(make: Any) -> None:
    plan = make()
    graph = build_graph(plan)
    files = tree_files(plan, graph)
    root = f"benchmarks/{plan.fleet}"
    folders = {path.split("/")[2] for path in files if path.startswith("benchmarks/")}
    assert folders == {"_plan", *(item.folder for item in benchmarks(plan))}
    read = [d for d in plan.deployments if d.checkpoint_uri.split("://")[0] in ("hf", "pvc")]
    assert len(benchmarks(plan)) == len(read) > 0
    assert f"{root}/kustomization.yaml" not in files
    assert not bodies(graph, "Job")
    assert not [path for path, text in files.items() if path.startswith("clusters/") and "benchmark" in text]
    for item in benchmarks(plan):
        listed = yaml.safe_load(files[f"{root}/{item.folder}/kustomization.yaml"])["resources"]
        named = [path.split("/")[3] for path in files if path.startswith(f"{root}/{item.folder}/")]
        assert sorted([*named, "../_plan"]) == sorted([*listed, "kustomization.yaml"])


@pytest.mark.parametrize("make", [dev_plan, prod_plan, wide_plan])
def test_benchmark_objects_are_valid_to_the_letter(make: Any) -> None:
    plan = make()
    for item in (plan_config(plan), *(item for found in benchmarks(plan) for item in found.resources)):
        kubernetes_validate.validate(dict(item.body), "1.34", strict=True)


def test_a_benchmark_holds_no_gpu_and_gpus_of_a_job_would_be_counted() -> None:
    job = json.loads(json.dumps(_job(dev_plan(), "chat-h100-dev")))
    assert gpus_of(job) == 0
    job["spec"]["parallelism"] = 3
    job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] = {"nvidia.com/gpu": "2"}
    assert gpus_of(job) == 6


@pytest.mark.parametrize("make", [dev_plan, prod_plan, wide_plan])
def test_all_clients_together_offer_the_planned_rate_to_all_replicas(make: Any) -> None:
    plan = make()
    for item in benchmarks(plan):
        deployment = deployment_of(plan, item.folder)
        job = _job(plan, item.folder)
        words = _bench(_script(job))
        labels = dict(word.split("=", 1) for word in words[words.index("--metadata") + 1 :])
        clients = job["spec"]["parallelism"]
        assert job["spec"]["completions"] == clients
        assert clients * int(labels["fleetc_replicas"]) == deployment.replicas
        assert clients * int(labels["fleetc_gpus"]) == deployment.gpus
        rate = deployment.served[0].rate_req_per_s
        assert clients * float(_option(words, "request-rate")) == pytest.approx(rate, rel=1e-5)
        assert float(labels["fleetc_rate"]) == float(_option(words, "request-rate"))
        assert (labels["fleetc_deployment"], labels["fleetc_fleet"]) == (deployment.id, plan.fleet)


def test_burstiness_is_the_shape_of_gamma_gaps() -> None:
    plan = dev_plan()
    (chat,) = plan.workloads
    for cv, shape in ((2.0, "0.25"), (1.0, "1.0"), (0.0, "inf")):
        demand = chat.demand.model_copy(update={"burstiness_cv": cv})
        changed = plan.model_copy(update={"workloads": (chat.model_copy(update={"demand": demand}),)})
        assert _option(_bench(_script(_job(changed, "chat-h100-dev"))), "burstiness") == shape


def test_the_requests_of_the_job_have_the_lengths_and_the_shared_prefix_of_the_plan(tmp_path: Path) -> None:
    plan = prod_plan()
    demand = next(w.demand for w in plan.workloads if w.name == "chat")
    script = _script(_job(plan, "chat-h100-east"))
    rows = _rows(script, tmp_path)
    chunk = int(_option(_bench(script), "timed-trace-chunk-hash-size"))
    assert len(rows) == int(_option(_bench(script), "num-prompts"))
    for key, wanted in (("input_length", demand.input_tokens), ("output_length", demand.output_tokens)):
        lengths = sorted(row[key] for row in rows)
        assert sum(lengths) / len(lengths) == pytest.approx(wanted.mean, rel=0.02)
        for share, tokens in ((0.5, wanted.p50), (0.9, wanted.p90)):
            assert lengths[int(share * len(lengths))] == pytest.approx(tokens, rel=0.06)
    tokens = sum(row["input_length"] for row in rows)
    shared = sum(chunk * sum(piece < 1 << 40 for piece in row["hash_ids"]) for row in rows)
    assert demand.cached_prefix_fraction > 0
    assert shared / tokens == pytest.approx(demand.cached_prefix_fraction, abs=0.02)
    own = [piece for row in rows for piece in row["hash_ids"] if piece >= 1 << 40]
    assert len(own) == len(set(own))


def test_a_second_run_has_the_same_lengths_and_other_prompts(tmp_path: Path) -> None:
    script = _script(_job(dev_plan(), "chat-h100-dev"))
    runs = []
    for run in ("a", "b"):
        folder = tmp_path / run
        folder.mkdir()
        runs.append(_rows(script, folder, run=run))
    first, second = runs
    assert [row["input_length"] for row in first] == [row["input_length"] for row in second]
    own = [{piece for row in rows for piece in row["hash_ids"] if piece >= 1 << 40} for rows in runs]
    assert own[0].isdisjoint(own[1])


def test_no_request_is_longer_than_the_engine_takes(tmp_path: Path) -> None:
    plan = with_deployment(dev_plan(), "chat-h100-dev", max_model_len=1500)
    rows = _rows(_script(_job(plan, "chat-h100-dev")), tmp_path)
    assert max(row["input_length"] + row["output_length"] for row in rows) == 1500
    assert min(row["output_length"] for row in rows) >= 1


@pytest.mark.parametrize(
    "summary",
    [
        LengthSummary(mean=1155, p50=1020, p90=2735, p99=4142, max=14050),
        LengthSummary(mean=28, p50=13, p90=55, p99=251, max=1899),
        LengthSummary(mean=211, p50=129, p90=424, p99=601, max=1000),
        LengthSummary(mean=500, p50=500, p90=500, p99=500, max=500),
        LengthSummary(mean=1, p50=1, p90=1, p99=1, max=1),
    ],
    ids=["input", "short-answers", "heavy-middle", "all-the-same", "one-token"],
)
def test_length_knots_have_the_mean_and_nearly_the_quantiles(summary: LengthSummary) -> None:
    knots = length_knots(summary)
    assert mean_of(knots) == pytest.approx(summary.mean, rel=1e-3)
    for (_, tokens), wanted in zip(
        knots[1:], (summary.p50, summary.p90, summary.p99, summary.max), strict=True
    ):
        assert tokens == pytest.approx(wanted, rel=0.03)


@pytest.mark.parametrize(
    ("quantile", "rate", "requests"),
    [(95, 0.5, 400), (99, 1.5, 2000), (99, 0.1, 180), (95, 50.0, 6000), (99, 0.001, 30)],
    ids=[
        "twenty-beyond-the-quantile",
        "more-for-a-higher-one",
        "half-an-hour-at-most",
        "two-minutes-at-least",
        "never-fewer-than-thirty",
    ],
)
def test_requests_are_enough_for_the_quantile_within_the_time(
    quantile: int, rate: float, requests: int
) -> None:
    plan = dev_plan(replicas=1)
    (served,) = deployment_of(plan, "chat-h100-dev").served
    limits = tuple(line.model_copy(update={"quantile": quantile}) for line in served.limits)
    e2e = served.e2e_ms.model_copy(update={"mean": 1000.0})
    update = {"limits": limits, "rate_req_per_s": rate, "e2e_ms": e2e}
    changed = with_deployment(plan, "chat-h100-dev", served=(served.model_copy(update=update),))
    assert _option(_bench(_script(_job(changed, "chat-h100-dev"))), "num-prompts") == str(requests)


def test_the_service_reaches_the_pods_of_its_deployment_that_answer() -> None:
    plan = prod_plan()
    graph = build_graph(plan)
    for item in benchmarks(plan):
        services = [found.body for found in item.resources if found.id.kind == "Service"]
        url = _option(_bench(_script(_job(plan, item.folder))), "base-url")
        host = url.removeprefix("http://").split(".")[0]
        known = [body["metadata"]["name"] for body in [*services, *bodies(graph, "Service")]]
        assert host in known
        for service in services:
            pools = [
                body for body in bodies(graph, "InferencePool") if body["metadata"]["name"] == item.folder
            ]
            assert service["spec"]["selector"] == pools[0]["spec"]["selector"]["matchLabels"]


def test_the_client_does_not_answer_for_its_deployment() -> None:
    """No selector of the tree may find the pods of a benchmark."""
    plan = prod_plan()
    graph = build_graph(plan)
    for item in benchmarks(plan):
        labels = _job(plan, item.folder)["spec"]["template"]["metadata"]["labels"]
        for body in graph:
            selector = body.body.get("spec", {}).get("selector", {})
            wanted = selector.get("matchLabels", selector if body.id.kind == "Service" else {})
            if wanted and body.id.kind != "PodMonitor":
                assert not wanted.items() <= labels.items(), body.id


def test_only_the_digest_of_the_plan_changes_where_the_deployment_does_not() -> None:
    before, after = prod_plan(chat_replicas=5), prod_plan(chat_replicas=6)
    assert _job(before, "agents-gb200-east") == _job(after, "agents-gb200-east")
    assert plan_config(before).body["data"] == {"plan": plan_digest(before)}
    assert plan_config(before).body["data"] != plan_config(after).body["data"]


def test_a_tokenizer_in_object_storage_is_an_omission_and_no_job() -> None:
    plan = with_deployment(dev_plan(), "chat-h100-dev", checkpoint_uri="s3://weights/qwen")
    assert benchmarks(plan) == ()
    assert not [path for path in tree_files(plan, build_graph(plan)) if path.startswith("benchmarks/")]
    assert [gap for gap in omissions(plan) if "benchmark" in gap.missing]
    assert not [gap for gap in omissions(dev_plan()) if "benchmark" in gap.missing]


def test_a_checkpoint_on_a_volume_is_mounted_for_its_tokenizer() -> None:
    plan = with_deployment(dev_plan(), "chat-h100-dev", checkpoint_uri="pvc://weights/qwen")
    pod = _job(plan, "chat-h100-dev")["spec"]["template"]["spec"]
    assert {"name": "checkpoint", "persistentVolumeClaim": {"claimName": "weights", "readOnly": True}} in pod[
        "volumes"
    ]
    assert _option(_bench(_script(_job(plan, "chat-h100-dev"))), "tokenizer") == "/checkpoints/qwen"
    assert not [row for row in pod["containers"][0]["env"] if row["name"] == "HF_TOKEN"]


def test_workloads_that_share_a_deployment_are_offered_at_once() -> None:
    plan = prod_plan()
    chat = deployment_of(plan, "chat-h100-east").served[0]
    both = (chat, chat.model_copy(update={"workload": "documents", "rate_req_per_s": 1.0}))
    job = _job(with_deployment(plan, "chat-h100-east", served=both), "chat-h100-east")
    containers = job["spec"]["template"]["spec"]["containers"]
    assert [container["name"] for container in containers] == ["chat", "documents"]
    assert _option(_bench(_script(job, 1)), "result-filename") == "documents.json"


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--request-rat", "3"], "no flag"),
        (["--num-prompts", "many"], "not of kind integer"),
        (["--metadata", "a=b", "c=d", "--seed"], "not of kind word"),
    ],
    ids=["abbreviated", "wrong-kind", "without-value"],
)
def test_a_wrong_command_line_is_found_before_it_is_written(words: list[str], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        check_flags(words, vllm_flags("0.33.0", "benchmark_flags"))
