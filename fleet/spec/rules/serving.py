"""Rules about models, checkpoints and SLO classes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from fleet.diagnostics import Diagnostic, at, check
from fleet.spec.model import FleetFile, LatencyLimit
from fleet.units import format_ms, format_share

_METRICS = ("ttft", "tpot", "itl", "e2e")
_MAX_ATTAINMENT = 0.99


@check()
def model_without_source(file: FleetFile) -> Iterator[Diagnostic]:
    """It is not said which model is meant.

    What: A model has neither `card` nor `hf_config`.
    Why: Memory, layouts and speed follow from the model's shape, which one of the two gives.
    Fix: Add `card` with an id that `fleetc catalog` prints, or `hf_config` with the path of the model's config.json.
    """
    for name, model in file.spec.models.items():
        if model.card is None and model.hf_config is None:
            label = at("spec", "models", name, text="needs `card` or `hf_config`", on_key=True)
            yield model_without_source.report(f"model '{name}' has no source", label)


@check()
def model_with_two_sources(file: FleetFile) -> Iterator[Diagnostic]:
    """Two sources are given for the shape of one model.

    What: A model has both `card` and `hf_config`.
    Why: They may disagree, and which one counts would be a guess.
    Fix: Keep one of the two.
    """
    for name, model in file.spec.models.items():
        if model.card is not None and model.hf_config is not None:
            yield model_with_two_sources.report(
                f"model '{name}' has two sources",
                at("spec", "models", name, "hf_config", text="a config.json"),
                at("spec", "models", name, "card", text="and a card"),
            )


@check()
def duplicate_checkpoint(file: FleetFile) -> Iterator[Diagnostic]:
    """A model has two checkpoints in one precision.

    What: Two entries of a model's `checkpoints` have the same precision.
    Why: The plan names a checkpoint by model and precision; it could not say which of them is meant.
    Fix: Keep one checkpoint for each precision, or declare a second model.
    """
    for name, model in file.spec.models.items():
        first: dict[str, int] = {}
        for index, checkpoint in enumerate(model.checkpoints):
            other = first.setdefault(checkpoint.precision, index)
            if other != index:
                path = ("spec", "models", name, "checkpoints")
                yield duplicate_checkpoint.report(
                    f"model '{name}' has two {checkpoint.precision} checkpoints",
                    at(*path, index, "precision", text="again here"),
                    at(*path, other, "precision", text="first here"),
                )


@check()
def acceptance_above_draft(file: FleetFile) -> Iterator[Diagnostic]:
    """A speculative step is said to yield more tokens than it can.

    What: `acceptance_length` is more than `draft_tokens` and the bonus token together.
    Why: A step emits at most the tokens drafted and one more; the plan would count on speed that cannot be.
    Fix: Give the mean number of tokens emitted by a step, the bonus token included.
    """
    for name, model in file.spec.models.items():
        draft = model.speculative
        if draft and draft.acceptance_length and draft.acceptance_length > draft.draft_tokens + 1:
            path = ("spec", "models", name, "speculative")
            yield acceptance_above_draft.report(
                f"model '{name}' cannot emit {draft.acceptance_length:g} tokens in a step",
                at(*path, "acceptance_length", text=f"allowed is {draft.draft_tokens + 1} at most"),
                at(*path, "draft_tokens", text="these and one more"),
            )


@check()
def slo_without_limit(file: FleetFile) -> Iterator[Diagnostic]:
    """An SLO class limits nothing.

    What: A class has no limit on any quantile of any latency.
    Why: Any fleet would do, however slow.
    Fix: Give at least one limit, for example `ttft: {p95: 800ms}`.
    """
    for name, slo in file.spec.slos.items():
        limits = [limit for metric in _METRICS if (limit := getattr(slo, metric))]
        if not any(_stated(limit) for limit in limits):
            label = at("spec", "slos", name, text="limits nothing", on_key=True)
            yield slo_without_limit.report(f"SLO '{name}' has no limit", label)


@check()
def slo_not_monotone(file: FleetFile) -> Iterator[Diagnostic]:
    """A higher quantile has a lower limit.

    What: The limit of a quantile is below that of a lower quantile of the same latency.
    Why: If 95 % stay within the lower limit, so do 50 %: one of the two figures is a slip.
    Fix: Exchange the two, or remove the one that says nothing.
    """
    for name, slo in file.spec.slos.items():
        for metric in _METRICS:
            limit = getattr(slo, metric)
            for (low, low_ms), (high, high_ms) in pairwise(_stated(limit) if limit else []):
                if low_ms > high_ms:
                    path = ("spec", "slos", name, metric)
                    yield slo_not_monotone.report(
                        f"SLO '{name}': the {high} limit of {metric} is below its {low} limit",
                        at(*path, high, text=f"{format_ms(high_ms)} for more requests"),
                        at(*path, low, text=f"{format_ms(low_ms)} for fewer"),
                    )


@check()
def attainment_out_of_range(file: FleetFile) -> Iterator[Diagnostic]:
    """An attainment is asked for that cannot be planned.

    What: `attainment` is 0 or above 0.99.
    Why: Latencies are predicted up to their 99th percentile; beyond, no figure would stand on data.
    Fix: Write an attainment above 0 and at most 0.99.
    """
    for name, slo in file.spec.slos.items():
        if slo.attainment is not None and not 0 < slo.attainment <= _MAX_ATTAINMENT:
            yield attainment_out_of_range.report(
                f"SLO '{name}' asks for an attainment of {format_share(slo.attainment)}",
                at("spec", "slos", name, "attainment", text="allowed is more than 0 and at most 0.99"),
            )


def _stated(limit: LatencyLimit) -> list[tuple[str, float]]:
    """Return the quantiles that are limited, lowest first, with their limits."""
    quantiles = ((name, getattr(limit, name)) for name in ("p50", "p90", "p95", "p99"))
    return [(name, value) for name, value in quantiles if value is not None]


CHECKS = (
    model_without_source,
    model_with_two_sources,
    duplicate_checkpoint,
    acceptance_above_draft,
    slo_without_limit,
    slo_not_monotone,
    attainment_out_of_range,
)
