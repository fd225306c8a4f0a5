"""Results files of every tool, whole and broken."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.diagnostics import Diagnostic, Rejected, Severity, render_text
from fleet.results.read import read_files, read_results
from fleet.results.record import BenchmarkResult
from tests.results.written import (
    CSV_EXPORT,
    ISL,
    OSL,
    aiperf,
    dumped,
    genai_perf,
    metrics,
    row,
    sglang,
    table,
    vllm,
)


def written(folder: Path, text: str, name: str = "result.json") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def only(folder: Path, text: str, name: str = "result.json") -> BenchmarkResult:
    [result] = read_results(written(folder, text, name))
    return result


def refused(folder: Path, text: str, name: str = "result.json") -> list[str]:
    with pytest.raises(Rejected) as rejected:
        read_results(written(folder, text, name))
    rendered = render_text(rejected.value.diagnostics, rejected.value.sources)
    assert name in rendered
    assert all(d.span and d.help for d in rejected.value.diagnostics)
    return [d.rule for d in rejected.value.diagnostics]


def test_a_vllm_result_is_read_with_its_labels(tmp_path: Path) -> None:
    r = only(tmp_path, json.dumps(vllm(fleetc_deployment="chat-h100", gpu="ours")))
    assert (r.tool, r.model, r.day) == ("vllm-bench", "llama-8b", date(2026, 8, 25))
    assert (r.isl, r.osl, r.concurrency, r.request_rate) == (ISL, OSL, 16.0, None)
    assert (r.ttft.mean, r.ttft.p50, r.ttft.p99, r.ttft.p95) == (150.0, 135.0, 300.0, None)
    assert (r.tpot.mean, r.completed, r.failed) == (14.0, 160, 0)
    assert r.labels == {"fleetc_deployment": "chat-h100"}
    assert r.file == r.source == str(tmp_path / "result.json")


def test_appended_results_are_read_one_by_one_and_a_run_keeps_its_digest(tmp_path: Path) -> None:
    first = only(tmp_path, json.dumps(vllm(16)))
    again, second = read_results(written(tmp_path, dumped(vllm(16), vllm(32))))
    assert again.record_sha256 == first.record_sha256
    assert again.sha256 != first.sha256
    assert (second.concurrency, second.line, second.source) == (32.0, 2, f"{tmp_path / 'result.json'}:2")
    assert second.file == str(tmp_path / "result.json")


def test_an_indented_result_after_another_one_is_read(tmp_path: Path) -> None:
    text = json.dumps(vllm(16), indent=2) + "\n" + json.dumps(vllm(32), indent=2)
    assert [r.concurrency for r in read_results(written(tmp_path, text))] == [16.0, 32.0]


def test_sglang_writes_infinity_and_labels_come_in_the_tag(tmp_path: Path) -> None:
    text = dumped(sglang(tag="fleetc_deployment=chat-h100,fleetc_replicas=2"))
    assert "Infinity" in text
    r = only(tmp_path, text, "out.jsonl")
    assert (r.tool, r.engine, r.engine_version) == ("sglang-bench", "sglang", "0.5.9")
    assert r.model == "meta-llama/Llama-3.1-8B-Instruct"
    assert (r.concurrency, r.request_rate) == (16.0, None)
    assert r.labels == {"fleetc_deployment": "chat-h100", "fleetc_replicas": "2"}
    assert r.e2e.mean == pytest.approx(90 + 299 * 9)


LOADS: list[tuple[str, dict[str, Any], tuple[float | None, float | None]]] = [
    ("a limit on requests in flight", {}, (16.0, None)),
    ("fewer prompts than the limit", {"max_concurrency": 500, "num_prompts": 160}, (160.0, None)),
    ("a rate", {"max_concurrency": None, "request_rate": 2.0}, (None, 2.0)),
    ("everything at once", {"max_concurrency": None}, (None, None)),
    ("a rate that the limit holds back", {"request_rate": 99.0}, (16.0, None)),
    ("a limit that the rate never reaches", {"request_rate": 3.7, "max_concurrency": 150}, (None, 3.7)),
]


@pytest.mark.parametrize(("what", "more", "load"), LOADS, ids=[name for name, _, _ in LOADS])
def test_the_load_is_what_holds_the_run_back(
    tmp_path: Path, what: str, more: dict[str, Any], load: tuple[float | None, float | None]
) -> None:
    r = only(tmp_path, json.dumps(vllm(**more)))
    assert (r.concurrency, r.request_rate) == load, what


EXPORTS: list[tuple[str, dict[str, Any], str]] = [
    ("AIPerf", aiperf(), "aiperf"),
    ("AIPerf with phases", aiperf(input_config={"models": [{"name": "llama-8b"}], "phases": [{"name": "warmup", "concurrency": 2}, {"name": "profiling", "concurrency": 16}]}), "aiperf"),
    ("early AIPerf", {"input_config": aiperf()["input_config"], "records": metrics()}, "aiperf"),
    ("GenAI-Perf", genai_perf(), "genai-perf"),
    ("later GenAI-Perf", genai_perf(input_config={"model_names": ["llama-8b"], "perf_analyzer": {"stimulus": {"concurrency": 16}}}), "genai-perf"),
    ("seconds", {**genai_perf(), **metrics(unit="sec")}, "genai-perf"),
    ("nanoseconds", {**genai_perf(), **metrics(unit="ns")}, "genai-perf"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "data", "tool"), EXPORTS, ids=[name for name, _, _ in EXPORTS])
def test_exports_are_read_in_every_form(tmp_path: Path, what: str, data: dict[str, Any], tool: str) -> None:
    r = only(tmp_path, json.dumps(data, indent=2))
    assert (r.tool, r.model, r.concurrency) == (tool, "llama-8b", 16.0), what
    assert (r.ttft.mean, r.tpot.mean) == (pytest.approx(120.0), pytest.approx(10.0))
    assert (r.isl, r.osl, r.completed) == (ISL, OSL, 160)


def test_the_csv_export_has_figures_with_commas_and_no_load(tmp_path: Path) -> None:
    r = only(tmp_path, CSV_EXPORT, "profile_export_genai_perf.csv")
    assert (r.ttft.mean, r.ttft.p99, r.tpot.mean) == (1120.5, 1900.0, 10.0)
    assert (r.completed, r.concurrency, r.request_rate) == (160, None, None)


def test_a_table_is_read_row_by_row(tmp_path: Path) -> None:
    first, second = read_results(written(tmp_path, table(row(16), row(32, tpot_ms=17.5)), "own.csv"))
    assert (first.accelerator, first.engine, first.gpus) == ("H100-SXM-80GB", "vllm", 1)
    assert (second.concurrency, second.tpot.mean, second.line) == (32.0, 17.5, 3)
    assert second.row["parallelism"] == "TP1 PP1 attnDP1 moeTP1 moeEP1"


BROKEN: list[tuple[str, str, str]] = [
    ("nothing", "", "unreadable-results-file"),
    ("white space", " \n\t\n", "unreadable-results-file"),
    ("a NUL", '{"a": 1}\0', "unreadable-results-file"),
    ("a file cut off", json.dumps(vllm())[:400], "broken-results-file"),
    ("a brace too many", json.dumps(vllm()) + "}", "broken-results-file"),
    ("too many digits", '{"duration": ' + "9" * 5000 + "}", "broken-results-file"),
    ("deep nesting", '{"a":' * 100_000, "broken-results-file"),
    ("another object", '{"elapsed_time": 3, "num_requests": 7}', "unknown-results-format"),
    ("single requests", '{"metadata": {}, "metrics": {}}', "unknown-results-format"),
    ("a number", "[1, 2]", "unknown-results-format"),
    ("prose", "TPOT was fine\n", "unknown-results-format"),
    ("a table without TPOT", "model,gpu\na,b\n", "unknown-results-format"),
    ("a repeated column", table(row()).replace("source", "model", 1), "unknown-results-format"),
    ("a row too short", table(row(), "own,2026-08-25"), "broken-results-file"),
    ("a table without rows", table(), "broken-results-file"),
    ("an open quotation", table(row(), '"own'), "broken-results-file"),
    ("a row without TPOT", table(row(tpot_ms=float("nan")).replace("nan", "")), "missing-figure"),
    ("a row with NaN", table(row(tpot_ms=float("nan"))), "impossible-figure"),
    ("NaN", json.dumps(vllm(mean_tpot_ms=float("nan"))), "impossible-figure"),
    ("infinity", json.dumps(vllm(mean_ttft_ms=float("inf"))), "impossible-figure"),
    ("a negative time", json.dumps(vllm(p99_tpot_ms=-1.0)), "impossible-figure"),
    ("text for a number", json.dumps(vllm(duration="long")), "impossible-figure"),
    ("half a request", json.dumps(vllm(completed=1.5)), "impossible-figure"),
    ("truth for a number", json.dumps(vllm(mean_ttft_ms=True)), "impossible-figure"),
    ("no streaming", json.dumps(vllm(mean_tpot_ms=0.0)), "missing-figure"),
    ("no lengths", json.dumps({k: v for k, v in vllm().items() if k != "total_output_tokens"}), "missing-figure"),
    ("an unknown unit", json.dumps({**genai_perf(), "time_to_first_token": {"unit": "fortnights", "avg": 1}}), "impossible-figure"),
    ("no request", json.dumps(vllm(completed=0, failed=160, total_input_tokens=0, total_output_tokens=0, request_throughput=0.0, output_throughput=0.0, mean_ttft_ms=0.0, mean_tpot_ms=0.0)), "no-requests-completed"),
    ("failed requests", json.dumps(vllm(failed=40)), "benchmark-requests-failed"),
    ("failed requests of an export", json.dumps(aiperf(error_summary=[{"error_details": {}, "count": 40}])), "benchmark-requests-failed"),
    ("a cancelled run", json.dumps(aiperf(was_cancelled=True)), "benchmark-was-cancelled"),
    ("quantiles out of order", json.dumps(vllm(p99_ttft_ms=10.0)), "contradictory-figures"),
    ("a throughput of its own", json.dumps(vllm(request_throughput=99.0)), "contradictory-figures"),
    ("seconds for milliseconds", json.dumps(vllm(16, mean_ttft_ms=0.15, mean_tpot_ms=0.014, median_ttft_ms=0.1, median_tpot_ms=0.014)), "contradictory-figures"),
    ("more in flight than allowed", json.dumps(vllm(16, max_concurrency=8)), "contradictory-figures"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "text", "rule"), BROKEN, ids=[name for name, _, _ in BROKEN])
def test_a_wrong_file_gets_a_located_diagnostic(tmp_path: Path, what: str, text: str, rule: str) -> None:
    assert rule in refused(tmp_path, text), what


def test_binary_missing_and_huge_files_and_folders_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    (tmp_path / "huge").write_bytes(b" " * 100)
    monkeypatch.setattr("fleet.results.records.MAX_BYTES", 99)
    for name in ("binary", "huge", "missing", "."):
        with pytest.raises(Rejected) as rejected:
            read_results(tmp_path / name)
        assert [d.rule for d in rejected.value.diagnostics] == ["unreadable-results-file"]


def test_one_bad_file_does_not_lose_the_findings_of_others(tmp_path: Path) -> None:
    paths = [
        written(tmp_path, json.dumps(vllm(mean_tpot_ms=float("nan"))), "a.json"),
        written(tmp_path, dumped(vllm(), vllm())[:-400] + "\n" + dumped(vllm(failed=80)), "b.json"),
        tmp_path / "missing.json",
        written(tmp_path, json.dumps(vllm()), "good.json"),
    ]
    with pytest.raises(Rejected) as rejected:
        read_files(paths)
    assert [d.rule for d in rejected.value.diagnostics] == [
        "impossible-figure",
        "broken-results-file",
        "benchmark-requests-failed",
        "unreadable-results-file",
    ]


def test_few_failures_and_a_short_run_are_warnings(tmp_path: Path) -> None:
    read = read_files(
        [
            written(tmp_path, json.dumps(vllm(100, failed=30)), "failed.json"),
            written(tmp_path, json.dumps(vllm(32, max_concurrency=150)), "short.json"),
        ]
    )
    assert len(read.results) == 2
    assert [(d.rule, d.severity) for d in read.warnings] == [
        ("benchmark-requests-failed", Severity.WARNING),
        ("benchmark-too-short", Severity.WARNING),
    ]


@given(st.data())
def test_no_damage_to_a_file_ends_in_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    texts = [
        json.dumps(vllm()),
        dumped(sglang(), sglang()),
        json.dumps(aiperf()),
        CSV_EXPORT,
        table(row(), row(32)),
    ]
    text = data.draw(st.sampled_from(texts))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    middle = data.draw(
        st.one_of(
            st.just(""), st.text(max_size=8), st.sampled_from(["NaN", "-1", "{", "]", '"', "1e999", "null"])
        )
    )
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    path.write_bytes((text[:start] + middle + text[end:]).encode("utf-8", "surrogatepass"))
    found = _findings(path)
    assert found == [] or render_text(found, {str(path): path.read_text(errors="replace")})


@pytest.mark.parametrize(
    ("loadgen", "load"),
    [
        ({"concurrency": 16, "request_rate": 99.0}, (16.0, None)),
        ({"concurrency": 150, "request_rate": 3.7}, (None, 3.7)),
        ({"request_rate": 3.7}, (None, 3.7)),
    ],
    ids=["a rate that the limit holds back", "a limit that the rate never reaches", "a rate"],
)
def test_the_load_of_aiperf_is_what_holds_the_run_back(
    tmp_path: Path, loadgen: dict[str, float], load: tuple[float | None, float | None]
) -> None:
    export = aiperf(16)
    export["input_config"]["loadgen"] = loadgen
    [result] = read_results(written(tmp_path, json.dumps(export)))
    assert (result.concurrency, result.request_rate) == load


def test_a_long_file_of_no_known_format_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    path.write_text(json.dumps(list(range(200_000))))
    assert [d.rule for d in _findings(path)] == ["unknown-results-format"] * 20


def _findings(path: Path) -> list[Diagnostic]:
    try:
        return list(read_files([path]).warnings)
    except Rejected as rejected:
        return list(rejected.diagnostics)
