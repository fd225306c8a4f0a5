"""Benchmark results against a plan: verdicts, whether the load was the planned one, and why it could be."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from fleet.plan.document import FleetPlan, LimitLine
from fleet.plan.file import plan_digest
from fleet.results.record import BenchmarkResult, Latency
from fleet.review.bench import Comparison, Verdict, compare, judge
from fleet.review.bench_causes import causes
from fleet.review.bench_report import render_bench_json, render_bench_text, verdict_of
from fleet.review.bench_runs import Unplaced, runs_of
from tests.plans import dev_plan, prod_plan
from tests.render.reading import deployment_of

LINE = LimitLine(
    metric="ttft",
    quantile=95,
    limit_ms=800.0,
    predicted_ms=400.0,
    error_low_ms=300.0,
    error_high_ms=600.0,
    margin=0.5,
)


def as_planned(plan: FleetPlan, deployment: str, **update: Any) -> BenchmarkResult:
    """The result of a run in which everything is as the plan predicts."""
    d = deployment_of(plan, deployment)
    (served,) = d.served
    demand = next(w.demand for w in plan.workloads if w.name == served.workload)
    rate = served.rate_req_per_s
    labels = {
        "fleetc_deployment": d.id,
        "fleetc_workload": served.workload,
        "fleetc_replicas": str(d.replicas),
        "fleetc_gpus": str(d.gpus),
        "fleetc_cached": f"{demand.cached_prefix_fraction:g}",
        "fleetc_plan": plan_digest(plan),
    }
    latencies = {
        name: Latency(q.mean, q.p50, q.p90, q.p95, q.p99)
        for name, q in (("ttft", served.ttft_ms), ("tpot", served.tpot_ms), ("e2e", served.e2e_ms))
    }
    for line in served.limits:
        latencies[line.metric] = replace(
            latencies[line.metric], **{f"p{line.quantile}": line.predicted_ms, "p99": line.predicted_ms}
        )
    result = BenchmarkResult(
        source="result.json",
        tool="vllm-bench",
        sha256="0" * 64,
        request_rate=rate,
        isl=demand.input_tokens.mean,
        osl=demand.output_tokens.mean,
        ttft=latencies["ttft"],
        tpot=latencies["tpot"],
        e2e=latencies["e2e"],
        completed_req_per_s=rate * 0.97,
        output_tok_per_s=rate * 0.97 * demand.output_tokens.mean,
        completed=4000,
        failed=0,
        labels=labels,
    )
    return replace(result, **update)


def _compared(plan: FleetPlan, *results: BenchmarkResult) -> Comparison:
    runs, unplaced = runs_of(plan, results)
    assert not unplaced
    (run,) = runs
    return compare(plan, run)


@pytest.mark.parametrize(
    ("latency", "verdict", "quantile"),
    [
        (Latency(p95=450.0), Verdict.HOLDS, 95),
        (Latency(p95=200.0), Verdict.FASTER, 95),
        (Latency(p95=700.0), Verdict.SLOWER, 95),
        (Latency(p95=800.0), Verdict.SLOWER, 95),
        (Latency(p95=801.0), Verdict.FAILS, 95),
        (Latency(p50=300.0, p99=790.0), Verdict.HOLDS, 99),
        (Latency(p50=300.0, p99=900.0), Verdict.UNKNOWN, 95),
        (Latency(p50=900.0), Verdict.FAILS, 50),
        (Latency(mean=900.0), Verdict.UNKNOWN, 95),
    ],
    ids=[
        "inside the interval",
        "below it",
        "above it and within the limit",
        "at the limit",
        "over the limit",
        "a higher quantile within the limit shows that it holds",
        "a higher quantile beyond it shows nothing",
        "a lower quantile beyond the limit shows that it does not hold",
        "a mean is no quantile",
    ],
)
def test_a_limit_is_judged_by_its_quantile(latency: Latency, verdict: Verdict, quantile: int) -> None:
    judged = judge(LINE, latency)
    assert (judged.verdict, judged.quantile) == (verdict, quantile)


def test_a_run_as_predicted_holds_and_needs_no_explanation() -> None:
    plan = dev_plan()
    found = _compared(plan, as_planned(plan, "chat-h100-dev"))
    assert found.is_planned_load
    assert found.holds
    assert found.is_of_this_plan
    assert verdict_of(found) == "holds"
    assert causes(found) == ()


@pytest.mark.parametrize(
    ("update", "line"),
    [
        ({"request_rate": 1.0}, "rate offered"),
        ({"request_rate": None, "concurrency": 400.0}, "in flight"),
        ({"isl": 2000.0}, "prompt mean"),
        ({"osl": 100.0}, "answer mean"),
    ],
    ids=["another rate", "too many in flight", "longer prompts", "shorter answers"],
)
def test_another_load_is_no_verdict(update: dict[str, Any], line: str) -> None:
    plan = dev_plan()
    found = _compared(plan, as_planned(plan, "chat-h100-dev", **update))
    assert [item.name for item in found.load if item.agrees is False] == [line]
    assert verdict_of(found) == "not the planned load"


def test_a_load_that_the_result_does_not_say_is_not_taken_as_planned() -> None:
    plan = dev_plan()
    assert not _compared(plan, as_planned(plan, "chat-h100-dev", request_rate=None)).is_planned_load


def test_a_closed_loop_with_the_planned_number_in_flight_is_the_planned_load() -> None:
    plan = dev_plan()
    (served,) = deployment_of(plan, "chat-h100-dev").served
    held = served.rate_req_per_s * served.e2e_ms.mean / 1e3
    result = as_planned(plan, "chat-h100-dev", request_rate=None, concurrency=held)
    assert _compared(plan, result).is_planned_load


def _slow(plan: FleetPlan, metric: str, p50: float) -> dict[str, Any]:
    """The update of a result whose limit on a metric does not hold, with a median of `p50` times the prediction."""
    (served,) = deployment_of(plan, "chat-h100-dev").served
    line = next(line for line in served.limits if line.metric == metric)
    predicted = served.ttft_ms if metric == "ttft" else served.tpot_ms
    over = 1.5 * line.limit_ms
    return {metric: Latency(over / 2, predicted.p50 * p50, over, over, over)}


@pytest.mark.parametrize(
    ("metric", "p50", "update", "kind"),
    [
        ("ttft", 1.0, {}, "waiting-for-prefill"),
        ("ttft", 1.0, {}, "uneven-replicas"),
        ("ttft", 2.0, {}, "slow-prefill"),
        ("tpot", 2.0, {}, "slow-steps"),
        ("tpot", 1.0, {}, "prefill-between-steps"),
        ("ttft", 2.0, {"failed": 3}, "failed-requests"),
        ("ttft", 2.0, {"completed_req_per_s": 0.8}, "rate-not-reached"),
        ("ttft", 2.0, {"isl": 2000.0}, "longer-prompts"),
        ("ttft", 2.0, {"osl": 20.0}, "shorter-answers"),
        ("tpot", 2.0, {"engine_version": "0.18.0"}, "other-engine-version"),
        ("tpot", 2.0, {"completed": 60}, "few-requests"),
        ("tpot", 2.0, {"request_rate": None, "concurrency": 1e5}, "above-batch-limit"),
        ("tpot", 2.0, {"request_rate": None, "concurrency": 1e5}, "kv-cache-full"),
    ],
)
def test_evidence_names_its_cause_and_its_absence_does_not(
    metric: str, p50: float, update: dict[str, Any], kind: str
) -> None:
    plan = dev_plan()
    shown = _compared(plan, as_planned(plan, "chat-h100-dev", **{**_slow(plan, metric, p50), **update}))
    other = "tpot" if metric == "ttft" else "ttft"
    without = _compared(plan, as_planned(plan, "chat-h100-dev", **_slow(plan, other, 3.0 - p50)))
    assert kind in {cause.kind for cause in causes(shown)}
    assert kind not in {cause.kind for cause in causes(without)}


def test_prompts_without_the_planned_prefix_are_named_with_what_they_cost() -> None:
    plan = dev_plan()
    (chat,) = plan.workloads
    demand = chat.demand.model_copy(update={"cached_prefix_fraction": 0.5})
    plan = plan.model_copy(update={"workloads": (chat.model_copy(update={"demand": demand}),)})
    result = as_planned(plan, "chat-h100-dev")
    labels = {key: value for key, value in result.labels.items() if key != "fleetc_cached"}
    silent = _compared(plan, replace(result, labels=labels, **_slow(plan, "ttft", 2.0)))
    (cause,) = [cause for cause in causes(silent) if cause.kind == "other-prefix-hits"]
    assert "2 times as long" in cause.sentence
    said = _compared(plan, replace(result, **_slow(plan, "ttft", 2.0)))
    assert "other-prefix-hits" not in {cause.kind for cause in causes(said)}


def test_a_result_of_another_plan_is_said_to_be_one() -> None:
    plan = dev_plan()
    result = as_planned(plan, "chat-h100-dev", **_slow(plan, "tpot", 2.0))
    found = _compared(plan, replace(result, labels={**result.labels, "fleetc_plan": "1" * 64}))
    assert found.is_of_this_plan is False
    assert "another-plan" in {cause.kind for cause in causes(found)}


def test_a_result_of_another_plan_is_said_to_be_one_where_it_holds_too() -> None:
    plan = dev_plan()
    result = as_planned(plan, "chat-h100-dev")
    held = replace(result, labels={**result.labels, "fleetc_plan": "1" * 64})
    assert "rendered from another plan" in render_bench_text([_compared(plan, held)], "fleetc calibrate")
    assert "another plan" not in render_bench_text([_compared(plan, result)], "fleetc calibrate")


def test_clients_of_one_job_are_put_together_by_their_requests() -> None:
    plan = dev_plan(replicas=2)
    whole = as_planned(plan, "chat-h100-dev")
    assert whole.request_rate is not None
    labels = {**whole.labels, "fleetc_replicas": "1", "fleetc_gpus": "2"}
    parts = [
        replace(
            whole,
            source=f"{n}.json",
            request_rate=whole.request_rate / 2,
            labels=labels,
            completed=completed,
            tpot=Latency(p95=tpot),
        )
        for n, (completed, tpot) in enumerate(((3000, 30.0), (1000, 40.0)))
    ]
    found = _compared(plan, *parts)
    assert found.run.result.request_rate == pytest.approx(whole.request_rate)
    assert found.run.result.completed == 4000
    assert found.run.result.tpot.p95 == pytest.approx(32.5)
    assert (found.run.replicas, found.run.sources) == (2, ("0.json", "1.json"))
    assert found.is_planned_load
    other_load = replace(parts[1], request_rate=whole.request_rate)
    apart, _ = runs_of(plan, [parts[0], other_load])
    assert [run.sources for run in apart] == [("0.json",), ("1.json",)], "two runs, and no clients of one"
    twice, _ = runs_of(plan, [*parts, *parts])
    assert [run.replicas for run in twice] == [2, 2]


def test_one_client_of_several_is_held_against_the_rate_of_its_own_replicas() -> None:
    plan = dev_plan(replicas=2)
    whole = as_planned(plan, "chat-h100-dev")
    assert whole.request_rate is not None
    labels = {**whole.labels, "fleetc_replicas": "1", "fleetc_gpus": "2"}
    assert _compared(plan, replace(whole, labels=labels, request_rate=whole.request_rate / 2)).is_planned_load
    assert not _compared(plan, replace(whole, labels=labels)).is_planned_load


@pytest.mark.parametrize("said", ["²", "9" * 5000, "0", "-1", "many"])
def test_a_label_that_is_no_number_of_replicas_says_nothing(said: str) -> None:
    plan = dev_plan(replicas=2)
    result = as_planned(plan, "chat-h100-dev")
    found = _compared(plan, replace(result, labels={**result.labels, "fleetc_replicas": said}))
    assert (found.run.replicas, found.run.replicas_are_said) == (2, False)


def test_a_shared_prompt_that_is_no_number_is_not_said() -> None:
    plan = dev_plan()
    result = as_planned(plan, "chat-h100-dev")
    found = _compared(plan, replace(result, labels={**result.labels, "fleetc_cached": "nan"}))
    assert next(line for line in found.load if line.name == "prompt shared").measured is None


@pytest.mark.parametrize(
    ("labels", "model", "named"),
    [
        ({"fleetc_deployment": "chat-h100-wes"}, "", "chat-h100-wes"),
        ({}, "llama-70b", ""),
        ({}, "nobody/knows", ""),
        ({"fleetc_deployment": "chat-h100-east", "fleetc_workload": "rag"}, "", "rag"),
    ],
    ids=["unknown deployment", "several serve the model", "nothing serves it", "unknown workload"],
)
def test_a_result_without_one_clear_place_is_handed_back(
    labels: dict[str, str], model: str, named: str
) -> None:
    result = BenchmarkResult(source="r", tool="vllm-bench", sha256="", model=model, labels=labels)
    runs, (unplaced,) = runs_of(prod_plan(), [result])
    assert not runs
    assert isinstance(unplaced, Unplaced)
    assert unplaced.named == named
    assert unplaced.known


def test_a_row_of_a_table_is_of_the_hardware_that_it_states_and_is_not_placed_by_its_model() -> None:
    plan = dev_plan()
    result = replace(as_planned(plan, "chat-h100-dev"), labels={}, model="qwen3-32b")
    in_table = replace(result, row={"model": "qwen3-32b", "gpu": "B200"})
    assert runs_of(plan, [result])[0]
    assert [item.result for item in runs_of(plan, [in_table])[1]] == [in_table]
    assert runs_of(plan, [in_table], "chat-h100-dev")[0], "where --deployment says so"


def test_a_model_that_one_deployment_serves_places_a_result() -> None:
    plan = dev_plan()
    result = as_planned(plan, "chat-h100-dev", labels={}, model="qwen3-32b")
    found = _compared(plan, result)
    assert (found.run.deployment.id, found.run.replicas_are_said) == ("chat-h100-dev", False)


def test_text_and_json_say_the_same() -> None:
    plan = dev_plan()
    found = _compared(plan, as_planned(plan, "chat-h100-dev", **_slow(plan, "tpot", 2.0)))
    text = render_bench_text([found], "fleetc calibrate stack result.json")
    data = json.loads(render_bench_json([found], "fleetc calibrate stack result.json"))
    (item,) = data["benchmarks"]
    assert data["format_version"] == "1.0"
    assert item["verdict"] == "does not hold"
    assert "DOES NOT HOLD" in text
    assert "50 % over the limit" in text
    assert "fleetc calibrate stack result.json" in " ".join(text.split())
    for cause in item["causes"]:
        assert f"[{cause['kind']}]" in text
    (limit,) = [limit for limit in item["limits"] if limit["metric"] == "tpot"]
    assert limit["over_limit"] == pytest.approx(0.5)
    assert max(map(len, text.splitlines())) <= 100
    assert render_bench_text([found], "x") == render_bench_text([found], "x")
