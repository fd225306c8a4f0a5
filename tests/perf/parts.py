"""Points and workers of the shipped catalogue for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

from fleet.catalog.load import load_catalog
from fleet.catalog.records import EngineId, EngineRelease
from fleet.layout import ParallelismLayout, Precision, Role
from fleet.perf.interface import Draft, Point
from fleet.perf.replica import WorkerSpec

CATALOG = load_catalog()
TABLE = Path(__file__).resolve().parents[3] / "shared" / "bench" / "calibration.csv"
WITHOUT_TABLE = f"the calibration table is not beside the checkout ({TABLE.name})"


def engine(name: str) -> EngineRelease:
    return [e for e in CATALOG.engines if e.id is EngineId(name)][-1]


def worker(
    model: str = "llama-3.3-70b",
    gpu: str = "h100-sxm",
    engine_name: str = "vllm",
    weights: Precision = Precision.FP8,
    dense: Precision | None = None,
    kv: Precision = Precision.FP8,
    draft: Draft | None = None,
    **layout: int,
) -> WorkerSpec:
    return WorkerSpec(
        CATALOG.models[model],
        CATALOG.accelerators[gpu],
        engine(engine_name),
        ParallelismLayout(**layout),
        weights,
        dense or weights,
        kv,
        draft,
    )


def point(
    role: Role = Role.MIXED, batch: float = 32, isl: float = 2000, osl: float = 500, **kwargs: object
) -> Point:
    return worker(**kwargs).point(role, batch=batch, isl=isl, osl=osl)  # type: ignore[arg-type]
