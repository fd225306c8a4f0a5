"""The kernel tables as a backend: never raising, never faster than physics, and honest about what they lack."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.layout import ParallelismLayout, Precision
from fleet.perf.interface import Basis, Draft, Estimate, Point, Unsupported
from fleet.perf.memory import worker_memory
from fleet.perf.roofline import Roofline
from fleet.perf.silicon import Silicon, available, faults
from fleet.perf.silicon.extra import library
from fleet.perf.silicon.faults import Finding, Repair, repair_of
from fleet.perf.silicon.lint import findings_in, least_later
from fleet.perf.silicon.names import CHECKPOINTS, TableKey, table_key
from fleet.perf.silicon.tables import Table

from .parts import CATALOG, point, worker
from .test_roofline import points

needs_tables = pytest.mark.skipif(available() is not None, reason=str(available()))


@pytest.fixture(scope="module")
def silicon() -> Silicon:
    return Silicon()


def one(silicon: Silicon, p: Point) -> Estimate:
    answer = silicon.estimate([p])[0]
    assert isinstance(answer, Estimate), answer
    return answer


KEY = TableKey(
    "MiniMaxAI/MiniMax-M2.5", "b200_sxm", "vllm", "fp8_block", "fp8_block", "fp8", 4, 1, 1, 4, 1, 0
)


def finding(rule: str, kind: str = "gemm", engine: str = "vllm", precision: str = "fp8_block") -> Finding:
    return Finding("b200_sxm", engine, kind, precision, rule, 10.0, "a test", "", 0)


def test_the_package_is_imported_without_the_extra() -> None:
    code = (
        "import sys; import fleet.perf.silicon, fleet.perf.combined; "
        "print([m for m in sys.modules if m.startswith(('aiconfigurator', 'aisimulate', 'pyarrow'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_the_extra_every_point_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet.perf.silicon.backend.library", lambda: None)
    answer = Silicon().estimate([point()])[0]
    assert isinstance(answer, Unsupported)
    assert "pip install 'fleetc[silicon]'" in answer.detail


def test_every_named_checkpoint_is_of_a_model_of_the_catalogue() -> None:
    assert set(CHECKPOINTS) <= set(CATALOG.models)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (point(model="llama-3.3-70b", tp=2, cp=2), "tables-lack-layout"),
        (replace(point(), accelerator=CATALOG.accelerators["h100-sxm"].model_copy(update={"id": "x"})), "tables-lack-system"),
        (replace(point(), model=CATALOG.models["llama-3.3-70b"].model_copy(update={"id": "x", "layers": 79})), "tables-lack-model"),
    ],
)  # fmt: skip
def test_what_the_tables_have_no_word_for_is_a_reason(asked: Point, reason: str) -> None:
    answer = table_key(asked)
    assert isinstance(answer, Unsupported)
    assert answer.reason == reason


def test_a_fine_tune_of_a_known_shape_is_priced_as_that_shape() -> None:
    mine = CATALOG.models["llama-3.3-70b"].model_copy(update={"id": "mine"})
    assert table_key(replace(point(), model=mine)) == table_key(point())


def test_a_faulty_gemm_table_is_replaced_by_a_sound_one_of_the_same_accelerator() -> None:
    repair = repair_of(KEY, [finding("slower-than-wider"), finding("slower-than-wider", engine="sglang")])
    assert isinstance(repair, Repair)
    assert repair.gemm_donor == "trtllm"
    assert not repair.is_padded


@pytest.mark.parametrize(
    "findings",
    [
        [finding("faster-than-physics", kind="moe")],
        [finding("slower-than-wider", engine=e) for e in ("vllm", "sglang", "trtllm")],
        [finding("faster-than-physics", kind="context_attention", precision="fp8")],
    ],
)
def test_tables_that_cannot_be_repaired_are_not_used(findings: list[Finding]) -> None:
    answer = repair_of(KEY, findings)
    assert isinstance(answer, Unsupported)
    assert answer.reason == "table-fails-lint"
    assert findings[0].rule in answer.detail


def test_findings_on_other_precisions_and_accelerators_change_nothing() -> None:
    others = [
        finding("slower-than-wider", precision="nvfp4"),
        replace(finding("faster-than-physics"), system="gb200"),
    ]
    assert repair_of(KEY, others) == Repair()


def table(precision: str, latency_ms: list[float], floor_ms: float = 0.0) -> Table:
    count = len(latency_ms)
    return Table(
        "here", "gemm", precision, np.zeros(count, dtype=np.intp), tuple((1, 1) for _ in range(count)),
        np.arange(1.0, count + 1.0), np.array(latency_ms), np.full(count, floor_ms),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("tables", "rules"),
    [
        ([table("bfloat16", [1.0] * 40)], []),
        ([table("bfloat16", [1.0] * 40, floor_ms=1.04)], []),
        ([table("bfloat16", [1.0] * 40, floor_ms=1.2)], ["faster-than-physics"]),
        ([table("bfloat16", [1.0] * 40), table("fp8", [3.0] * 40)], []),
        ([table("bfloat16", [1.0] * 40), table("fp8", [5.0] * 40)], ["slower-than-wider"]),
        ([table("bfloat16", [2.0, 2.0, 2.0] + [1.0] * 37)], ["slower-at-less"]),
        ([table("bfloat16", [2.0] + [1.0] * 39)], []),
    ],
)
def test_each_rule_finds_its_fault_and_nothing_else(tables: list[Table], rules: list[str]) -> None:
    assert [f.rule for f in findings_in(tables, "h100_sxm", "vllm")] == rules


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 50), st.floats(0.01, 10.0)), min_size=1, max_size=60)
)
def test_the_least_later_latency_is_that_of_the_same_curve_at_no_smaller_batch(
    rows: list[tuple[int, int, float]],
) -> None:
    unique = list({(curve, batch): (curve, batch, ms) for curve, batch, ms in rows}.values())
    curve, batch, latency = (np.array(column) for column in zip(*unique, strict=True))
    found = least_later(curve, batch.astype(np.float64), latency)
    for i in range(len(unique)):
        same = (curve == curve[i]) & (batch >= batch[i])
        assert found[i] == latency[same].min()


def test_the_kept_findings_name_the_block_scaled_gemms_of_vllm() -> None:
    kept = faults.committed()
    broken = {f.system for f in kept.findings if f.rule == "slower-than-wider" and f.precision == "fp8_block"}
    assert broken == {"h100_sxm", "h200_sxm", "b200_sxm", "b300_sxm", "gb200", "gb300"}
    assert all(f.measure > 4 for f in kept.findings if f.rule == "slower-than-wider")


@needs_tables
def test_the_kept_findings_are_of_the_installed_library() -> None:
    installed = library()
    assert installed
    assert faults.committed().digest == installed.digest


@needs_tables
def test_the_linter_finds_the_known_fault_in_the_tables_themselves() -> None:
    from fleet.perf.silicon.tables import read_tables

    installed = library()
    assert installed
    gpu = CATALOG.accelerators["h200-sxm"]
    read = {e: read_tables(installed.tables, "h200_sxm", e, "gemm", gpu) for e in ("vllm", "trtllm")}
    assert [(f.precision, f.rule) for f in findings_in(read["vllm"], "h200_sxm", "vllm")] == [
        ("fp8_block", "slower-than-wider")
    ]
    assert findings_in(read["trtllm"], "h200_sxm", "trtllm") == []


@needs_tables
@settings(max_examples=10, deadline=None)
@given(asked=st.lists(points(), min_size=1, max_size=4))
def test_no_table_raises_or_beats_the_floor(silicon: Silicon, asked: list[Point]) -> None:
    asked = [replace(p, accelerator=CATALOG.accelerators["h200-sxm"]) for p in asked]
    for p, floor, answer in zip(asked, Roofline().estimate(asked), silicon.estimate(asked), strict=True):
        if isinstance(answer, Unsupported):
            assert answer.reason
            assert answer.detail
            assert "/site-packages/" not in answer.detail
            continue
        assert isinstance(floor, Estimate), p
        assert answer.decode_step_ms >= floor.decode_step_ms
        assert answer.prefill_ms >= floor.prefill_ms
        assert answer.prefill_latency_ms >= floor.prefill_latency_ms
        assert sum(answer.decode_shares.values()) == pytest.approx(1.0, abs=1e-4)
        assert sum(answer.prefill_shares.values()) == pytest.approx(1.0, abs=1e-4)
        assert answer.relative_error_p90 > 0
        assert answer.provenance.basis is Basis.EXTRAPOLATED


@needs_tables
def test_memory_is_our_own_rule(silicon: Silicon) -> None:
    p = point(tp=4)
    memory = worker_memory(p.model, p.accelerator, p.engine, p.layout, p.weights, p.dense_weights, p.kv)
    answer = one(silicon, p)
    assert answer.kv_capacity_tokens == memory.kv_capacity_tokens
    assert answer.weight_bytes_per_gpu == memory.weight_bytes_per_gpu


@needs_tables
def test_provenance_names_library_repair_and_substitution(silicon: Silicon) -> None:
    repaired = one(silicon, point(model="minimax-m2.5", gpu="b200-hgx", tp=4)).provenance
    assert repaired.backend == "silicon"
    assert repaired.version.split()[0] in ("aiconfigurator-core", "aisimulate")
    assert ", vllm 0." in repaired.version
    assert "GEMMs of sglang" in repaired.note
    rack = {"model": "deepseek-r1", "gpu": "gb200-nvl72", "engine_name": "trtllm"}
    narrow, wide = (one(silicon, point(**rack, dp=n, ep=n)) for n in (4, 8))
    assert "nodes of 4 GPUs" not in narrow.provenance.note
    assert "EP8 priced over nodes of 4 GPUs" in wide.provenance.note
    assert wide.relative_error_p90 >= narrow.relative_error_p90


@needs_tables
def test_racks_are_not_priced_as_wide_as_their_tables_are_wrong(silicon: Silicon) -> None:
    asked = point(model="deepseek-r1", gpu="gb200-nvl72", engine_name="sglang", dp=32, ep=32)
    answer = silicon.estimate([asked])[0]
    assert isinstance(answer, Unsupported)
    assert answer.reason == "table-fails-lint"
    assert "rises-with-ep" in answer.detail


@needs_tables
def test_drafts_are_verified_in_the_step_and_share_it(silicon: Silicon) -> None:
    plain = worker("deepseek-r1", "h200-sxm", "sglang", tp=8)
    drafting = replace(plain, draft=Draft(3, 2.4))
    p, q = (one(silicon, w.point(point().role, batch=16, isl=2000, osl=500)) for w in (plain, drafting))
    assert p.decode_step_ms / 2.4 < q.decode_step_ms < p.decode_step_ms


@needs_tables
def test_ranks_and_stages_share_the_occupied_time_of_a_prefill(silicon: Silicon) -> None:
    p = point(model="llama-3.3-70b", gpu="h200-sxm", tp=2)
    staged = one(silicon, replace(p, layout=ParallelismLayout(tp=2, pp=2)))
    alone = one(silicon, p)
    assert staged.prefill_latency_ms == pytest.approx(alone.prefill_latency_ms, rel=0.05)
    assert staged.prefill_ms == pytest.approx(alone.prefill_ms / 2, rel=0.05)


@needs_tables
def test_cached_prefixes_save_prefill(silicon: Silicon) -> None:
    p = point(gpu="h200-sxm", tp=4, isl=4000)
    assert one(silicon, replace(p, cached_prefix=3000)).prefill_ms < 0.5 * one(silicon, p).prefill_ms


@needs_tables
def test_more_bits_are_no_faster(silicon: Silicon) -> None:
    narrow, wide = (
        one(silicon, point(gpu="h200-sxm", engine_name="sglang", model="qwen3-32b", tp=2, weights=w, batch=8))
        for w in (Precision.FP8, Precision.BF16)
    )
    assert narrow.decode_step_ms < wide.decode_step_ms
