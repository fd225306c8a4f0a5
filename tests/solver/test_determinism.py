"""The same problem gives the same bytes in every process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
from bench.solver.fleets import reference_fleet, synthetic_fleet
from solver.problem import Budget
from solver.solve import solve
from tests.solver.small import demand, fleet, hosts, option
for problem in (
    reference_fleet(6, 0.6, Budget(deterministic_seconds=0.3)),
    synthetic_fleet(1, 2, 2, 60, budget=Budget(deterministic_seconds=0.3)),
    fleet(hosts(max_units=2), option(gpus=5)),
):
    print(repr(solve(problem)))
"""


def outcome_bytes(hash_seed: str) -> bytes:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, check=True, env=environment, cwd=ROOT
    )
    return done.stdout


def test_two_processes_with_other_hash_seeds_return_the_same_bytes() -> None:
    first = outcome_bytes("1")
    assert first.count(b"Solved(") == 2
    assert first.count(b"Infeasible(") == 1
    assert outcome_bytes("2") == first
