"""What is wrong, where, and what to do: diagnostics, the registry of rules, and their text and JSON."""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Generic, TypeVar

SpecPath = tuple[str | int, ...]
"""Keys and indices from the top of a file to a value: ("spec", "workloads", "chat", "demand")."""


class Severity(StrEnum):
    """An error stops the compiler; a warning is risk that a reviewer has to accept; info is neither."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A stretch of one line. Lines and columns count from 1, columns in characters; `end_column` is the one after."""

    file: str
    line: int
    column: int
    end_column: int


@dataclass(frozen=True, slots=True)
class Label:
    """A place and what is to be said about it. Stages give a spec path (of a value, or of its key); source.py the span."""

    span: Span | None = None
    text: str = ""
    path: SpecPath = ()
    on_key: bool = False


def at(*path: str | int, text: str = "", on_key: bool = False) -> Label:
    """Return a label on a spec path, to be located later."""
    return Label(text=text, path=path, on_key=on_key)


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding. The first label is the primary one; `path` is its spec path."""

    rule: str
    severity: Severity
    message: str
    labels: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: str = ""
    path: SpecPath = ()

    @property
    def span(self) -> Span | None:
        """Where it is, if it has been located."""
        return self.labels[0].span if self.labels else None

    def located(self, span_of: Callable[[SpecPath, bool], Span]) -> Diagnostic:
        """Return the same diagnostic with a span on every label; `span_of` takes a path and whether the key is meant."""
        labels = self.labels or (Label(path=self.path),)
        return replace(
            self,
            labels=tuple(
                label if label.span else replace(label, span=span_of(label.path, label.on_key))
                for label in labels
            ),
        )


class Rejected(Exception):
    """The input is wrong, or cannot be met. `sources` maps the files named by the spans to their text."""

    def __init__(self, diagnostics: Iterable[Diagnostic], sources: Mapping[str, str] | None = None) -> None:
        self.diagnostics = tuple(diagnostics)
        self.sources = dict(sources or {})
        assert self.diagnostics, "a rejection says why"
        super().__init__(f"{self.diagnostics[0].rule}: {self.diagnostics[0].message}")


# ---------------------------------------------------------------- rules


@dataclass(frozen=True, slots=True)
class Rule:
    """A named fault: what is wrong, why it matters and how to mend it, as `fleetc explain` prints them."""

    name: str
    severity: Severity
    what: str
    why: str
    fix: str

    def report(self, message: str, *labels: Label, notes: Iterable[str] = (), help: str = "") -> Diagnostic:
        """Return a diagnostic of this rule; `help` is the one thing to do, by default the rule's fix."""
        help = help or self.fix[:1].lower() + self.fix[1:].rstrip(".")
        path = labels[0].path if labels else ()
        return Diagnostic(self.name, self.severity, message, labels, tuple(notes), help, path)

    @property
    def page(self) -> str:
        """The rule in full, for `fleetc explain` and the reference."""
        return f"{self.name} ({self.severity})\n\nWhat: {self.what}\n\nWhy: {self.why}\n\nFix: {self.fix}\n"


_RULES: dict[str, Rule] = {}
_RULE_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+")


def register(name: str, *, severity: Severity = Severity.ERROR, what: str, why: str, fix: str) -> Rule:
    """Enter a rule in the registry; rules are constants of the module that finds the fault."""
    if not _RULE_NAME.fullmatch(name):
        raise ValueError(f"rule name {name!r} is not in kebab-case")
    if not (what and why and fix):
        raise ValueError(f"rule {name} lacks What, Why or Fix")
    rule = Rule(name, severity, what, why, fix)
    if _RULES.setdefault(name, rule) != rule:
        raise ValueError(f"rule {name} is registered twice")
    return rule


def get_rule(name: str) -> Rule:
    """Return the rule of this name.

    Raises:
        KeyError: no module that is imported registers it.
    """
    return _RULES[name]


def all_rules() -> tuple[Rule, ...]:
    """Return every rule registered by the modules imported so far, by name."""
    return tuple(_RULES[name] for name in sorted(_RULES))


Subject = TypeVar("Subject")


@dataclass(frozen=True, slots=True)
class Check(Generic[Subject]):
    """A rule with the function that finds its violations."""

    rule: Rule
    find: Callable[[Subject], Iterator[Diagnostic]]

    def report(self, message: str, *labels: Label, notes: Iterable[str] = (), help: str = "") -> Diagnostic:
        """Return a diagnostic of the rule."""
        return self.rule.report(message, *labels, notes=notes, help=help)


def check(
    severity: Severity = Severity.ERROR,
) -> Callable[[Callable[[Subject], Iterator[Diagnostic]]], Check[Subject]]:
    """Turn a function whose docstring has What, Why and Fix into a registered rule of the same name in kebab-case."""

    def decorate(find: Callable[[Subject], Iterator[Diagnostic]]) -> Check[Subject]:
        sections = _sections(find.__doc__ or "")
        rule = register(
            find.__name__.replace("_", "-"),
            severity=severity,
            what=sections.get("What", ""),
            why=sections.get("Why", ""),
            fix=sections.get("Fix", ""),
        )
        return Check(rule, find)

    return decorate


def _sections(docstring: str) -> dict[str, str]:
    parts = re.split(r"^\s*(What|Why|Fix):\s*", docstring, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def did_you_mean(word: str, known: Iterable[str], *, shown: int = 8) -> str:
    """Return what to say about an unknown word: the closest known one, or which are known.

    >>> did_you_mean("caht", ["chat", "code"])
    "did you mean 'chat'?"
    >>> did_you_mean("x", ["chat", "code"])
    "known are 'chat' and 'code'"
    """
    names = sorted(known)
    close = closest(word, names)
    if close:
        return f"did you mean '{close}'?"
    if not names:
        return "none are declared"
    return f"known are {enumerated(names, shown=shown)}"


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that an unknown one is most likely a slip for, if any is near.

    >>> closest("latancy", ["latency", "rate"])
    'latency'
    """
    close = difflib.get_close_matches(word[:64].lower(), sorted(known), n=1, cutoff=0.6)
    return close[0] if close else None


def enumerated(names: Sequence[str], *, shown: int = 8, last: str = "and") -> str:
    """Return names in quotes as a phrase: 'a', 'b' and 'c'; the rest is counted.

    >>> enumerated(["a", "b", "c"]), enumerated(["a", "b", "c"], shown=1)
    ("'a', 'b' and 'c'", "'a' and 2 more")
    """
    quoted = [f"'{name}'" for name in names[:shown]]
    if len(names) > shown:
        quoted.append(f"{len(names) - shown} more")
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} {last} {quoted[-1]}"


# ---------------------------------------------------------------- text

_EXCERPT = 100
"""Longest stretch of a user's line that is shown, in characters."""
_TAB = "    "
_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_STYLES = {"error": "1;31", "warning": "1;33", "info": "1;36", "frame": "1;34", "strong": "1"}


def render_text(diagnostics: Sequence[Diagnostic], sources: Mapping[str, str], *, color: bool = False) -> str:
    """Return diagnostics as a person reads them, each with the user's own lines, and a closing count.

    Args:
        diagnostics: In the order shown. Labels without a span, or in a file without text, keep their words as notes.
        sources: Text of each file that spans name.
        color: Whether to use ANSI colours.
    """
    if not diagnostics:
        return ""
    page = _Page({file: _LINE_BREAK.split(text) for file, text in sources.items()}, color)
    blocks = ["\n".join(page.block(diagnostic)) for diagnostic in diagnostics]
    return "\n\n".join([*blocks, count_by_severity(diagnostics)]) + "\n"


def count_by_severity(diagnostics: Iterable[Diagnostic]) -> str:
    """Return the closing line: 2 errors, 1 warning."""
    counts = Counter(diagnostic.severity for diagnostic in diagnostics)
    plural = {Severity.INFO: "info"}
    return ", ".join(
        f"{counts[level]} {level if counts[level] == 1 else plural.get(level, f'{level}s')}"
        for level in Severity
        if counts[level]
    )


@dataclass(frozen=True, slots=True)
class _Page:
    lines: Mapping[str, Sequence[str]]
    color: bool

    def block(self, diagnostic: Diagnostic) -> Iterator[str]:
        """Yield the lines of one diagnostic."""
        head = self._paint(f"{diagnostic.severity}[{diagnostic.rule}]", diagnostic.severity)
        yield head + self._paint(f": {printable(diagnostic.message)}", "strong")
        placed = [(label, label.span) for label in diagnostic.labels if label.span]
        gutter = len(str(max((span.line for _, span in placed), default=1)))
        for number, file in enumerate(dict.fromkeys(span.file for _, span in placed)):
            here = [(label, span) for label, span in placed if span.file == file]
            yield from self._file(here, gutter, "-->" if number == 0 else ":::", diagnostic.severity)
        unplaced = [label.text for label in diagnostic.labels if label.text and not label.span]
        for note in (*unplaced, *diagnostic.notes):
            yield self._paint(" " * gutter + " = ", "frame") + f"note: {printable(note)}"
        if diagnostic.help:
            yield self._paint(" " * gutter + " = ", "frame") + f"help: {printable(diagnostic.help)}"

    def _file(
        self, labels: Sequence[tuple[Label, Span]], gutter: int, arrow: str, severity: Severity
    ) -> Iterator[str]:
        first = labels[0][1]
        place = f"{printable(first.file)}:{first.line}:{first.column}"
        yield self._paint(" " * gutter + arrow, "frame") + f" {place}"
        bar = self._paint(" " * gutter + " |", "frame")
        lines = self.lines.get(first.file, ())
        yield bar
        previous_line, previous_text = 0, ""
        for label, span in sorted(labels, key=lambda item: item[1]):
            source = lines[span.line - 1] if span.line <= len(lines) else ""
            text, offset, width = _excerpt(source, span.column - 1, span.end_column - 1)
            if previous_line and span.line > previous_line + 1:
                yield self._paint("...", "frame")
            if (span.line, text) != (previous_line, previous_text):
                yield self._paint(f"{span.line:>{gutter}} |", "frame") + f" {text}".rstrip()
            carets = self._paint(" ".join(filter(None, ["^" * width, printable(label.text)])), severity)
            yield f"{bar} {' ' * offset}{carets}"
            previous_line, previous_text = span.line, text

    def _paint(self, text: str, style: str) -> str:
        return f"\033[{_STYLES[style]}m{text}\033[0m" if self.color else text


def _excerpt(line: str, start: int, end: int) -> tuple[str, int, int]:
    """Return a stretch of a line around [start, end), and where the carets go: columns before them, and their width."""
    first, last = 0, len(line)
    if last > _EXCERPT:
        first = max(0, min(start - _EXCERPT // 4, last - _EXCERPT))
        last = min(last, first + _EXCERPT)
    before = ("…" if first else "") + printable(line[first:start])
    marked = printable(line[start : min(end, last)])
    after = printable(line[max(start, min(end, last)) : last]) + ("…" if last < len(line) else "")
    return before + marked + after, _columns(before), max(1, _columns(marked))


def printable(text: str) -> str:
    """Return text that is safe and aligned in a terminal: tabs widened, control and direction characters replaced."""
    return "".join(_TAB if char == "\t" else char if _is_printable(char) else "\ufffd" for char in text)


def _is_printable(char: str) -> bool:
    if char.isascii():
        return char.isprintable()
    return char in "\u200c\u200d" or unicodedata.category(char) not in (
        "Cc",
        "Cf",
        "Cs",
        "Co",
        "Cn",
        "Zl",
        "Zp",
    )


def _columns(text: str) -> int:
    """Return the width of text in terminal columns: wide characters take two, combining ones none."""
    return sum(
        0
        if unicodedata.category(char) in ("Mn", "Me", "Cf")
        else 2
        if unicodedata.east_asian_width(char) in "WF"
        else 1
        for char in text
    )


# ---------------------------------------------------------------- JSON


def render_json(diagnostics: Sequence[Diagnostic]) -> str:
    """Return diagnostics for machines: `format_version`, counts and one object for each; keys in a fixed order."""
    counts = Counter(diagnostic.severity for diagnostic in diagnostics)
    document = {
        "format_version": 1,
        "errors": counts[Severity.ERROR],
        "warnings": counts[Severity.WARNING],
        "infos": counts[Severity.INFO],
        "diagnostics": [_as_json(diagnostic) for diagnostic in diagnostics],
    }
    return json.dumps(document, indent=2, ensure_ascii=True) + "\n"


def _as_json(diagnostic: Diagnostic) -> dict[str, object]:
    return {
        "rule": diagnostic.rule,
        "severity": diagnostic.severity.value,
        "message": diagnostic.message,
        "path": list(diagnostic.path),
        "labels": [
            {
                "file": label.span.file if label.span else None,
                "line": label.span.line if label.span else None,
                "column": label.span.column if label.span else None,
                "end_column": label.span.end_column if label.span else None,
                "path": list(label.path),
                "text": label.text,
            }
            for label in diagnostic.labels
        ],
        "notes": list(diagnostic.notes),
        "help": diagnostic.help,
    }
