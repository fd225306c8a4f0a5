"""Text in lines: made safe for a terminal, wrapped by display width, laid out in columns."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from fleet.review.report import Column

GAP = "  "
NARROWEST = 8
"""A column of a table is not made narrower than this."""
_GLUED = re.compile(r"(?<=\d) (?=(?:%|req/s|ms|s|kW|MW|W|[GT]iB|GPUs?|tokens)(?![\w]))")
"""The space between a number and its unit: no line breaks there."""


def clean(text: str) -> str:
    """Return one line without control, format and private characters; every kind of space is a space.

    >>> clean("a\\x1b[31mb\\n c\\u202e")
    'a[31mb  c'
    """
    if text.isascii() and text.isprintable():
        return text
    spaced = (" " if c.isspace() or unicodedata.category(c).startswith("Z") else c for c in text)
    return "".join(c for c in spaced if unicodedata.category(c)[0] != "C")


def display_width(text: str) -> int:
    """Return the columns that a terminal gives the text.

    >>> display_width("gpu"), display_width("\\u6f22"), display_width("e\\u0301")
    (3, 2, 1)
    """
    return len(text) if text.isascii() else sum(map(_character_width, text))


def _character_width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def wrap(text: str, width: int) -> list[str]:
    """Return lines of at most `width` columns, broken at spaces, and inside a word only where it is too long.

    A number keeps its unit.

    >>> wrap("one two three", 7), wrap("abcdefgh", 3)
    (['one two', 'three'], ['abc', 'def', 'gh'])
    """
    lines: list[str] = []
    line = ""
    for word in _GLUED.sub("\xa0", " ".join(text.split())).split(" "):
        for part in _pieces(word, width):
            if line and display_width(line) + 1 + display_width(part) <= width:
                line = f"{line} {part}"
            else:
                lines.extend([line] if line else [])
                line = part
    return [found.replace("\xa0", " ") for found in ([*lines, line] if line or not lines else lines)]


def _pieces(word: str, width: int) -> Iterator[str]:
    """Cut a word that is too long, if possible behind one of its own marks."""
    while display_width(word) > width:
        end, taken = 0, 0
        while taken + _character_width(word[end]) <= width or end == 0:
            taken += _character_width(word[end])
            end += 1
        mark = max(word.rfind(c, width // 2, end) for c in "-/,.:")
        end = mark + 1 if mark > 0 else end
        yield word[:end]
        word = word[end:]
    yield word


def table_lines(columns: tuple[Column, ...], rows: tuple[tuple[str, ...], ...], width: int) -> list[str]:
    """Return a table of at most `width` columns: the widest columns give way and their cells are wrapped."""
    header = tuple(column.name for column in columns)
    widths = [max(display_width(row[i]) for row in (header, *rows)) for i in range(len(columns))]
    room = width - len(GAP) * (len(columns) - 1)
    while sum(widths) > room and max(widths) > NARROWEST:
        widths[widths.index(max(widths))] -= 1
    return [line for row in (header, *rows) for line in _row_lines(columns, row, widths)]


def _row_lines(columns: tuple[Column, ...], row: tuple[str, ...], widths: list[int]) -> Iterator[str]:
    cells = [wrap(cell, width) for cell, width in zip(row, widths, strict=True)]
    for number in range(max(map(len, cells))):
        parts = []
        for column, cell, width in zip(columns, cells, widths, strict=True):
            text = cell[number] if number < len(cell) else ""
            padding = " " * (width - display_width(text))
            parts.append(padding + text if column.is_number else text + padding)
        yield GAP.join(parts).rstrip()
