"""What every part of the model is worth: one is switched off at a time, the rest is fitted again.

Whole groups are left out several at once (GROUP_FOLDS), here only, so that every variant costs a dozen fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
from calibration import dataset, model
from calibration.dataset import Array, Dataset
from calibration.held_out import Folds, merged
from calibration.validate import (
    NOT_SCORED,
    cross_validate,
    folds_by_group,
    folds_by_high_concurrency,
    folds_by_lengths,
)

from fleet.catalog.records import Catalog
from fleet.layout import ParallelismLayout
from fleet.perf import rows as row_reader
from fleet.perf import terms
from fleet.perf.rows import RowFault
from fleet.perf.terms import STEP_TERMS, Table

GROUP_FOLDS = 8
INTERFERENCE = frozenset(t for t in STEP_TERMS if t.startswith("beside_"))
OWN_LEVELS = frozenset({"cell", "version"})
VERSION_LEVELS = frozenset({"era", "version"})
Change = Callable[[Dataset], Dataset]


@dataclass(frozen=True)
class Variant:
    """One part switched off: terms of a step, a change of the rows, or how labels are read."""

    name: str
    terms: frozenset[str] = frozenset()
    change: Change | None = None
    repairs_labels: bool = True
    reads_every_expert: bool = False


@dataclass(frozen=True)
class Ablation:
    """Mean absolute error of TPOT of aggregated rows, per cent: lengths, top third of concurrency, groups left out."""

    name: str
    rows: int
    lengths: float
    concurrency: float
    groups: float


def _without_limit(data: Dataset) -> Dataset:
    points = tuple(replace(p, batch=float(c)) for p, c in zip(data.points, data.concurrency, strict=True))
    return replace(data, points=points, slots=np.full(len(data), np.inf))


def every_expert(expert_share: Array, tokens: Array) -> Array:
    """Stand in for `terms.touched_share`: each step reads every expert, as a dense model of that size would."""
    return np.asarray(np.where(expert_share > 0, 1.0, 0.0) * np.ones_like(tokens))


def _levels_kept(keep: Callable[[str], bool]) -> Change:
    def change(data: Dataset) -> Dataset:
        constant = ["all"] * len(data)
        return replace(data, levels={n: v if keep(n) else constant for n, v in data.levels.items()})

    return change


VARIANTS = (
    Variant("full model"),
    Variant("no prefill interference", terms=INTERFERENCE),
    Variant("no fixed cost per layer and step", terms=frozenset({"step", "layer", "moe_layer", "layer_tp", "layer_tp_log", "ep_layer"})),
    Variant("every expert read each step", reads_every_expert=True),
    Variant("no all-reduce", terms=frozenset({"allreduce", "layer_tp", "layer_tp_log", "beside_allreduce"})),
    Variant("no KV bytes", terms=frozenset({"kv"})),
    Variant("labels not repaired", repairs_labels=False),
    Variant("no KV-capacity limit", change=_without_limit),
    Variant("no TP latency", terms=frozenset({"layer_tp", "layer_tp_log"})),
    Variant("no version effects", change=_levels_kept(lambda name: name not in VERSION_LEVELS)),
    Variant("no pooling", change=_levels_kept(lambda name: name in OWN_LEVELS)),
)  # fmt: skip


def as_labelled(label: str) -> ParallelismLayout:
    """Return the layout as a row's label has it, its known faults not repaired."""
    match = row_reader._AGGREGATED.fullmatch(label.strip())
    if not match:
        raise RowFault("unreadable-parallelism", f"{label!r} is not 'TPa PPb attnDPc moeTPd moeEPe'")
    tp, pp, dp, _, ep = (max(int(x), 1) for x in match.groups())
    return ParallelismLayout(tp=tp, pp=pp, dp=dp, ep=ep)


@contextmanager
def _switched_off(variant: Variant) -> Iterator[None]:
    fitted = model.step_columns

    def step_columns(data: Dataset, table: Table) -> Array:
        keep = [term not in variant.terms for term in STEP_TERMS]
        return np.asarray(fitted(data, table) * np.array(keep))

    with ExitStack() as stack:
        if variant.terms:
            stack.enter_context(patch.object(model, "step_columns", step_columns))
        if variant.reads_every_expert:
            stack.enter_context(patch.object(terms, "touched_share", every_expert))
        if not variant.repairs_labels:
            stack.enter_context(patch.object(row_reader, "repaired_layout", as_labelled))
        yield


def ablate(variant: Variant, table: Path, catalog: Catalog, whole: Dataset) -> Ablation:
    """Fit the variant on aggregated rows and cross-validate it."""
    with _switched_off(variant):
        data = whole if variant.repairs_labels else dataset.load(table, None, catalog)
        data = data.take(np.flatnonzero(data.is_mixed))
        data = variant.change(data) if variant.change else data
        folds = (
            folds_by_lengths(data),
            folds_by_high_concurrency(data),
            merged(folds_by_group(data), GROUP_FOLDS),
        )
        return Ablation(variant.name, len(data), *(_mean_error(data, fold) for fold in folds))


def _mean_error(data: Dataset, fold: Folds) -> float:
    assert (fold != NOT_SCORED).any()
    return 100.0 * float(np.abs(cross_validate(data, fold).tpot).mean())
