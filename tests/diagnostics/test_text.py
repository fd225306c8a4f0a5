"""Diagnostics as text and JSON."""

from __future__ import annotations

import json
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.diagnostics import (
    Diagnostic,
    Label,
    Rejected,
    Severity,
    Span,
    at,
    count_by_severity,
    render_json,
    render_text,
)

FILE = "stacks/prod/fleet.yaml"
SOURCE = dedent("""\
    spec:
      workloads:
        chat:
          demand:
              output_tok_per_s: 20000
      hardware:
        limits:
          # what may be bought
            max_gpus: 72
    """)


def finding(*labels: Label, **more: object) -> Diagnostic:
    fields: dict[str, object] = {"rule": "some-fault", "severity": Severity.ERROR, "message": "it is wrong"}
    return Diagnostic(**(fields | more), labels=labels)  # type: ignore[arg-type]


def excerpt(line: str, start: int, end: int) -> list[str]:
    """Return the shown line and the carets below it, for a span of columns on a one-line file."""
    shown = render_text([finding(Label(Span("f", 1, start, end)))], {"f": line}).splitlines()
    return [shown[3].removeprefix("1 | "), shown[4].removeprefix("  | ")]


def test_a_diagnostic_has_the_shape_of_the_style_guide() -> None:
    diagnostic = Diagnostic(
        "demand-exceeds-gpu-limit",
        Severity.ERROR,
        "workload 'chat' cannot serve its demand within max_gpus",
        (
            Label(Span(FILE, 5, 29, 34), "needs 160 GPUs or more"),
            Label(Span(FILE, 9, 19, 21), "allows 72, which serve 9300 tok/s at most"),
        ),
        ("removing either line makes the fleet solvable; no other rule is involved",),
        "raise max_gpus to 160, or relax slo.tpot_p95_ms",
    )
    assert render_text([diagnostic], {FILE: SOURCE}) == dedent("""\
        error[demand-exceeds-gpu-limit]: workload 'chat' cannot serve its demand within max_gpus
         --> stacks/prod/fleet.yaml:5:29
          |
        5 |           output_tok_per_s: 20000
          |                             ^^^^^ needs 160 GPUs or more
        ...
        9 |         max_gpus: 72
          |                   ^^ allows 72, which serve 9300 tok/s at most
          = note: removing either line makes the fleet solvable; no other rule is involved
          = help: raise max_gpus to 160, or relax slo.tpot_p95_ms

        1 error
        """)


def test_labels_in_two_files_are_shown_under_each_file() -> None:
    labels = (Label(Span("a.yaml", 1, 1, 2), "here"), Label(Span("b.yaml", 12, 1, 4), "and here"))
    text = render_text([finding(*labels)], {"a.yaml": "x: 1", "b.yaml": "\n" * 11 + "y: 2"})
    assert text == dedent("""\
        error[some-fault]: it is wrong
          --> a.yaml:1:1
           |
         1 | x: 1
           | ^ here
          ::: b.yaml:12:1
           |
        12 | y: 2
           | ^^^ and here

        1 error
        """)


def test_labels_of_one_line_share_it_and_neighbours_have_no_gap() -> None:
    labels = (Label(Span("f", 1, 1, 2), "one"), Label(Span("f", 1, 4, 5), "two"), Label(Span("f", 2, 1, 2)))
    text = render_text([finding(*labels)], {"f": "a, b\nc"})
    assert text.splitlines()[3:8] == ["1 | a, b", "  | ^ one", "  |    ^ two", "2 | c", "  | ^"]


@pytest.mark.parametrize(
    ("line", "start", "end", "shown", "carets"),
    [
        pytest.param("ab: cd", 5, 7, "ab: cd", "    ^^", id="plain text"),
        pytest.param("\tab", 2, 4, "    ab", "    ^^", id="a tab takes four columns"),
        pytest.param("a\tb", 2, 3, "a    b", " ^^^^", id="a marked tab is marked whole"),
        pytest.param("日本: x", 5, 6, "日本: x", "      ^", id="a wide character takes two columns"),
        pytest.param("日本", 1, 3, "日本", "^^^^", id="marked wide characters have two carets each"),
        pytest.param("e\u0301: x", 5, 6, "e\u0301: x", "   ^", id="a combining accent takes no column"),
        pytest.param("😀: x", 4, 5, "😀: x", "    ^", id="an emoji takes two columns"),
        pytest.param("a\x1b[31mb", 7, 8, "a\ufffd[31mb", "      ^", id="an escape sequence is defused"),
        pytest.param("a\u202eb", 3, 4, "a\ufffdb", "  ^", id="a direction override is defused"),
        pytest.param("", 1, 2, "", "^", id="an empty line still has a caret"),
        pytest.param("ab", 3, 4, "ab", "  ^", id="a place after the end of the line"),
    ],
)
def test_carets_stand_under_what_they_mark(line: str, start: int, end: int, shown: str, carets: str) -> None:
    assert excerpt(line, start, end) == [shown if shown else "1 |", carets]


def test_a_very_long_line_is_cut_around_the_mark() -> None:
    line = "x" * 5000 + "MARK" + "y" * 5000
    shown, carets = excerpt(line, 5001, 5005)
    assert len(shown) <= 102
    assert shown.startswith("…x")
    assert shown.endswith("y…")
    assert shown[carets.index("^") : carets.rindex("^") + 1] == "MARK"


def test_a_mark_longer_than_the_excerpt_is_cut_with_it() -> None:
    shown, carets = excerpt("z" * 5000, 1, 5001)
    assert len(shown) <= 102
    assert carets.count("^") == 100


def test_a_label_without_a_place_becomes_a_note() -> None:
    text = render_text([finding(Label(text="somewhere"))], {})
    assert "  = note: somewhere\n" in text
    assert "-->" not in text


def test_a_file_without_text_shows_the_place_alone() -> None:
    text = render_text([finding(Label(Span("gone.yaml", 3, 2, 4), "here"))], {})
    assert " --> gone.yaml:3:2\n" in text


def test_a_message_cannot_forge_lines_or_colours() -> None:
    text = render_text([finding(message="bad\nerror[fake]: \x1b[31mred")], {})
    assert text.splitlines()[0] == "error[some-fault]: bad\ufffderror[fake]: \ufffd[31mred"


@pytest.mark.parametrize(
    ("severities", "line"),
    [
        ("e", "1 error"),
        ("eew", "2 errors, 1 warning"),
        ("wwi", "2 warnings, 1 info"),
        ("iie", "1 error, 2 info"),
    ],
)
def test_the_closing_line_counts_by_severity(severities: str, line: str) -> None:
    levels = {"e": Severity.ERROR, "w": Severity.WARNING, "i": Severity.INFO}
    found = [finding(severity=levels[letter]) for letter in severities]
    assert count_by_severity(found) == line
    assert render_text(found, {}).splitlines()[-1] == line


def test_nothing_found_is_nothing_said() -> None:
    assert render_text([], {}) == ""


def test_colour_changes_no_character_of_the_text() -> None:
    found = [finding(Label(Span(FILE, 5, 3, 7), "here"), notes=("a note",), help="do this")]
    coloured = render_text(found, {FILE: SOURCE}, color=True)
    assert "\033[1;31m" in coloured
    plain = coloured
    for style in ("1;31", "1;33", "1;36", "1;34", "1", "0"):
        plain = plain.replace(f"\033[{style}m", "")
    assert plain == render_text(found, {FILE: SOURCE})


@given(line=st.text(max_size=300), start=st.integers(1, 320), width=st.integers(1, 320))
def test_any_line_and_any_span_can_be_shown(line: str, start: int, width: int) -> None:
    text = render_text([finding(Label(Span("f", 1, start, start + width), "here"))], {"f": line})
    assert text.count("\n") == 7
    assert not any(ord(char) < 32 for char in text if char != "\n")


def test_json_has_everything_that_text_has() -> None:
    located = finding(
        Label(Span("f", 1, 2, 3), "here", ("spec", 0)), Label(text="nowhere"), notes=("n",), help="h"
    )
    document = json.loads(render_json([located]))
    assert document == {
        "format_version": 1,
        "errors": 1,
        "warnings": 0,
        "infos": 0,
        "diagnostics": [
            {
                "rule": "some-fault",
                "severity": "error",
                "message": "it is wrong",
                "path": [],
                "labels": [
                    {
                        "file": "f",
                        "line": 1,
                        "column": 2,
                        "end_column": 3,
                        "path": ["spec", 0],
                        "text": "here",
                    },
                    {
                        "file": None,
                        "line": None,
                        "column": None,
                        "end_column": None,
                        "path": [],
                        "text": "nowhere",
                    },
                ],
                "notes": ["n"],
                "help": "h",
            }
        ],
    }


def test_locating_gives_every_label_a_span_and_keeps_those_that_have_one() -> None:
    placed = Span("other", 9, 9, 10)
    found = finding(at("a", text="x"), at("b", on_key=True), Label(placed))
    located = found.located(lambda path, key: Span("f", len(path), 1, 2 if key else 3))
    assert [label.span for label in located.labels] == [Span("f", 1, 1, 3), Span("f", 1, 1, 2), placed]


def test_locating_a_diagnostic_without_labels_uses_its_path() -> None:
    located = finding(path=("spec", "x")).located(lambda path, key: Span("f", 1, len(path), 9))
    assert located.span == Span("f", 1, 2, 9)


def test_a_rejection_says_why() -> None:
    rejected = Rejected([finding()], {"f": "x"})
    assert str(rejected) == "some-fault: it is wrong"
    assert rejected.sources == {"f": "x"}
    with pytest.raises(AssertionError):
        Rejected([])
