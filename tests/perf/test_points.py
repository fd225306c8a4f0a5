"""Benchmark tables: labels repaired, every row priced or refused with a reason, unusable files named by line."""

from __future__ import annotations

import csv
import io
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.perf.calibrated import Calibrated
from fleet.perf.points import ADDED_COLUMNS, REQUIRED_COLUMNS, UnusableTable, estimate_table, price_table
from fleet.perf.rows import repaired_layout

from .parts import CATALOG, TABLE, WITHOUT_TABLE

PERF = Calibrated()
ROW = {
    "source": "own", "model": "meta-llama/Llama-3.1-70B", "gpu": "H100-SXM-80GB", "engine": "vllm", "mode": "agg",
    "parallelism": "TP4 PP1 attnDP1 moeTP4 moeEP1", "precision": "fp8", "isl": "1024", "osl": "1024",
    "concurrency_or_batch": "16", "engine_version": "0.19.0", "date": "2026-04-17",
}  # fmt: skip
APART = ROW | {
    "model": "deepseek-ai/DeepSeek-R1", "gpu": "GB200-NVL72", "engine": "trtllm", "mode": "disagg", "precision": "fp4",
    "parallelism": "P: TP4 DP1 EP4 | D: TP8 DP1 EP8", "concurrency_or_batch": "64",
}  # fmt: skip
LABELS = {"p_workers": "1", "d_workers": "4", "p_dp_attn": "True", "d_dp_attn": "False"}


def table(*rows: dict[str, str]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(dict.fromkeys(name for row in rows for name in row)), restval="")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


@pytest.mark.parametrize(
    ("label", "expected", "gpus"),
    [
        pytest.param("TP4 PP1 attnDP1 moeTP4 moeEP1", "TP4", 4, id="as it stands"),
        pytest.param("TP4 PP1 attnDP4 moeTP1 moeEP16", "TP4 EP4", 4, id="vLLM counts the GPUs twice"),
        pytest.param("TP1 PP1 attnDP64 moeTP8 moeEP8", "DP8 EP8", 8, id="TensorRT-LLM counts their square"),
        pytest.param("TP1 PP1 attnDP1 moeTP2 moeEP1", "DP2", 2, id="attention ranks are hidden in the experts"),
        pytest.param("TP2 PP1 attnDP1 moeTP4 moeEP1", "TP2 DP2", 4, id="some of them"),
        pytest.param("TP1 PP1 attnDP8 moeTP1 moeEP8", "DP8 EP8", 8, id="said as it is"),
        pytest.param("TP2 PP1 attnDP0 moeTP0 moeEP0", "TP2", 2, id="zeros are ones"),
        pytest.param("TP4 PP1 attnDP1 moeTP2 moeEP2", "TP4 EP2", 4, id="experts in two ways"),
        pytest.param("TP8 PP2 attnDP1 moeTP8 moeEP1", "TP8 PP2", 16, id="pipeline stages"),
    ],
)  # fmt: skip
def test_layout_labels_are_repaired(label: str, expected: str, gpus: int) -> None:
    layout = repaired_layout(label)
    assert (layout.label, layout.gpus) == (expected, gpus)


def test_a_priced_row_has_all_figures_and_a_refused_one_only_its_reason() -> None:
    good, bad = price_table([ROW, ROW | {"gpu": "abacus"}], CATALOG, PERF)
    assert good.unsupported == ""
    assert good.bound == "memory-bandwidth"
    assert good.ttft_ms
    assert good.tpot_ms
    assert good.output_tok_per_s_per_gpu == pytest.approx(
        16 * 1024 / 4 / (good.ttft_ms + 1024 * good.tpot_ms) * 1e3, rel=1e-4
    )
    assert bad.cells == ["", "", "", "", "", "unknown-accelerator: 'abacus' is not in the catalogue"]


def test_lengths_of_inferencex_rows_are_nominal() -> None:
    own, drawn = price_table(
        [
            ROW | {"isl": "900", "osl": "900"},
            ROW | {"isl": "1000", "osl": "1000", "source": "InferenceX export"},
        ],
        CATALOG,
        PERF,
    )
    assert own == drawn


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": "no/such-model"}, "unknown-model"),
        ({"engine": "abacus"}, "unknown-engine"),
        ({"precision": "fp3"}, "unknown-precision"),
        ({"precision": "fp4"}, "no-hardware-precision"),
        ({"mode": "both"}, "unknown-mode"),
        ({"parallelism": "lots"}, "unreadable-parallelism"),
        ({"parallelism": "TP3 PP1 attnDP1 moeTP3 moeEP1"}, "tp-does-not-divide-heads"),
        ({"parallelism": "TP999999 PP1 attnDP1 moeTP1 moeEP1"}, "tp-does-not-divide-heads"),
        ({"parallelism": f"TP{'9' * 5000} PP1 attnDP1 moeTP1 moeEP1"}, "unreadable-parallelism"),
        ({"precision": "", "parallelism": "TP1 PP1 attnDP1 moeTP1 moeEP1"}, "does-not-fit"),
        ({"isl": "-5"}, "not-a-number"),
        ({"isl": "1e300"}, "not-a-number"),
        ({"isl": "nan"}, "not-a-number"),
        ({"osl": ""}, "not-a-number"),
        ({"isl": "900000"}, "context-too-long"),
        ({"concurrency_or_batch": "0"}, "not-a-number"),
        ({"concurrency_or_batch": "0.5"}, "below-one"),
        ({"date": "yesterday"}, "unreadable-date"),
        ({"draft_tokens": "9"}, "draft-out-of-range"),
    ],
)  # fmt: skip
def test_bad_rows_say_why(change: dict[str, str], reason: str) -> None:
    priced = price_table([ROW | change], CATALOG, PERF)[0]
    assert priced.unsupported.startswith(f"{reason}: "), priced


@pytest.mark.parametrize("workers", ["0", "0.5", "1.5", "-1", "many", "1e30"])
def test_worker_counts_must_be_whole(workers: str) -> None:
    for column in ("p_workers", "d_workers"):
        priced = price_table([APART | LABELS | {column: workers}], CATALOG, PERF)[0]
        assert priced.unsupported.startswith("not-a-number: "), priced


def test_disaggregated_rows_need_their_workers() -> None:
    bare, labelled = price_table([APART, APART | LABELS], CATALOG, PERF)
    assert bare.unsupported.startswith("worker-counts-missing: ")
    assert labelled.unsupported == ""
    assert labelled.tpot_ms
    assert labelled.ttft_ms
    through = 64 * 1024 / (labelled.ttft_ms + 1024 * labelled.tpot_ms) * 1e3
    assert labelled.output_tok_per_s_per_gpu == pytest.approx(through / (4 + 4 * 8), rel=1e-4)


def test_a_batch_limit_of_each_rank_makes_requests_wait() -> None:
    row = APART | LABELS | {"concurrency_or_batch": "4096"}
    free, limited = price_table([row, row | {"batch_limit": "64"}], CATALOG, PERF)
    assert limited.ttft_ms
    assert free.ttft_ms
    assert limited.ttft_ms > 2 * free.ttft_ms


def test_the_table_comes_back_in_order_with_its_own_columns() -> None:
    text = table(ROW | {"remark": 'a "quoted", remark'}, ROW | {"isl": "oops", "remark": "2"})
    rows = list(csv.DictReader(io.StringIO(estimate_table(text, CATALOG, PERF))))
    assert [r["remark"] for r in rows] == ['a "quoted", remark', "2"]
    assert list(rows[0])[-len(ADDED_COLUMNS) :] == list(ADDED_COLUMNS)
    assert rows[1]["unsupported"].startswith("not-a-number")
    again = estimate_table(estimate_table(text, CATALOG, PERF), CATALOG, PERF)
    assert again == estimate_table(text, CATALOG, PERF)


@pytest.mark.parametrize(
    ("text", "line", "fault"),
    [
        pytest.param("", 1, "missing columns", id="an empty file"),
        pytest.param("a,b\n1,2\n", 1, "missing columns: model", id="another table"),
        pytest.param(",".join(REQUIRED_COLUMNS) + "\n", 1, "no rows", id="a header alone"),
        pytest.param(",".join([*REQUIRED_COLUMNS, "isl"]) + "\n", 1, "repeated columns: isl", id="a column twice"),
        pytest.param(",".join(REQUIRED_COLUMNS) + "\n1,2\n", 2, "2 values under 9 columns", id="a short row"),
        pytest.param(",".join(REQUIRED_COLUMNS) + '\n"a"b,2\n', 2, "not CSV", id="a stray quote"),
        pytest.param(",".join(REQUIRED_COLUMNS) + "\n\0\n", 2, "NUL", id="binary"),
    ],
)  # fmt: skip
def test_unusable_files_are_named_by_line(text: str, line: int, fault: str) -> None:
    with pytest.raises(UnusableTable, match=fault) as raised:
        estimate_table(text, CATALOG, PERF)
    assert raised.value.line == line


CELL = st.one_of(
    st.text(max_size=12), st.sampled_from(sorted({v for row in (ROW, APART | LABELS) for v in row.values()}))
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(sorted(ROW | LABELS)), CELL), min_size=1, max_size=6))
def test_no_row_raises(changes: list[dict[str, str]]) -> None:
    for base in (ROW, APART | LABELS):
        priced = price_table([base | change for change in changes], CATALOG, PERF)
        assert len(priced) == len(changes)
        assert all(p.unsupported or (p.tpot_ms and p.ttft_ms) for p in priced)


def test_the_calibration_table_is_priced_but_for_named_reasons() -> None:
    if not TABLE.is_file():
        pytest.skip(WITHOUT_TABLE)
    out = estimate_table(TABLE.read_text(), CATALOG, PERF)
    reasons = Counter(row["unsupported"].split(":")[0] for row in csv.DictReader(io.StringIO(out)))
    assert reasons == {"": 1957, "worker-counts-missing": 755, "does-not-fit": 2}
