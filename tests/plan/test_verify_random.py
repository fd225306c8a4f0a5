"""Any number of a plan that is changed is caught, or stands in the list of those that nothing else follows from."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.plan import verify
from fleet.plan.verify import verify_plan
from tests.plan.verify_samples import changed, many_racks, numeric_paths, prod, value_at

PLAN = prod()
PATHS = list(numeric_paths(PLAN))

HARMLESS: dict[str, str] = {
    "policy.error_quantile": "either",
    "policy.max_utilisation": "either",
    "policy.budget_usd_per_hour": "either",
    "models.*.total_params": "less",
    "models.*.active_params": "either",
    "workloads.*.priority": "either",
    "workloads.*.candidates": "either",
    "workloads.*.dropped.*.count": "either",
    "workloads.*.questions.*.number": "either",
    "workloads.*.limits_as_written.*.*": "less",  # of the quantile; of a limit only where another is as strict
    "workloads.*.demand.peak_req_per_s": "less",
    "workloads.*.demand.retries": "less",
    "workloads.*.demand.mean_req_per_s": "either",
    "workloads.*.demand.burstiness_cv": "either",
    "workloads.*.demand.cached_prefix_fraction": "either",
    "workloads.*.demand.input_tokens.*": "either",
    "workloads.*.demand.output_tokens.p50": "either",
    "workloads.*.demand.output_tokens.p90": "either",
    "workloads.*.demand.output_tokens.p99": "either",
    "workloads.*.demand.output_tokens.max": "either",
    "offerings.*.available_units": "either",
    "offerings.*.domains_per_rack": "either",
    "deployments.*.max_model_len": "either",
    "deployments.*.utilisation": "either",
    "deployments.*.mean_batch_per_replica": "either",
    "deployments.*.kv_transfer_ms_mean": "either",
    "deployments.*.weight_load_s": "either",
    "deployments.*.engine.memory_fraction": "either",
    "deployments.*.provenance.relative_error_p90": "either",
    "deployments.*.provenance.ttft_relative_error_p90": "either",
    "deployments.*.estimate.*": "either",
    "deployments.*.workers.*.layout.ep": "either",
    "deployments.*.workers.*.max_num_seqs": "either",
    "deployments.*.workers.*.max_num_batched_tokens": "either",
    "deployments.*.workers.*.weight_bytes_per_gpu": "either",
    "deployments.*.workers.*.kv_capacity_tokens": "either",
    "deployments.*.served.*.limits.*.error_low_ms": "either",
    "deployments.*.served.*.limits.*.error_high_ms": "either",
    "deployments.*.served.*.ttft_ms.*": "either",
    "deployments.*.served.*.tpot_ms.*": "either",
    "deployments.*.served.*.e2e_ms.*": "either",
    "certificate.floor": "either",
    "certificate.physical_floor_gpus.*": "either",
    "certificate.attempts.*.usd_per_hour": "more",
    "certificate.attempts.*.bound": "less",
    "measure_next.*.concurrency": "either",
    "measure_next.*.requests": "either",
    "measure_next.*.error_before_p90": "either",
    "measure_next.*.error_after_p90": "either",
    "measure_next.*.slack": "either",  # of a run whose outcomes save nothing
    "measure_next.*.outcomes.*.standard_score": "either",
    "measure_next.*.outcomes.*.tpot_factor": "either",
    "measure_next.*.outcomes.*.gap": "either",
    "measure_next.*.outcomes.*.keep": "less",  # where the best costs more: it saves nothing either way
    "measure_next.*.outcomes.*.best": "more",
    "gateway.*": "either",
}
"""Fields in which a change for less or more, or either, may pass as long as the other fields agree with it (test_verify.py
has the other side of each); * stands for any step, the last one for any rest."""


def is_harmless(path: tuple[str | int, ...], direction: str) -> bool:
    return any(
        allowed in ("either", direction) and matches(field.split("."), path)
        for field, allowed in HARMLESS.items()
    )


def matches(pattern: list[str], path: tuple[str | int, ...]) -> bool:
    steps = [str(step) for step in path]
    if len(pattern) < len(steps) and pattern[-1] == "*":
        steps = steps[: len(pattern)]
    return len(pattern) == len(steps) and all(p in ("*", s) for p, s in zip(pattern, steps, strict=True))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(path=st.sampled_from(PATHS), factor=st.sampled_from([0.5, 0.9, 1.1, 2.0, 1000.0]))
def test_a_changed_number_is_caught_or_harmless(path: tuple[str | int, ...], factor: float) -> None:
    before = value_at(PLAN, path)
    after: Any = before * factor if isinstance(before, float) else int(before * factor)
    plan = changed(PLAN, path, after)
    if after != before and not is_harmless(path, "more" if after > before else "less"):
        assert verify_plan(plan), f"{path}: {before} -> {after}"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(path=st.sampled_from(PATHS), value=st.sampled_from([float("nan"), float("inf"), -float("inf")]))
def test_a_number_that_is_none_is_always_caught(path: tuple[str | int, ...], value: float) -> None:
    assert {v.rule for v in verify_plan(changed(PLAN, path, value))} == {"numbers"}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    path=st.sampled_from([p for p in PATHS if p[-1] not in ("priority", "margin", "standard_score")]),
    value=st.sampled_from([-1, -1e-6, -1e9]),
)
def test_a_negative_number_is_always_caught(path: tuple[str | int, ...], value: float) -> None:
    assert {v.rule for v in verify_plan(changed(PLAN, path, value))} == {"numbers"}


@pytest.mark.parametrize("field", sorted(HARMLESS))
def test_the_documentation_names_every_field_that_is_not_recomputed(field: str) -> None:
    name = next(step for step in reversed(field.split(".")) if step != "*")
    assert name in str(verify.__doc__)


def test_a_thousand_racks_are_verified_in_seconds() -> None:
    plan = many_racks(1000)
    start = time.process_time()
    found = verify_plan(plan)
    seconds = time.process_time() - start
    assert found == []
    assert seconds < 10.0


BROKEN = """
from fleet.plan.verify import verify_plan
from tests.plan.verify_samples import changed, prod
plan = changed(prod(), "policy.survive", ("zone", "rack", "host"))
plan = changed(plan, "workloads.2.deployments", ())
plan = changed(plan, "domains.8.hosts", lambda hosts: hosts[3:])
print(*verify_plan(plan), sep="\\n")
"""


def test_violations_come_in_the_same_order_under_any_hash_seed() -> None:
    said = {
        subprocess.run(
            [sys.executable, "-c", BROKEN],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(said) == 1
    assert said.pop().count("Violation(") > 10
