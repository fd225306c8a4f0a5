"""Request traces into figures: rates, burstiness, a joint histogram of lengths, and what a prefix cache could find.

With arrival times t_1 <= ... <= t_n (seconds) and gaps g_i = t_{i+1} - t_i:

    mean rate   (n - 1) / (t_n - t_1)
    peak rate   max over i of |{j : t_i <= t_j < t_i + w}| / w          w: the window
    SCV         Var(g) / E(g)^2                                         1 for Poisson arrivals

Where most gaps are 0 the clock was too coarse for the gaps to mean anything. The SCV is then the index of dispersion
of the counts N of the clock's ticks, Var(N) / E(N), which is the same for renewal arrivals seen over long enough ticks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from fleet.diagnostics import Diagnostic, Label, Rejected, Span, SpecPath, at
from fleet.spec.model import FleetFile, RateSpec, TraceSpec
from fleet.spec.trace_rows import (
    BLOCK_TOKENS,
    MALFORMED,
    TOO_LARGE,
    UNREADABLE,
    UNUSABLE,
    MalformedRow,
    Row,
    rows_of,
)
from fleet.units import MS_PER_S

MAX_BYTES = 256 * 2**20
MAX_LINE = 2**20
MAX_BLOCKS = 4_000_000
_MAX_FAULTS = 5
_COARSE = 0.5
"""Share of gaps of 0 above which the clock counts as too coarse."""

# Borders of the histogram's cells as quantiles, finer towards the tail that the SLOs look at: 20 cells a side.
_BORDERS = (
    0.0, 0.08, 0.16, 0.24, 0.32, 0.40, 0.48, 0.56, 0.64, 0.71, 0.77,
    0.82, 0.86, 0.90, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 1.0,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """What a plan needs of a trace. Rates are scaled as the spec asks; lengths are a joint histogram.

    Each point (input_tokens[k], output_tokens[k]) stands for the share weight[k] of the requests and is their mean, so
    the means of the trace are kept exactly; weights add up to 1. At most 400 points.
    """

    requests: int
    duration_s: float
    mean_req_per_s: float
    peak_req_per_s: float
    interarrival_cv: float
    peak_interarrival_cv: float
    """The same within the busiest window: without the swings of the rate, which planning for the peak covers."""
    input_tokens: tuple[float, ...]
    output_tokens: tuple[float, ...]
    weight: tuple[float, ...]
    max_input_tokens: int
    max_output_tokens: int
    max_total_tokens: int
    prefix_hit_ratio: float | None
    """Share of prompt tokens that an unlimited cache shared by all replicas would find; None where unknown."""
    digest: str
    """sha256 of the file."""

    @property
    def interarrival_scv(self) -> float:
        """Squared coefficient of variation of the times between arrivals."""
        return self.interarrival_cv**2


def trace_places(file: FleetFile) -> dict[TraceSpec, SpecPath]:
    """Return every trace that a fleet file names, with the (first) place where it does."""
    places: dict[TraceSpec, SpecPath] = {}
    for name, workload in file.spec.workloads.items():
        path = ("spec", "workloads", name, "demand")
        rate = workload.demand.rate
        if workload.demand.trace is not None:
            places.setdefault(workload.demand.trace, (*path, "trace"))
        if isinstance(rate, RateSpec) and rate.trace is not None:
            places.setdefault(rate.trace, (*path, "rate", "trace"))
    return places


def read_trace(spec: TraceSpec, folder: Path, where: SpecPath = ()) -> TraceSummary:
    """Open a trace and summarise it.

    Args:
        spec: Its path is relative to `folder`, the folder of the fleet file.
        where: Spec path of `spec`, for messages.

    Raises:
        Rejected: the file is missing, too large, malformed (with lines of that file) or too short.
    """
    path = folder / spec.path
    label = at(*where, "path", text="this file") if where else Label()
    try:
        if not path.is_file():
            reason = "is not a plain file" if path.exists() else "does not exist"
            raise Rejected([UNREADABLE.report(f"trace {spec.path} {reason}", label)])
        with path.open("rb") as stream:
            return summarise_trace(stream, spec, label)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise Rejected(
            [UNREADABLE.report(f"trace {spec.path} cannot be read: {reason.lower()}", label)]
        ) from error


def summarise_trace(stream: BinaryIO, spec: TraceSpec, label: Label) -> TraceSummary:
    """Return the figures of a trace read from a stream of bytes, line by line.

    Raises:
        Rejected: see `read_trace`; `label` is the place in the fleet file to point to.
    """
    lines = _Lines(stream, spec, label)
    times, inputs, outputs, cache = _Column(), _Column(), _Column(), _PrefixCache()
    for row in lines.rows():
        times.append(row.time_s)
        inputs.append(row.input_tokens)
        outputs.append(row.output_tokens)
        cache.take(row)
        if len(cache.seen) > MAX_BLOCKS:
            raise Rejected(
                [TOO_LARGE.report(f"trace {spec.path} has more than {MAX_BLOCKS:,} prefix blocks", label)]
            )
    arrivals, prompts, answers = times.array(), inputs.array(), outputs.array()
    if len(arrivals) < 2 or arrivals.max() <= arrivals.min():
        message = f"trace {spec.path} has {len(arrivals)} requests and lasts no time"
        raise Rejected([UNUSABLE.report(message, label)])
    ordered = np.sort(arrivals)
    duration = float(ordered[-1] - ordered[0])
    window = min(spec.window / MS_PER_S, duration)
    busiest = _busiest(ordered, window)
    points = _histogram(prompts, answers)
    return TraceSummary(
        requests=len(arrivals),
        duration_s=round(duration, 6),
        mean_req_per_s=_figure(spec.scale * (len(arrivals) - 1) / duration),
        peak_req_per_s=_figure(spec.scale * len(busiest) / window),
        interarrival_cv=_figure(_interarrival_cv(ordered)),
        peak_interarrival_cv=_figure(_interarrival_cv(busiest)),
        input_tokens=tuple(point[0] for point in points),
        output_tokens=tuple(point[1] for point in points),
        weight=tuple(point[2] for point in points),
        max_input_tokens=int(prompts.max()),
        max_output_tokens=int(answers.max()),
        max_total_tokens=int((prompts + answers).max()),
        prefix_hit_ratio=_figure(cache.hits / max(float(prompts.sum()), 1.0)) if cache.seen else None,
        digest=lines.digest.hexdigest(),
    )


class _Lines:
    """Bounded lines of a trace, as rows; faults are collected with their places."""

    def __init__(self, stream: BinaryIO, spec: TraceSpec, label: Label) -> None:
        self._stream, self._spec, self._label = stream, spec, label
        self._faults: list[Diagnostic] = []
        self._bad_lines: dict[int, str] = {}
        self.digest = hashlib.sha256()

    def rows(self) -> Iterator[Row]:
        """Yield the rows; malformed lines are told at the end, all together.

        Raises:
            Rejected: some lines are malformed, or the trace is too large.
        """
        for row in rows_of(self._bounded(), self._spec.format):
            if isinstance(row, MalformedRow):
                self._note(row)
            else:
                yield row
        if self._faults:
            raise self._rejected()

    def _bounded(self) -> Iterator[bytes]:
        total = 0
        while line := self._stream.readline(MAX_LINE + 1):
            total += len(line)
            if total > MAX_BYTES or len(line) > MAX_LINE:
                limit = (
                    "a line of more than 1 MiB"
                    if len(line) > MAX_LINE
                    else f"more than {MAX_BYTES // 2**20} MiB"
                )
                raise Rejected([TOO_LARGE.report(f"trace {self._spec.path} has {limit}", self._label)])
            self.digest.update(line)
            yield line

    def _note(self, row: MalformedRow) -> None:
        span = Span(self._spec.path, row.line, 1, max(2, len(row.text) + 1))
        message = f"line {row.line} of trace {self._spec.path} cannot be read"
        self._faults.append(MALFORMED.report(message, Label(span, row.reason), self._label))
        self._bad_lines[row.line] = row.text
        if len(self._faults) >= _MAX_FAULTS:
            raise self._rejected()

    def _rejected(self) -> Rejected:
        lines = [""] * max(self._bad_lines)
        for number, text in self._bad_lines.items():
            lines[number - 1] = text
        return Rejected(self._faults, {self._spec.path: "\n".join(lines)})


class _Column:
    """Numbers of unknown count in little memory."""

    def __init__(self) -> None:
        self._full: list[NDArray[np.float64]] = []
        self._last: list[float] = []

    def append(self, value: float) -> None:
        self._last.append(value)
        if len(self._last) >= 65_536:
            self._full.append(np.array(self._last, dtype=np.float64))
            self._last = []

    def array(self) -> NDArray[np.float64]:
        """Return all numbers, shape (n,)."""
        return np.concatenate([*self._full, np.array(self._last, dtype=np.float64)])


class _PrefixCache:
    """Every block ever seen: what an unlimited cache would hold. A block's id stands for all blocks before it too."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.hits = 0

    def take(self, row: Row) -> None:
        found = 0
        for block in row.blocks:
            if block not in self.seen:
                break
            found += 1
        self.hits += min(found * BLOCK_TOKENS, row.input_tokens)
        self.seen.update(row.blocks[found:])


def _busiest(ordered: NDArray[np.float64], window_s: float) -> NDArray[np.float64]:
    """Return the arrivals of the busiest window that begins with a request, the first of them if several are."""
    ends = np.searchsorted(ordered, ordered + window_s, side="left")
    start = int((ends - np.arange(len(ordered))).argmax())
    return ordered[start : ends[start]]


def _interarrival_cv(ordered: NDArray[np.float64]) -> float:
    """Return the coefficient of variation of the times between arrivals; see the module's formulation."""
    gaps = np.diff(ordered)
    if len(gaps) < 2 or not gaps.any():
        return 1.0
    if np.mean(gaps == 0) <= _COARSE:
        return float(gaps.std() / gaps.mean())
    tick = float(gaps[gaps > 0].min())
    ticks = np.rint((ordered - ordered[0]) / tick)
    count = float(ticks[-1]) + 1
    squares = float((np.unique(ticks, return_counts=True)[1].astype(np.float64) ** 2).sum())
    mean = len(ordered) / count
    return float(np.sqrt(max(squares / count - mean**2, 0.0) / mean))


def _histogram(
    prompts: NDArray[np.float64], answers: NDArray[np.float64]
) -> list[tuple[float, float, float]]:
    """Return at most 400 points (prompt, answer, weight): cells of prompts, each cut into cells of answers."""
    points = []
    by_prompt = np.lexsort((answers, prompts))
    for cell in _cells(by_prompt):
        by_answer = cell[np.lexsort((prompts[cell], answers[cell]))]
        for part in _cells(by_answer):
            point = (float(prompts[part].mean()), float(answers[part].mean()), len(part) / len(prompts))
            points.append((_figure(point[0]), _figure(point[1]), point[2]))
    return points


def _cells(order: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """Yield stretches of an order between the borders, none of them empty."""
    cuts = sorted({round(border * len(order)) for border in _BORDERS})
    for start, end in pairwise(cuts):
        yield order[start:end]


def _figure(value: float) -> float:
    """Return nine significant digits: more than any trace carries, and the same on every machine."""
    return float(f"{value:.9g}")
