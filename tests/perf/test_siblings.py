"""Newer accelerators are no slower than older siblings whose coefficients they take."""

from __future__ import annotations

from itertools import product

import pytest

from fleet.layout import Precision, Role
from fleet.perf.calibrated import Calibrated
from fleet.perf.coefficients import cell_and_role, committed
from fleet.perf.interface import Basis, Estimate, Point
from fleet.perf.roofline import Roofline
from fleet.perf.siblings import OLDER, is_no_worse, lender_of

from .parts import CATALOG, point, worker

LAYOUTS = ({"tp": 1}, {"tp": 2}, {"tp": 8}, {"tp": 4, "pp": 2}, {"tp": 8, "ep": 8}, {"dp": 8, "ep": 8}, {"tp": 2, "dp": 4, "ep": 8}, {"dp": 32, "ep": 32})  # fmt: skip
ENGINES = ("vllm", "sglang", "trtllm")
TIMES = (
    "decode_step_ms", "prefill_ms", "prefill_latency_ms", "interference_ms", "constant_ms", "burst_ms",
    "per_running_request_ms", "prefill_wait_steps",
)  # fmt: skip
FLOORED = ("decode_step_ms", "prefill_ms", "prefill_latency_ms")
ROUNDING = 1 + 2e-5
PERF = Calibrated()


def asked(gpu: str) -> list[Point]:
    return [
        worker(model, gpu, engine, c.precision, c.dense_precision, **layout).point(role, batch=b, isl=isl, osl=300)
        for model, card in sorted(CATALOG.models.items())
        for c in card.checkpoints
        for engine, layout, role, (b, isl) in product(ENGINES, LAYOUTS, Role, ((1, 100), (64, 2000), (512, 8000)))
    ]  # fmt: skip


@pytest.mark.parametrize("newer", sorted(OLDER))
def test_no_time_of_a_newer_sibling_is_longer_where_its_cell_has_no_data(newer: str) -> None:
    """Unless it is the physical floor: the published bandwidth of B300 is 3 % below that of B200."""
    points, older = asked(newer), asked(OLDER[newer])
    rows = zip(points, PERF.estimate(points), PERF.estimate(older), Roofline().estimate(points), strict=True)
    compared = 0
    for p, here, there, floor in rows:
        if cell_and_role(p) in committed().cells or not isinstance(there, Estimate):
            continue
        assert isinstance(here, Estimate), here
        assert isinstance(floor, Estimate)
        assert here.provenance.basis is Basis.EXTRAPOLATED
        compared += 1
        for name in TIMES:
            least = getattr(floor, name) if name in FLOORED else 0.0
            assert getattr(here, name) <= max(getattr(there, name), least) * ROUNDING, (p, name)
    assert compared > 1000


@pytest.mark.parametrize(
    ("newer", "older", "spec"),
    [
        ("h200-sxm", "h100-sxm", {"tp": 4}),
        ("h200-sxm", "h100-sxm", {"tp": 2}),
        ("b300-hgx", "b200-hgx", {"tp": 4}),
        ("b300-hgx", "b200-hgx", {"tp": 4, "weights": Precision.NVFP4}),
    ],
)
def test_the_sibling_is_named_and_the_error_is_that_of_an_unseen_group(
    newer: str, older: str, spec: dict[str, object]
) -> None:
    here, there = PERF.estimate([point(gpu=newer, **spec), point(gpu=older, **spec)])  # type: ignore[arg-type]
    assert isinstance(here, Estimate)
    assert isinstance(there, Estimate)
    assert here.provenance.note == f"coefficients of {older}"
    assert (here.provenance.basis, there.provenance.basis) == (Basis.EXTRAPOLATED, Basis.FITTED)
    assert here.relative_error_p90 >= committed().tpot_error.unseen["vllm|dense"]
    assert here.decode_step_ms <= there.decode_step_ms


def test_a_cell_with_data_of_its_own_borrows_nothing() -> None:
    answer = PERF.estimate([point(model="gpt-oss-120b", gpu="h200-sxm", weights=Precision.MXFP4, tp=2)])[0]
    assert isinstance(answer, Estimate)
    assert answer.provenance.basis is Basis.FITTED
    assert "coefficients of" not in answer.provenance.note


@pytest.mark.parametrize(
    ("figure", "share", "is_fine"),
    [
        ("hbm_bytes_per_s", 0.97, True), ("hbm_bytes_per_s", 0.94, False), ("hbm_bytes", 0.99, False),
        ("nvlink_bytes_per_s", 0.99, False), ("nic_bytes_per_s", 0.99, False),
    ],
)  # fmt: skip
def test_only_hardware_that_is_no_worse_borrows(figure: str, share: float, is_fine: bool) -> None:
    older = CATALOG.accelerators["b200-hgx"]
    sourced = getattr(older, figure)
    worse = older.model_copy(update={figure: sourced.model_copy(update={"value": sourced.value * share})})
    assert is_no_worse(worse, older) == is_fine


def test_hardware_that_lacks_a_precision_does_not_borrow_and_the_oldest_has_no_lender() -> None:
    assert not is_no_worse(CATALOG.accelerators["h100-sxm"], CATALOG.accelerators["b200-hgx"])
    assert lender_of(point(gpu="h100-sxm")) is None
    assert {n for n in OLDER if lender_of(point(gpu=n))} == set(OLDER)
