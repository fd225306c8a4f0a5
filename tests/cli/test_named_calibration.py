"""`spec.performance.calibration`: an input of the plan like any other, read, digested, told in the plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.perf.measured.calibration import fit
from fleet.plan.file import read_plan, sha256_hex
from tests.cli.conftest import Ran
from tests.perf.measured.runs import measured, mixed

Fleetc = Callable[..., Ran]


@pytest.fixture(scope="module")
def calibration() -> str:
    """Three made-up runs of the cell that the starting stack deploys, a third slower than predicted."""
    return fit([measured(mixed(c), tpot=1.3, ttft=1.3, name=f"{c}.json") for c in (8, 32, 96)]).text()


@pytest.fixture
def named(stack: Path, calibration: str) -> Path:
    """The starting stack with a calibration file that it names."""
    (stack / "calibration.json").write_text(calibration)
    file = stack / "fleet.yaml"
    file.write_text(file.read_text() + "\n  performance:\n    calibration: calibration.json\n")
    return stack


def test_the_plan_says_who_priced_it_and_how_wrong_that_may_be(
    fleetc: Fleetc, named: Path, calibration: str
) -> None:
    assert fleetc("compile", named, "-q").code == 0
    plan = read_plan(named / "plan.json")
    assert plan.digests.files["calibration.json"] == sha256_hex(calibration)
    [deployment] = plan.deployments
    origin = deployment.provenance
    assert (origin.backend, origin.basis) == ("measured", "measured")
    assert "3 own measurements" in origin.note
    assert 0 < origin.relative_error_p90 < 0.5
    assert origin.ttft_relative_error_p90 > 0


def test_the_same_files_give_the_same_bytes_with_and_without_the_lock(fleetc: Fleetc, named: Path) -> None:
    assert fleetc("compile", named, "-q").code == 0
    before = {p.name: p.read_bytes() for p in named.iterdir()}
    for arguments in ((), ("--locked",)):
        (named / "plan.json").unlink()
        assert fleetc("compile", named, "-q", *arguments).code == 0
        assert {p.name: p.read_bytes() for p in named.iterdir()} == before


def test_results_of_ones_own_are_a_change_that_the_review_explains(
    fleetc: Fleetc, stack: Path, calibration: str, tmp_path: Path
) -> None:
    assert fleetc("compile", stack, "-q").code == 0
    (tmp_path / "old.json").write_bytes((stack / "plan.json").read_bytes())
    (stack / "calibration.json").write_text(calibration)
    file = stack / "fleet.yaml"
    file.write_text(file.read_text() + "\n  performance: {calibration: calibration.json}\n")
    assert fleetc("compile", stack, "-q").code == 0
    told = " ".join(fleetc("diff", tmp_path / "old.json", stack).out.split())
    assert "performance estimates come from calibrated+measured" in told
    assert "with calibration.json; they came from calibrated " in told


def test_a_plan_whose_calibration_changed_is_stale(fleetc: Fleetc, named: Path) -> None:
    assert fleetc("compile", named, "-q").code == 0
    (named / "calibration.json").write_text(fit([measured(mixed(8.0))]).text())
    stale = fleetc("verify", named)
    assert stale.code == 1
    assert "calibration.json changed" in stale.err
    locked = fleetc("compile", named, "-q", "--locked")
    assert locked.code == 1
    assert "error[lock-of-other-estimates]: the lock was written with another calibration file" in locked.err
    assert "calibration: calibration.json" in locked.err


BROKEN = {
    "is not there": (None, "unreadable-calibration"),
    "is no text": (b"\xff\xfe\x00", "unreadable-calibration"),
    "is too large": (b" " * (16 * 2**20 + 1), "unreadable-calibration"),
    "is no JSON": (b'{"kind": "Calibration"', ""),
    "is another document": (b'{"kind": "FleetPlan"}', "broken-calibration"),
    "lacks its rows": (b'{"kind": "Calibration"}', "broken-calibration"),
}


@pytest.mark.parametrize(("content", "rule"), BROKEN.values(), ids=list(BROKEN))
@pytest.mark.parametrize("command", ["check", "compile"])
def test_a_calibration_that(
    fleetc: Fleetc, named: Path, content: bytes | None, rule: str, command: str
) -> None:
    file = named / "calibration.json"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    ran = fleetc(command, named, *(("-q",) if command == "compile" else ()))
    assert ran.code == 1
    assert f"error[{rule}" in ran.err
    assert "internal error" not in ran.err
    assert "calibration: calibration.json" in ran.err, "the line that names the file is shown"
    assert not (named / "plan.json").exists()


def test_effects_that_were_edited_are_fitted_again_and_the_plan_says_so(
    fleetc: Fleetc, named: Path, calibration: str
) -> None:
    digest = calibration.partition('"fitted_to": "')[2][:64]
    (named / "calibration.json").write_text(calibration.replace(digest, "0" * 64))
    assert fleetc("compile", named, "-q").code == 0
    plan = (named / "plan.json").read_bytes()
    assert "calibration-refitted" in {w.rule for w in read_plan(named / "plan.json").warnings}
    assert fleetc("compile", named, "-q", "--locked").code == 0
    assert (named / "plan.json").read_bytes() == plan
