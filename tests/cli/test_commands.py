"""Every command as a user runs it: what it prints, what it writes, how it exits."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.plan.file import canonical_json, read_plan, sha256_hex
from tests.cli.conftest import ROOT, Ran

Fleetc = Callable[..., Ran]


def edit(stack: Path, old: str, new: str) -> None:
    file = stack / "fleet.yaml"
    text = file.read_text()
    assert old in text, f"the starting file no longer has {old!r}"
    file.write_text(text.replace(old, new))


def test_the_starting_file_compiles_verifies_and_renders(fleetc: Fleetc, stack: Path, tmp_path: Path) -> None:
    compiled = fleetc("compile", stack, "-q")
    assert compiled.code == 0, compiled.err
    assert compiled.out.splitlines()[-1] == "Plan: 1 to add, 0 to change, 0 to destroy."
    assert {p.name for p in stack.iterdir()} == {"fleet.yaml", "plan.json", "perf.lock.json"}
    verified = fleetc("verify", stack)
    assert verified.code == 0
    assert "0 violations; the plan is up to date" in verified.out
    rendered = fleetc("render", stack, "--out", tmp_path / "tree")
    assert rendered.code == 0, rendered.err
    assert f"{read_plan(stack / 'plan.json').summary.gpus_used} GPUs" in rendered.out


def test_compiling_again_changes_no_byte_and_no_time_stamp(fleetc: Fleetc, stack: Path) -> None:
    fleetc("compile", stack, "-q")
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in stack.iterdir()}
    again = fleetc("compile", stack, "-q", "--detailed-exitcode")
    assert again.code == 0
    assert before == {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in stack.iterdir()}
    assert fleetc("compile", stack, "-q", "--check").code == 0


def test_check_writes_nothing_and_fails_when_the_plan_differs(fleetc: Fleetc, stack: Path) -> None:
    assert fleetc("compile", stack, "-q", "--check").code == 2
    assert {p.name for p in stack.iterdir()} == {"fleet.yaml"}
    fleetc("compile", stack, "-q")
    plan = (stack / "plan.json").read_bytes()
    edit(stack, "peak: 12 req/s", "peak: 60 req/s")
    differs = fleetc("compile", stack, "-q", "--check")
    assert differs.code == 2
    assert "plan.json" in differs.err
    assert "fleetc compile" in differs.err
    assert (stack / "plan.json").read_bytes() == plan


def test_a_plan_whose_file_changed_is_stale(fleetc: Fleetc, stack: Path) -> None:
    fleetc("compile", stack, "-q")
    edit(stack, "growth: 20%", "growth: 21%")
    stale = fleetc("verify", stack)
    assert stale.code == 1
    assert "stale" in stale.err


def test_a_plan_that_was_edited_is_refused(fleetc: Fleetc, stack: Path, tmp_path: Path) -> None:
    fleetc("compile", stack, "-q")
    text = (stack / "plan.json").read_text()
    (stack / "plan.json").write_text(text.replace('"replicas": ', '"replicas": 1', 1))
    for command in (["verify", stack], ["render", stack, "--out", tmp_path / "tree"], ["diff", stack, stack]):
        refused = fleetc(*command)
        assert refused.code == 1
        assert "edited" in refused.err
    assert not (tmp_path / "tree").exists()


def test_more_demand_is_a_change_with_its_reason(fleetc: Fleetc, stack: Path, tmp_path: Path) -> None:
    fleetc("compile", stack, "-q")
    shutil.copy(stack / "plan.json", tmp_path / "old.json")
    edit(stack, "peak: 12 req/s", "peak: 60 req/s")
    changed = fleetc("compile", stack, "-q", "--detailed-exitcode")
    assert changed.code == 2
    assert "demand of 'chat' at the planning peak is up" in changed.out
    assert fleetc("diff", tmp_path / "old.json", stack, "--detailed-exitcode").code == 2
    assert fleetc("diff", stack, stack, "--detailed-exitcode").code == 0
    assert fleetc("diff", tmp_path / "old.json", stack).code == 0


@pytest.mark.parametrize("format", ["text", "markdown", "json"])
def test_the_review_has_three_forms(fleetc: Fleetc, stack: Path, format: str) -> None:
    ran = fleetc("compile", stack, "-q", "--format", format)
    assert ran.code == 0
    if format == "json":
        assert json.loads(ran.out)["format_version"].startswith("1.")
    elif format == "markdown":
        assert ran.out.startswith("[//]: <> (fleetc-plan:")
        assert len(ran.out) < 64_000
    else:
        assert "Certificate" in ran.out


MISTAKES = [
    (
        "an unknown model card",
        "card: llama-3.1-8b",
        "card: llama-3.1-8bb",
        "unknown-model-card",
        "did you mean 'llama-3.1-8b'?",
    ),
    (
        "an unknown accelerator",
        "accelerator: h100-sxm",
        "accelerator: h100-smx",
        "unknown-accelerator",
        "did you mean 'h100-sxm'?",
    ),
    (
        "racks of hosts",
        "available: {hosts: 4}",
        "available: {racks: 4}",
        "amount-in-wrong-unit",
        "write hosts",
    ),
    ("an unknown SLO", "slo: interactive", "slo: interactiv", "unknown-slo", "did you mean 'interactive'?"),
    ("a wrong unit", "peak: 12 req/s", "peak: 12 ms", "wrong-unit", "req/s"),
    ("a duplicate key", "    survive: [host]", "    survive: [host]\n    survive: []", "duplicate-key", ""),
    (
        "a request longer than the context",
        "max: 14050",
        "max: 200000",
        "context-too-long-for-model",
        "131,072",
    ),
]


@pytest.mark.parametrize(
    ("old", "new", "rule", "hint"), [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES]
)
def test_a_mistake_is_shown_at_its_own_line(
    fleetc: Fleetc, stack: Path, old: str, new: str, rule: str, hint: str
) -> None:
    edit(stack, old, new)
    line = next(
        i
        for i, text in enumerate((stack / "fleet.yaml").read_text().splitlines(), 1)
        if new.splitlines()[-1].strip() in text
    )
    for command in ("check", "compile"):
        ran = fleetc(command, stack)
        assert ran.code == 1
        assert f"error[{rule}]" in ran.err
        assert f"fleet.yaml:{line}:" in ran.err
        assert hint in ran.err
        assert "Traceback" not in ran.err
    found = json.loads(fleetc("check", stack, "--format", "json").out)
    assert rule in json.dumps(found)
    assert not (stack / "plan.json").exists()


def test_too_much_demand_is_infeasible_with_the_lines_that_conflict(fleetc: Fleetc, stack: Path) -> None:
    edit(stack, "peak: 12 req/s", "peak: 3000 req/s")
    ran = fleetc("compile", stack, "-q")
    assert ran.code == 3
    assert "error[fleet-is-infeasible]" in ran.err
    assert "available: {hosts: 4}" in ran.err
    assert "alone it would do with" in ran.err


def test_too_small_a_budget_is_infeasible_and_says_how_much_is_needed(fleetc: Fleetc, stack: Path) -> None:
    edit(stack, "# budget: $500/h", "budget: $15/h")
    ran = fleetc("compile", stack, "-q")
    assert ran.code == 3
    assert "error[fleet-is-infeasible]" in ran.err
    assert "budget: $15/h" in ran.err
    assert "$40." in ran.err, "two hosts of 8 GPUs at $2.50 survive the loss of one"


def test_an_impossible_slo_names_the_best_that_can_be_had(fleetc: Fleetc, stack: Path) -> None:
    edit(stack, "tpot: {p95: 25ms}", "tpot: {p95: 0.5ms}")
    ran = fleetc("compile", stack, "-q")
    assert ran.code == 3
    assert "error[no-candidate-reaches-slo]" in ran.err
    assert "the limit is 0.5 ms" in ran.err


CALLS = [
    ("a stack that does not exist", ("compile", "nowhere")),
    ("no plan yet", ("verify", "{stack}")),
    ("an unknown rule", ("explain", "no-such-rule")),
    ("an unknown workload", ("explain", "{stack}", "no-such-workload")),
    ("an unknown record", ("catalog", "h1000")),
    ("an unknown option", ("compile", "{stack}", "--fast")),
    ("a folder in place of a plan", ("diff", "{stack}", "{stack}")),
    ("a point without a model", ("estimate",)),
    ("a model that does not fit", ("estimate", "--model", "deepseek-r1", "--accelerator", "h100-sxm")),
    ("init over an existing file", ("init", "{stack}")),
    ("a table without output", ("estimate", "--points", "{stack}/fleet.yaml")),
    ("a file that is no table", ("estimate", "--points", "{stack}/fleet.yaml", "--out", "{stack}/out.csv")),
]


@pytest.mark.parametrize("call", [row[1] for row in CALLS], ids=[row[0] for row in CALLS])
def test_a_wrong_call_is_told_so_and_exits_with_1(fleetc: Fleetc, stack: Path, call: tuple[str, ...]) -> None:
    ran = fleetc(*[part.replace("{stack}", str(stack)) for part in call])
    assert ran.code == 1
    assert ran.err.strip()
    assert "Traceback" not in ran.err
    assert "internal error" not in ran.err


def test_explain_tells_why_a_workload_got_its_deployment(fleetc: Fleetc) -> None:
    ran = fleetc("explain", ROOT / "stacks" / "prod", "chat")
    assert ran.code == 0
    for part in ("Chosen", "Runners-up", "dropped before it", "what stops a replica", "Questions"):
        assert part in ran.out


def test_explain_prints_the_page_of_every_rule(fleetc: Fleetc) -> None:
    from fleet.diagnostics import all_rules

    fleetc("explain", "unknown-model-card")
    assert len(all_rules()) > 40
    for rule in all_rules():
        page = fleetc("explain", rule.name)
        assert page.code == 0
        assert all(part in page.out for part in ("What:", "Why:", "Fix:"))


@pytest.mark.parametrize(
    "name", [None, "accelerators", "machines", "models", "engines", "prices", "gb200-nvl72", "deepseek-r1"]
)
def test_the_catalogue_is_printed_with_its_sources(fleetc: Fleetc, name: str | None) -> None:
    ran = fleetc("catalog", *([name] if name else []))
    assert ran.code == 0
    assert name is None or "source" in ran.out


@pytest.mark.parametrize("document", ["spec", "plan"])
def test_the_committed_schemas_are_those_that_the_command_prints(fleetc: Fleetc, document: str) -> None:
    committed = {"spec": "fleet.schema.json", "plan": "plan.schema.json"}[document]
    assert fleetc("schema", document).out == (ROOT / "docs" / "reference" / committed).read_text()


def test_one_point_is_told_with_its_parts(fleetc: Fleetc) -> None:
    call = (
        "estimate",
        "--model",
        "llama-3.3-70b",
        "--accelerator",
        "h200-sxm",
        "--precision",
        "fp8",
        "--tp",
        "4",
        "--concurrency",
        "16",
    )
    ran = fleetc(*call)
    assert ran.code == 0, ran.err
    for part in ("TTFT", "TPOT", "physical floor", "bound by", "90 % error", "backend"):
        assert part in ran.out
    facts = json.loads(fleetc(*call, "--format", "json").out)
    assert facts["decode_step_ms"] >= facts["decode_step_floor_ms"] > 0


def test_a_table_is_priced_row_by_row(fleetc: Fleetc, tmp_path: Path) -> None:
    header = "source,url,date,model,params,precision,gpu,n_gpus,engine,engine_version,mode,parallelism,isl,osl,concurrency_or_batch,scenario,ttft_ms,tpot_ms,tok_s_per_gpu_output,tok_s_per_gpu_total,tok_s_user,notes"
    good = "InferenceX,,2026-04-21,MiniMaxAI/MiniMax-M2.5,,fp8,B300-SXM-270GB,4,vllm,0.19.0,agg,TP4 PP1 attnDP1 moeTP4 moeEP1,1024,1024,64,server,129,14.5,,,69,"
    bad = "x,,,no/such-model,,fp8,B300-SXM-270GB,4,vllm,0.19.0,agg,TP4 PP1 attnDP1 moeTP4 moeEP1,1024,1024,64,server,,,,,,"
    (tmp_path / "in.csv").write_text(f"{header}\n{good}\n{bad}\n")
    ran = fleetc("estimate", "--points", tmp_path / "in.csv", "--out", tmp_path / "out.csv")
    assert ran.code == 0, ran.err
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert len(rows) == 2
    assert float(rows[0]["predicted_tpot_ms"]) > 0
    assert float(rows[0]["predicted_ttft_ms"]) > 0
    assert float(rows[0]["predicted_tok_s_per_gpu_output"]) > 0
    assert rows[0]["unsupported"] == ""
    assert rows[1]["unsupported"]
    assert rows[1]["predicted_tpot_ms"] == ""


def test_help_of_every_command_has_an_example(fleetc: Fleetc) -> None:
    commands = (
        "init",
        "check",
        "compile",
        "verify",
        "render",
        "diff",
        "explain",
        "estimate",
        "catalog",
        "schema",
    )
    for command in commands:
        ran = fleetc(command, "--help")
        assert ran.code == 0
        assert "Example" in ran.out
    listed = fleetc("--help")
    assert all(command in listed.out for command in commands)
    assert "Exit codes" in listed.out


def test_damaged_committed_files_are_replaced_and_never_an_internal_error(
    fleetc: Fleetc, stack: Path
) -> None:
    for name in ("plan.json", "perf.lock.json"):
        (stack / name).write_bytes(b"\xff\xfe\x00broken")
    checked = fleetc("compile", stack, "-q", "--check")
    assert checked.code == 2
    assert "internal error" not in checked.err
    assert fleetc("compile", stack, "-q").code == 0
    assert fleetc("verify", stack).code == 0
    (stack / "perf.lock.json").write_text("{}")
    damaged = fleetc("verify", stack)
    assert damaged.code == 1
    assert "perf.lock.json" in damaged.err


def test_a_plan_of_an_older_fleetc_is_still_read(fleetc: Fleetc, stack: Path) -> None:
    """Fields that came since have defaults; the seal is over what the file holds."""
    fleetc("compile", stack, "-q")
    data = json.loads((stack / "plan.json").read_text())
    del data["content_digest"]
    for deployment in data["deployments"]:
        del deployment["prefill_time_share"]
    (stack / "plan.json").write_text(
        canonical_json({**data, "content_digest": sha256_hex(canonical_json(data))})
    )
    assert read_plan(stack / "plan.json").deployments[0].prefill_time_share == 0.0
    assert fleetc("diff", stack, stack).code == 0


@pytest.mark.parametrize(
    "arguments", [("render", "{stack}", "--out", ""), ("render", "{stack}", "--out", "{stack}"), ("init", "")]
)
def test_an_empty_or_own_folder_is_refused(fleetc: Fleetc, stack: Path, arguments: tuple[str, ...]) -> None:
    fleetc("compile", stack, "-q")
    before = sorted(stack.iterdir())
    ran = fleetc(*[part.replace("{stack}", str(stack)) for part in arguments])
    assert ran.code == 1
    assert sorted(stack.iterdir()) == before
