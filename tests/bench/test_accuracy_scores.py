"""Tables say what they hold, plots are the same each time, and public decisions come out as in public."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from accuracy.plots import coverage_by_group
from accuracy.public_points import Domains, Figure, predicted_domains, predicted_runs, read_points
from accuracy.report import public, targets
from accuracy.scores import TARGETS, Line, Scored, summary, verdict
from calibration.bars import Coverage

from fleet.catalog.load import load_catalog
from fleet.perf.calibrated import Calibrated
from fleet.perf.interface import PerformanceModel


class Committed:
    """The shipped backend, whatever is left out."""

    def without(self, group: str, lengths: tuple[float, float] | None = None) -> PerformanceModel:
        return Calibrated()


@cache
def runs() -> dict[str, Figure]:
    found = predicted_runs(read_points(), Committed(), load_catalog())
    return {f"{f.name}: {f.metric}": f for f in found}


@cache
def domains() -> list[Domains]:
    return predicted_domains(read_points(), Committed(), load_catalog())


def test_two_gpus_are_worth_far_more_than_twice_one_where_kv_capacity_decides() -> None:
    one, two = (
        next(f for name, f in runs().items() if tp in name) for tp in ("one H100 (TP1)", "two H100 (TP2)")
    )
    assert two.public / one.public > 5.0
    assert two.predicted / one.predicted > 3.5


def test_a_rack_is_worth_far_more_for_each_gpu_than_a_host_for_interactive_users() -> None:
    at_the_rack_s_speed, at_the_host_s, at_125 = domains()
    assert at_the_rack_s_speed.rack.predicted / at_the_rack_s_speed.host.predicted > 4.0
    assert at_125.rack.predicted / at_125.host.predicted > 4.0
    assert at_the_host_s.rack.predicted > 1.2 * at_the_host_s.host.predicted


def test_the_page_says_when_a_public_figure_lies_outside_the_error_bar() -> None:
    inside, outside = Figure("a", "tpot_ms", 10.0, 11.0, 0.2), Figure("b", "tpot_ms", 10.0, 13.0, 0.2)
    assert (inside.is_within, outside.is_within) == (True, False)
    assert public([inside], []).count("| yes |") == 1
    assert public([outside], []).count("| **no** |") == 1


@pytest.mark.parametrize(("value", "said"), [(5.0, "met (5)"), (5.04, "missed (5)")])
def test_a_target_is_met_up_to_its_figure(value: float, said: str) -> None:
    assert verdict(value, 5.0) == said


def test_every_target_stands_beside_its_figures() -> None:
    summaries = dict.fromkeys(("tpot", "throughput", "ttft"), summary(np.array([0.01, -0.02])))
    tables = [Scored(t.left_out, (Line(t.of_class, summaries, t),)) for t in TARGETS]
    text = targets(tables)
    assert text.count("met (") == 3 * len(TARGETS)
    assert "missed" not in text


def test_a_summary_takes_absolute_errors_in_per_cent() -> None:
    found = summary(np.array([-0.5, 0.1, 0.0, 0.2]))
    assert (found.rows, found.mean, found.median) == (4, pytest.approx(20.0), pytest.approx(15.0))


def test_plots_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    groups = [
        Coverage(f"build|gpu|{e}", 10, share)
        for e, share in (("vllm", 0.9), ("sglang", 0.5), ("trtllm", 1.0))
    ]
    files = [tmp_path / name for name in ("one.svg", "two.svg")]
    for file in files:
        coverage_by_group(file, [("title", groups, (75.0, 98.0))])
    assert files[0].read_bytes() == files[1].read_bytes()
    assert b"<dc:date>" not in files[0].read_bytes()
