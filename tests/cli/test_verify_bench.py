"""`fleetc verify-bench` over files as `vllm bench serve` writes them: exit codes, places of faults, JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleet.plan.file import dump_plan, plan_digest
from tests.cli.conftest import Ran
from tests.plans import dev_plan

Fleetc = Callable[..., Ran]
PLAN = dev_plan()
DEPLOYMENT = PLAN.deployments[0]
SERVED = DEPLOYMENT.served[0]


@pytest.fixture
def planned(tmp_path: Path) -> Path:
    """A stack's folder with a plan."""
    folder = tmp_path / "stack"
    folder.mkdir()
    (folder / "plan.json").write_text(dump_plan(PLAN))
    return folder


def _result(path: Path, slower: float = 1.0, **update: Any) -> Path:
    """A result in which everything is as predicted, or by a factor slower."""
    demand = PLAN.workloads[0].demand
    rate, requests = SERVED.rate_req_per_s, 1000
    duration = requests / rate * 1.02
    record: dict[str, Any] = {
        "date": "20261124-101500",
        "backend": "openai",
        "model_id": "qwen3-32b",
        "num_prompts": requests,
        "request_rate": rate,
        "max_concurrency": None,
        "duration": duration,
        "completed": requests,
        "failed": 0,
        "total_input_tokens": round(requests * demand.input_tokens.mean),
        "total_output_tokens": round(requests * demand.output_tokens.mean),
        "request_throughput": requests / duration,
        "output_throughput": requests * demand.output_tokens.mean / duration,
        "fleetc_deployment": DEPLOYMENT.id,
        "fleetc_replicas": str(DEPLOYMENT.replicas),
        "fleetc_plan": plan_digest(PLAN),
    }
    for name in ("ttft", "tpot"):
        (line,) = [line for line in SERVED.limits if line.metric == name]
        for key, share in (("mean", 0.5), ("median", 0.45), ("p90", 0.9), ("p95", 1.0), ("p99", 1.1)):
            record[f"{key}_{name}_ms"] = slower * share * line.predicted_ms
    path.write_text(json.dumps({**record, **update}))
    return path


def test_a_run_as_predicted_exits_with_0(fleetc: Fleetc, planned: Path, tmp_path: Path) -> None:
    ran = fleetc("verify-bench", planned, _result(tmp_path / "r.json"))
    assert ran.code == 0, ran.out + ran.err
    assert "chat: HOLDS" in ran.out
    assert "1 of 1 benchmark holds what the plan says." in ran.out


def test_a_limit_that_does_not_hold_exits_with_4_and_says_by_how_much_and_why(
    fleetc: Fleetc, planned: Path, tmp_path: Path
) -> None:
    ran = fleetc("verify-bench", planned, _result(tmp_path / "r.json", slower=4.0))
    assert ran.code == 4
    assert "DOES NOT HOLD" in ran.out
    assert "over the limit" in ran.out
    assert "[slow-steps]" in ran.out
    assert "fleetc calibrate" in ran.out


def test_another_load_exits_with_1_however_it_went(fleetc: Fleetc, planned: Path, tmp_path: Path) -> None:
    for slower in (0.9, 4.0):
        result = _result(tmp_path / "r.json", slower, request_rate=SERVED.rate_req_per_s / 2)
        ran = fleetc("verify-bench", planned, result)
        assert ran.code == 1
        assert "NOT THE PLANNED LOAD" in ran.out


def test_a_workload_that_the_deployment_does_not_serve_is_called_one(
    fleetc: Fleetc, planned: Path, tmp_path: Path
) -> None:
    ran = fleetc("verify-bench", planned, _result(tmp_path / "r.json", fleetc_workload="rag"))
    assert ran.code == 1
    assert "the deployment serves no workload 'rag'" in ran.err


def test_json_has_the_verdict_for_machines(fleetc: Fleetc, planned: Path, tmp_path: Path) -> None:
    ran = fleetc("verify-bench", planned, _result(tmp_path / "r.json", slower=4.0), "--json")
    assert ran.code == 4
    (item,) = json.loads(ran.out)["benchmarks"]
    assert (item["deployment"], item["verdict"]) == (DEPLOYMENT.id, "does not hold")


def test_a_file_of_two_runs_is_two_verdicts(fleetc: Fleetc, planned: Path, tmp_path: Path) -> None:
    one = _result(tmp_path / "a.json").read_text()
    other = _result(tmp_path / "b.json", slower=4.0).read_text()
    both = tmp_path / "both.json"
    both.write_text(f"{one}\n{other}\n")
    ran = fleetc("verify-bench", planned, both)
    assert ran.code == 4
    assert "1 of 2 benchmarks hold what the plan says." in ran.out


@pytest.mark.parametrize(
    ("update", "arguments", "rule"),
    [
        ({"fleetc_deployment": "chat-h100-dex"}, (), "unknown-deployment"),
        ({"fleetc_deployment": None, "model_id": "another/model"}, (), "unclear-deployment"),
        ({"mean_ttft_ms": "fast"}, (), "impossible-figure"),
        ({"fleetc_deployment": None, "model_id": "another/model"}, ("--deployment", "nobody"), "nobody"),
    ],
    ids=["unknown deployment", "unclear deployment", "no number", "unknown option"],
)
def test_what_is_wrong_is_said_with_its_rule_and_exits_with_1(
    fleetc: Fleetc,
    planned: Path,
    tmp_path: Path,
    update: dict[str, Any],
    arguments: tuple[str, ...],
    rule: str,
) -> None:
    ran = fleetc("verify-bench", planned, _result(tmp_path / "r.json", **update), *arguments)
    assert ran.code == 1
    assert rule in ran.err
    assert "internal error" not in ran.err


def test_an_option_says_which_deployment_it_was(fleetc: Fleetc, planned: Path, tmp_path: Path) -> None:
    result = _result(tmp_path / "r.json", fleetc_deployment=None, model_id="another/model")
    assert fleetc("verify-bench", planned, result, "--deployment", DEPLOYMENT.id).code == 0


def test_a_missing_plan_or_file_is_told(fleetc: Fleetc, planned: Path, tmp_path: Path) -> None:
    assert fleetc("verify-bench", planned, tmp_path / "none.json").code == 1
    assert "does not exist" in fleetc("verify-bench", tmp_path / "nowhere", tmp_path / "none.json").err
