"""`fleetc calibrate` as a user runs it: results in, a calibration file out, and what it says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleet.cli.compile import compile_stack
from fleet.cli.init import run as init
from fleet.perf.measured import load_calibration
from fleet.plan.file import dump_plan, plan_digest, read_plan
from tests.cli.conftest import Ran
from tests.results.written import aiperf, dumped, row, sglang, table, vllm

Fleetc = Callable[..., Ran]
DEPLOYMENT = "chat-h100"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled stack as `fleetc init` writes it: Llama-3.1-8B on one H100 a replica."""
    folder = tmp_path_factory.mktemp("compiled") / "mine"
    init(folder)
    plan = compile_stack(folder, 20.0, lambda _: None).plan
    (folder / "plan.json").write_text(dump_plan(plan))
    return folder


@pytest.fixture
def mine(compiled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(compiled, tmp_path / "mine"))


def saved(folder: Path, record: dict[str, Any] | str, name: str = "run.json") -> Path:
    path = folder / name
    path.write_text(record if isinstance(record, str) else json.dumps(record))
    return path


def labelled(**more: Any) -> dict[str, Any]:
    return vllm(fleetc_deployment=DEPLOYMENT, **more)


def facts(ran: Ran) -> dict[str, Any]:
    assert ran.code == 0, ran.err
    data: dict[str, Any] = json.loads(ran.out)
    return data


def rules(ran: Ran) -> list[str]:
    return [
        line.split("[")[1].split("]")[0]
        for line in ran.err.splitlines()
        if line.startswith(("error[", "warning["))
    ]


def test_results_are_written_beside_the_fleet_file_and_the_line_to_add_is_told(
    fleetc: Fleetc, mine: Path, tmp_path: Path
) -> None:
    ran = fleetc("calibrate", mine, saved(tmp_path, labelled()), "-q")
    assert ran.code == 0, ran.err
    assert "wrote" in ran.out
    assert "calibration: calibration.json" in ran.out
    assert "±" in ran.out
    calibration = load_calibration((mine / "calibration.json").read_text())
    [measurement] = calibration.measurements
    assert (measurement.source, measurement.deployment) == ("run.json", DEPLOYMENT)
    assert str(tmp_path) not in (mine / "calibration.json").read_text()


def test_before_and_after_are_shown_and_after_is_nearer_with_a_smaller_error(
    fleetc: Fleetc, mine: Path, tmp_path: Path
) -> None:
    report = facts(fleetc("calibrate", mine, saved(tmp_path, labelled(tpot_ms=20.0)), "-q", "--json"))
    [result] = report["results"]
    measured, before, after = (result[name]["tpot_ms"] for name in ("measured", "before", "after"))
    assert abs(after - measured) < 0.5 * abs(before - measured)
    assert result["after"]["tpot_error_p90"] < result["before"]["tpot_error_p90"]
    assert (result["before"]["basis"], result["after"]["basis"]) == ("extrapolated", "measured")
    assert report["plan"]["kind"]
    assert report["written"]


def test_the_same_results_give_the_same_bytes_and_a_grown_file_adds_its_new_run(
    fleetc: Fleetc, mine: Path, tmp_path: Path
) -> None:
    file = mine / "calibration.json"
    first = saved(tmp_path, labelled())
    fleetc("calibrate", mine, first, "-q")
    once = file.read_bytes(), file.stat().st_mtime_ns
    assert "holds them already" in fleetc("calibrate", mine, first, "-q").out
    assert (file.read_bytes(), file.stat().st_mtime_ns) == once
    grown = saved(tmp_path, dumped(labelled(), labelled(concurrency=32, tpot_ms=17.0)))
    fleetc("calibrate", mine, grown, "-q")
    assert len(load_calibration(file.read_text()).measurements) == 2
    both = file.read_bytes()
    file.unlink()
    fleetc("calibrate", mine, grown, "-q")
    assert file.read_bytes() == both


def test_a_dry_run_writes_nothing(fleetc: Fleetc, mine: Path, tmp_path: Path) -> None:
    before = sorted(p.name for p in mine.iterdir())
    ran = fleetc("calibrate", mine, saved(tmp_path, labelled()), "-q", "--dry-run")
    assert ran.code == 0, ran.err
    assert "would be written" in ran.out
    assert sorted(p.name for p in mine.iterdir()) == before


def test_the_file_that_the_stack_names_is_written_and_the_fleet_file_is_left_alone(
    fleetc: Fleetc, mine: Path, tmp_path: Path
) -> None:
    fleet_file = mine / "fleet.yaml"
    text = fleet_file.read_text().rstrip() + "\n\n  performance:\n    calibration: own/h100.json\n"
    fleet_file.write_text(text)
    ran = fleetc("calibrate", mine, saved(tmp_path, labelled()), "-q")
    assert ran.code == 0, ran.err
    assert "Add to the fleet file" not in ran.out
    assert load_calibration((mine / "own" / "h100.json").read_text()).measurements
    assert fleet_file.read_text() == text
    assert fleetc("check", mine).code == 0


def test_measurements_change_the_plan_and_the_committed_plan_is_left_alone(
    fleetc: Fleetc, mine: Path, tmp_path: Path
) -> None:
    committed = (mine / "plan.json").read_bytes()
    before = read_plan(mine / "plan.json").deployments[0].replicas
    slow = [labelled(concurrency=c, tpot_ms=26.0 + c / 2, ttft_ms=400.0) for c in (8, 16, 32)]
    ran = fleetc("calibrate", mine, saved(tmp_path, dumped(*slow)), "-q")
    assert (mine / "plan.json").read_bytes() == committed
    grown = f"{before} -> " in ran.out or f"{before} to " in ran.out or ran.code == 3
    assert grown, ran.out


def test_sglang_aiperf_and_tables_are_placed_too(fleetc: Fleetc, mine: Path, tmp_path: Path) -> None:
    files = [
        saved(tmp_path, dumped(sglang(16, tpot_ms=13.0, tag=f"fleetc_deployment={DEPLOYMENT}")), "s.jsonl"),
        saved(tmp_path, aiperf(8), "profile_export_aiperf.json"),  # by the served name of its model
        saved(tmp_path, table(row(48, tpot_ms=21.0, ttft_ms=300.0)), "own.csv"),
    ]
    report = facts(fleetc("calibrate", mine, *files, "-q", "--json"))
    assert [r["deployment"] for r in report["results"]] == [DEPLOYMENT, DEPLOYMENT, ""]
    assert len(report["cells"]) == 1


def test_the_load_of_several_replicas_is_divided(fleetc: Fleetc, mine: Path, tmp_path: Path) -> None:
    run = saved(tmp_path, labelled(concurrency=32, fleetc_replicas="2", fleetc_gpus="2"))
    [result] = facts(fleetc("calibrate", mine, run, "-q", "--json"))["results"]
    assert result["concurrency"] == 16.0


PLACES: list[tuple[str, dict[str, Any], tuple[str, ...], list[str]]] = [
    ("a label of no deployment", vllm(fleetc_deployment="code-h100"), (), ["unknown-deployment"]),
    ("an option of no deployment", labelled(), ("--deployment", "code"), ["unknown-deployment"]),
    ("a model that nothing serves", vllm(model_id="gpt-2"), (), ["unclear-deployment"]),
    ("another plan", labelled(fleetc_plan="0" * 64), (), ["result-of-another-plan"]),
    ("another plan, stated to be alike", labelled(fleetc_plan="0" * 64), ("--deployment", DEPLOYMENT), []),
    ("other GPUs", labelled(fleetc_gpus="3", fleetc_replicas="2"), (), ["result-of-another-plan"]),
    ("a label that is no number", labelled(fleetc_replicas="many"), (), ["result-of-another-plan"]),
    ("a label of a raised digit", labelled(fleetc_replicas="²"), (), ["result-of-another-plan"]),
    ("a label of 5,000 digits", labelled(fleetc_gpus="9" * 5000), (), ["result-of-another-plan"]),
    ("seconds for milliseconds", labelled(ttft_ms=0.15, tpot_ms=0.014), (), ["implausible-time"]),
    ("prompts from the cache", labelled(ttft_ms=1.0), (), ["implausible-time"]),
    ("microseconds for milliseconds", labelled(ttft_ms=150e3, tpot_ms=14e3), (), ["implausible-time"]),
    ("everything at once", labelled(max_concurrency=None), (), ["load-is-not-steady"]),
    ("a rate", labelled(max_concurrency=None, request_rate=2.0), (), ["measured-at-a-rate"]),
]


@pytest.mark.parametrize(("what", "record", "options", "found"), PLACES, ids=[p[0] for p in PLACES])
def test_a_result_is_placed_or_refused(
    fleetc: Fleetc,
    mine: Path,
    tmp_path: Path,
    what: str,
    record: dict[str, Any],
    options: tuple[str, ...],
    found: list[str],
) -> None:
    ran = fleetc("calibrate", mine, saved(tmp_path, record), "-q", "--dry-run", *options)
    assert rules(ran) == found, what
    assert ran.code == (1 if "error[" in ran.err else 0)


def test_the_plans_own_digest_is_accepted(fleetc: Fleetc, mine: Path, tmp_path: Path) -> None:
    digest = plan_digest(read_plan(mine / "plan.json"))
    assert fleetc("calibrate", mine, saved(tmp_path, labelled(fleetc_plan=digest)), "-q").code == 0


def test_results_that_are_held_are_given_again_after_the_plan_changed(
    fleetc: Fleetc, mine: Path, tmp_path: Path
) -> None:
    plan = mine / "plan.json"
    first = labelled(fleetc_plan=plan_digest(read_plan(plan)))
    assert fleetc("calibrate", mine, saved(tmp_path, first), "-q").code == 0
    other = read_plan(plan).model_copy(update={"compiled_by": "fleetc of tomorrow"})
    plan.write_text(dump_plan(other))
    held = (mine / "calibration.json").read_bytes()
    assert fleetc("calibrate", mine, saved(tmp_path, first), "-q").code == 0
    assert (mine / "calibration.json").read_bytes() == held
    grown = dumped(first, labelled(concurrency=32, tpot_ms=17.0, fleetc_plan=plan_digest(other)))
    assert fleetc("calibrate", mine, saved(tmp_path, grown), "-q").code == 0
    assert len(load_calibration((mine / "calibration.json").read_text()).measurements) == 2
    unheld = labelled(concurrency=8, fleetc_plan=first["fleetc_plan"])
    assert rules(fleetc("calibrate", mine, saved(tmp_path, unheld), "-q")) == ["result-of-another-plan"]


def test_a_row_that_cannot_be_priced_is_refused_with_all_others(
    fleetc: Fleetc, mine: Path, tmp_path: Path
) -> None:
    text = table(row().replace("H100-SXM-80GB", "H900"), row().replace(",bf16,", ",fp2,"), row(32))
    ran = fleetc("calibrate", mine, saved(tmp_path, text, "own.csv"), "-q")
    assert ran.code == 1
    assert rules(ran) == ["unpriceable-result"] * 2
    assert not (mine / "calibration.json").exists()


def test_contradictory_results_are_refused_by_name(fleetc: Fleetc, mine: Path, tmp_path: Path) -> None:
    a, b = saved(tmp_path, labelled(), "a.json"), saved(tmp_path, labelled(tpot_ms=19.0), "b.json")
    ran = fleetc("calibrate", mine, a, b, "-q")
    assert (ran.code, rules(ran)) == (1, ["contradictory-results"])
    assert "a.json" in ran.err
    assert "b.json" in ran.err
    assert fleetc("calibrate", mine, a, "-q").code == 0
    later = fleetc("calibrate", mine, b, "-q")
    assert (later.code, rules(later)) == (1, ["contradictory-results"])
    assert "calibration file" in later.err
    assert fleetc("calibrate", mine, saved(tmp_path, labelled(tpot_ms=14.5), "c.json"), "-q").code == 0


def test_without_a_plan_only_tables_are_placed(fleetc: Fleetc, mine: Path, tmp_path: Path) -> None:
    (mine / "plan.json").unlink()
    assert rules(fleetc("calibrate", mine, saved(tmp_path, labelled()), "-q")) == ["unknown-deployment"]
    ran = fleetc("calibrate", mine, saved(tmp_path, table(row()), "own.csv"), "-q")
    assert ran.code == 0, ran.err
    assert "no plan yet" in ran.out


def test_a_broken_calibration_file_is_not_overwritten(fleetc: Fleetc, mine: Path, tmp_path: Path) -> None:
    (mine / "calibration.json").write_text('{"kind": "Calibration"}')
    ran = fleetc("calibrate", mine, saved(tmp_path, labelled()), "-q")
    assert ran.code == 1
    assert "broken-calibration" in rules(ran)
    assert (mine / "calibration.json").read_text() == '{"kind": "Calibration"}'
    (mine / "calibration.json").write_bytes(b"\xff\xfe")
    assert "not UTF-8" in fleetc("calibrate", mine, saved(tmp_path, labelled()), "-q").err


def test_out_names_another_file(fleetc: Fleetc, mine: Path, tmp_path: Path) -> None:
    ran = fleetc("calibrate", mine, saved(tmp_path, labelled()), "-q", "--out", tmp_path / "other.json")
    assert ran.code == 0, ran.err
    assert (tmp_path / "other.json").exists()
    assert "calibration: ../other.json" in ran.out, "as the fleet file would name it"
    assert "1 result; wrote" in ran.out
    assert not (mine / "calibration.json").exists()


@pytest.mark.parametrize("rule", ["contradictory-results", "broken-calibration", "benchmark-too-short"])
def test_its_rules_are_explained(fleetc: Fleetc, rule: str) -> None:
    ran = fleetc("explain", rule)
    assert ran.code == 0, ran.err
    assert "Why: " in ran.out
