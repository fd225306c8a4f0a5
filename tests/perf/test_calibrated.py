"""What an estimate must be whatever the coefficients: complete, monotone, honest about its data, fast."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.layout import ParallelismLayout, Precision, Role
from fleet.perf.calibrated import Calibrated
from fleet.perf.coefficients import PATH, committed
from fleet.perf.interface import Basis, Draft, Estimate, PerformanceModel, Point, Unsupported

from .parts import CATALOG, TABLE, WITHOUT_TABLE, point, worker
from .test_roofline import points

ROOT = Path(__file__).resolve().parents[2]
PERF: PerformanceModel = Calibrated()


def one(p: Point) -> Estimate:
    answer = PERF.estimate([p])[0]
    assert isinstance(answer, Estimate), answer
    return answer


@settings(max_examples=40, deadline=None)
@given(points(), st.floats(1.01, 4.0))
def test_steps_never_get_faster_with_batch_or_context(p: Point, more: float) -> None:
    longer = min(p.isl * more, p.model.max_context_tokens - p.osl)
    answers = PERF.estimate([p, replace(p, batch=p.batch * more), replace(p, isl=max(longer, p.isl))])
    if all(isinstance(a, Estimate) for a in answers):
        here, larger, deeper = (a for a in answers if isinstance(a, Estimate))
        assert larger.decode_step_ms >= here.decode_step_ms
        assert deeper.decode_step_ms >= here.decode_step_ms
        assert deeper.prefill_latency_ms >= here.prefill_latency_ms


@settings(max_examples=40, deadline=None)
@given(st.lists(points(), min_size=2, max_size=12))
def test_answers_keep_the_order_and_do_not_depend_on_company(asked: list[Point]) -> None:
    together = PERF.estimate(asked)
    assert [PERF.estimate([p])[0] for p in asked] == together


def test_every_model_runs_somewhere_on_every_accelerator() -> None:
    layouts = [
        {"tp": 1},
        {"tp": 8},
        {"tp": 8, "ep": 8},
        {"dp": 8, "ep": 8},
        {"dp": 32, "ep": 32},
        {"tp": 8, "pp": 2},
    ]
    for model, card in CATALOG.models.items():
        for gpu, accelerator in CATALOG.accelerators.items():
            asked = [
                worker(model, gpu, "vllm", c.precision, c.dense_precision, **layout).point(
                    Role.MIXED, batch=8, isl=1000, osl=200
                )
                for c in card.checkpoints
                for layout in layouts
            ]
            answers = PERF.estimate(asked)
            only_nvfp4 = all(c.precision is Precision.NVFP4 for c in card.checkpoints)
            possible = not (only_nvfp4 and accelerator.generation == "hopper")
            assert any(isinstance(a, Estimate) for a in answers) == possible, (model, gpu)
            reasons = {a.reason for a in answers if isinstance(a, Unsupported)}
            assert reasons <= {
                "does-not-fit",
                "no-hardware-precision",
                "ep-without-experts",
                "tp-does-not-divide-heads",
            }
            if accelerator.generation == "hopper" and any(
                c.precision is Precision.NVFP4 for c in card.checkpoints
            ):
                assert "no-hardware-precision" in reasons


def test_shares_add_up_and_name_what_takes_the_time() -> None:
    answer = one(point(model="deepseek-r1", gpu="b200-hgx", engine_name="trtllm", dp=8, ep=8))
    for shares in (answer.decode_shares, answer.prefill_shares):
        assert sum(shares.values()) == pytest.approx(1.0, abs=1e-5)
        assert min(shares.values()) >= 0
    assert answer.decode_shares["all-to-all"] > 0
    assert one(point(tp=4)).decode_shares["all-to-all"] == 0


def test_a_cell_in_the_data_is_fitted_and_one_outside_is_extrapolated_with_a_wider_error() -> None:
    inside, outside = one(point(tp=4)), one(point(gpu="h200-sxm", tp=4))
    assert inside.provenance.basis is Basis.FITTED
    assert outside.provenance.basis is Basis.EXTRAPOLATED
    assert outside.provenance.note == "coefficients of h100-sxm"
    assert outside.relative_error_p90 > 1.3 * inside.relative_error_p90


def test_cells_without_data_or_sibling_are_pooled_from_neighbours() -> None:
    answer = one(point(model="llama-3.1-8b", gpu="gb200-nvl72", tp=1))
    assert answer.provenance.basis is Basis.EXTRAPOLATED
    assert answer.provenance.note.startswith("pooled from neighbouring cells")


def test_an_engine_newer_than_the_data_is_noted() -> None:
    assert "nearest engine version with data" in one(point(tp=4)).provenance.note


def test_pipeline_parallelism_is_never_called_fitted() -> None:
    answer = one(point(tp=4, pp=2))
    assert answer.provenance.basis is Basis.EXTRAPOLATED
    assert "pipeline" in answer.provenance.note


def test_tensor_parallelism_over_hosts_is_never_called_fitted() -> None:
    inside, over = one(point(tp=8)), one(point(tp=16))
    assert inside.provenance.basis is Basis.FITTED
    assert over.provenance.basis is Basis.EXTRAPOLATED
    assert "no data for tensor parallelism over hosts" in over.provenance.note


def test_drafting_shortens_the_time_of_a_token_but_not_by_its_acceptance() -> None:
    spec = {"model": "deepseek-r1", "gpu": "gb200-nvl72", "engine_name": "trtllm", "dp": 8, "ep": 8}
    plain = one(point(Role.DECODE, batch=64, **spec))
    drafted = one(point(Role.DECODE, batch=64, draft=Draft(3, 2.8), **spec))
    assert plain.decode_step_ms / 2.8 < drafted.decode_step_ms < plain.decode_step_ms


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"batch": 0.5}, "below-one", id="half a request"),
        pytest.param({"isl": float("nan")}, "not-a-number", id="a length that is no number"),
        pytest.param({"osl": float("inf")}, "not-a-number", id="an endless answer"),
        pytest.param({"isl": 1e6}, "context-too-long", id="a prompt beyond the context"),
        pytest.param({"cached_prefix": 2001.0}, "prefix-beyond-prompt", id="more cached than prompted"),
        pytest.param({"draft": Draft(1, 2.5)}, "draft-out-of-range", id="more accepted than drafted"),
        pytest.param({"layout": ParallelismLayout(tp=3)}, "tp-does-not-divide-heads", id="three ranks"),
        pytest.param({"layout": ParallelismLayout(tp=8, ep=8)}, "ep-without-experts", id="experts of a dense model"),
        pytest.param({"model": CATALOG.models["minimax-m2.5"], "layout": ParallelismLayout(tp=12)}, "tp-crosses-nvlink-domain", id="tp on parts of two hosts"),
        pytest.param({"layout": ParallelismLayout(pp=81)}, "more-stages-than-layers", id="more stages than layers"),
        pytest.param({"weights": Precision.NVFP4}, "no-hardware-precision", id="nvfp4 on Hopper"),
        pytest.param({"kv": Precision.NVFP4}, "no-such-kv-precision", id="a cache in nvfp4"),
        pytest.param({"weights": Precision.BF16, "dense_weights": Precision.BF16}, "does-not-fit", id="bf16 on one GPU"),
    ],
)  # fmt: skip
def test_points_that_cannot_be_priced_say_why(change: dict[str, object], reason: str) -> None:
    answer = PERF.estimate([replace(point(tp=1), **change)])[0]  # type: ignore[arg-type]
    assert isinstance(answer, Unsupported)
    assert answer.reason == reason


def test_no_points_no_answers() -> None:
    assert PERF.estimate([]) == []


def test_a_hundred_thousand_points_in_seconds() -> None:
    specs = [
        worker(m, g, e, tp=8)
        for m in sorted(CATALOG.models)
        for g in sorted(CATALOG.accelerators)
        for e in ("vllm", "trtllm")
    ]
    asked = [
        specs[i % len(specs)].point(Role.MIXED, batch=1 + i % 97, isl=100 + i % 5000, osl=300)
        for i in range(100_000)
    ]
    started = time.process_time()
    answers = PERF.estimate(asked)
    assert len(answers) == 100_000
    assert sum(isinstance(a, Estimate) for a in answers) > 50_000
    assert time.process_time() - started < 6.0


def test_the_coefficients_belong_to_the_catalogue_s_figures() -> None:
    """When this fails a model card or an accelerator changed: run tools/fit_calibrated.py."""
    sys.path.insert(0, str(ROOT / "tools"))
    from calibration.figures import digest_of

    content = json.loads(PATH.read_text())
    models = (CATALOG.models[i] for i in content["models"])
    accelerators = (CATALOG.accelerators[i] for i in content["accelerators"])
    assert digest_of(models, accelerators) == content["records_sha256"]
    assert committed().digest == Calibrated().digest


def test_fitted_rows_are_predicted_within_their_error() -> None:
    if not TABLE.is_file():
        pytest.skip(WITHOUT_TABLE)
    sys.path.insert(0, str(ROOT / "tools"))
    from calibration.dataset import load

    data = load(TABLE, TABLE.parent / "labels", CATALOG)
    answers = [a for a in PERF.estimate(data.points) if isinstance(a, Estimate)]
    assert len(answers) == len(data)
    others = np.array([max(p.batch - 1, 0) / p.osl if p.role is Role.MIXED else 0 for p in data.points])
    step = np.array([a.decode_step_ms for a in answers])
    predicted = step + others * np.array([a.interference_ms for a in answers])
    error = np.abs(predicted / data.tpot_ms - 1)
    assert error[data.is_mixed].mean() < 0.05
    assert error[~data.is_mixed].mean() < 0.06
    assert (error < np.array([a.relative_error_p90 for a in answers])).mean() > 0.9
