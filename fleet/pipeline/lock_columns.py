"""The estimates of one worker as columns of text: short, exact, and a figure that changes is a line that changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from enum import Enum
from itertools import groupby
from typing import Any, get_type_hints

from fleet.perf.interface import Basis, Estimate, Point, Provenance

Coordinates = tuple[str, str, str, str]
"""Batch, prompt, answer and cached tokens of a point, ten significant digits."""

AXES = ("batch", "isl", "osl", "cached_prefix")
REPEAT, ABSENT = "=", "-"
MOST_POINTS = 1_000_000
"""Of one worker: a column that claims more was not written by us."""

SHARES = ("decode_shares", "prefill_shares")
PROVENANCE = "provenance"
HINTS = get_type_hints(Estimate)
FIGURES = tuple(f.name for f in fields(Estimate) if HINTS[f.name] is float)
WORDS = tuple(
    f.name for f in fields(Estimate) if issubclass(getattr(HINTS[f.name], "__mro__", (object,))[0], Enum)
)
assert {*FIGURES, *WORDS, *SHARES, PROVENANCE} == {f.name for f in fields(Estimate)}, (
    "a field without a column"
)


class BrokenColumns(ValueError):
    """The columns do not fit each other: no lock was written like this."""


def coordinates(point: Point) -> Coordinates:
    """Return where a point lies; the last bits of a float, which differ between machines, are left out."""
    return (
        f"{point.batch:.10g}",
        f"{point.isl:.10g}",
        f"{point.osl:.10g}",
        f"{point.cached_prefix:.10g}",
    )


def by_value(where: Coordinates) -> tuple[float, ...]:
    """Sort key: points that differ by batch alone stand together."""
    batch, *lengths = map(float, where)
    return (*lengths, batch)


def pack(tokens: Sequence[str]) -> str:
    """Return tokens in one line: `=3` says the token before it three times more, a column of one value says it once.

    >>> pack(["1", "1", "1", "2"]), pack(["7.5", "7.5"])
    ('1 =2 2', '7.5')
    """
    runs = [(token, len(list(run)) - 1) for token, run in groupby(tokens)]
    if len(runs) == 1:
        return runs[0][0]
    return " ".join(f"{token} {REPEAT}{more}" if more else token for token, more in runs)


def unpack(column: str, size: int) -> list[str]:
    """Return the tokens of a column.

    Raises:
        BrokenColumns: there are neither one nor `size` of them.

    >>> unpack("1 =2 2", 4), unpack("7.5", 2)
    (['1', '1', '1', '2'], ['7.5', '7.5'])
    """
    tokens = _told(column)
    if len(tokens) == 1:
        return tokens * size
    if len(tokens) != size:
        raise BrokenColumns(f"{len(tokens)} values for {size} points")
    return tokens


def _told(column: str) -> list[str]:
    tokens: list[str] = []
    for word in column.split(" "):
        if word.startswith(REPEAT) and tokens:
            tokens += tokens[-1:] * min(int(word[1:]), MOST_POINTS)
        else:
            tokens.append(word)
    return tokens


def written_places(places: Sequence[Coordinates]) -> dict[str, str]:
    """Return where points lie as columns, by axis."""
    return {axis: pack([where[i] for where in places]) for i, axis in enumerate(AXES)}


def read_places(columns: Mapping[str, str]) -> list[Coordinates]:
    """Return the places that columns hold.

    Raises:
        BrokenColumns: an axis is missing, or does not fit the others.
    """
    try:
        size = max(len(_told(columns[axis])) for axis in AXES)
        batch, isl, osl, cached = (unpack(columns[axis], size) for axis in AXES)
    except (KeyError, ValueError) as fault:
        raise BrokenColumns(str(fault)) from None
    return list(zip(batch, isl, osl, cached, strict=True))


def written(estimates: Mapping[Coordinates, Estimate], sources: Mapping[Provenance, str]) -> dict[str, str]:
    """Return estimates as columns, points in the order of `by_value`; shares where an estimate has them.

    Args:
        sources: The lock's word for every provenance.
    """
    places = sorted(estimates, key=by_value)
    rows = [estimates[where] for where in places]
    columns = written_places(places)
    columns |= {name: pack([repr(getattr(row, name)) for row in rows]) for name in FIGURES}
    columns |= {name: pack([getattr(row, name).value for row in rows]) for name in WORDS}
    columns[PROVENANCE] = pack([sources[row.provenance] for row in rows])
    for name in SHARES:
        parts = sorted({part for row in rows for part in getattr(row, name)})
        for part in parts:
            shares = (getattr(row, name).get(part) for row in rows)
            columns[f"{name}.{part}"] = pack([ABSENT if share is None else repr(share) for share in shares])
    return columns


def read(columns: Mapping[str, str], sources: Mapping[str, Provenance]) -> dict[Coordinates, Estimate]:
    """Return the estimates that columns hold, by their coordinates.

    Raises:
        BrokenColumns: a column is missing, or does not fit the others.
    """
    places = read_places(columns)
    size = len(places)
    try:
        found: dict[str, list[Any]] = {
            name: [float(x) for x in unpack(columns[name], size)] for name in FIGURES
        }
        found |= {name: [HINTS[name](x) for x in unpack(columns[name], size)] for name in WORDS}
        found[PROVENANCE] = [sources[x] for x in unpack(columns[PROVENANCE], size)]
        for name in SHARES:
            found[name] = _shares({c: t for c, t in columns.items() if c.startswith(f"{name}.")}, size)
    except (KeyError, ValueError) as fault:
        raise BrokenColumns(str(fault)) from None
    rows = [dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True)]
    return {where: Estimate(**row) for where, row in zip(places, rows, strict=True)}


def _shares(columns: Mapping[str, str], size: int) -> list[dict[str, float]]:
    parts = {name.partition(".")[2]: unpack(column, size) for name, column in columns.items()}
    return [
        {part: float(tokens[row]) for part, tokens in parts.items() if tokens[row] != ABSENT}
        for row in range(size)
    ]


def sources_of(estimates: Iterable[Estimate]) -> dict[Provenance, str]:
    """Return a short word for every provenance, the same for the same set of them."""
    distinct = {e.provenance for e in estimates}
    ordered = sorted(distinct, key=lambda p: (p.backend, p.basis.value, p.note, p.version))
    return {provenance: f"s{number}" for number, provenance in enumerate(ordered)}


def provenance_written(provenance: Provenance) -> dict[str, Any]:
    """Return a provenance as JSON values."""
    return asdict(provenance)


def provenance_read(row: Mapping[str, Any]) -> Provenance:
    """Return the provenance that was written.

    Raises:
        BrokenColumns: it was not written by `provenance_written`.
    """
    try:
        return Provenance(**{**row, "basis": Basis(row["basis"])})
    except (KeyError, TypeError, ValueError) as fault:
        raise BrokenColumns(str(fault)) from None
