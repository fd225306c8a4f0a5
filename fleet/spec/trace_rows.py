"""Lines of a trace file into rows: Azure's CSV and Mooncake's JSON lines."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Literal

from fleet.diagnostics import register
from fleet.units import MS_PER_S

BLOCK_TOKENS = 512
"""Tokens of one prefix block of a Mooncake trace."""
MAX_TOKENS = 1_000_000_000

UNREADABLE = register(
    "trace-missing",
    what="A trace file is missing or cannot be read.",
    why="Rates and lengths are taken from it, and nothing is assumed in their place.",
    fix="Correct the path; it is relative to the folder of the fleet file.",
)
MALFORMED = register(
    "trace-malformed",
    what="A line of a trace is not in the trace's format.",
    why="A line that is passed over would be demand that is not planned for.",
    fix="Correct or remove the line; `format` says how the file is read.",
)
TOO_LARGE = register(
    "trace-too-large",
    what="A trace is larger than is read.",
    why="Time and memory of the compiler are bounded; a day's sample predicts as well as a year.",
    fix="Cut the trace to a few hours with the peak in them.",
)
UNUSABLE = register(
    "trace-too-short",
    what="A trace has fewer than two requests, or all at one time.",
    why="A rate needs requests over some time.",
    fix="Give a longer trace.",
)

_AZURE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_MOONCAKE_FIELDS = ("timestamp", "input_length", "output_length")


@dataclass(frozen=True, slots=True)
class Row:
    """One request: arrival in seconds from any origin, tokens, and ids of the prompt's prefix blocks where known."""

    time_s: float
    input_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class MalformedRow:
    """A line that is not a row, and why."""

    line: int
    text: str
    reason: str


class _NotARow(ValueError):
    """The line is no request; the message says why."""


def rows_of(
    lines: Iterator[bytes], format: Literal["auto", "azure", "mooncake"]
) -> Iterator[Row | MalformedRow]:
    """Yield a row for each line but the header; `auto` goes by whether the first line begins with a brace."""
    first = next(lines, b"")
    rest = chain([first], lines)
    is_mooncake = format == "mooncake" or (
        format == "auto" and first.lstrip(b"\xef\xbb\xbf \t").startswith(b"{")
    )
    return _mooncake(rest) if is_mooncake else _azure(rest)


def _azure(lines: Iterator[bytes]) -> Iterator[Row | MalformedRow]:
    header = next(lines, b"").decode("utf-8-sig", errors="replace").strip()
    names = [name.strip() for name in header.split(",")]
    missing = [name for name in _AZURE_COLUMNS if name not in names]
    if missing:
        yield MalformedRow(1, header[:1000], f"the header lacks {', '.join(missing)}")
        return
    places = [names.index(name) for name in _AZURE_COLUMNS]
    for number, line in enumerate(lines, start=2):
        text = line.decode("utf-8", errors="replace").strip()
        if not text:
            continue
        try:
            yield _azure_row(text.split(","), places)
        except _NotARow as reason:
            yield MalformedRow(number, text[:1000], str(reason))


def _azure_row(cells: list[str], places: list[int]) -> Row:
    if len(cells) <= max(places):
        raise _NotARow(f"has {len(cells)} values, needs {max(places) + 1}")
    time, prompt, answer = (cells[place].strip() for place in places)
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        raise _NotARow("has no time such as 2023-11-16 18:17:03.97") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if not (prompt.isascii() and prompt.isdigit() and answer.isascii() and answer.isdigit()):
        raise _NotARow("has no whole numbers of tokens")
    if len(prompt) > 10 or len(answer) > 10:
        raise _NotARow("has far too many tokens")
    return _row((moment - _EPOCH).total_seconds(), int(prompt), int(answer))


_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""Near enough that microseconds survive in a float."""


def _mooncake(lines: Iterator[bytes]) -> Iterator[Row | MalformedRow]:
    for number, line in enumerate(lines, start=1):
        text = line.decode("utf-8-sig" if number == 1 else "utf-8", errors="replace").strip()
        if not text:
            continue
        try:
            yield _mooncake_row(json.loads(text))
        except _NotARow as reason:
            yield MalformedRow(number, text[:1000], str(reason))
        except (ValueError, RecursionError):
            yield MalformedRow(number, text[:1000], "is not JSON")


def _mooncake_row(value: object) -> Row:
    if not isinstance(value, dict):
        raise _NotARow("is no JSON object")
    missing = [name for name in _MOONCAKE_FIELDS if name not in value]
    if missing:
        raise _NotARow(f"lacks {', '.join(missing)}")
    time, prompt, answer = (value[name] for name in _MOONCAKE_FIELDS)
    if isinstance(time, bool) or not isinstance(time, int | float) or not -1e15 < time < 1e15:
        raise _NotARow("has no timestamp in milliseconds")
    if not (type(prompt) is int and type(answer) is int):
        raise _NotARow("has no whole numbers of tokens")
    blocks = value.get("hash_ids", [])
    if not isinstance(blocks, list) or any(type(block) is not int for block in blocks):
        raise _NotARow("has hash_ids that are no list of whole numbers")
    return _row(time / MS_PER_S, prompt, answer, tuple(blocks))


def _row(time_s: float, prompt: int, answer: int, blocks: tuple[int, ...] = ()) -> Row:
    if not (0 <= prompt <= MAX_TOKENS and 0 <= answer <= MAX_TOKENS and math.isfinite(time_s)):
        raise _NotARow(f"has tokens outside 0 to {MAX_TOKENS:,}")
    return Row(time_s, prompt, answer, blocks)
