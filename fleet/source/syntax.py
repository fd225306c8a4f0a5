"""What a YAML reader's complaint means, placed where the mistake is rather than where the reader gave up."""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from fleet.diagnostics import Diagnostic, Label
from fleet.source import rules
from fleet.source.tree import SourceText


@dataclass(frozen=True, slots=True)
class _Hint:
    """What to say when the reader's complaint contains `words`; `at_context`: the mistake is where the construct began."""

    words: str
    message: str
    help: str
    at_context: bool = False
    also: str = ""  # said at the other of the two places


_HINTS = (
    _Hint(
        "found unexpected end of stream",
        "a quote is opened and never closed",
        "close the quote on the same line",
        at_context=True,
    ),
    _Hint(
        "did not find expected ',' or ']'",
        "a list in brackets is not closed, or lacks a comma",
        "write [a, b, c], with a comma between items and the bracket closed",
        at_context=True,
        also="this was found instead",
    ),
    _Hint(
        "did not find expected ',' or '}'",
        "a mapping in braces is not closed, or lacks a comma",
        "write {a: 1, b: 2}, with a comma between entries and the brace closed",
        at_context=True,
        also="this was found instead",
    ),
    _Hint(
        "could not find expected ':'",
        "a name stands here without a colon and a value",
        "write `name: value`, with a colon and a space after the name",
        at_context=True,
    ),
    _Hint(
        "did not find expected '-' indicator",
        "a list item is expected here",
        "begin each item with `- ` at the same column, or indent this line under an item",
    ),
    _Hint(
        "block sequence entries are not allowed",
        "a list cannot begin on this line",
        "begin each item on a line of its own with `- `, or write [a, b]",
    ),
    _Hint(
        "found unknown escape character",
        "in double quotes a backslash begins an escape, and this one is unknown",
        "use single quotes",
    ),
    _Hint(
        "did not find expected node content",
        "a value is missing here",
        "remove the bracket, brace or comma that has nothing before it",
    ),
    _Hint(
        "incompatible YAML document",
        "the %YAML line asks for a version that is not read",
        "remove the %YAML line",
    ),
)


def syntax_diagnostic(error: yaml.MarkedYAMLError, source: SourceText) -> Diagnostic:
    """Return the diagnostic for a complaint of the YAML reader."""
    problem = error.problem or error.context or "not YAML"
    found = _offset(error.problem_mark or error.context_mark, source)
    began = _offset(error.context_mark or error.problem_mark, source)
    here = Label(source.span(found, found + 1))
    if "nesting" in f"{problem} {error.context}":
        return rules.NESTING_TOO_DEEP.report("values are nested too deep to be read", here)
    if "tag handle" in problem:
        return rules.YAML_TAG.report("a tag is not read", here)
    if "tab character" in problem or ("cannot start any token" in problem and _char(source, found) == "\t"):
        return rules.TAB_IN_INDENTATION.report("a line is indented with a tab", here)
    for hint in _HINTS:
        if hint.words in problem:
            places = [(began, ""), (found, hint.also)] if hint.at_context else [(found, "")]
            labels = [
                Label(source.span(at, at + 1), text) for at, text in places if at == places[0][0] or text
            ]
            return rules.YAML_SYNTAX.report(hint.message, *labels, help=hint.help)
    message, help = _by_line(problem, _char(source, found), _line_before(source, found))
    return rules.YAML_SYNTAX.report(message, here, help=help)


def _by_line(problem: str, char: str, before: str) -> tuple[str, str]:
    """Return message and help for the complaints whose meaning depends on the line they stand in."""
    if "cannot start any token" in problem:
        return f"a value cannot begin with {char}", f'put the value in quotes: "{char}..."'
    if "mapping values are not allowed" in problem:
        if ":" in before:
            return "a second colon stands in this line", "put the value in quotes if the colon belongs to it"
        return (
            "this line is indented deeper than the value above allows",
            "give the line the same indentation as its neighbours, or move the value above",
        )
    if "did not find expected key" in problem:
        if before.strip():
            return "text follows a value that has ended", "put the whole value in one pair of quotes"
        return (
            "the indentation of this line fits no line above",
            "give the line the same indentation as its neighbours",
        )
    return f"this cannot be read: {problem}", ""


def _offset(mark: yaml.Mark | None, source: SourceText) -> int:
    """Return a mark as an offset; at the end of the text, of its last visible character."""
    if mark is None:
        return 0
    return mark.index if mark.index < len(source.text) else max(0, len(source.text.rstrip()) - 1)


def _char(source: SourceText, offset: int) -> str:
    return source.text[offset : offset + 1]


def _line_before(source: SourceText, offset: int) -> str:
    return source.text[source.text.rfind("\n", 0, offset) + 1 : offset]
