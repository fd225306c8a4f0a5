"""Writes the parts of the documentation that are output of the program. Run: make docs. With `--check` nothing is written.

A whole page is written anew; in a page written by hand only what stands between `<!-- name -->` and `<!-- /name -->`.
Every run happens in a folder of its own, on the file that `fleetc init` writes, so that no path of a machine gets in.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fleet_fields import fields_page, prose

import fleet.pipeline.calibrate
import fleet.pipeline.stack
import fleet.pipeline.stages
import fleet.spec.rules  # noqa: F401  importing the stages registers their rules
from fleet.cli.main import app
from fleet.cli.trouble import guarded
from fleet.diagnostics import Rule, all_rules
from fleet.plan.diff import diff_plans
from fleet.plan.document import FleetPlan
from fleet.plan.file import read_plan
from fleet.review.markdown import render_markdown
from fleet.review.text import render_text

ROOT = Path(__file__).resolve().parents[1]
GENERATED = "<!-- Written by docs/generate.py: `make docs`. Do not edit. -->"
CUT = "[…]"
"""Stands for lines of output that are left out."""

COMMANDS = (
    "init",
    "check",
    "compile",
    "verify",
    "verify-bench",
    "render",
    "diff",
    "explain",
    "estimate",
    "calibrate",
    "measure",
    "catalog",
    "schema",
)

# ---------------------------------------------------------------- runs


@dataclass(frozen=True, slots=True)
class Ran:
    """One run of the command, with what was typed."""

    typed: str
    code: int
    out: str
    err: str


def run(folder: Path, *arguments: str) -> Ran:
    """Run `fleetc` in this process with `folder` as the working directory, 100 columns wide, without colour."""
    out, err, saved = io.StringIO(), io.StringIO(), (sys.argv, dict(os.environ))
    try:
        sys.argv = ["fleetc", *arguments]
        os.environ.update(COLUMNS="100", NO_COLOR="1")
        with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = int(guarded(app))
    finally:
        sys.argv = saved[0]
        os.environ.clear()
        os.environ.update(saved[1])
    return Ran(" ".join(["fleetc", *arguments]), code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def desk(stack: str, *edits: tuple[str, str]) -> Iterator[Path]:
    """Yield an empty folder in which `fleetc init STACK` was run and the file edited."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = run(folder, "init", stack)
        assert started.code == 0, started.err
        edit(folder / stack, *edits)
        yield folder


def edit(stack: Path, *edits: tuple[str, str]) -> None:
    """Replace text in a stack's fleet file; each must be there."""
    file = stack / "fleet.yaml"
    text = file.read_text(encoding="utf-8")
    for old, new in edits:
        assert text.count(old) == 1, f"the starting file does not have {old!r} once"
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")


def console(ran: Ran, shown: str, *, with_code: bool = False) -> str:
    """Return a run as a fenced block; with its exit code where that is the point."""
    lines = [f"$ {ran.typed}", shown.rstrip("\n")]
    if with_code:
        lines += ["$ echo $?", str(ran.code)]
    return "```console\n" + "\n".join(filter(None, lines)) + "\n```"


# ---------------------------------------------------------------- pieces of a review


def section(text: str, title: str, *, until: str | None = None) -> str:
    """Return a section of a review in text: from its underlined title to the next one, or to a line that starts with `until`."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(title) and _is_title(lines, i))
    rest = range(start + 2, len(lines))
    end = next(
        (i for i in rest if (lines[i].startswith(until) if until else _is_title(lines, i))), len(lines)
    )
    return "\n".join(lines[start:end]).rstrip()


def before(text: str, title: str) -> str:
    """Return what stands before a section."""
    return text[: text.index(section(text, title))].rstrip()


def _is_title(lines: list[str], number: int) -> bool:
    return number + 1 < len(lines) and bool(re.fullmatch(r"-{3,}", lines[number + 1]))


def prod_plan() -> FleetPlan:
    """Return the committed plan of stacks/prod."""
    return read_plan(ROOT / "stacks" / "prod" / "plan.json")


def excerpt() -> dict[str, str]:
    """Return lines of what `make demo` prints: the review of the committed plan, compiled again without a change."""
    plan = prod_plan()
    text = render_text(diff_plans(plan, plan), plan)
    first = plan.workloads[0].name
    workload = section(text, f"Workload {first}:")
    title, table = "\n".join(workload.splitlines()[:2]), workload.partition("SLO against prediction")[2]
    shown = [
        before(text, "Risks"),
        f"{title}\n{CUT}\nSLO against prediction" + table.partition("\n\n")[0],
        section(text, "Rack map"),
    ]
    return {"excerpt": "```text\n" + f"\n\n{CUT}\n\n".join(shown) + "\n```"}


# ---------------------------------------------------------------- whole pages


def rules_page() -> str:
    """Return the reference of every rule."""
    rules = all_rules()
    lines = ["# Rules", "", GENERATED, ""]
    lines += [
        f"The {len(rules)} rules that fleetc reports, by name. `fleetc explain RULE` prints one of them. An error stops the",
        "compiler; a warning stands in the plan for the reviewer; info is neither.",
        "",
        *(f"- [{rule.name}](#{rule.name}) ({rule.severity})" for rule in rules),
    ]
    return "\n".join([*lines, *(line for rule in rules for line in _rule(rule)), ""])


def _rule(rule: Rule) -> list[str]:
    parts = (("What", rule.what), ("Why", rule.why), ("Fix", rule.fix))
    told = [f"**{word}.** {prose(text)}" for word, text in parts]
    return ["", f"## {rule.name}", "", f"*{rule.severity}*", *(line for text in told for line in ("", text))]


def cli_page() -> str:
    """Return the help of every command."""
    blocks = []
    with tempfile.TemporaryDirectory() as name:
        for command in ("", *COMMANDS):
            ran = run(Path(name), *filter(None, [command, "--help"]))
            assert ran.code == 0, ran.err
            title = f"## fleetc {command}".rstrip()
            blocks.append(f"{title}\n\n```text\n{ran.out.strip()}\n```\n")
    intro = (
        "The help of each command, as `--help` prints it. STACK is a folder with `fleet.yaml`, or that file."
    )
    return "\n".join(["# Command line", "", GENERATED, "", intro, "", *blocks])


def review_page() -> str:
    """Return the pull-request comment of stacks/prod, as for a stack that has no plan yet."""
    plan = prod_plan()
    return "\n".join(
        [
            "# A plan review in Markdown",
            "",
            GENERATED,
            "",
            "What `fleetc compile stacks/prod --format markdown` prints for the committed fleet when there is no earlier plan, and what a",
            "job puts under a pull request ([how](../how-to/gitops.md#review-in-the-pull-request)). The rest of this page is that output.",
            "",
            "---",
            "",
            render_markdown(diff_plans(None, plan), plan),
        ]
    )


# ---------------------------------------------------------------- runs inside pages


MISTAKES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "unknown-names": (
        ("card: llama-3.1-8b ", "card: llama-3.1-8bb "),
        ("accelerator: h100-sxm ", "accelerator: h100-smx "),
    ),
    "wrong-unit": (("peak: 12 req/s", "peak: 12 ms"),),
    "context": (("max: 14050", "max: 200000"),),
}
"""Edits of the starting file that a person could make by mistake, by the marker under which their run is shown."""


def diagnostics() -> dict[str, str]:
    """Return the three mistakes and the infeasible fleet, as the terminal shows them."""
    blocks = {}
    for name, edits in MISTAKES.items():
        with desk("stacks/first", *edits) as folder:
            ran = run(folder, "check", "stacks/first")
            assert ran.code == 1, ran.out
            blocks[name] = console(ran, ran.err, with_code=True)
    with desk("stacks/first", ("peak: 12 req/s", "peak: 3000 req/s")) as folder:
        ran = run(folder, "compile", "stacks/first", "--quiet")
        assert ran.code == 3, ran.out + ran.err
        blocks["infeasible"] = console(ran, ran.err, with_code=True)
    return blocks


def tutorial() -> dict[str, str]:
    """Return the outputs of the tutorial's commands, one after the other on one stack."""
    stack = "stacks/first"
    with desk(stack) as folder:
        blocks = {"check": _whole(run(folder, "check", stack))}
        first = run(folder, "compile", stack, "--quiet")
        blocks["compile"] = console(
            first, f"{before(first.out, 'Workload chat')}\n\n{CUT}\n\n" + first.out.splitlines()[-1]
        )
        blocks["verify"] = _whole(run(folder, "verify", stack))
        why = run(folder, "explain", stack, "chat")
        blocks["explain"] = console(why, why.out.partition("\n\nQuestions\n")[0] + f"\n\n{CUT}")
        blocks["render"] = _whole(run(folder, "render", stack, "--out", "build/gitops"))
        (folder / "before.json").write_bytes((folder / stack / "plan.json").read_bytes())
        edit(folder / stack, ("peak: 12 req/s", "peak: 60 req/s"))
        stale = run(folder, "verify", stack)
        blocks["stale"] = console(stale, stale.err + stale.out, with_code=True)
        assert run(folder, "compile", stack, "--quiet").code == 0
        diff = run(folder, "diff", "before.json", stack, "--detailed-exitcode")
        blocks["diff"] = console(diff, f"{before(diff.out, 'Workload chat')}\n\n{CUT}", with_code=True)
        blocks["render-again"] = _whole(run(folder, "render", stack, "--out", "build/gitops"))
    return blocks


def _whole(ran: Ran) -> str:
    assert ran.code == 0, ran.err
    return console(ran, ran.err + ran.out)


# ---------------------------------------------------------------- writing

WHOLE: Mapping[str, Callable[[], str]] = {
    "docs/reference/rules.md": rules_page,
    "docs/reference/cli.md": cli_page,
    "docs/reference/fleet-file.md": lambda: fields_page(GENERATED),
    "docs/reference/plan-review-example.md": review_page,
}
MARKED: Mapping[str, Callable[[], Mapping[str, str]]] = {
    "README.md": excerpt,
    "docs/how-to/read-a-diagnostic.md": diagnostics,
    "docs/tutorial/first-fleet.md": tutorial,
}
PAGES = (*WHOLE, *MARKED)


def page(name: str) -> str:
    """Return what a page has to hold now."""
    if name in WHOLE:
        return WHOLE[name]()
    return filled((ROOT / name).read_text(encoding="utf-8"), MARKED[name]())


def filled(text: str, blocks: Mapping[str, str]) -> str:
    """Put each block between its markers; a marker without a block and a block without a marker are errors."""
    for name, block in blocks.items():
        found = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        text, count = found.subn(lambda m, block=block: f"{m[1]}{block}\n{m[2]}", text)  # type: ignore[misc]
        if count != 1:
            raise ValueError(f"the page has {count} places for '{name}', not one")
    return text


def main(check: bool) -> int:
    """Write every page that differs and name it; or, to check, only name it. Return the exit code."""
    differ = [(ROOT / name, text) for name in PAGES if (text := page(name)) != _read(ROOT / name)]
    for path, text in differ:
        sys.stdout.write(f"{'differs' if check else 'wrote'}: {path.relative_to(ROOT).as_posix()}\n")
        if not check:
            path.write_text(text, encoding="utf-8")
    return 1 if check and differ else 0


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
