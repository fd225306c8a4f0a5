"""YAML text into located values."""

from __future__ import annotations

import time
import tracemalloc
from datetime import date
from textwrap import dedent
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fleet.diagnostics import Diagnostic, Rejected, SpecPath, render_text
from fleet.source import Document, SourceText, parse


def rejected(text: str) -> tuple[Diagnostic, ...]:
    with pytest.raises(Rejected) as caught:
        parse(SourceText("f.yaml", text))
    assert render_text(caught.value.diagnostics, caught.value.sources)
    return caught.value.diagnostics


def value_of(scalar: str) -> Any:
    return parse(SourceText("f.yaml", f"x: {scalar}\n")).data["x"]


# rule, line and column of every diagnostic, in order
REFUSED = [
    pytest.param("a:\n\tb: 1\n", ["tab-in-indentation 2:1"], id="a tab as indentation"),
    pytest.param("a:\n  b: 1\n\tc: 2\n", ["tab-in-indentation 3:1"], id="a tab where indentation was spaces"),
    pytest.param("a:\n  b: 1\n  \tc: 2\n", ["tab-in-indentation 3:3"], id="a tab after spaces"),
    pytest.param("a: b: c\n", ["yaml-syntax 1:5"], id="a second colon in a line"),
    pytest.param("a: 1\n  b: 2\n", ["yaml-syntax 2:4"], id="a line indented below a value"),
    pytest.param("a:\n  b: 2\n c: 3\n", ["yaml-syntax 3:2"], id="a line that fits no indentation"),
    pytest.param(
        "x: 1\na: 'b\nc: d\n", ["yaml-syntax 2:4"], id="a quote that is never closed is shown where it opens"
    ),
    pytest.param(
        "x: 1\na: [1, 2\nb: 3\n",
        ["yaml-syntax 2:4"],
        id="a bracket that is never closed is shown where it opens",
    ),
    pytest.param(
        "a: {x: 1\nb: 3\n", ["yaml-syntax 1:4"], id="a brace that is never closed is shown where it opens"
    ),
    pytest.param("a: 1\nb\nc: 3\n", ["yaml-syntax 2:1"], id="a name without a colon"),
    pytest.param("a:\n  - 1\n  b: 2\n", ["yaml-syntax 3:3"], id="a mapping entry among list items"),
    pytest.param("a: - b\n", ["yaml-syntax 1:4"], id="a list that begins on the line of its key"),
    pytest.param('a: "x" y\n', ["yaml-syntax 1:8"], id="text after a quoted value"),
    pytest.param("a: @x\n", ["yaml-syntax 1:4"], id="a value that begins with a reserved character"),
    pytest.param('a: "\\q"\n', ["yaml-syntax 1:5"], id="an unknown escape"),
    pytest.param("a: ]\n", ["yaml-syntax 1:4"], id="a bracket that closes nothing"),
    pytest.param("%YAML 3.0\n---\na: 1\n", ["yaml-syntax 1:1"], id="a YAML version that does not exist"),
    pytest.param("a: 1\nb: 2\na: 3\n", ["duplicate-key 3:1"], id="a name given twice"),
    pytest.param(
        "x:\n  a: 1\n  a: 2\ny: {b: 1, b: 2}\n",
        ["duplicate-key 3:3", "duplicate-key 4:11"],
        id="two names given twice",
    ),
    pytest.param("a: &x 1\nb: *x\n", ["yaml-alias 1:4"], id="an anchor and its alias are one fault"),
    pytest.param("a:\n  <<: *x\n", ["yaml-merge-key 2:3"], id="a merge key hides its alias"),
    pytest.param(
        "a: !!python/object/apply:os.system [ls]\n", ["yaml-tag 1:4"], id="a tag that other readers would run"
    ),
    pytest.param("a: !!str 5\nb: !x y\n", ["yaml-tag 1:4", "yaml-tag 2:4"], id="harmless tags too"),
    pytest.param("a: !x!y z\n", ["yaml-tag 1:4"], id="a tag with an unknown handle"),
    pytest.param("? [a]\n: b\n", ["key-not-text 1:3"], id="a list as a name"),
    pytest.param("? {a: 1}\n: b\n", ["key-not-text 1:3"], id="a mapping as a name"),
    pytest.param("a: 1\n---\nb: 2\n", ["second-document 2:1"], id="a second document"),
    pytest.param("", ["empty-file 1:1"], id="an empty file"),
    pytest.param("# only a comment\n", ["empty-file 1:1"], id="a file of comments"),
    pytest.param("---\n...\n", ["empty-file 1:1"], id="an empty document"),
    pytest.param("- a\n- b\n", ["not-a-mapping 1:1"], id="a list at the top"),
    pytest.param("a:1\nb:2\n", ["not-a-mapping 1:1"], id="colons without spaces"),
    pytest.param("a: \0\n", ["control-character 1:4"], id="a NUL"),
    pytest.param("x: 1\ny: a\x1b[31m\n", ["control-character 2:5"], id="an escape sequence"),
    pytest.param(
        "a: 1 # \u2028b: 2\n", ["control-character 1:8"], id="a line break that editors do not show"
    ),
    pytest.param("a: \ud800\n", ["control-character 1:4"], id="half a surrogate pair"),
    pytest.param(
        "a: 1\nb: &x [1, 1]\nb: !t 2\n",
        ["yaml-tag 3:4", "duplicate-key 3:1", "yaml-alias 2:4"],
        id="faults of three kinds in one run",
    ),
]


@pytest.mark.parametrize(("text", "expected"), REFUSED)
def test_what_is_no_plain_data_is_refused_at_its_place(text: str, expected: list[str]) -> None:
    found = [f"{d.rule} {d.span.line}:{d.span.column}" for d in rejected(text) if d.span]
    assert sorted(found) == sorted(expected)


def test_a_duplicate_key_shows_both_places() -> None:
    (found,) = rejected("a: 1\nb: 2\na: 3\n")
    assert [(label.span.line, label.text) for label in found.labels if label.span] == [
        (3, "again here"),
        (1, "first here"),
    ]


SCALARS = [
    ("5", 5), ("-5", -5), ("+5", 5), ("0", 0), ("2.50", 2.5), ("1e3", 1000.0), ("-.5", -0.5), ("5.", 5.0),
    ("true", True), ("False", False), ("~", None), ("null", None), ("", None),
    ("2026-11-24", date(2026, 11, 24)), ("'2026-11-24'", "2026-11-24"), ("2026-13-45", "2026-13-45"),
    ("2026-11-24 10:00:00", "2026-11-24 10:00:00"),
    ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"), ("NO", "NO"),
    ("1:30", "1:30"), ("190:20:30", "190:20:30"), ("010", "010"), ("0x1F", "0x1F"), ("0o17", "0o17"), ("1_000", "1_000"),
    (".inf", ".inf"), (".nan", ".nan"), ("1e999", "1e999"), ("+", "+"), (".", "."), ("=", "="),
    ("'5'", "5"), ('"true"', "true"), ("800ms", "800ms"), ("$2.10/h", "$2.10/h"), ("15%", "15%"),
    ("9" * 64, int("9" * 64)), ("9" * 65, "9" * 65), ("1" * 100_000, "1" * 100_000),
    ("é😀", "é😀"), ('"\\u0041"', "A"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), SCALARS, ids=[text[:20] for text, _ in SCALARS])
def test_scalars_mean_what_yaml_1_2_says_and_stay_text_where_readers_disagree(
    text: str, value: object
) -> None:
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)


def test_names_are_text_even_where_they_look_like_something_else() -> None:
    assert parse(SourceText("f", "on: 1\n5: 2\nnull: 3\n2026-11-24: 4\n")).data == {
        "on": 1,
        "5": 2,
        "null": 3,
        "2026-11-24": 4,
    }


TEXT = dedent("""\
    # a comment
    top:
      name: "é: 😀"  # quoted
      flow: {a: [1, 22, 333], b: x}
      list:
        - first: 1
          second: 2
        - plain
      empty:
      block: |
        two
        lines
      wide: [1,
        2]
    日本: 語
    """)


@pytest.mark.parametrize(
    ("path", "key", "line", "columns"),
    [
        pytest.param(("top", "name"), False, 3, (9, 15), id="a quoted value with its quotes"),
        pytest.param(("top", "name"), True, 3, (3, 7), id="a key"),
        pytest.param(("top", "flow"), False, 4, (9, 32), id="a mapping on one line"),
        pytest.param(("top", "flow", "a", 2), False, 4, (21, 24), id="an item of a list on one line"),
        pytest.param(("top", "flow", "b"), False, 4, (30, 31), id="a value in braces"),
        pytest.param(("top",), False, 2, (1, 4), id="a mapping over lines by its key"),
        pytest.param(("top", "list"), False, 5, (3, 7), id="a list over lines by its key"),
        pytest.param(("top", "list", 0), False, 6, (7, 15), id="an item over lines by its first line"),
        pytest.param(("top", "list", 1), False, 8, (7, 12), id="a plain item"),
        pytest.param(("top", "empty"), False, 9, (3, 8), id="an empty value by its key"),
        pytest.param(("top", "block"), False, 10, (10, 11), id="a block text by its indicator"),
        pytest.param(("top", "wide"), False, 13, (3, 7), id="a flow list over lines by its key"),
        pytest.param(("日本",), False, 15, (5, 6), id="columns count characters, not bytes"),
        pytest.param(
            ("top", "gone", "x"), False, 2, (1, 4), id="the nearest part of a path that does not exist"
        ),
        pytest.param(("top", "list", 7), False, 5, (3, 7), id="an index that does not exist"),
        pytest.param((), False, 2, (1, 5), id="the whole file by its first line"),
    ],
)
def test_every_value_has_its_place(path: SpecPath, key: bool, line: int, columns: tuple[int, int]) -> None:
    span = parse(SourceText("f.yaml", TEXT)).span(path, key)
    assert (span.line, (span.column, span.end_column)) == (line, columns)


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
def test_places_do_not_depend_on_line_breaks(line_break: str) -> None:
    text = TEXT.replace("\n", line_break)
    document = parse(SourceText("f", text))
    assert document.span(("日本",)).line == 15
    assert document.data["top"]["flow"] == {"a": [1, 22, 333], "b": "x"}


def test_whether_a_value_is_written_is_known() -> None:
    document = parse(SourceText("f", TEXT))
    assert document.has(("top", "list", 1))
    assert document.has(("top", "empty"))
    assert not document.has(("top", "list", 2))
    assert not document.has(("top", "name", "x"))


HOSTILE = [
    pytest.param("a: " + "[" * 100_000, id="a hundred thousand brackets"),
    pytest.param("a: " + "[" * 65 + "]" * 65, id="brackets just too deep"),
    pytest.param("{a: " * 50_000, id="fifty thousand braces"),
    pytest.param("- " * 100_000, id="a hundred thousand list items in one another"),
    pytest.param("\n".join(" " * n + "a:" for n in range(1000)), id="a thousand levels of indentation"),
    pytest.param("? " * 100_000, id="a hundred thousand question marks"),
    pytest.param("a: [" + "1," * 300_000 + "1]", id="three hundred thousand values"),
    pytest.param("\n".join(f"k: {n}" for n in range(100_000)), id="a hundred thousand duplicates"),
    pytest.param("a: " + "&x " * 100_000, id="a hundred thousand anchors"),
    pytest.param("a: '" + "x" * 4_000_000, id="a quote of four megabytes"),
    pytest.param(
        "a0: &a0 [x, x]\n" + "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)),
        id="a billion laughs",
    ),
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_file_is_refused_in_bounded_time_and_memory(text: str) -> None:
    tracemalloc.start()
    started = time.process_time()
    found = rejected(text)
    seconds = time.process_time() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) <= 101
    assert seconds < 10
    assert peak < 200 * 2**20


@pytest.mark.parametrize(
    "text", ["a: " + "x" * 4_000_000, "a: [" + "1," * 100_000 + "1]", "a: " + "[" * 60 + "]" * 60]
)
def test_what_is_large_but_within_limits_is_read(text: str) -> None:
    assert list(parse(SourceText("f", text)).data) == ["a"]


yaml_like = st.lists(
    st.sampled_from(["a", ":", " ", "\n", "- ", "[", "]", "{", "}", ",", '"', "'", "|", ">", "&x", "*x", "!t", "#", "\t", "?", "<<", "---", "...", "%", "1", "é", "\r", "~", "\ufeff", "\\"]),
    max_size=40,
).map("".join)  # fmt: skip


@given(st.one_of(st.text(max_size=200), yaml_like))
def test_arbitrary_text_is_read_or_rejected_with_a_place(text: str) -> None:
    rejection = None
    try:
        assert isinstance(parse(SourceText("f", text)).data, dict)
    except Rejected as caught:
        rejection = caught
    if rejection:
        assert render_text(rejection.diagnostics, rejection.sources)
        assert all(diagnostic.span for diagnostic in rejection.diagnostics)


plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**9), 10**9), st.sampled_from(["x", "yes", "010", "1:30", "é 😀", "a: b", ""])),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.sampled_from("abcd"), inner, max_size=4)),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from("abcd"), plain, min_size=1), st.booleans())
def test_what_another_writer_wrote_is_read_back_with_every_value_on_its_line(
    data: dict[str, Any], flow: bool
) -> None:
    text = yaml.safe_dump(data, default_flow_style=flow, allow_unicode=True)
    document = parse(SourceText("f", text))
    assert document.data == data
    lines = text.split("\n")
    for path, value in leaves(document.data):
        span = document.span(path)
        shown = lines[span.line - 1][span.column - 1 : span.end_column - 1]
        assert shown
        if isinstance(value, int) and not isinstance(value, bool):
            assert shown == str(value)


def leaves(value: Any, path: SpecPath = ()) -> list[tuple[SpecPath, Any]]:
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    below = [leaf for key, child in children for leaf in leaves(child, (*path, key))]
    return below or [(path, value)]


def test_diagnostics_are_ordered_by_place() -> None:
    document: Document = parse(SourceText("f", TEXT))
    paths: list[SpecPath] = [("日本",), ("top", "list", 1), ("top", "name")]
    found = document.locate(Diagnostic("a-b", "error", "m", path=path) for path in paths)  # type: ignore[arg-type]
    assert [d.span.line for d in found if d.span] == [3, 8, 15]


@pytest.mark.parametrize("text", ["a: " + "[" * 65 + "]" * 65, "{a: " * 70 + "1" + "}" * 70])
def test_depth_has_its_own_rule(text: str) -> None:
    assert {diagnostic.rule for diagnostic in rejected(text)} == {"nesting-too-deep"}
