"""Figures of a record: numbers that must be numbers, and dates as tools write them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from math import isfinite
from typing import Any

from fleet.diagnostics import Diagnostic
from fleet.results.faults import IMPOSSIBLE_FIGURE, MISSING_FIGURE
from fleet.results.record import LABEL_PREFIX
from fleet.results.records import Record

MOST = 1e15


@dataclass(slots=True)
class Figures:
    """Reads numbers from a record and collects what is wrong with them."""

    record: Record
    faults: list[Diagnostic] = field(default_factory=list)

    def number(self, key: str, value: Any = None, *, zero: bool = False, needed: str = "") -> float | None:
        """Return a figure above zero, or None where it is absent or impossible.

        Args:
            value: The figure where it is not the record's own value under `key`.
            zero: Whether zero is a figure too.
            needed: What it is, where it must not be absent.
        """
        value = self.record.data.get(key) if value is None else value
        if value is None or value == "":
            if needed:
                self.faults.append(
                    self.record.report(MISSING_FIGURE, f"{self.record.name} lacks {needed} ('{key}')")
                )
            return None
        number = _as_float(value)
        if (
            number is None
            or not isfinite(number)
            or abs(number) > MOST
            or number < 0
            or (number == 0 and not zero)
        ):
            shown = str(value)[:40]
            self.faults.append(
                self.record.report(IMPOSSIBLE_FIGURE, f"{self.record.name}: '{key}' is {shown}", key)
            )
            return None
        return number

    def count(self, key: str, value: Any = None, *, zero: bool = True, needed: str = "") -> int | None:
        """Return a whole number, or None."""
        number = self.number(key, value, zero=zero, needed=needed)
        if number is None:
            return None
        if number != int(number):
            self.faults.append(
                self.record.report(
                    IMPOSSIBLE_FIGURE, f"{self.record.name}: '{key}' is {number:g}, it must be whole", key
                )
            )
            return None
        return int(number)


def _as_float(value: Any) -> float | None:
    """Return a JSON number, or text that is one, as a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def text_of(value: Any) -> str:
    """Return text, or the first text of a list, or nothing.

    >>> text_of(["a", "b"]), text_of(None)
    ('a', '')
    """
    if isinstance(value, list):
        value = value[0] if value else ""
    return value if isinstance(value, str) else ""


def day_of(value: Any) -> date | None:
    """Return the day of a time stamp: 20260825-142233 as vLLM writes it, or ISO 8601.

    >>> day_of("20260825-142233")
    datetime.date(2026, 8, 25)
    """
    text = text_of(value)
    try:
        return datetime.strptime(text[:15], "%Y%m%d-%H%M%S").date()
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).date()
    except ValueError:
        return None


def labels_of(data: Mapping[str, Any]) -> dict[str, str]:
    """Return what a benchmark job of ours noted beside its result."""
    return {
        key: str(value)
        for key, value in sorted(data.items())
        if key.startswith(LABEL_PREFIX) and isinstance(value, (str, int, float))
    }
