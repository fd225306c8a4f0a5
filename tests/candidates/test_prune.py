"""Candidates: what is enumerated fits its place, and what is dropped could never have won."""

from __future__ import annotations

from functools import cache

import pytest

from fleet.candidates.enumerate import enumerate_shapes, layouts
from fleet.candidates.need import Candidate, Drop, Limits, Need, Place, Weights
from fleet.candidates.prune import candidates_of
from fleet.catalog.load import load_catalog
from fleet.catalog.records import DomainKind
from fleet.layout import Precision
from fleet.perf.calibrated import Calibrated
from fleet.perf.interface import Lengths, Target
from fleet.perf.replica import Load

CATALOG = load_catalog()
LOAD = Load(
    lengths=Lengths((500.0, 2000.0), (100.0, 400.0), (0.5, 0.5)),
    targets=(Target("ttft", 95, 2000.0), Target("tpot", 95, 60.0)),
)
ANYTHING = Limits(
    max_tp=72, max_gpus_per_replica=72, allow_pipeline=True, allow_aggregated=True, allow_disaggregated=True
)


def place(accelerator: str) -> Place:
    record = CATALOG.accelerators[accelerator]
    usable = record.domain_gpus - (record.gpus_per_host if record.domain is DomainKind.RACK else 0)
    return Place("here", record, record.nic_bytes_per_s.value, usable, 8, 2.0)


def need(model: str, *precisions: Precision, limits: Limits = ANYTHING, context: int = 4096) -> Need:
    card = CATALOG.models[model]
    weights = tuple(Weights(p, p, f"hf://{model}") for p in precisions or (card.native_precision,))
    engines = tuple(e for e in CATALOG.engines if e.id == "vllm")
    return Need("w", card, weights, (Precision.BF16,), engines, None, LOAD, 10.0, context, limits)


MODELS = ("llama-3.3-70b", "gpt-oss-120b", "deepseek-r1")
PLACES = ("h100-sxm", "b200-hgx", "gb200-nvl72")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("accelerator", PLACES)
def test_every_layout_is_one_that_the_model_and_the_domain_can_have(model: str, accelerator: str) -> None:
    card, where = CATALOG.models[model], place(accelerator)
    for engine in need(model).engines:
        found = list(layouts(card, where, engine, ANYTHING))
        assert found
        for layout in found:
            assert card.heads % layout.tp == 0
            assert layout.gpus <= where.usable_domain_gpus
            host = where.accelerator.gpus_per_host
            assert host % layout.gpus == 0 if layout.gpus <= host else layout.gpus % host == 0
            if layout.ep > 1:
                assert layout.ep == layout.stage_gpus
                assert card.experts % layout.ep == 0
            if layout.dp > 1:
                assert card.is_moe, "dense models have replicas, not data-parallel ranks"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("accelerator", PLACES)
def test_every_shape_takes_the_gpus_of_its_workers_and_stays_in_its_place(
    model: str, accelerator: str
) -> None:
    where = place(accelerator)
    shapes, _ = enumerate_shapes(need(model, Precision.FP8), where)
    for shape in shapes:
        assert shape.gpus == sum(worker.layout.gpus * count for worker, count in shape.workers)
        if shape.whole_domains:
            assert where.accelerator.domain is DomainKind.HOST
            assert shape.gpus == shape.whole_domains * where.usable_domain_gpus
        else:
            assert shape.gpus <= where.usable_domain_gpus
        assert shape.engine.targets == (("dynamo",) if shape.is_disaggregated else ("kubernetes",))


def test_a_model_too_large_for_the_place_is_dropped_with_the_reason() -> None:
    shapes, drops = enumerate_shapes(need("deepseek-r1"), place("h100-sxm"))
    assert shapes == []
    assert {drop.reason for drop in drops} == {"does-not-fit"}


def test_a_precision_that_the_hardware_lacks_is_dropped_with_the_reason() -> None:
    shapes, drops = enumerate_shapes(need("llama-3.3-70b", Precision.NVFP4), place("h100-sxm"))
    assert shapes == []
    assert {drop.reason for drop in drops} == {"no-hardware-precision"}


def test_the_policy_decides_on_modes_and_pipelines() -> None:
    aggregated = Limits(
        max_tp=2,
        max_gpus_per_replica=4,
        allow_pipeline=False,
        allow_aggregated=True,
        allow_disaggregated=False,
    )
    shapes, _ = enumerate_shapes(need("llama-3.1-8b", limits=aggregated), place("h100-sxm"))
    assert shapes
    assert {(s.is_disaggregated, s.replica.decoder.layout.pp) for s in shapes} == {(False, 1)}
    assert max(s.replica.decoder.layout.tp for s in shapes) <= 2
    apart = Limits(
        max_tp=8,
        max_gpus_per_replica=8,
        allow_pipeline=False,
        allow_aggregated=False,
        allow_disaggregated=True,
    )
    assert all(
        s.is_disaggregated for s in enumerate_shapes(need("llama-3.1-8b", limits=apart), place("h100-sxm"))[0]
    )


@cache
def priced(model: str, accelerator: str) -> tuple[list[Candidate], list[Drop], int]:
    shapes, refused = enumerate_shapes(need(model, Precision.FP8), place(accelerator))
    kept, drops = candidates_of(need(model, Precision.FP8), [place(accelerator)], Calibrated())
    return kept, drops, len(shapes) + len(refused)


@pytest.mark.parametrize("model", ["llama-3.3-70b", "deepseek-r1"])
def test_every_shape_is_either_kept_or_dropped_with_a_reason(model: str) -> None:
    kept, drops, total = priced(model, "b200-hgx")
    assert kept
    assert len(kept) + len(drops) == total
    assert all(drop.reason and drop.detail for drop in drops)


@pytest.mark.parametrize("model", ["llama-3.3-70b", "deepseek-r1"])
def test_no_kept_candidate_is_dominated_by_another(model: str) -> None:
    kept, _, _ = priced(model, "b200-hgx")
    for large in kept:
        for small in kept:
            if small.id != large.id and not (small.shape.whole_domains and not large.shape.whole_domains):
                times = large.shape.gpus // small.shape.gpus
                assert times * small.rate_req_per_s <= large.rate_req_per_s * 1.001


def test_ids_are_unique_and_stable() -> None:
    kept, _, _ = priced("deepseek-r1", "b200-hgx")
    again, _ = candidates_of(need("deepseek-r1", Precision.FP8), [place("b200-hgx")], Calibrated())
    assert [c.id for c in kept] == [c.id for c in again]
    assert len({c.id for c in kept}) == len(kept)
