"""The six accelerators: plausible units, and the facts that are often told wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fleet.catalog.load import load_catalog
from fleet.catalog.records import Accelerator, CpuArch, DomainKind
from fleet.layout import Precision

CATALOG = load_catalog()
ACCELERATORS = CATALOG.accelerators
HOPPER = ("h100-sxm", "h200-sxm")
BLACKWELL = ("b200-hgx", "b300-hgx", "gb200-nvl72", "gb300-nvl72")
RACKS = ("gb200-nvl72", "gb300-nvl72")


def flops(accelerator_id: str, precision: Precision) -> float:
    return ACCELERATORS[accelerator_id].dense_flops[precision].value


def test_there_are_exactly_the_six_accelerators() -> None:
    assert set(ACCELERATORS) == {*HOPPER, *BLACKWELL}


RATIOS = [
    (
        "dense FP8, H100 to B200, is 2.27x",
        flops("b200-hgx", Precision.FP8) / flops("h100-sxm", Precision.FP8),
        2.27,
    ),
    (
        "dense FP8, H100 to GB200, is 2.53x",
        flops("gb200-nvl72", Precision.FP8) / flops("h100-sxm", Precision.FP8),
        2.53,
    ),
    (
        "NVFP4 is twice FP8 on Blackwell",
        flops("b200-hgx", Precision.NVFP4) / flops("b200-hgx", Precision.FP8),
        2.0,
    ),
    (
        "NVFP4 is three times FP8 on Blackwell Ultra",
        flops("b300-hgx", Precision.NVFP4) / flops("b300-hgx", Precision.FP8),
        3.0,
    ),
    ("FP8 is twice BF16 on H100", flops("h100-sxm", Precision.FP8) / flops("h100-sxm", Precision.BF16), 2.0),
]


@pytest.mark.parametrize(("claim", "found", "expected"), RATIOS, ids=[row[0] for row in RATIOS])
def test_dense_is_compared_with_dense(claim: str, found: float, expected: float) -> None:
    assert found == pytest.approx(expected, rel=0.002), claim


@pytest.mark.parametrize("name", HOPPER)
def test_hopper_has_no_four_bit_tensor_cores(name: str) -> None:
    assert set(ACCELERATORS[name].dense_flops) == {Precision.BF16, Precision.FP8}


@pytest.mark.parametrize("name", BLACKWELL)
def test_blackwell_has_both_four_bit_formats_at_one_rate(name: str) -> None:
    assert flops(name, Precision.MXFP4) == flops(name, Precision.NVFP4) > flops(name, Precision.FP8)


@pytest.mark.parametrize("name", RACKS)
def test_a_rack_is_one_domain_of_18_trays_of_4_on_arm(name: str) -> None:
    rack = ACCELERATORS[name]
    assert (rack.domain_gpus, rack.hosts_per_domain, rack.gpus_per_host) == (72, 18, 4)
    assert (rack.domain, rack.cpu_arch, rack.liquid_cooled) == (DomainKind.RACK, CpuArch.ARM64, True)


@pytest.mark.parametrize("name", sorted(set(ACCELERATORS) - set(RACKS)))
def test_an_hgx_host_is_one_domain_of_8_on_x86(name: str) -> None:
    host = ACCELERATORS[name]
    assert (host.domain_gpus, host.hosts_per_domain, host.gpus_per_host) == (8, 1, 8)
    assert (host.domain, host.cpu_arch) == (DomainKind.HOST, CpuArch.AMD64)


@pytest.mark.parametrize("name", sorted(ACCELERATORS))
def test_memory_is_whole_mebibytes_as_the_driver_reports_them(name: str) -> None:
    assert ACCELERATORS[name].hbm_bytes.value % 1048576 == 0


UNITS = [  # field, smallest and largest value that the unit allows
    ("hbm_bytes", 80e9, 300e9),
    ("hbm_bytes_per_s", 3e12, 10e12),
    ("nvlink_bytes_per_s", 450e9, 900e9),
    ("nic_bytes_per_s", 50e9, 100e9),
    ("tdp_w", 700, 1400),
    ("all_in_w", 1300, 2200),
]


@pytest.mark.parametrize("name", sorted(ACCELERATORS))
@pytest.mark.parametrize(("field", "low", "high"), UNITS, ids=[row[0] for row in UNITS])
def test_a_figure_is_in_the_unit_of_its_name(name: str, field: str, low: float, high: float) -> None:
    assert low <= getattr(ACCELERATORS[name], field).value <= high


@pytest.mark.parametrize("name", sorted(ACCELERATORS))
def test_all_in_power_is_more_than_the_chip_draws(name: str) -> None:
    accelerator = ACCELERATORS[name]
    assert 1.3 <= accelerator.all_in_w.value / accelerator.tdp_w.value <= 2.0


@pytest.mark.parametrize("name", sorted(ACCELERATORS))
def test_nvlink_is_one_direction_and_far_wider_than_the_network(name: str) -> None:
    accelerator = ACCELERATORS[name]
    assert 9 <= accelerator.nvlink_bytes_per_s.value / accelerator.nic_bytes_per_s.value <= 18


LINKS = [  # accelerator, NVLink and network bytes/s of one direction
    ("h100-sxm", 450e9, 50e9),
    ("h200-sxm", 450e9, 50e9),
    ("b200-hgx", 900e9, 50e9),
    ("b300-hgx", 900e9, 100e9),
    ("gb200-nvl72", 900e9, 50e9),
    ("gb300-nvl72", 900e9, 100e9),
]


@pytest.mark.parametrize(("name", "nvlink", "nic"), LINKS, ids=[row[0] for row in LINKS])
def test_links_are_those_of_the_generation(name: str, nvlink: float, nic: float) -> None:
    accelerator = ACCELERATORS[name]
    assert (accelerator.nvlink_bytes_per_s.value, accelerator.nic_bytes_per_s.value) == (nvlink, nic)


FACTS = Path(__file__).parents[3] / "shared" / "facts" / "hardware.yaml"
FACT_NAMES = {
    "h100-sxm": "h100_sxm5",
    "h200-sxm": "h200_sxm",
    "b200-hgx": "b200_sxm",
    "b300-hgx": "b300_sxm",
    "gb200-nvl72": "gb200_nvl72",
    "gb300-nvl72": "gb300_nvl72",
}


def collected(name: str) -> dict[str, Any]:
    if not FACTS.exists():
        pytest.skip("hardware.yaml, the collected vendor figures, is not beside this checkout")
    accelerators: dict[str, dict[str, Any]] = yaml.safe_load(FACTS.read_text())["accelerators"]
    return accelerators[FACT_NAMES[name]]


@pytest.mark.parametrize("name", sorted(FACT_NAMES))
def test_figures_agree_with_the_collected_vendor_figures(name: str) -> None:
    ours, theirs = ACCELERATORS[name], collected(name)
    tflops = {key: theirs["tflops"][key]["v"] for key in ("bf16", "fp8", "fp4") if theirs["tflops"].get(key)}
    assert {
        "fp4" if precision is Precision.NVFP4 else precision.value: figure.value / 1e12
        for precision, figure in ours.dense_flops.items()
        if precision is not Precision.MXFP4
    } == pytest.approx(tflops)
    assert ours.hbm_bytes_per_s.value / 1e12 == pytest.approx(theirs["memory"]["bandwidth_TBps"]["v"])
    assert ours.nvlink_bytes_per_s.value / 1e9 == theirs["scale_up"]["nvlink_uni_GBps"]["v"]
    assert ours.nic_bytes_per_s.value * 8 / 1e9 == theirs["scale_out"]["Gbps_per_gpu"]["v"]
    assert ours.tdp_w.value == theirs["power"]["tdp_w"]["v"]
    assert ours.all_in_w.value / 1e3 == theirs["power"]["allin_kw_per_gpu"]["v"]
    memory = theirs["memory"]
    mib = (memory.get("smi_mib") or memory.get("listed_mib") or {}).get("v")
    plan_bytes = mib * 1048576 if mib else float(memory["plan_bytes"]["v"])
    assert ours.hbm_bytes.value == pytest.approx(plan_bytes, rel=0.005)


def test_a_domain_that_does_not_multiply_out_is_refused() -> None:
    rack = ACCELERATORS["gb200-nvl72"].model_dump()
    with pytest.raises(ValueError, match="gb200-nvl72: domain_gpus"):
        Accelerator.model_validate({**rack, "domain_gpus": 64})
