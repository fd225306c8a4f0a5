"""Traces: figures that can be computed by hand, real traces against published figures, and broken files."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.diagnostics import Diagnostic, Label, Rejected, render_text
from fleet.source import SourceText, parse
from fleet.spec import traces
from fleet.spec.load import load_spec
from fleet.spec.model import TraceSpec
from fleet.spec.traces import TraceSummary, read_trace, summarise_trace, trace_places

SHARED = Path(__file__).parents[3] / "shared" / "traces"
HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


def azure(rows: list[tuple[float, int, int]]) -> bytes:
    return (
        HEADER + "".join(f"2023-11-16 18:{int(t // 60):02}:{t % 60:09.6f},{i},{o}\n" for t, i, o in rows)
    ).encode()


def mooncake(rows: list[tuple[float, int, int, list[int]]]) -> bytes:
    fields = ("timestamp", "input_length", "output_length", "hash_ids")
    return "".join(json.dumps(dict(zip(fields, row, strict=True))) + "\n" for row in rows).encode()


def summary(content: bytes, **spec: object) -> TraceSummary:
    return summarise_trace(io.BytesIO(content), TraceSpec(path="t", **spec), Label())  # type: ignore[arg-type]


def refused(content: bytes, **spec: object) -> tuple[Diagnostic, ...]:
    with pytest.raises(Rejected) as caught:
        summary(content, **spec)
    assert render_text(caught.value.diagnostics, caught.value.sources)
    return caught.value.diagnostics


def test_rates_are_those_computed_by_hand() -> None:
    found = summary(
        azure([(0, 100, 10), (1, 100, 10), (2, 100, 10), (3, 100, 10), (30, 100, 10)]), window=2000
    )
    assert (found.requests, found.duration_s) == (5, 30.0)
    assert found.mean_req_per_s == pytest.approx(4 / 30)
    assert found.peak_req_per_s == pytest.approx(2 / 2)
    # gaps 1, 1, 1, 27: mean 7.5, variance 126.75
    assert found.interarrival_scv == pytest.approx(126.75 / 7.5**2)


def test_a_scale_multiplies_rates_and_nothing_else() -> None:
    rows = azure([(0, 100, 10), (1, 200, 20), (4, 300, 30)])
    once, twice = summary(rows), summary(rows, scale=2)
    assert twice.mean_req_per_s == pytest.approx(2 * once.mean_req_per_s)
    assert twice.peak_req_per_s == pytest.approx(2 * once.peak_req_per_s)
    assert (twice.input_tokens, twice.weight, twice.interarrival_cv) == (
        once.input_tokens,
        once.weight,
        once.interarrival_cv,
    )


def test_a_window_longer_than_the_trace_is_the_trace() -> None:
    found = summary(azure([(0, 1, 1), (10, 1, 1)]), window=60_000)
    assert found.peak_req_per_s == pytest.approx(1 / 10)


def test_order_of_lines_does_not_change_rates_or_lengths() -> None:
    rows = [(float(n * n % 97), 100 + n, 10 + n) for n in range(50)]
    shuffled = random.Random(7).sample(rows, len(rows))
    one, other = summary(azure(rows)), summary(azure(shuffled))
    assert one.digest != other.digest
    assert (one.mean_req_per_s, one.interarrival_cv, one.weight) == (
        other.mean_req_per_s,
        other.interarrival_cv,
        other.weight,
    )
    assert (one.input_tokens, one.output_tokens) == (other.input_tokens, other.output_tokens)


def test_poisson_arrivals_have_a_coefficient_of_variation_near_one_even_on_a_coarse_clock() -> None:
    draw = random.Random(3)
    times, now = [], 0.0
    for _ in range(20_000):
        now += draw.expovariate(5.0)
        times.append(now)
    fine = summary(mooncake([(t * 1000, 10, 10, []) for t in times]))
    coarse = summary(mooncake([(t // 3 * 3000, 10, 10, []) for t in times]))
    assert fine.interarrival_cv == pytest.approx(1.0, abs=0.03)
    assert coarse.interarrival_cv == pytest.approx(1.0, abs=0.05)


@given(st.lists(st.tuples(st.integers(0, 10**5), st.integers(0, 10**4)), min_size=2, max_size=600))
@settings(deadline=None)
def test_the_histogram_keeps_means_and_weights_and_stays_small(lengths: list[tuple[int, int]]) -> None:
    found = summary(mooncake([(float(n), i, o, []) for n, (i, o) in enumerate(lengths)]))
    assert len(found.weight) <= 400
    assert sum(found.weight) == pytest.approx(1)
    for points, values in (
        (found.input_tokens, [i for i, _ in lengths]),
        (found.output_tokens, [o for _, o in lengths]),
    ):
        mean = sum(p * w for p, w in zip(points, found.weight, strict=True))
        assert mean == pytest.approx(sum(values) / len(values), rel=1e-6)
        assert min(values) - 1e-6 <= min(points) * (1 + 1e-8)
        assert max(points) <= max(values) * (1 + 1e-8)
    assert found.max_total_tokens == max(i + o for i, o in lengths)


def test_the_histogram_keeps_what_goes_together() -> None:
    """Short prompts with long answers and long prompts with short ones: a product of marginals would lose that."""
    rows = [(float(n), 100 if n % 2 else 9000, 900 if n % 2 else 10, []) for n in range(1000)]
    found = summary(mooncake(rows))
    points = zip(found.input_tokens, found.output_tokens, found.weight, strict=True)
    pure = sum(w for i, o, w in points if (i, o) in ((100.0, 900.0), (9000.0, 10.0)))
    assert pure > 0.99


def test_the_ideal_hit_ratio_counts_leading_blocks_seen_before() -> None:
    found = summary(
        mooncake(
            [(0, 1024, 1, [1, 2]), (1, 1536, 1, [1, 2, 3]), (2, 700, 1, [9, 2]), (3, 1100, 1, [1, 2, 3])]
        )
    )
    # second: 1024 of 1536; third: none, the chain is broken; fourth: all 1100, its last block being part
    assert found.prefix_hit_ratio == pytest.approx((1024 + 1100) / (1024 + 1536 + 700 + 1100))


def test_a_trace_without_blocks_has_no_hit_ratio() -> None:
    assert summary(azure([(0, 1, 1), (1, 1, 1)])).prefix_hit_ratio is None


def test_columns_are_found_by_name_and_times_with_zones_are_read() -> None:
    text = "GeneratedTokens,Other,TIMESTAMP,ContextTokens\r\n7,x,2024-05-10 00:00:00.009930+00:00,5\r\n8,x,2024-05-10 01:00:10.009930+01:00,6\r\n"
    found = summary(b"\xef\xbb\xbf" + text.encode())
    assert (found.duration_s, found.max_input_tokens, found.max_output_tokens) == (10.0, 6, 8)


MALFORMED = [
    pytest.param(b"a,b\n1,2\n", {1: "the header lacks TIMESTAMP, ContextTokens, GeneratedTokens"}, id="another table"),
    pytest.param(b"", {1: "the header lacks TIMESTAMP, ContextTokens, GeneratedTokens"}, id="an empty file"),
    pytest.param(HEADER.encode() + b"2023-11-16 18:17:03,5\n", {2: "has 2 values, needs 3"}, id="a value missing"),
    pytest.param(HEADER.encode() + b"noon,5,5\n2023-11-16 18:17:03,-5,5\n2023-11-16 18:17:03,1,99999999999\n", {2: "has no time such as 2023-11-16 18:17:03.97", 3: "has no whole numbers of tokens", 4: "has far too many tokens"}, id="three lines at once"),
    pytest.param(b'{"timestamp": 0}\n', {1: "lacks input_length, output_length"}, id="fields missing"),
    pytest.param(b"{\n", {1: "is not JSON"}, id="half an object"),
    pytest.param(b'{"timestamp": 0, "input_length": 1.5, "output_length": 1}\n', {1: "has no whole numbers of tokens"}, id="half a token"),
    pytest.param(b'{"timestamp": NaN, "input_length": 1, "output_length": 1}\n', {1: "has no timestamp in milliseconds"}, id="no time"),
    pytest.param(b'{"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": ["a"]}\n', {1: "has hash_ids that are no list of whole numbers"}, id="blocks that are no numbers"),
    pytest.param(b'{"timestamp": 0, "input_length": 1, "output_length": -1}\n', {1: "has tokens outside 0 to 1,000,000,000"}, id="negative tokens"),
    pytest.param(b'{"x":' + b"[" * 100_000 + b"\n", {1: "is not JSON"}, id="a hundred thousand brackets"),
    pytest.param(b"{}\n" * 9, dict.fromkeys(range(1, 6), "lacks timestamp, input_length, output_length"), id="no more than five lines are told"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "lines"), MALFORMED)
def test_malformed_lines_are_told_with_their_numbers(content: bytes, lines: dict[int, str]) -> None:
    found = refused(content)
    assert {d.rule for d in found} == {"trace-malformed"}
    assert {d.labels[0].span.line: d.labels[0].text for d in found if d.labels[0].span} == lines


def test_one_request_is_no_trace() -> None:
    assert [d.rule for d in refused(azure([(0, 1, 1)]))] == ["trace-too-short"]
    assert [d.rule for d in refused(azure([(1, 1, 1), (1, 1, 1)]))] == ["trace-too-short"]


def test_size_lines_and_blocks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [d.rule for d in refused(b"{" + b"x" * (traces.MAX_LINE + 10))] == ["trace-too-large"]
    monkeypatch.setattr(traces, "MAX_BLOCKS", 2)
    assert [d.rule for d in refused(mooncake([(0, 1, 1, [1, 2, 3]), (1, 1, 1, [])]))] == ["trace-too-large"]
    monkeypatch.setattr(traces, "MAX_BYTES", 100)
    assert [d.rule for d in refused(azure([(n, 1, 1) for n in range(50)]))] == ["trace-too-large"]


@pytest.mark.parametrize("name", ["gone.csv", ".", "a\0b", "x" * 5000, "/dev/zero"])
def test_a_trace_that_is_no_file_is_told_at_the_line_that_names_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(Rejected) as caught:
        read_trace(
            TraceSpec.model_construct(path=name), tmp_path, ("spec", "workloads", "w", "demand", "trace")
        )
    (found,) = caught.value.diagnostics
    assert found.rule == "trace-missing"
    assert found.path == ("spec", "workloads", "w", "demand", "trace", "path")


def test_the_places_of_traces_are_known(full_text: str) -> None:
    document = parse(SourceText("f", full_text))
    places = {
        spec.path: document.span(where).line for spec, where in trace_places(load_spec(document)).items()
    }
    assert places == {"traces/peak.csv": 80, "traces/conversation.jsonl": 81}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=300),
        st.text(max_size=200).map(lambda t: HEADER.encode() + t.encode()),
        st.text(max_size=200).map(lambda t: b"{" + t.encode()),
    )
)
def test_arbitrary_bytes_are_read_or_rejected(content: bytes) -> None:
    rejection = None
    try:
        summary(content)
    except Rejected as caught:
        rejection = caught
    assert rejection is None or render_text(rejection.diagnostics, rejection.sources)


# figures published with the traces: requests, seconds, mean and peak-minute rates, mean and largest lengths
PUBLISHED = [
    ("azure2023/AzureLLMInferenceTrace_code.csv", 8819, 3435.9, 2.567, 10.533, 2047.8, 7437, 27.9, 1899, None),
    ("azure2023/AzureLLMInferenceTrace_conv.csv", 19366, 3501.7, 5.53, 8.45, 1154.7, 14050, 211.1, 1000, None),
    ("mooncake_fast25/conversation_trace.jsonl", 12031, 3537.0, 3.401, 4.117, 12035.1, 126195, 342.6, 2000, 0.3664),
    ("mooncake_fast25/synthetic_trace.jsonl", 3993, 1022.0, 3.907, 4.55, 15325.5, 191378, 149.1, 893, 0.6396),
]  # fmt: skip

Row = tuple[str, int, float, float, float, float, int, float, int, float | None]


@pytest.mark.parametrize("row", PUBLISHED, ids=[row[0] for row in PUBLISHED])
def test_real_traces_have_the_figures_that_others_found(row: Row) -> None:
    name, requests, seconds, mean, peak, mean_input, max_input, mean_output, max_output, hits = row
    if not (SHARED / name).exists():
        pytest.skip(f"the public trace {name} is not beside this checkout")
    found = read_trace(TraceSpec(path=name), SHARED)
    assert (found.requests, found.max_input_tokens, found.max_output_tokens) == (
        requests,
        max_input,
        max_output,
    )
    assert found.duration_s == pytest.approx(seconds, abs=0.06)
    assert found.mean_req_per_s == pytest.approx(mean, rel=1e-3)
    assert peak <= found.peak_req_per_s <= 1.2 * peak  # any minute, not only those of the clock

    def average(points: tuple[float, ...]) -> float:
        return sum(point * weight for point, weight in zip(points, found.weight, strict=True))

    assert average(found.input_tokens) == pytest.approx(mean_input, abs=0.06)
    assert average(found.output_tokens) == pytest.approx(mean_output, abs=0.06)
    if hits is not None:  # theirs is by blocks, ours by tokens
        assert found.prefix_hit_ratio == pytest.approx(hits, abs=0.015)
