"""Wrong values: each gets the rule, the place and the advice that it should."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.diagnostics import Diagnostic, Rejected
from fleet.source import SourceText, merge, parse
from fleet.spec import faults
from fleet.spec.load import MAX_FAULTS, load_spec

Judge = Callable[[str], list[Diagnostic]]

# what stands in the good file, what is put in its place, the rule and place, the help
WRONG = [
    pytest.param("card: llama-3.3-70b", "crd: llama-3.3-70b", "unknown-field 14:7", "write `card`, or remove the line", id="a misspelt field"),
    pytest.param("mean: 90 req/min, peak: 24 req/s}", "mean: 1, burstiness: 2}", "unknown-field 50:25", "correct the name, or remove the line", id="a field of another place"),
    pytest.param("        rate: {mean: 90 req/min, peak: 24 req/s}", "        peak: 24 req/s\n        rate: 8", "unknown-field 50:9", "move it below `rate:`", id="a field one level too high"),
    pytest.param("      slo: interactive\n      demand:\n        rate: {m", "      demand:\n        rate: {m", "missing-field 46:5", "add `slo:` (a key of `slos`)", id="a missing field"),
    pytest.param("        basis: forecast\n", "", "missing-field 69:7", "add `basis:` (how the demand was obtained)", id="a missing basis"),
    pytest.param("available: {hosts: 12}", "available:", "empty-value 100:9", "give a value, or remove the line", id="a field without a value"),
    pytest.param("precision: bf16", "precision: ~", "empty-value 17:22", "give a value, or remove the line", id="an explicit null"),
    pytest.param("p95: 800ms", "p95: 800 req/s", "wrong-unit 37:32", "write it like 800ms, or as a plain number (milliseconds)", id="a rate for a duration"),
    pytest.param("p95: 800ms", "p95: '800'", "wrong-unit 37:32", "write it like 800ms, or as a plain number (milliseconds)", id="a text without a unit"),
    pytest.param("budget: $3k/h", "budget: 3k €/h", "wrong-unit 143:13", "write it like $2.10/h, or as a plain number (US dollars per hour)", id="another currency"),
    pytest.param("network_per_gpu: 400 Gbit/s", "network_per_gpu: 400 gb/s", "wrong-unit 105:26", "write it like 400 Gbit/s, or as a plain number (bytes per second)", id="an ambiguous unit"),
    pytest.param("token_budget: 2M tok/min", "token_budget: 2M", "wrong-unit 152:32", "write it like 2M tok/min, or as a plain number (tokens per minute)", id="an amount for a rate"),
    pytest.param("request_timeout: 15 min", "request_timeout: 1:30", "wrong-unit 156:22", "write it like 800ms, or as a plain number (milliseconds)", id="a sexagesimal number"),
    pytest.param("p95: 800ms", "p95: -5ms", "wrong-value 37:32", "write more than 0 (milliseconds)", id="a negative duration"),
    pytest.param("cancellation: 3%", "cancellation: 3", "wrong-value 59:23", "write 0 to 1 (a fraction of one)", id="a percentage without its sign"),
    pytest.param("error_quantile: 0.9", "error_quantile: 20%", "wrong-value 134:50", "write 0.5 to 0.99 (a fraction of one)", id="a quantile out of range"),
    pytest.param("max_context: 32Ki", "max_context: 1.5", "wrong-value 27:20", "write it like 8k, or as a plain number (tokens)", id="half a token"),
    pytest.param("peak: 24 req/s}", "peak: '1,200 req/s'}", "wrong-value 50:40", "write it like 24 req/s, or as a plain number (requests per second)", id="a comma in a number"),
    pytest.param("min_replicas: 2", "min_replicas: 0", "wrong-value 65:21", "write at least 1", id="a count out of range"),
    pytest.param("draft_tokens: 3", "draft_tokens: 9", "wrong-value 30:23", "write at most 8", id="a count above its range"),
    pytest.param("provider: gke", "provider: gkee", "wrong-value 96:19", "write gke, eks, aks, oci, coreweave or on-premises", id="a word that is not allowed"),
    pytest.param("survive: [host, rack, zone]", "survive: [host, rak]", "wrong-value 132:21", "write host, rack or zone", id="a word in a list"),
    pytest.param("kind: Fleet\n", "kind: [Fleet]\n", "wrong-value 4:7", "write Fleet", id="a list for a word"),
    pytest.param("- [64, 20%]", "- [64]", "wrong-value 54:15", "write a row as [up to, share]", id="a row that is too short"),
    pytest.param("- [64, 20%]", "- [64, 20%, 3]", "wrong-value 54:15", "give at most 2 values", id="a row that is too long"),
    pytest.param("hourly: [0, 0,", "hourly: [0,", "wrong-value 71:19", "give at least 24 values", id="a day of 23 hours"),
    pytest.param("engines: [vllm, trtllm]", "engines: []", "wrong-value 140:14", "give at least 1 value", id="no engine at all"),
    pytest.param("uri: hf://nvidia", "uri: nvidia", "wrong-value 19:16", "write a scheme and a place, for example hf://org/name, s3://bucket/folder or pvc://claim/folder", id="a uri without a scheme"),
    pytest.param("[llm.example.com", "[llm_x", "wrong-value 148:17", "write a DNS name such as llm.example.com or *.example.com", id="a hostname with an underscore"),
    pytest.param("tpot: {p90: 40 ms, p95: 50}", "tpot: 50ms", "wrong-type 38:13", "write its fields below it: 'p50', 'p90', 'p95' and 'p99'", id="a value for a mapping"),
    pytest.param("rate: {mean: 90 req/min, peak: 24 req/s}", "rate: [3]", "wrong-type 50:15", "write it like 24 req/s", id="a list for a rate"),
    pytest.param("- [64, 20%]", "- 5", "wrong-type 54:15", "write a row as [up to, share]", id="a number for a row"),
    pytest.param("min_replicas: 2", "min_replicas: '2'", "wrong-type 65:21", "remove the quotes: 2", id="a number in quotes"),
    pytest.param("min_replicas: 2", "min_replicas: 0x2", "wrong-type 65:21", "write digits only, for example 12", id="a number in hexadecimal"),
    pytest.param("min_replicas: 2", "min_replicas: 2.5", "wrong-type 65:21", "write a whole number", id="half a replica"),
    pytest.param("min_replicas: 2", "min_replicas: true", "wrong-type 65:21", "write a whole number", id="a truth value for a count"),
    pytest.param("burstiness: 1.4", "burstiness: true", "wrong-type 58:21", "write a number", id="a truth value for a number"),
    pytest.param("baseline: 68.9", "baseline: .inf", "wrong-type 22:23", "write digits only, for example 12", id="infinity"),
    pytest.param("cancellation: true", "cancellation: yes", "wrong-type 157:19", "write true", id="yes for true"),
    pytest.param("allow_pipeline: false", "allow_pipeline: 0", "wrong-type 142:68", "write true or false", id="a number for a truth value"),
    pytest.param("engines: [vllm, sglang, trtllm]", "engines: vllm", "wrong-type 25:16", "write [vllm]", id="a word for a list"),
    pytest.param("engines: [vllm, sglang, trtllm]", "engines: {a: b}", "wrong-type 25:16", "begin each item with `- `", id="a mapping for a list"),
    pytest.param("team: inference", "team: 5", "wrong-type 8:11", 'put it in quotes: "5"', id="a number for text"),
    pytest.param("team: inference", "team: true", "wrong-type 8:11", 'put it in quotes: "true"', id="a truth value for text"),
    pytest.param("as_of: 2026-11-24", "as_of: 24.11.2026", "wrong-type 11:10", "write a day such as 2026-11-24", id="a day in another order"),
    pytest.param("as_of: 2026-11-24", "as_of: 2026-11-31", "wrong-type 11:10", "write a day such as 2026-11-24", id="a day that does not exist"),
    pytest.param("as_of: 2026-10-01", "as_of: 20261001", "wrong-type 103:42", "write a day such as 2026-11-24", id="a day without dashes"),
    pytest.param("    h100-a:\n", "    H100_A:\n", "bad-name 94:7", "write h100-a", id="a name in capitals"),
    pytest.param("namespace: serving", "namespace: -x", "bad-name 159:16", "write x", id="a name that begins with a dash"),
    pytest.param("namespace: serving", "namespace: '%'", "bad-name 159:16", "write lower-case letters, digits, dashes and dots, at most 63, beginning and ending with a letter or digit", id="a name with nothing to keep"),
]  # fmt: skip


@pytest.mark.parametrize(("good", "wrong", "place", "help"), WRONG)
def test_a_wrong_value_is_told_at_its_place_with_one_thing_to_do(
    good: str, wrong: str, place: str, help: str, full_text: str, judge: Judge
) -> None:
    assert good in full_text
    (found,) = judge(full_text.replace(good, wrong, 1))
    assert found.span is not None
    assert f"{found.rule} {found.span.line}:{found.span.column}" == place
    assert found.help == help


def test_every_fault_has_a_case() -> None:
    rules = {value.name for value in vars(faults).values() if isinstance(value, faults.Rule)}
    assert rules == {str(case.values[2]).split()[0] for case in WRONG}


def test_every_fault_of_a_file_is_told_in_one_run(full_text: str, judge: Judge) -> None:
    text = full_text
    for good, wrong in (
        ("p95: 800ms", "p95: 8 GB"),
        ("precision: bf16", "precision: x"),
        ("hosts: 12", "hostz: 12"),
        ("kind: Fleet\n", ""),
    ):
        text = text.replace(good, wrong, 1)
    found = [(d.rule, d.span.line) for d in judge(text) if d.span]
    assert found == [("missing-field", 3), ("wrong-value", 16), ("wrong-unit", 36), ("unknown-field", 99)]


def test_a_wrong_field_of_a_mapping_is_not_told_as_a_wrong_number_too(full_text: str, judge: Judge) -> None:
    text = full_text.replace("rate: {mean: 90 req/min, peak: 24 req/s}", "rate: {mean: x, peek: y}")
    assert [d.rule for d in judge(text)] == ["wrong-value", "unknown-field"]


def test_an_overlay_is_blamed_for_its_own_values(full_text: str) -> None:
    overlay = parse(
        SourceText(
            "overlay.yaml",
            "apiVersion: fleetc.dev/v1\nkind: FleetOverlay\nspec:\n  policy:\n    budget: 3 kW\n",
        )
    )
    with pytest.raises(Rejected) as caught:
        load_spec(merge(parse(SourceText("fleet.yaml", full_text)), overlay))
    (found,) = caught.value.diagnostics
    assert found.span is not None
    assert (found.span.file, found.span.line, found.span.column) == ("overlay.yaml", 5, 13)
    assert set(caught.value.sources) == {"fleet.yaml", "overlay.yaml"}


def test_a_file_with_a_hundred_thousand_faults_is_told_in_bounded_time() -> None:
    text = "spec:\n" + "".join(f"  k{n}: 1\n" for n in range(100_000))
    started = time.process_time()
    with pytest.raises(Rejected) as caught:
        load_spec(parse(SourceText("f", text)))
    assert len(caught.value.diagnostics) == MAX_FAULTS
    assert time.process_time() - started < 10


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [path, *(below for key, child in children for below in paths_of(child, (*path, key)))]


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["800ms", "24 req/s", "15%", "$2/h", "8k", "x" * 600, "a\nb", "<mapping>", "[key]", "-", "1e99h", "é"]),
    st.just([]),
    st.just({}),
    st.lists(st.integers(0, 5), max_size=3),
    st.dictionaries(st.sampled_from(["p50", "mean", "<mapping>", "[key]", "x", "0", ""]), st.one_of(st.none(), st.integers(0, 5), st.just({}))),
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_at_any_place_is_read_or_told_in_words(
    data: st.DataObject, full_text: str, judge: Judge
) -> None:
    values = parse(SourceText("f", full_text)).data
    path = data.draw(st.sampled_from(paths_of(values)[1:]))
    target = values
    for step in path[:-1]:
        target = target[step]
    how = data.draw(st.sampled_from(["replace", "remove", "add"]))
    if how == "replace":
        target[path[-1]] = data.draw(anything)
    elif how == "remove":
        del target[path[-1]]
    elif isinstance(target, dict):
        target[data.draw(st.sampled_from(["x", "<mapping>", "[key]", "", "P95", "sp ace"]))] = data.draw(
            anything
        )
    judge(yaml.safe_dump(values, allow_unicode=True))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 5000), length=st.integers(0, 60), put=st.text(max_size=5))
def test_a_file_damaged_anywhere_is_read_or_told_in_words(
    cut: int, length: int, put: str, full_text: str, judge: Judge
) -> None:
    judge(full_text[:cut] + put + full_text[cut + length :])
