"""YAML text into a tree of located values, in bounded time and memory, refusing what YAML has beyond plain data.

The text is read as a stream of events, never composed: an alias is refused before anything could be expanded, nesting
is counted before anything recurses, and every event carries the place that its value keeps.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import date

import yaml

from fleet.diagnostics import Diagnostic, Label, Rejected, Rule, Span
from fleet.source import rules
from fleet.source.syntax import syntax_diagnostic
from fleet.source.tree import Document, Node, Scalar, SourceText

MAX_DEPTH = 64
MAX_VALUES = 200_000
MAX_PROBLEMS = 100
_MAX_NUMBER = 64
"""Longest text that is read as a number, in characters."""

# What YAML 1.1 calls a line break and editors do not is refused too: a comment could end there unseen.
_CONTROL = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CONSTANTS: dict[str, Scalar] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


def parse(source: SourceText) -> Document:
    """Return the values of a YAML file with their places.

    Raises:
        Rejected: with every fault that can be told apart; a fault of syntax ends the reading.
    """
    control = _CONTROL.search(source.text)
    if control:
        label = Label(source.span(control.start(), control.end()), f"U+{ord(control[0]):04X}")
        message = "the file has a character that is not text"
        raise Rejected([rules.CONTROL_CHARACTER.report(message, label)], {source.name: source.text})
    builder = _Builder(source)
    try:
        for event in yaml.parse(source.text, Loader=yaml.CSafeLoader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        builder.problems.append(syntax_diagnostic(error, source))
    except _Stop:
        pass
    root = builder.finish()
    return Document(root, (source,))


class _Stop(Exception):
    """What follows cannot be read, or is not worth reading."""


@dataclass(slots=True)
class _Open:
    """A collection whose end has not come yet."""

    start: int
    key_span: Span | None
    is_flow: bool
    items: dict[str, Node] | list[Node]
    key: str | None = None  # of the value that comes next, in a mapping
    next_key_span: Span | None = None


@dataclass(slots=True)
class _Builder:
    source: SourceText
    problems: list[Diagnostic] = field(default_factory=list)
    aliases: list[Span] = field(default_factory=list)
    stack: list[_Open] = field(default_factory=list)
    root: Node | None = None
    values: int = 0

    def take(self, event: yaml.Event) -> None:
        """Take the next event."""
        match event:
            case yaml.DocumentStartEvent() if self.root is not None:
                self._stop(rules.SECOND_DOCUMENT, "a second document begins here", self._span(event))
            case yaml.AliasEvent():
                self._take_alias(event)
            case yaml.ScalarEvent():
                self._take_scalar(event)
            case yaml.MappingStartEvent():
                self._open(event, {})
            case yaml.SequenceStartEvent():
                self._open(event, [])
            case yaml.CollectionEndEvent():
                self._close(event)

    def finish(self) -> Node:
        """Return the root, or raise what was found."""
        if self.aliases:
            labels = [Label(span) for span in self.aliases[:5]]
            self.problems.append(rules.YAML_ALIAS.report("anchors and aliases are not read", *labels))
        sources = {self.source.name: self.source.text}
        if not self.problems:
            top = self.source.span(0, 0)
            if self.root is None or self.root.value is None:
                report = rules.EMPTY_FILE.report("the file has no value in it", Label(top))
                raise Rejected([report], sources)
            if isinstance(self.root.value, dict):
                return self.root
            what = "a list" if isinstance(self.root.value, list) else "a single value"
            label = Label(self.root.span, what)
            self.problems.append(rules.NOT_A_MAPPING.report(f"the file is {what}, not a mapping", label))
        raise Rejected(self.problems, sources)

    def _take_alias(self, event: yaml.AliasEvent) -> None:
        if not (self.stack and self.stack[-1].key == "<<"):
            self.aliases.append(self._span(event))
        self._add(Node(None, self._span(event)), event)

    def _take_scalar(self, event: yaml.ScalarEvent) -> None:
        self._refuse_decoration(event)
        is_plain = event.style in (None, "")
        top = self.stack[-1] if self.stack else None
        if top and isinstance(top.items, dict) and top.key is None:
            self._take_key(top, event.value, self._span(event), is_plain)
        else:
            value = _resolve(event.value) if is_plain and event.tag is None else event.value
            self._add(Node(value, self._span(event)), event)

    def _take_key(self, top: _Open, key: str, span: Span, is_plain: bool) -> None:
        assert isinstance(top.items, dict)
        if key == "<<" and is_plain:
            self._problem(rules.YAML_MERGE_KEY, "the merge key is not read", Label(span))
        earlier = top.items.get(key)
        if earlier is not None:
            labels = (Label(span, "again here"), Label(earlier.key_span, "first here"))
            self._problem(rules.DUPLICATE_KEY, f"'{key[:64]}' is given twice", *labels)
        top.key, top.next_key_span = key, span

    def _open(self, event: yaml.CollectionStartEvent, items: dict[str, Node] | list[Node]) -> None:
        self._refuse_decoration(event)
        top = self.stack[-1] if self.stack else None
        if top and isinstance(top.items, dict) and top.key is None:
            self._stop(rules.KEY_NOT_TEXT, "this stands where a name is needed", self._span(event))
        if len(self.stack) >= MAX_DEPTH:
            message = f"values are nested more than {MAX_DEPTH} deep"
            self._stop(rules.NESTING_TOO_DEEP, message, self._span(event))
        key_span = top.next_key_span if top and isinstance(top.items, dict) else None
        self.stack.append(_Open(_start(event), key_span, bool(event.flow_style), items))

    def _close(self, event: yaml.CollectionEndEvent) -> None:
        done = self.stack.pop()
        end = _end(event)
        is_on_one_line = done.is_flow and "\n" not in self.source.text[done.start : end]
        if done.key_span and not is_on_one_line:
            self._add(Node(done.items, done.key_span), event)
        else:
            self._add(Node(done.items, self.source.span(done.start, end)), event)

    def _add(self, node: Node, event: yaml.Event) -> None:
        self.values += 1
        if self.values > MAX_VALUES:
            self._stop(
                rules.TOO_MANY_VALUES, f"the file has more than {MAX_VALUES} values", self._span(event)
            )
        if not self.stack:
            self.root = node
            return
        top = self.stack[-1]
        if isinstance(top.items, list):
            top.items.append(node)
        elif top.key is None:  # an alias as a key: refused, but the reading goes on
            top.key, top.next_key_span = "", node.span
        else:
            is_empty = node.value is None and _start(event) == _end(event)
            span = top.next_key_span if is_empty and top.next_key_span else node.span
            top.items[top.key] = Node(node.value, span, top.next_key_span)
            top.key = None

    def _refuse_decoration(self, event: yaml.NodeEvent) -> None:
        if event.anchor is not None:
            self.aliases.append(self._span(event))
        tag = getattr(event, "tag", None)
        if tag is not None:
            shown = tag.replace("tag:yaml.org,2002:", "!!")[:64]
            self._problem(rules.YAML_TAG, f"the tag {shown} is not read", Label(self._span(event)))

    def _problem(self, rule: Rule, message: str, *labels: Label) -> None:
        self.problems.append(rule.report(message, *labels))
        if len(self.problems) >= MAX_PROBLEMS:
            raise _Stop

    def _stop(self, rule: Rule, message: str, span: Span) -> None:
        self._problem(rule, message, Label(span))
        raise _Stop

    def _span(self, event: yaml.Event) -> Span:
        return self.source.span(_start(event), _end(event))


def _start(event: yaml.Event) -> int:
    assert event.start_mark is not None
    return event.start_mark.index


def _end(event: yaml.Event) -> int:
    assert event.end_mark is not None
    return event.end_mark.index


def _resolve(text: str) -> Scalar:
    """Return what an unquoted scalar means: the core schema of YAML 1.2, and dates.

    Text stays text where readers disagree: yes, on, 010, 0x10, 1_000, 1:30, .inf.
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if len(text) > _MAX_NUMBER or text[0] not in "+-.0123456789":
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    if _DATE.fullmatch(text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            return text
    return text
