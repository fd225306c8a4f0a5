"""The calibration document: measurements in a form that stands alone, and the effects that were fitted to them."""

from __future__ import annotations

from datetime import date
from math import inf
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from fleet.catalog.records import Catalog, EngineId, EngineRelease, ModelCard
from fleet.layout import ParallelismLayout, Precision, Role
from fleet.perf.closed_loop import Loop
from fleet.perf.interface import Draft
from fleet.perf.measured.measurement import Measurement
from fleet.perf.replica import ReplicaSpec, WorkerSpec
from fleet.perf.rounding import six

FORMAT_VERSION = "1.0"

Positive = Annotated[float, Field(gt=0, lt=1e12)]
AtLeastOne = Annotated[float, Field(ge=1, lt=1e12)]
Count = Annotated[int, Field(ge=1, le=100_000)]
Text = Annotated[str, Field(max_length=512)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Effect = Annotated[float, Field(ge=-5, le=5)]


class Part(BaseModel):
    """Base of every part of the document: closed and immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class WorkerRow(Part):
    """The workers of one role in the replica that was measured."""

    role: Role
    layout: ParallelismLayout
    count: Count


class DraftRow(Part):
    """Speculative decoding of the run."""

    tokens: Count
    acceptance_length: AtLeastOne


class EngineRow(Part):
    """The engine of the run."""

    id: EngineId
    version: Text
    released: date


class MeasuredRow(Part):
    """One run: where it comes from, the replica, its closed loop, and what it showed (means, milliseconds)."""

    source: Text  # file name without its folder, with the record in it
    sha256: Digest  # of the record
    deployment: Text
    model: Text  # catalogue id, or a key of `models`
    accelerator: Text
    engine: EngineRow
    weights: Precision
    dense_weights: Precision
    kv_cache: Precision
    draft: DraftRow | None
    workers: Annotated[tuple[WorkerRow, ...], Field(min_length=1, max_length=2)]
    kv_link_bytes_per_s: Annotated[float, Field(ge=0, lt=1e15)]
    batch_limit: Positive | None  # requests that one decode (or mixed) worker runs at most
    concurrency: AtLeastOne  # of this replica
    isl: Positive
    osl: Positive
    cached_prefix: Annotated[float, Field(ge=0, lt=1e12)]
    ttft_ms: Positive | None
    tpot_ms: Positive | None


class FittedCell(Part):
    """What the measurements say of one cell: effects on logs by part of the step and of the first token."""

    measurements: Count
    step: dict[str, Effect]
    first_token: dict[str, Effect]


class CalibrationDocument(Part):
    """The file that `fleetc calibrate` writes and a stack names."""

    kind: Literal["Calibration"] = "Calibration"
    format_version: Annotated[str, Field(pattern=r"^1\.\d+$")] = FORMAT_VERSION
    fitted_to: Digest  # the measurements, the coefficients and the prior that `cells` belong to
    models: dict[Text, ModelCard]  # of the rows, where the catalogue does not have them
    rows: Annotated[tuple[MeasuredRow, ...], Field(min_length=1)]
    cells: dict[Text, FittedCell]


class UnknownName(ValueError):
    """A row names what neither the catalogue nor the document knows."""

    def __init__(self, key: str, detail: str) -> None:
        super().__init__(detail)
        self.key = key


def row_of(measurement: Measurement) -> MeasuredRow:
    """Return a measurement as it is kept; figures have six digits."""
    loop, replica = measurement.loop, measurement.loop.replica
    worker, prefiller = replica.decoder, replica.prefiller
    groups = (
        [WorkerRow(role=Role.MIXED, layout=worker.layout, count=1)]
        if replica.mixed is not None
        else [
            WorkerRow(role=Role.PREFILL, layout=prefiller.layout, count=replica.prefill_workers),
            WorkerRow(role=Role.DECODE, layout=worker.layout, count=replica.decode_workers),
        ]
    )
    draft = worker.draft
    return MeasuredRow(
        source=measurement.source,
        sha256=measurement.sha256,
        deployment=measurement.deployment,
        model=worker.model.id,
        accelerator=worker.accelerator.id,
        engine=EngineRow(id=worker.engine.id, version=worker.engine.version, released=worker.engine.released),
        weights=worker.weights,
        dense_weights=worker.dense_weights,
        kv_cache=worker.kv,
        draft=DraftRow(tokens=draft.tokens, acceptance_length=six(draft.acceptance_length))
        if draft
        else None,
        workers=tuple(groups),
        kv_link_bytes_per_s=six(replica.kv_link_bytes_per_s),
        batch_limit=None if loop.batch_limit == inf else six(loop.batch_limit),
        concurrency=six(loop.concurrency),
        isl=six(loop.isl),
        osl=six(loop.osl),
        cached_prefix=six(loop.cached_prefix),
        ttft_ms=None if measurement.ttft_ms is None else six(measurement.ttft_ms),
        tpot_ms=None if measurement.tpot_ms is None else six(measurement.tpot_ms),
    )


def measurement_of(row: MeasuredRow, models: dict[str, ModelCard], catalog: Catalog) -> Measurement:
    """Return a kept row as a measurement.

    Raises:
        UnknownName: a record that it names does not exist, or its workers make no replica.
    """
    loop = Loop(
        replica=_replica(row, models, catalog),
        isl=row.isl,
        osl=row.osl,
        concurrency=row.concurrency,
        cached_prefix=row.cached_prefix,
        batch_limit=inf if row.batch_limit is None else row.batch_limit,
    )
    return Measurement(loop, row.tpot_ms, row.ttft_ms, row.source, row.sha256, row.deployment)


def _replica(row: MeasuredRow, models: dict[str, ModelCard], catalog: Catalog) -> ReplicaSpec:
    model = catalog.models.get(row.model) or models.get(row.model)
    if model is None:
        raise UnknownName("model", f"neither the catalogue nor `models` has the model '{row.model}'")
    accelerator = catalog.accelerators.get(row.accelerator)
    if accelerator is None:
        raise UnknownName("accelerator", f"the catalogue has no accelerator '{row.accelerator}'")
    engine, draft = _engine(row.engine, catalog), row.draft

    def worker(group: WorkerRow) -> WorkerSpec:
        drafts = draft is not None and group.role is not Role.PREFILL
        own = Draft(draft.tokens, draft.acceptance_length) if drafts and draft else None
        return WorkerSpec(
            model, accelerator, engine, group.layout, row.weights, row.dense_weights, row.kv_cache, own
        )

    by_role = {group.role: group for group in row.workers}
    if set(by_role) == {Role.MIXED}:
        return ReplicaSpec(mixed=worker(by_role[Role.MIXED]))
    if set(by_role) != {Role.PREFILL, Role.DECODE}:
        raise UnknownName("workers", "a replica has one mixed worker, or prefill and decode workers")
    prefill, decode = by_role[Role.PREFILL], by_role[Role.DECODE]
    return ReplicaSpec(
        prefill=worker(prefill),
        prefill_workers=prefill.count,
        decode=worker(decode),
        decode_workers=decode.count,
        kv_link_bytes_per_s=row.kv_link_bytes_per_s,
    )


def _engine(row: EngineRow, catalog: Catalog) -> EngineRelease:
    """Return the release that was run: the catalogue's, or its newest under the version and day of the run."""
    releases = [e for e in catalog.engines if e.id is row.id]
    if not releases:
        raise UnknownName("engine", f"the catalogue has no engine '{row.id.value}'")
    exact = [e for e in releases if (e.version, e.released) == (row.version, row.released)]
    newest = releases[-1].model_copy(update={"version": row.version, "released": row.released})
    return exact[-1] if exact else newest
