"""`fleetc estimate`: parts that add up, intervals, backends side by side, open loops, workers apart, bad calls."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.perf.backends import MissingBackend
from tests.cli.conftest import Ran

Fleetc = Callable[..., Ran]
LLAMA = (
    "estimate", "--model", "llama-3.3-70b", "--accelerator", "h200-sxm", "--precision", "fp8", "--tp", "4",
    "--isl", "4000", "--osl", "500", "--concurrency", "32",
)  # fmt: skip
APART = (
    "estimate", "--model", "deepseek-r1", "--accelerator", "gb200-nvl72", "--engine", "trtllm",
    "--prefill", "2xDP4EP4", "--decode", "DP32EP32", "--concurrency", "1024",
)  # fmt: skip


@pytest.mark.parametrize("call", [LLAMA, APART], ids=["mixed", "apart"])
def test_the_parts_add_up_to_the_whole_and_lie_in_its_interval(fleetc: Fleetc, call: tuple[str, ...]) -> None:
    facts = json.loads(fleetc(*call, "--format", "json").out)
    for metric in ("ttft", "tpot"):
        mean = facts[f"{metric}_ms_mean"]
        assert sum(facts[f"{metric}_parts_ms"].values()) == pytest.approx(mean, rel=1e-4)
        low, high = facts[f"{metric}_ms_interval_p90"]
        assert low < mean < high
    assert set(facts["tpot_parts_ms"]) == {
        "compute", "weights", "kv", "all-reduce", "all-to-all", "interference", "fixed",
    }  # fmt: skip
    assert facts["decode_step_ms"] >= facts["decode_step_floor_ms"] > 0
    assert facts["prefill_ms"] >= facts["prefill_floor_ms"] > 0


def test_interference_is_what_prefills_add_to_the_step(fleetc: Fleetc) -> None:
    mixed = json.loads(fleetc(*LLAMA, "--format", "json").out)
    apart = json.loads(fleetc(*APART, "--format", "json").out)
    assert mixed["tpot_parts_ms"]["interference"] == pytest.approx(
        mixed["tpot_ms_mean"] - mixed["decode_step_ms"], rel=1e-4
    )
    assert mixed["tpot_parts_ms"]["interference"] > 0
    assert apart["tpot_parts_ms"]["interference"] == 0


def test_workers_apart_are_counted_in_the_gpus(fleetc: Fleetc) -> None:
    assert json.loads(fleetc(*APART, "--format", "json").out)["gpus"] == 2 * 4 + 32
    assert "2 prefill DP4 EP4 and 1 decode DP32 EP32 on 40 x" in fleetc(*APART).out


def test_backends_stand_side_by_side_and_a_missing_one_says_why(
    fleetc: Fleetc, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise MissingBackend("no kernel tables here")

    monkeypatch.setattr("fleet.cli.estimate.silicon", missing)
    monkeypatch.setattr("fleet.perf.backends.silicon", missing)
    rows = {row["backend"]: row for row in json.loads(fleetc(*LLAMA, "--compare", "--format", "json").out)}
    assert list(rows) == ["roofline", "calibrated", "silicon", "calibrated+silicon", "measured"]
    assert rows["roofline"]["tpot_ms_mean"] < rows["calibrated"]["tpot_ms_mean"]
    assert rows["silicon"]["missing"] == rows["calibrated+silicon"]["missing"] == "no kernel tables here"
    assert "--calibration" in rows["measured"]["missing"]
    text = fleetc(*LLAMA, "--compare").out
    assert "silicon: no kernel tables here" in text
    assert "roofline" in text


def test_a_compared_backend_says_the_same_as_alone(fleetc: Fleetc) -> None:
    alone = json.loads(fleetc(*LLAMA, "--format", "json").out)
    rows = {row["backend"]: row for row in json.loads(fleetc(*LLAMA, "--compare", "--format", "json").out)}
    for name in ("ttft_ms_mean", "tpot_ms_mean", "decode_step_ms", "output_tok_per_s_per_gpu"):
        assert rows["calibrated"][name] == alone[name]


def test_an_open_loop_has_percentiles_and_the_largest_rate_within_limits(fleetc: Fleetc) -> None:
    ran = fleetc(
        *LLAMA, "--rate", "1", "--limit", "ttft-p95=900ms", "--limit", "tpot-p95=0.04s", "--format", "json"
    )
    assert ran.code == 0, ran.err
    at_rate, largest = json.loads(ran.out)["open_loop"]
    for row in (at_rate, largest):
        for metric in ("ttft_ms", "tpot_ms", "e2e_ms"):
            figures = list(row[metric].values())
            assert figures == sorted(figures)
    assert at_rate["rate_req_per_s"] == pytest.approx(1.0, rel=1e-4)
    assert largest["rate_req_per_s"] > 1
    assert largest["ttft_ms"]["p95"] <= 900 * 1.001
    assert largest["tpot_ms"]["p95"] <= 40 * 1.001
    assert "stops it" in largest["what"]
    text = fleetc(*LLAMA, "--rate", "1").out
    assert "1 requests/s, at this rate" in text


def test_a_cached_prefix_and_a_draft_make_it_faster(fleetc: Fleetc) -> None:
    plain = json.loads(fleetc(*LLAMA, "--format", "json").out)
    cached = json.loads(fleetc(*LLAMA, "--cached-prefix", "3000", "--format", "json").out)
    drafted = json.loads(fleetc(*LLAMA, "--draft-tokens", "3", "--acceptance", "2.4", "--format", "json").out)
    assert cached["prefill_ms"] < plain["prefill_ms"]
    assert drafted["tpot_ms_mean"] < plain["tpot_ms_mean"]


WRONG = {
    "a backend that is not known": ((*LLAMA, "--backends", "guess"), "no estimates can be made from 'guess'"),
    "silicon alone": ((*LLAMA, "--backends", "silicon"), "--backends calibrated,silicon"),
    "a limit without a unit": ((*LLAMA, "--limit", "ttft-p95=500"), "is no limit"),
    "a limit on nothing known": ((*LLAMA, "--limit", "itl-p95=5ms"), "is no limit"),
    "prefill workers alone": ((*LLAMA, "--prefill", "TP4"), "both --prefill and --decode"),
    "workers that are none": ((*LLAMA, "--prefill", "4", "--decode", "TP0"), "names no workers"),
    "workers of width nothing": ((*LLAMA, "--prefill", "TP4", "--decode", "TP0"), "names no workers"),
    "a width twice": ((*LLAMA, "--prefill", "TP4TP8", "--decode", "TP4"), "names no workers"),
    "a layout beside workers apart": ((*LLAMA, "--prefill", "TP4", "--decode", "TP4"), "--tp, --pp, --dp and --ep"),
    "a rate that is compared": ((*LLAMA, "--compare", "--rate", "1"), "--compare is of a closed loop"),
    "a limit that is compared": ((*LLAMA, "--compare", "--limit", "tpot-p95=9s"), "--compare is of a closed loop"),
    "an output without a table": ((*LLAMA, "--out", "priced.csv"), "--out is of a table"),
    "half a draft": ((*LLAMA, "--draft-tokens", "3"), "--acceptance"),
    "a rate beyond the replica": ((*LLAMA, "--rate", "1000"), "lower --rate"),
    "a rate of nothing": ((*LLAMA, "--rate", "0"), "give a --rate above 0"),
    "a limit that nothing reaches": ((*LLAMA, "--limit", "tpot-p95=1ms"), "relax --limit"),
    "more cached than there is": ((*LLAMA, "--cached-prefix", "5000"), "prefix-beyond-prompt"),
    "lengths that are no number": ((*LLAMA, "--isl", "nan"), "--isl"),
    "requests without end": ((*LLAMA, "--concurrency", "inf"), "not-a-number"),
    "a calibration that is not there": ((*LLAMA, "--calibration", "nowhere.json"), "nowhere.json"),
    "a layout that no model has": ((*LLAMA, "--tp", "3"), "tp-does-not-divide-heads"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "told"), WRONG.values(), ids=list(WRONG))
def test_a_wrong_point_is_told_in_a_line(fleetc: Fleetc, call: tuple[str, ...], told: str) -> None:
    ran = fleetc(*call)
    assert ran.code == 1
    assert told in ran.err
    assert "internal error" not in ran.err
    assert ran.out == ""


def test_a_calibration_that_is_none_is_shown_at_its_place(fleetc: Fleetc, tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    file.write_text('{"kind": "FleetPlan"}')
    ran = fleetc(*LLAMA, "--calibration", file)
    assert ran.code == 1
    assert "error[broken-calibration]" in ran.err
    assert f"{file}:1:" in ran.err, "under the name that was given"
    file.write_text("apiVersion: fleetc.dev/v1\n    kind: none\n")
    assert "error[broken-calibration]" in fleetc(*LLAMA, "--calibration", file).err
