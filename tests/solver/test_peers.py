"""Problem files of other planners are problems of this solver, and are solved to the optimum."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from bench.solver.peers import read_inferno, read_melange
from solver.outcome import Infeasible, Solved
from solver.problem import Budget
from solver.solve import solve

PEERS = Path(__file__).resolve().parents[3] / "shared" / "peers"
EXACT = Budget(gap=0.0)
CASES = (
    "m01_repo_example",
    "m02_example_r300_s4",
    "m03_conv_tpot120_r16_s1",
    "m03_code_tpot40_r256_s8",
    "m03_conv_tpot120_r256_s4",
)

needs_files = pytest.mark.skipif(
    not PEERS.is_dir(), reason="the folder `shared` with other planners' files is not beside the checkout"
)


@needs_files
@pytest.mark.parametrize("whole_slices", [True, False], ids=["whole slices", "split by weight"])
@pytest.mark.parametrize("case", CASES)
def test_melange_optimum_is_reached_and_proven(case: str, whole_slices: bool) -> None:
    with (PEERS / "melange" / "answers.csv").open() as file:
        answers = {row["case"]: row for row in csv.DictReader(file)}
    outcome = solve(read_melange(PEERS / "melange" / f"{case}.json", whole_slices=whole_slices, budget=EXACT))
    assert isinstance(outcome, Solved)
    assert outcome.certificate.proven_optimal
    reference = float(answers[case]["ref_sliced_cost" if whole_slices else "ref_split_cost"])
    assert outcome.answer.cost / 1e6 == pytest.approx(reference, abs=1e-6)


@needs_files
@pytest.mark.parametrize(("mixed", "reference"), [(False, 41857.75), (True, 37936.5)])
def test_inferno_optimum_is_reached(mixed: bool, reference: float) -> None:
    outcome = solve(read_inferno(PEERS / "inferno" / "candidates_small.json", mixed=mixed))
    assert isinstance(outcome, Solved)
    assert outcome.certificate.gap <= 0.005
    assert outcome.certificate.bound / 1e6 <= reference
    assert outcome.answer.cost / 1e6 <= reference * 1.005


def test_a_size_that_no_gpu_serves_makes_the_problem_infeasible(tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    file.write_text(
        '{"gpu_info": {"L4": {"cost": 0.7, "tputs": [[2.0, 1e-06]]}}, "workload_distribution": [[0.5, 0.5]],'
        ' "total_request_rate": 4.0, "slice_factor": 1}'
    )
    outcome = solve(read_melange(file, whole_slices=False))
    assert isinstance(outcome, Infeasible)
    assert [(c.rule, c.subject) for c in outcome.conflict] == [("cover", "b0-1")]
