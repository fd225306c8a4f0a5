"""Candidates: what is enumerated fits its place, and what is dropped could never have won."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import ceil

import pytest

from fleet.candidates.enumerate import Space, space_of
from fleet.candidates.need import Candidate, Drop, Limits, Need, Place, Shape, Weights
from fleet.candidates.price import price
from fleet.candidates.prune import MOST_OF_A_PLACE, candidates_of
from fleet.candidates.rounding import rounded
from fleet.candidates.workers import layouts
from fleet.catalog.load import load_catalog
from fleet.catalog.records import DomainKind
from fleet.layout import Precision
from fleet.perf.calibrated import Calibrated
from fleet.perf.interface import Lengths, Target
from fleet.perf.replica import Load
from fleet.perf.serving import largest_rates

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


def every_shape(space: Space) -> list[Shape]:
    return [*space.mixed, *(pairs.shape(i) for pairs in space.apart for i in range(len(pairs)))]


SMALL = Limits(
    max_tp=8, max_gpus_per_replica=16, allow_pipeline=False, allow_aggregated=True, allow_disaggregated=True
)
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
            host = where.accelerator.gpus_per_host
            hosts = where.available_domains if where.accelerator.domain is DomainKind.HOST else 1
            assert layout.gpus <= where.usable_domain_gpus * hosts
            assert host % layout.gpus == 0 if layout.gpus <= host else layout.gpus % host == 0
            if layout.ep > 1:
                assert layout.ep == layout.stage_gpus, "vLLM spreads experts over a whole stage"
                assert layout.ep <= card.experts
            if layout.dp > 1:
                assert card.is_moe, "dense models have replicas, not data-parallel ranks"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("accelerator", PLACES)
def test_every_shape_takes_the_gpus_of_its_workers_and_stays_in_its_place(
    model: str, accelerator: str
) -> None:
    where = place(accelerator)
    host = where.accelerator.gpus_per_host
    limits = replace(ANYTHING, max_gpus_per_replica=40)
    for shape in every_shape(space_of(need(model, Precision.FP8, limits=limits), where)):
        assert shape.gpus == sum(worker.layout.gpus * count for worker, count in shape.workers)
        assert shape.gpus <= shape.reserved_gpus < shape.gpus + host
        assert host % shape.reserved_gpus == 0 or shape.reserved_gpus % host == 0
        if shape.whole_domains:
            assert where.accelerator.domain is DomainKind.HOST
            assert shape.reserved_gpus == shape.whole_domains * where.usable_domain_gpus
        else:
            assert shape.reserved_gpus <= where.usable_domain_gpus
        assert shape.engine.targets == (("dynamo",) if shape.is_disaggregated else ("kubernetes",))


def test_a_model_too_large_for_the_place_is_dropped_with_the_reason() -> None:
    space = space_of(need("llama-3.1-405b", limits=SMALL), replace(place("h100-sxm"), available_domains=1))
    assert len(space) == 0
    assert {drop.reason for drop in space.drops} == {"does-not-fit"}


def test_a_model_too_large_for_one_host_is_served_by_several() -> None:
    space = space_of(need("deepseek-r1"), place("h100-sxm"))
    widths = {(shape.gpus, shape.whole_domains) for shape in space.mixed}
    assert (16, 2) in widths
    assert all(gpus == 8 * hosts for gpus, hosts in widths)


def test_a_precision_that_the_hardware_lacks_is_dropped_with_the_reason() -> None:
    space = space_of(need("llama-3.3-70b", Precision.NVFP4), place("h100-sxm"))
    assert len(space) == 0
    assert {drop.reason for drop in space.drops} == {"no-hardware-precision"}


def test_the_policy_decides_on_modes_and_pipelines() -> None:
    aggregated = Limits(
        max_tp=2,
        max_gpus_per_replica=4,
        allow_pipeline=False,
        allow_aggregated=True,
        allow_disaggregated=False,
    )
    shapes = every_shape(space_of(need("llama-3.1-8b", limits=aggregated), place("h100-sxm")))
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
    shapes = every_shape(space_of(need("llama-3.1-8b", limits=apart), place("h100-sxm")))
    assert shapes
    assert all(s.is_disaggregated for s in shapes)


@cache
def priced(model: str, accelerator: str) -> tuple[list[Candidate], list[Drop], int]:
    space = space_of(need(model, Precision.FP8), place(accelerator))
    kept, drops = candidates_of(need(model, Precision.FP8), [place(accelerator)], Calibrated())
    return kept, drops, len(space) + sum(drop.count for drop in space.drops)


@pytest.mark.parametrize("model", ["llama-3.3-70b", "deepseek-r1"])
def test_every_shape_is_either_kept_or_dropped_with_a_reason(model: str) -> None:
    kept, drops, total = priced(model, "b200-hgx")
    assert kept
    assert len(kept) + sum(drop.count for drop in drops) == total
    assert all(drop.reason and drop.detail for drop in drops)


@pytest.mark.parametrize("model", ["llama-3.3-70b", "deepseek-r1"])
def test_no_kept_candidate_is_dominated_by_another(model: str) -> None:
    kept, _, _ = priced(model, "b200-hgx")
    for large in kept:
        for small in kept:
            if small.id != large.id and not (small.shape.whole_domains and not large.shape.whole_domains):
                times = large.shape.reserved_gpus // small.shape.reserved_gpus
                assert times * small.rate_req_per_s <= large.rate_req_per_s * 1.001


def test_ids_are_unique_and_stable() -> None:
    kept, _, _ = priced("deepseek-r1", "b200-hgx")
    again, _ = candidates_of(need("deepseek-r1", Precision.FP8), [place("b200-hgx")], Calibrated())
    assert [c.id for c in kept] == [c.id for c in again]
    assert len({c.id for c in kept}) == len(kept)


@pytest.mark.parametrize("accelerator", ["h100-sxm", "gb200-nvl72"])
@pytest.mark.parametrize("model", ["llama-3.3-70b", "gpt-oss-120b"])
def test_what_is_never_priced_could_not_have_won(model: str, accelerator: str) -> None:
    asked = need(model, limits=SMALL)
    space = space_of(asked, place(accelerator))
    priced, drops = price(asked, space, Calibrated())
    assert not any(drop.reason == "search-limit" for drop in drops), "small enough to be searched to the end"
    shapes = every_shape(space)
    assert len(shapes) > 5 * len(priced), "most are judged by their bound"
    best: dict[int, float] = {}
    for one in priced:
        size = one.shape.reserved_gpus
        best[size] = max(best.get(size, 0.0), one.rate_req_per_s)
    sample = shapes[:: max(len(shapes) // 150, 1)]
    for shape, rate in zip(
        sample, largest_rates(Calibrated(), [s.replica for s in sample], asked.load), strict=True
    ):
        if isinstance(rate, float):
            most = max(
                shape.reserved_gpus // size * q for size, q in best.items() if size <= shape.reserved_gpus
            )
            assert rate <= most * 1.001, shape.label


def test_a_place_keeps_few_candidates_and_among_them_the_best_fit_for_the_need() -> None:
    prompts = Load(
        lengths=Lengths((8000.0,), (200.0,), (1.0,)),
        targets=(Target("ttft", 95, 1000.0), Target("tpot", 95, 30.0)),
    )
    asked = replace(need("llama-3.3-70b", Precision.FP8), load=prompts)
    kept, drops = candidates_of(asked, [place("gb200-nvl72")], Calibrated())
    assert len(kept) <= MOST_OF_A_PLACE + 2
    assert any(drop.reason == "near-dominated" for drop in drops)

    def alone(rate: float, gpus: int) -> int:
        return ceil(asked.rate_req_per_s / rate) * gpus

    priced, _ = price(asked, space_of(asked, place("gb200-nvl72")), Calibrated())
    least = min(alone(rounded(p.rate_req_per_s), p.shape.reserved_gpus) for p in priced)
    assert min(alone(rounded(c.rate_req_per_s), c.shape.reserved_gpus) for c in kept) == least
