"""Loading the catalogue: whole, consistent, fast and the same everywhere."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from datetime import date, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from fleet.catalog import load
from fleet.catalog.architectures import SHAPES
from fleet.catalog.records import (
    PRICE_USE_BY_DAYS,
    AcceptanceLength,
    Catalog,
    EngineId,
    KvMemoryRule,
    ModelCard,
    Price,
    Provider,
)
from fleet.layout import Precision

CATALOG = load.load_catalog()


def test_the_catalogue_is_read_once() -> None:
    assert load.load_catalog() is CATALOG


def test_the_digest_is_that_of_the_data_files_in_name_order() -> None:
    files = load.read_data_files()
    assert list(files) == sorted(files)
    assert CATALOG.digest == hashlib.sha256(b"".join(files.values())).hexdigest()


@pytest.mark.parametrize("seed", ["0", "1"])
def test_another_process_reads_the_same_catalogue(seed: str) -> None:
    script = "from fleet.catalog.load import load_catalog as l; c = l(); print(c.digest, hash_of := len(c.model_dump_json()))"
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    run = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == [CATALOG.digest, str(len(CATALOG.model_dump_json()))]


def test_loading_takes_less_than_150_ms() -> None:
    def seconds() -> float:
        begin = time.process_time()
        load.load_catalog.__wrapped__()
        return time.process_time() - begin

    assert min(seconds() for _ in range(5)) < 0.150


def test_a_catalogue_survives_being_written_and_read() -> None:
    assert Catalog.model_validate_json(CATALOG.model_dump_json()) == CATALOG


LOOKUPS = [
    (
        "an accelerator",
        load.find_accelerator(CATALOG, "gb200-nvl72"),
        load.find_accelerator(CATALOG, "gb200"),
    ),
    ("a model", load.find_model(CATALOG, "deepseek-r1"), load.find_model(CATALOG, "DeepSeek-R1")),
    (
        "a machine",
        load.find_machine(CATALOG, "gke", "a4x-highgpu-4g"),
        load.find_machine(CATALOG, "eks", "a4x-highgpu-4g"),
    ),
    (
        "an engine",
        load.find_engine(CATALOG, EngineId.VLLM),
        load.find_engine(CATALOG, EngineId.VLLM, "0.1.0"),
    ),
    (
        "an acceptance length",
        load.find_acceptance(CATALOG, "kimi-k2.5", "eagle3"),
        load.find_acceptance(CATALOG, "glm-5.2", "mtp", "plain"),
    ),
    (
        "a price",
        load.find_price(CATALOG, "oci", "BM.GPU.GB200.4"),
        load.find_price(CATALOG, "oci", "BM.GPU.GB200.4", "spot"),
    ),
]


@pytest.mark.parametrize(("what", "known", "unknown"), LOOKUPS, ids=[row[0] for row in LOOKUPS])
def test_a_lookup_returns_none_for_what_is_not_there(what: str, known: object, unknown: object) -> None:
    assert known is not None, what
    assert unknown is None, what


def test_an_engine_without_a_version_is_the_newest() -> None:
    newest = load.find_engine(CATALOG, EngineId.VLLM)
    pinned = load.find_engine(CATALOG, EngineId.VLLM, "0.31.0")
    assert newest is not None
    assert pinned is not None
    assert (newest.version, pinned.version) == ("0.33.0", "0.31.0")


def test_every_provider_has_machines_and_every_accelerator_a_provider() -> None:
    machines = CATALOG.machines.values()
    assert {machine.provider for machine in machines} == set(Provider)
    assert {machine.accelerator for machine in machines} == set(CATALOG.accelerators)


@pytest.mark.parametrize("key", sorted(CATALOG.machines))
def test_a_machine_agrees_with_its_accelerator(key: str) -> None:
    machine = CATALOG.machines[key]
    accelerator = CATALOG.accelerators[machine.accelerator]
    assert key == f"{machine.provider}/{machine.machine_type}"
    assert machine.gpus_per_host == accelerator.gpus_per_host
    assert (machine.domain_label == "kubernetes.io/hostname") == (accelerator.hosts_per_domain == 1)


RACK_LABELS = [
    ("gke/a4x-highgpu-4g", "cloud.google.com/gce-topology-subblock"),
    ("eks/p6e-gb200.36xlarge", "topology.k8s.aws/ultraserver-id"),
    ("coreweave/gb200-4x", "ds.coreweave.com/nvlink.domain"),
    ("on-premises/gb200-nvl72", "nvidia.com/gpu.clique"),
]


@pytest.mark.parametrize(("machine", "label"), RACK_LABELS)
def test_the_nvlink_domain_of_a_rack_has_the_label_of_its_provider(machine: str, label: str) -> None:
    assert CATALOG.machines[machine].domain_label == label


def _price_name(price: Price) -> str:
    return f"{price.provider}/{price.machine_type}/{price.kind}"


@pytest.mark.parametrize("price", CATALOG.prices, ids=_price_name)
def test_a_price_is_plausible_and_of_the_machine_it_names(price: Price) -> None:
    assert 1 <= price.usd_per_gpu_hour.value <= 30
    machine = load.find_machine(CATALOG, price.provider, price.machine_type)
    assert machine is None or machine.accelerator == price.accelerator


def test_no_price_is_listed_twice() -> None:
    names = [(p.provider, p.machine_type, p.kind, p.region) for p in CATALOG.prices]
    assert len(names) == len(set(names))


def test_every_accelerator_has_an_on_demand_and_an_owned_price() -> None:
    for kind in ("on-demand", "owned"):
        assert {p.accelerator for p in CATALOG.prices if p.kind == kind} == set(CATALOG.accelerators)


def test_a_price_is_out_of_date_the_day_after_its_use_by_date() -> None:
    price = CATALOG.prices[0]
    read = price.usd_per_gpu_hour.as_of
    assert read == date(2026, 9, 19)
    last = read + timedelta(days=PRICE_USE_BY_DAYS)
    assert price.age_days(last) == PRICE_USE_BY_DAYS == 180
    assert not price.is_out_of_date(last)
    assert price.is_out_of_date(last + timedelta(days=1))


def test_the_engines_are_the_pinned_ones_newest_last() -> None:
    pinned = [(e.id, e.version, e.dynamo_version, e.targets) for e in CATALOG.engines]
    assert pinned == [
        (EngineId.VLLM, "0.31.0", "1.6.1", ("dynamo",)),
        (EngineId.VLLM, "0.33.0", None, ("kubernetes",)),
        (EngineId.SGLANG, "0.5.21", "1.6.1", ()),
        (EngineId.TRTLLM, "1.3.0rc29", "1.6.1", ()),
    ]
    for engine in EngineId:
        released = [e.released for e in CATALOG.engines if e.id is engine]
        assert released == sorted(released)


@pytest.mark.parametrize("release", CATALOG.engines, ids=lambda e: f"{e.id}-{e.version}")
def test_an_engine_has_an_image_for_every_host_and_only_known_architectures(release: Any) -> None:
    assert {a.cpu_arch for a in CATALOG.accelerators.values()} == set(release.images)
    assert all(image.rpartition(":")[2] for image in release.images.values())
    assert set(release.architectures) <= set(SHAPES)
    assert set(release.kv_precisions) == {Precision.BF16, Precision.FP8}
    expected = KvMemoryRule.OF_FREE_AFTER_WEIGHTS if release.id is EngineId.TRTLLM else KvMemoryRule.OF_TOTAL
    assert release.kv_memory_rule is expected


def test_some_engine_that_can_be_deployed_runs_every_model() -> None:
    runs = {a for e in CATALOG.engines if e.targets for a in e.architectures}
    assert {card.architecture for card in CATALOG.models.values()} <= runs


@pytest.mark.parametrize("row", CATALOG.acceptance, ids=lambda r: f"{r.model}-{r.mode}")
def test_an_acceptance_length_lies_between_one_and_all_drafts(row: AcceptanceLength) -> None:
    assert len(row.mean_tokens) == 8
    assert row.find_mean_tokens(1) == row.mean_tokens[0]
    assert row.find_mean_tokens(0) is None
    assert row.find_mean_tokens(9) is None


def test_an_impossible_acceptance_length_is_refused() -> None:
    row = CATALOG.acceptance[0].model_dump()
    with pytest.raises(ValidationError, match="impossible"):
        AcceptanceLength.model_validate({**row, "mean_tokens": (2.5,)})


def _broken(**change: object) -> dict[str, Any]:
    return {**CATALOG.model_dump(), **change}


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("a record under another id", _broken(models={"x": CATALOG.models["qwen3-8b"]}), "stands under x"),
    ("a machine of an unknown accelerator", _broken(accelerators={}), "no accelerator"),
    ("a price of an unknown accelerator", _broken(accelerators={}, machines={}), "no accelerator"),
    (
        "a price without date",
        _broken(
            prices=[{**CATALOG.prices[0].model_dump(), "usd_per_gpu_hour": {"value": 1, "source": "a page"}}]
        ),
        "as_of is missing",
    ),
    (
        "a figure without source",
        _broken(
            prices=[
                {**CATALOG.prices[0].model_dump(), "usd_per_gpu_hour": {"value": 1, "as_of": "2026-09-19"}}
            ]
        ),
        "source",
    ),
    ("a field that no record has", _broken(extra=1), "extra"),
]


@pytest.mark.parametrize(("what", "data", "message"), REFUSED, ids=[row[0] for row in REFUSED])
def test_an_inconsistent_catalogue_is_refused(what: str, data: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Catalog.model_validate(data)


CARD_FAULTS = [
    ("more experts than parameters", {"total_params": 10**9}, "routed experts"),
    ("a token that multiplies more than there is", {"active_params": 60 * 10**9}, "a token multiplies"),
    ("fewer active parameters than active experts", {"active_params": 10**9}, "routed experts"),
    ("more experts chosen than there are", {"experts_per_token": 400}, "experts_per_token"),
    ("more layers with experts than layers", {"moe_layers": 99}, "more layers of one kind"),
    ("no layers", {"layers": 0}, "layers is 0"),
]


@pytest.mark.parametrize(("what", "change", "message"), CARD_FAULTS, ids=[row[0] for row in CARD_FAULTS])
def test_a_card_whose_parts_do_not_add_up_is_refused(what: str, change: dict[str, int], message: str) -> None:
    card = CATALOG.models["deepseek-r1"].model_dump()
    with pytest.raises(ValidationError, match=message):
        ModelCard.model_validate({**card, **change})
