"""`fleetc compile --locked`: the committed estimates give the committed plan, with no backend at hand."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.perf.interface import Estimate, Point, Unsupported
from fleet.pipeline.measure import narrowing
from fleet.pipeline.recording import NotInLock
from fleet.plan.file import canonical_json, read_plan, sha256_hex
from tests.cli.conftest import ROOT, Ran
from tests.cli.test_commands import edit

Fleetc = Callable[..., Ran]
BLOCKED = ("fleet.perf.backends", "fleet.perf.silicon", "fleet.perf.combined", "aiconfigurator_core")


@pytest.fixture
def compiled(fleetc: Fleetc, stack: Path) -> Path:
    """The starting stack with its plan and its lock."""
    assert fleetc("compile", stack, "-q").code == 0
    return stack


@pytest.fixture
def no_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every backend refuses to answer, and none can be made."""

    def refuse(*_: object) -> list[Estimate | Unsupported]:
        raise AssertionError("a backend was asked")

    monkeypatch.setattr("fleet.perf.calibrated.Calibrated.estimate", refuse)
    monkeypatch.setattr("fleet.perf.backends.model_of", refuse)


def test_it_writes_the_same_plan_and_leaves_the_lock_as_it_is(
    fleetc: Fleetc, compiled: Path, no_backend: None
) -> None:
    before = {p.name: p.read_bytes() for p in compiled.iterdir()}
    (compiled / "plan.json").unlink()
    ran = fleetc("compile", compiled, "-q", "--locked")
    assert ran.code == 0, ran.err
    assert {p.name: p.read_bytes() for p in compiled.iterdir()} == before
    assert fleetc("compile", compiled, "-q", "--locked", "--check").code == 0


def test_the_ranking_of_runs_is_that_of_the_lock_where_the_error_bars_changed_since(
    fleetc: Fleetc, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = (compiled / "plan.json").read_bytes()
    assert json.loads(plan)["measure_next"]
    bars = narrowing.coefficients.committed()
    unseen = {name: error * 1.5 for name, error in bars.tpot_error.unseen.items()}
    others = replace(bars, tpot_error=replace(bars.tpot_error, unseen=unseen))
    before = narrowing.after_runs()
    monkeypatch.setattr(narrowing.coefficients, "committed", lambda: others)
    assert narrowing.after_runs() != before, "the guard of this test"
    assert fleetc("compile", compiled, "-q", "--locked").code == 0
    assert (compiled / "plan.json").read_bytes() == plan


def test_it_needs_neither_coefficients_nor_any_backend_to_be_importable(compiled: Path) -> None:
    """In a process where importing a backend's door is an error, and the calibrated model's data cannot be read."""
    plan = (compiled / "plan.json").read_bytes()
    (compiled / "plan.json").unlink()
    blocked = "".join(f"sys.modules[{name!r}] = None; " for name in BLOCKED)
    no_data = "import pathlib; import fleet.perf.coefficients as c; c.PATH = pathlib.Path('nowhere'); "
    call = f"sys.argv = ['fleetc', 'compile', {str(compiled)!r}, '-q', '--locked']; "
    code = f"import sys; {blocked}{no_data}{call}from fleet.cli.main import run; run()"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert (compiled / "plan.json").read_bytes() == plan


def test_without_it_the_backends_are_asked(fleetc: Fleetc, compiled: Path, no_backend: None) -> None:
    """The guard of the tests above: it fails a compile that asks."""
    ran = fleetc("compile", compiled, "-q")
    assert ran.code == 1
    assert "a backend was asked" in ran.err


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("peak: 12 req/s", "peak: 60 req/s", id="more requests"),
        pytest.param("peak: 12 req/s", "peak: 8 req/s", id="fewer requests"),
        pytest.param("price: {", "price: {per_gpu: $9/h, as_of: 2026-11-01} #", id="another price"),
        pytest.param("growth: 20%", "growth: 90%", id="more growth"),
    ],
)
def test_other_rates_and_prices_need_no_other_estimates(
    fleetc: Fleetc, compiled: Path, old: str, new: str
) -> None:
    edit(compiled, old, new)
    locked = fleetc("compile", compiled, "-q", "--locked")
    assert locked.code == 0, locked.err
    there = read_plan(compiled / "plan.json")
    assert fleetc("compile", compiled, "-q").code == 0
    again = read_plan(compiled / "plan.json")
    assert there.deployments == again.deployments
    assert there.workloads == again.workloads


def test_a_lock_without_the_outcomes_of_runs_leaves_the_ranking_out_and_the_plan_says_so(
    fleetc: Fleetc, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(*_: object, **__: object) -> None:
        raise NotInLock(["llama-3.1-8b on h100-sxm: nothing"], [])

    monkeypatch.setattr("fleet.pipeline.stages.rank_runs", lacking)
    ran = fleetc("compile", compiled, "-q", "--locked")
    assert ran.code == 0, ran.err
    plan = read_plan(compiled / "plan.json")
    assert plan.measure_next == ()
    assert [w.rule for w in plan.warnings if "measure next" in w.message] == ["measurements-not-ranked"]


def test_the_plan_of_a_locked_compile_is_verified_against_that_lock(fleetc: Fleetc, compiled: Path) -> None:
    edit(compiled, "peak: 12 req/s", "peak: 60 req/s")
    assert fleetc("compile", compiled, "-q", "--locked").code == 0
    assert fleetc("verify", compiled).code == 0


@pytest.mark.parametrize(
    ("old", "new", "lacks"),
    [
        pytest.param("mean: 1155", "mean: 1355", "prompt", id="other lengths"),
        pytest.param("tpot: {p95: 25ms}", "tpot: {p95: 33ms}", "batch", id="another target"),
        pytest.param("accelerator: h100-sxm", "accelerator: b200-hgx", "b200-hgx", id="other hardware"),
    ],
)
def test_an_estimate_that_the_lock_lacks_is_told_at_its_workload(
    fleetc: Fleetc, compiled: Path, no_backend: None, old: str, new: str, lacks: str
) -> None:
    edit(compiled, old, new)
    plan = (compiled / "plan.json").read_bytes()
    ran = fleetc("compile", compiled, "-q", "--locked")
    assert ran.code == 1
    assert "error[estimate-not-in-lock]" in ran.err
    assert "fleet.yaml:" in ran.err
    assert lacks in ran.err
    assert "help: compile without --locked" in ran.err
    assert (compiled / "plan.json").read_bytes() == plan


def test_a_figure_that_was_edited_is_shown_with_its_worker(fleetc: Fleetc, compiled: Path) -> None:
    lock = compiled / "perf.lock.json"
    text = lock.read_text()
    line = next(x for x in text.splitlines() if '"decode_step_ms"' in x)
    lock.write_text(text.replace(line, re.sub(r"\d", "1", line, count=1).replace(' "1', ' "9')))
    assert lock.read_text() != text
    ran = fleetc("compile", compiled, "-q", "--locked")
    assert ran.code == 1
    assert "error[unreadable-lock]" in ran.err
    assert "these estimates are not what was computed" in ran.err


def resealed(text: str, **update: object) -> str:
    """The lock with fields replaced and its digest made good again."""
    body = {**json.loads(text), **update}
    body.pop("content_digest")
    return canonical_json({**body, "content_digest": sha256_hex(canonical_json(body))})


UNREADABLE = {
    "is not there": lambda text: None,
    "is no JSON": lambda text: text[:200],
    "holds a merge conflict": lambda text: text.replace("{", "<<<<<<< ours\n{", 1),
    "is another document": lambda text: '{"kind": "FleetPlan"}',
    "is of an older version": lambda text: resealed(text, format_version="1.0"),
    "lost a worker": lambda text: text.replace('"binding', '"bounding').replace('"records": {', '"records": {"x": "y",'),
    "is sealed and has broken columns": lambda text: resealed(text, workers={"w": []}),
    "is sealed and has no sources": lambda text: resealed(text, sources={}),
}  # fmt: skip


@pytest.mark.parametrize("broken", UNREADABLE.values(), ids=list(UNREADABLE))
def test_a_lock_that(fleetc: Fleetc, compiled: Path, broken: Callable[[str], str | None]) -> None:
    lock = compiled / "perf.lock.json"
    text = broken(lock.read_text())
    lock.unlink()
    if text is not None:
        lock.write_text(text)
    ran = fleetc("compile", compiled, "-q", "--locked")
    assert ran.code == 1
    assert "error[unreadable-lock]" in ran.err
    assert "internal error" not in ran.err
    assert fleetc("compile", compiled, "-q").code == 0, "the lock is written anew"


def test_a_lock_of_other_backends_is_refused_at_the_line_that_names_them(
    fleetc: Fleetc, compiled: Path
) -> None:
    file = compiled / "fleet.yaml"
    file.write_text(file.read_text() + "\n  performance: {backends: [calibrated, silicon]}\n")
    ran = fleetc("compile", compiled, "-q", "--locked")
    assert ran.code == 1
    assert "error[lock-of-other-estimates]: the lock holds estimates of calibrated" in ran.err
    assert "[calibrated, silicon]" in ran.err


def test_a_backend_that_is_not_installed_is_an_error_with_the_fix(
    fleetc: Fleetc, stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fleet.perf import backends

    def missing() -> None:
        raise backends.MissingBackend("no such package here")

    monkeypatch.setattr(backends, "silicon", missing)
    file = stack / "fleet.yaml"
    file.write_text(file.read_text() + "\n  performance: {backends: [calibrated, silicon]}\n")
    ran = fleetc("compile", stack, "-q")
    assert ran.code == 1
    assert "error[backend-not-installed]: no such package here" in ran.err
    assert "asked for here" in ran.err
    assert "pip install 'fleetc[silicon]'" in ran.err


def test_changed_catalogue_records_are_named(
    fleetc: Fleetc, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fleet.pipeline import recording

    real = recording.record_digest
    monkeypatch.setattr(
        recording,
        "record_digest",
        lambda record: real(record)[::-1] if record.id == "h100-sxm" else real(record),
    )
    ran = fleetc("compile", compiled, "-q", "--locked")
    assert ran.code == 1
    assert "the catalogue's records of 'h100-sxm' changed since the lock was written" in ran.err


class Slower:
    """The calibrated model with every time a tenth longer: what a new release of the coefficients could say."""

    name, digest = "calibrated", "0" * 64

    def __init__(self) -> None:
        from fleet.perf.calibrated import Calibrated

        self._base = Calibrated()

    def estimate(self, points: Sequence[Point]) -> list[Estimate | Unsupported]:
        from dataclasses import replace

        from fleet.perf.rounding import six

        return [
            replace(a, decode_step_ms=six(1.1 * a.decode_step_ms)) if isinstance(a, Estimate) else a
            for a in self._base.estimate(points)
        ]


def test_changed_estimates_are_a_change_with_before_and_after(
    fleetc: Fleetc, compiled: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = tmp_path / "old.json"
    old.write_bytes((compiled / "plan.json").read_bytes())
    lock = (compiled / "perf.lock.json").read_text().splitlines()
    slower = Slower()
    monkeypatch.setattr("fleet.perf.backends.model_of", lambda *_: slower)
    assert fleetc("compile", compiled, "-q").code == 0
    diff = fleetc("diff", old, compiled, "--detailed-exitcode")
    assert diff.code == 2
    assert re.search(r"estimate of '\S+' moved: decode step of one request [\d.]+ ms to [\d.]+ ms", diff.out)
    now = (compiled / "perf.lock.json").read_text().splitlines()
    changed = [line.strip().partition(":")[0] for line in now if line not in set(lock)]
    assert '"decode_step_ms"' in changed
    assert not {'"prefill_ms"', '"kv_capacity_tokens"', '"interference_ms"'} & set(changed)
