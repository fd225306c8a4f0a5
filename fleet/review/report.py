"""A review as content, without a notation: sections of facts, tables, items and pictures. Strings are raw."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Mark(StrEnum):
    """What an item says at a glance, in Terraform's signs."""

    NONE = ""
    ADD = "+"
    CHANGE = "~"
    REMOVE = "-"
    MOVE = "-/+"
    HIGH = "!!"
    WARN = "!"


@dataclass(frozen=True, slots=True)
class Item:
    """A line with its mark, and lines that explain it."""

    text: str
    mark: Mark = Mark.NONE
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Items:
    items: tuple[Item, ...]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """Labelled values."""

    rows: tuple[tuple[str, str], ...]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    is_number: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """Lines whose columns matter, at most 96 characters each."""

    lines: tuple[str, ...]
    title: str = ""


Block = Items | Facts | Table | Picture


@dataclass(frozen=True, slots=True)
class Section:
    """A titled part. `importance` 0 always stays; where space is short, the largest number goes first."""

    title: str
    blocks: tuple[Block, ...]
    importance: int


@dataclass(frozen=True, slots=True)
class Report:
    """The whole review. `headline` is verdict, money and risk in one line; `closing` is the line of counts."""

    fleet: str
    headline: str
    sections: tuple[Section, ...]
    closing: str


def columns(*names: str) -> tuple[Column, ...]:
    """Return columns by name; a name that starts with ">" holds numbers.

    >>> columns("offering", ">GPUs")[1]
    Column(name='GPUs', is_number=True)
    """
    return tuple(Column(name.removeprefix(">"), name.startswith(">")) for name in names)
