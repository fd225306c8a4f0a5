"""The documentation against the program: generated parts, links, commands, fleet files."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
import yaml

from fleet.cli.main import app
from fleet.plan.file import read_plan
from fleet.spec.model import FleetSpec

ROOT = Path(__file__).resolve().parents[2]
_SKIPPED = {"build", "dist", "node_modules"}


def _pages() -> list[str]:
    found = (path.relative_to(ROOT) for path in ROOT.rglob("*.md"))
    return sorted(
        path.as_posix()
        for path in found
        if not any(part.startswith(".") or part in _SKIPPED for part in path.parts)
        and path.parts[0] != "tests"
    )


PAGES = _pages()
GENERATED = (
    "README.md",
    "docs/how-to/read-a-diagnostic.md",
    "docs/reference/cli.md",
    "docs/reference/fleet-file.md",
    "docs/reference/plan-review-example.md",
    "docs/reference/rules.md",
    "docs/tutorial/first-fleet.md",
)
WRITE_A_FLEET_FILE = "docs/how-to/write-a-fleet-file.md"


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE)


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


# ---------------------------------------------------------------- generated parts


@pytest.fixture(scope="module")
def generator() -> Iterator[ModuleType]:
    """Return docs/generate.py, whose modules are found in its own folder as when it is run."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        yield import_module("generate")
    finally:
        sys.path.remove(str(ROOT / "docs"))


def test_every_generated_page_is_compared(generator: ModuleType) -> None:
    assert sorted(generator.PAGES) == sorted(GENERATED)


@pytest.mark.parametrize("page", GENERATED)
def test_a_generated_part_is_what_the_program_says_now(page: str, generator: ModuleType) -> None:
    assert text_of(page) == generator.page(page), f"{page} is behind the program: run `make docs`"


def test_a_page_that_lacks_a_marker_is_an_error(generator: ModuleType) -> None:
    with pytest.raises(ValueError, match="0 places for 'one'"):
        generator.filled("no marker", {"one": "text"})
    assert (
        generator.filled("<!-- one -->\nold\n<!-- /one -->", {"one": "new"})
        == "<!-- one -->\nnew\n<!-- /one -->"
    )


def test_explain_knows_every_rule_of_the_reference() -> None:
    """In a process of its own: there nothing but `explain` has imported the stages that register rules."""
    names = re.findall(r"^## (.+)$", text_of("docs/reference/rules.md"), re.MULTILINE)
    script = "import sys; from fleet.cli.explain import run; [run(name, None) for name in sys.argv[1:]]"
    ran = subprocess.run([sys.executable, "-c", script, *names], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr.splitlines()[-1]
    assert all(f"{name} (" in ran.stdout for name in names)


# ---------------------------------------------------------------- links and paths


def _anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to a page's headings."""
    titles = re.findall(r"^#{1,6} (.+)$", without_blocks(page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def _links(page: str) -> list[str]:
    found = re.findall(r"\]\(([^)\s]+)\)", without_blocks(text_of(page)))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


@pytest.mark.parametrize("page", PAGES)
def test_a_relative_link_leads_to_a_page_and_to_its_heading(page: str) -> None:
    for link in _links(page):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page} links to {path}, which is not there"
        if anchor:
            assert anchor in _anchors(target), f"{page} links to #{anchor} of {target.name}"


def test_the_index_leads_to_every_page() -> None:
    linked = {((ROOT / "docs") / link.partition("#")[0]).resolve() for link in _links("docs/README.md")}
    pages = [ROOT / page for page in PAGES if page.startswith("docs/") and page != "docs/README.md"]
    assert [page for page in pages if not {page.resolve(), page.parent.resolve()} & linked] == []


MACHINE_PATHS = re.compile(
    r"(?<![\w.:/*-])(?:/(?:work|home|root|tmp|Users|opt|mnt|var)/|[A-Z]:\\)|localhost|127\.0\.0\.1"
)


def test_a_machine_path_would_be_found() -> None:
    assert MACHINE_PATHS.search("see /home/someone/fleet.yaml")
    assert not MACHINE_PATHS.search("s3://bucket/home/x and deploy/tmp/")


@pytest.mark.parametrize("page", PAGES)
def test_no_page_names_a_path_of_a_machine(page: str) -> None:
    assert MACHINE_PATHS.findall(text_of(page)) == []


# ---------------------------------------------------------------- commands


@cache
def _commands() -> dict[str, set[str]]:
    """Return the options of each command of `fleetc`, and of `fleetc` itself under the empty name."""
    group: Any = typer.main.get_command(app)
    common = {"--help", "-h"}

    def options(command: Any) -> set[str]:
        return common | {
            word for parameter in command.params for word in parameter.opts if word.startswith("-")
        }

    return {"": options(group)} | {name: options(command) for name, command in group.commands.items()}


def _make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", text_of("Makefile"), re.MULTILINE))


def _typed(page: str) -> list[str]:
    """Return what a page tells the reader to type: after a prompt, in the steps of a job, and between backquotes."""
    text = text_of(page)
    prompts = re.findall(r"^\$ (.+)$", text, re.MULTILINE)
    steps = re.findall(r"^\s+(?:run: )?(fleetc .+)$", "\n".join(blocks(page, "yaml")), re.MULTILINE)
    inline = re.findall(r"`((?:\.venv/bin/)?(?:fleetc|make) [^`]+)`", without_blocks(text))
    return [part.strip() for line in (*prompts, *steps, *inline) for part in re.split(r"&&|;|\||>", line)]


def _fault(typed: str) -> str | None:
    words = shlex.split(typed, comments=True)
    if not words or words[0].removeprefix(".venv/bin/") not in ("fleetc", "make"):
        return None
    if words[0] == "make":
        wrong = [w for w in words[1:] if "=" not in w and w not in _make_targets()]
        return f"the Makefile has no {wrong}" if wrong else None
    command = next((w for w in words[1:] if not w.startswith("-")), "")
    if command not in _commands():
        return f"fleetc has no command {command!r}"
    options = {w.partition("=")[0] for w in words[1:] if w.startswith("-")}
    unknown = options - _commands()[command] - _commands()[""]
    return f"fleetc {command} has no {sorted(unknown)}" if unknown else None


@pytest.mark.parametrize(
    ("typed", "is_wrong"),
    [
        ("fleetc compile stacks/prod --check", False),
        ("fleetc compiel stacks/prod", True),
        ("fleetc diff a b --chek", True),
        ("make demo", False),
        ("make dmeo", True),
        ("git diff", False),
    ],
)
def test_a_wrong_command_would_be_found(typed: str, is_wrong: bool) -> None:
    assert (_fault(typed) is not None) is is_wrong


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_a_page_shows_exists(page: str) -> None:
    for typed in _typed(page):
        assert _fault(typed) is None, f"{page}: `{typed}`: {_fault(typed)}"


def test_the_readme_names_every_command() -> None:
    named = {typed.split()[1] for typed in _typed("README.md") if typed.startswith("fleetc ")}
    assert set(_commands()) - {""} <= named


# ---------------------------------------------------------------- fleet files


@pytest.mark.parametrize("page", PAGES)
def test_every_yaml_block_can_be_read(page: str) -> None:
    for block in blocks(page, "yaml"):
        assert list(yaml.safe_load_all(block)) is not None


def _write(folder: Path, name: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")


def test_the_readme_s_fleet_file_compiles(tmp_path: Path, generator: ModuleType) -> None:
    (text,) = [block for block in blocks("README.md", "yaml") if "kind: Fleet\n" in block]
    _write(tmp_path / "small", "fleet.yaml", text)
    ran = generator.run(tmp_path, "compile", "small", "--quiet")
    assert ran.code == 0, ran.err
    assert read_plan(tmp_path / "small" / "plan.json").fleet == "small"


def _fragments() -> list[str]:
    """Return the parts of a fleet file that the how-to shows, each with its indentation under `spec`."""
    return [block for block in blocks(WRITE_A_FLEET_FILE, "yaml") if re.match(r"[a-z]+:\n", block)]


@pytest.mark.parametrize("fragment", _fragments(), ids=lambda fragment: fragment.partition(":")[0])
def test_a_fragment_of_the_how_to_fits_into_the_starting_file(
    fragment: str, tmp_path: Path, generator: ModuleType
) -> None:
    assert generator.run(tmp_path, "init", "stack").code == 0
    indented = "".join(f"  {line}\n" for line in fragment.splitlines())
    header = "apiVersion: fleetc.dev/v1\nkind: FleetOverlay\nspec:\n"
    _write(tmp_path / "stack", "overlay.yaml", header + indented)
    ran = generator.run(tmp_path, "check", "stack")
    assert ran.code == 0, ran.err


def test_the_how_to_shows_every_section() -> None:
    shown = {fragment.partition(":")[0] for fragment in _fragments()}
    assert shown == set(FleetSpec.model_fields) - {"as_of"}


def test_the_overlay_of_the_how_to_is_merged(tmp_path: Path, generator: ModuleType) -> None:
    (overlay,) = [block for block in blocks(WRITE_A_FLEET_FILE, "yaml") if "kind: FleetOverlay" in block]
    assert generator.run(tmp_path, "init", "stack").code == 0
    _write(tmp_path / "stack", "overlay.yaml", overlay)
    assert generator.run(tmp_path, "compile", "stack", "--quiet").code == 0
    (workload,) = read_plan(tmp_path / "stack" / "plan.json").workloads
    assert workload.demand.planning_req_per_s == pytest.approx(12 * 1.4)


# ---------------------------------------------------------------- what the README says that works

ACCELERATORS = ("h100-sxm", "h200-sxm", "b200-hgx", "b300-hgx", "gb200-nvl72", "gb300-nvl72")


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_a_fleet_on_each_accelerator_compiles_verifies_and_renders(
    accelerator: str, tmp_path: Path, generator: ModuleType
) -> None:
    assert generator.run(tmp_path, "init", "stack").code == 0
    edits = [("accelerator: h100-sxm ", f"accelerator: {accelerator} "), ("survive: [host]", "survive: []")]
    if accelerator.endswith("nvl72"):
        edits.append(("available: {hosts: 4}", "available: {racks: 1}"))
    generator.edit(tmp_path / "stack", *edits)
    compiled = generator.run(tmp_path, "compile", "stack", "--quiet")
    assert compiled.code == 0, compiled.err
    assert generator.run(tmp_path, "verify", "stack").code == 0
    rendered = generator.run(tmp_path, "render", "stack", "--out", "tree")
    assert rendered.code == 0, rendered.err
    (bought,) = [o for o in read_plan(tmp_path / "stack" / "plan.json").offerings if o.bought_units]
    assert bought.accelerator == accelerator
    assert bought.cpu_arch == ("arm64" if accelerator.startswith("gb") else "amd64")


def test_an_fp8_kv_cache_is_chosen_only_where_the_policy_permits_it(
    tmp_path: Path, generator: ModuleType
) -> None:
    assert generator.run(tmp_path, "init", "stack").code == 0
    kept = generator.run(tmp_path, "compile", "stack", "--quiet")
    assert kept.code == 0, kept.err
    assert read_plan(tmp_path / "stack" / "plan.json").deployments[0].kv_cache == "bf16"
    permitted = ("survive: [host]", "precisions: {fp8_kv_cache: true}\n    survive: [host]")
    generator.edit(tmp_path / "stack", ("{precision: bf16}\n", "{precision: fp8}\n"), permitted)
    chosen = generator.run(tmp_path, "compile", "stack", "--quiet")
    assert chosen.code == 0, chosen.err
    (deployment,) = read_plan(tmp_path / "stack" / "plan.json").deployments
    assert (deployment.weights, deployment.kv_cache) == ("fp8", "fp8")


@pytest.mark.parametrize("engine", ["sglang", "trtllm"])
def test_an_engine_that_is_not_rendered_yet_is_refused_by_name(
    engine: str, tmp_path: Path, generator: ModuleType
) -> None:
    assert generator.run(tmp_path, "init", "stack").code == 0
    generator.edit(tmp_path / "stack", ("survive: [host]", f"engines: [{engine}]\n    survive: [host]"))
    ran = generator.run(tmp_path, "check", "stack")
    assert ran.code == 1
    assert engine in ran.err
