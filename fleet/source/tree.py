"""Values with their places: the tree that a YAML file is read into."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

from fleet.diagnostics import Diagnostic, Span, SpecPath

Scalar = str | int | float | bool | date | None

_LINE_BREAK = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class SourceText:
    """The text of one file under the name that messages show."""

    name: str
    text: str

    @cached_property
    def _lines(self) -> tuple[list[int], list[int]]:
        """Offsets where lines start, and where they end, their breaks left out."""
        breaks = list(_LINE_BREAK.finditer(self.text))
        return [0, *(one.end() for one in breaks)], [*(one.start() for one in breaks), len(self.text)]

    def span(self, start: int, end: int) -> Span:
        """Return the span from one offset in the text to another, cut at the end of its first line, never empty."""
        starts, ends = self._lines
        line = bisect_right(starts, start)
        column = start - starts[line - 1] + 1
        end_column = min(end, ends[line - 1]) - starts[line - 1] + 1
        return Span(self.name, line, column, max(column + 1, end_column))


@dataclass(frozen=True, slots=True)
class Node:
    """A value, the place that shows it, and the place of its key (None for list items and the root).

    What spreads over lines, and an empty value, is shown by its key; a list item by its first line.
    """

    value: Scalar | dict[str, Node] | list[Node]
    span: Span
    key_span: Span | None = None

    @property
    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: node.plain for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain for node in self.value]
        return self.value

    def find_child(self, step: str | int) -> Node | None:
        """Return the value under a key or an index, if there is one."""
        if isinstance(self.value, dict):
            return self.value.get(str(step))
        if isinstance(self.value, list) and isinstance(step, int) and 0 <= step < len(self.value):
            return self.value[step]
        return None


@dataclass(frozen=True)
class Document:
    """A file, or a file with its overlays, as plain values whose places are known."""

    root: Node
    sources: tuple[SourceText, ...]

    @cached_property
    def data(self) -> dict[str, Any]:
        """The values: dicts, lists, text, numbers, booleans, dates and None."""
        plain: dict[str, Any] = self.root.plain
        return plain

    @property
    def files(self) -> Mapping[str, str]:
        """The text of every file, by the name that spans use."""
        return {source.name: source.text for source in self.sources}

    def span(self, path: SpecPath, key: bool = False) -> Span:
        """Return the place of the value at a path, or of its key.

        Of a path that does not exist, the nearest part that does is shown, by its key.
        """
        node, is_whole = self.root, True
        for step in path:
            child = node.find_child(step)
            if child is None:
                is_whole = False
                break
            node = child
        return node.key_span if node.key_span and (key or not is_whole) else node.span

    def has(self, path: SpecPath) -> bool:
        """Say whether the file itself gives a value at a path."""
        node: Node | None = self.root
        for step in path:
            node = node.find_child(step) if node else None
        return node is not None

    def locate(self, diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
        """Return diagnostics with spans, ordered by place; those of one place keep their order."""
        located = [diagnostic.located(self.span) for diagnostic in diagnostics]
        order = {source.name: index for index, source in enumerate(self.sources)}

        def place(diagnostic: Diagnostic) -> tuple[int, int, int]:
            span = diagnostic.span
            return (order.get(span.file, len(order)), span.line, span.column) if span else (0, 0, 0)

        return tuple(sorted(located, key=place))
