"""Rules about token lengths."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from fleet.diagnostics import Diagnostic, SpecPath, at, check
from fleet.spec.model import FleetFile, LengthSpec
from fleet.units import format_share, format_tokens

_QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
_SHARE_TOLERANCE = 0.01


@check()
def demand_without_lengths(file: FleetFile) -> Iterator[Diagnostic]:
    """Token lengths are not given.

    What: A demand has no `input` or no `output` and no `trace`, or a mapping without mean, percentile and histogram.
    Why: Prefill follows from prompt lengths, decode and memory from both; none is assumed.
    Fix: Add the lengths, for example `input: {mean: 1200, p50: 800, p99: 6k}`, or a trace.
    """
    for name, workload in file.spec.workloads.items():
        for side in ("input", "output"):
            length, path = getattr(workload.demand, side), ("spec", "workloads", name, "demand")
            message = f"workload '{name}' has no {side} lengths"
            if length is None and workload.demand.trace is None:
                label = at(*path, text=f"needs `{side}` or `trace`", on_key=True)
                yield demand_without_lengths.report(message, label)
            elif isinstance(length, LengthSpec) and not _has_figures(length):
                label = at(*path, side, text="needs a mean, percentiles or a histogram")
                yield demand_without_lengths.report(message, label)


@check()
def lengths_ambiguous(file: FleetFile) -> Iterator[Diagnostic]:
    """Lengths are given in two ways.

    What: A length has a `histogram` beside a mean or percentiles.
    Why: They may disagree, and which one counts would be a guess.
    Fix: Keep the histogram, or the mean and percentiles.
    """
    for name, side, length, path in _lengths(file):
        other = next(
            (field for field in ("mean", *dict(_QUANTILES)) if getattr(length, field) is not None), None
        )
        if length.histogram is not None and other:
            yield lengths_ambiguous.report(
                f"workload '{name}' gives its {side} lengths in two ways",
                at(*path, "histogram", text="a histogram", on_key=True),
                at(*path, other, text="and a figure of its own"),
            )


@check()
def length_is_zero(file: FleetFile) -> Iterator[Diagnostic]:
    """Requests are said to have no tokens.

    What: A length, its mean or its maximum is 0.
    Why: Every request has at least one token of prompt and one of answer.
    Fix: Give the number of tokens.
    """
    for name, workload in file.spec.workloads.items():
        for side in ("input", "output"):
            length, path = getattr(workload.demand, side), ("spec", "workloads", name, "demand", side)
            message = f"workload '{name}' has an {side} of 0 tokens"
            if length == 0:
                yield length_is_zero.report(message, at(*path))
            elif isinstance(length, LengthSpec):
                for field in ("mean", "max"):
                    if getattr(length, field) == 0:
                        yield length_is_zero.report(message, at(*path, field))


@check()
def percentiles_not_monotone(file: FleetFile) -> Iterator[Diagnostic]:
    """A higher percentile of lengths is lower.

    What: A percentile (or the maximum) is below a lower percentile.
    Why: No set of requests has such lengths: one of the figures is a slip.
    Fix: Put the figures in rising order.
    """
    for name, side, length, path in _lengths(file):
        for (low, _, few), (high, _, many) in pairwise(_stated(length)):
            if few > many:
                yield percentiles_not_monotone.report(
                    f"workload '{name}': {high} of the {side} lengths is below {low}",
                    at(*path, high, text=f"{format_tokens(many)} here"),
                    at(*path, low, text=f"{format_tokens(few)} here"),
                )


@check()
def mean_outside_percentiles(file: FleetFile) -> Iterator[Diagnostic]:
    """The mean of lengths contradicts their percentiles.

    What: No set of requests has both this mean and these percentiles.
    Why: One of the figures is a slip, and either of them can double the fleet.
    Fix: Correct the mean or the percentiles; if few requests are really so long, give `max`.
    """
    for name, side, length, path in _lengths(file):
        stated = _stated(length)
        if length.mean is None or not stated or any(a[2] > b[2] for a, b in pairwise(stated)):
            continue
        least, most = _mean_bounds(stated)
        if not least <= length.mean <= most:
            allowed = f"allowed is {format_tokens(least)} to {format_tokens(most)}"
            yield mean_outside_percentiles.report(
                f"workload '{name}': the mean of the {side} lengths contradicts their percentiles",
                at(*path, "mean", text=allowed),
                at(*path, stated[-1][0], text="the highest given"),
            )


@check()
def histogram_not_increasing(file: FleetFile) -> Iterator[Diagnostic]:
    """The rows of a histogram are out of order.

    What: A row's upper bound is not above that of the row before.
    Why: Each row counts the requests between the bound before and its own.
    Fix: Put the rows in rising order of their bounds.
    """
    for name, side, length, path in _lengths(file):
        for index, (row, following) in enumerate(pairwise(length.histogram or ())):
            if following[0] <= row[0]:
                yield histogram_not_increasing.report(
                    f"workload '{name}': the histogram of {side} lengths does not rise",
                    at(*path, "histogram", index + 1, 0, text=f"must be above {row[0]:,}"),
                    at(*path, "histogram", index, 0, text="the row before"),
                )


@check()
def histogram_shares_off(file: FleetFile) -> Iterator[Diagnostic]:
    """The shares of a histogram do not add up to one.

    What: The shares add up to less than 0.99 or more than 1.01.
    Why: Requests are missing, or counted twice.
    Fix: Correct the shares so that they add up to 1 (or 100 %).
    """
    for name, side, length, path in _lengths(file):
        total = sum(share for _, share in length.histogram or ())
        if length.histogram and abs(total - 1) > _SHARE_TOLERANCE + 1e-9:
            yield histogram_shares_off.report(
                f"workload '{name}': the shares of the {side} histogram add up to {format_share(total)}",
                at(*path, "histogram", text="must add up to 100 %", on_key=True),
            )


@check()
def prefix_longer_than_prompt(file: FleetFile) -> Iterator[Diagnostic]:
    """The shared prefix is longer than prompts are.

    What: `prefix.shared_tokens` is more than the prompt, its mean, median or maximum.
    Why: Every request begins with the shared prefix, so no prompt is shorter.
    Fix: Count the shared prefix in `input`, or lower shared_tokens.
    """
    for name, workload in file.spec.workloads.items():
        shared, written = workload.demand.prefix.shared_tokens, workload.demand.input
        figures: list[tuple[SpecPath, float | None]] = [((), written if isinstance(written, int) else None)]
        if isinstance(written, LengthSpec):
            figures = [((field,), getattr(written, field)) for field in ("mean", "p50", "max")]
        for suffix, tokens in figures:
            if tokens is not None and shared > tokens:
                path = ("spec", "workloads", name, "demand")
                yield prefix_longer_than_prompt.report(
                    f"workload '{name}' shares more tokens than its prompts have",
                    at(*path, "prefix", "shared_tokens", text=f"{format_tokens(shared)} shared"),
                    at(*path, "input", *suffix, text=f"of {format_tokens(tokens)}"),
                )
                break


def _lengths(file: FleetFile) -> Iterator[tuple[str, str, LengthSpec, SpecPath]]:
    """Yield workload, side, lengths and path of every length that is a mapping."""
    for name, workload in file.spec.workloads.items():
        for side in ("input", "output"):
            length = getattr(workload.demand, side)
            if isinstance(length, LengthSpec):
                yield name, side, length, ("spec", "workloads", name, "demand", side)


def _has_figures(length: LengthSpec) -> bool:
    figures = (length.mean, length.p50, length.p90, length.p95, length.p99, length.histogram)
    return any(figure is not None for figure in figures)


def _stated(length: LengthSpec) -> list[tuple[str, float, int]]:
    """Return the percentiles that are given, lowest first: name, quantile, tokens."""
    return [(name, q, value) for name, q in _QUANTILES if (value := getattr(length, name)) is not None]


def _mean_bounds(stated: list[tuple[str, float, int]]) -> tuple[float, float]:
    """Return the least and the largest mean that percentiles allow.

    Between two quantiles a < b lie b - a of the requests, none of them below the value at a or above that at b. Above
    the highest quantile given, requests are taken to be as long as it, unless it says nothing of the tail (p50, p90).
    """
    least = most = reached = below = 0.0
    for _, quantile, tokens in stated:
        least += (quantile - reached) * below
        most += (quantile - reached) * tokens
        reached, below = quantile, tokens
    least += (1 - reached) * below
    return least * (1 - 1e-9), most + (1 - reached) * below if reached >= 0.95 else float("inf")


CHECKS = (
    demand_without_lengths,
    lengths_ambiguous,
    length_is_zero,
    percentiles_not_monotone,
    mean_outside_percentiles,
    histogram_not_increasing,
    histogram_shares_off,
    prefix_longer_than_prompt,
)
