"""`fleetc measure` and the runs that a plan carries: the same first ones, priced, and refused where the plan is not the stack's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleet.cli.stack import PLAN
from tests.cli.conftest import Ran

Fleetc = Callable[..., Ran]


@pytest.fixture
def compiled(fleetc: Fleetc, stack: Path) -> Path:
    assert fleetc("compile", stack, "-q").code == 0
    return stack


def plan_of(stack: Path) -> dict[str, Any]:
    plan: dict[str, Any] = json.loads((stack / PLAN).read_text())
    return plan


def test_the_command_lists_the_runs_that_the_plan_carries_first(fleetc: Fleetc, compiled: Path) -> None:
    carried = plan_of(compiled)["measure_next"]
    ran = fleetc("measure", compiled, "--json", "-q", "--top", 50)
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert 1 <= len(carried) <= 3
    assert found["runs"][: len(carried)] == carried
    assert found["difference_from_plan"] == ""
    assert found["cells_within_reach"] == found["cells_solved_again"] == len(found["runs"])


def test_the_text_names_the_load_the_cost_and_how_to_make_the_run(fleetc: Fleetc, compiled: Path) -> None:
    [run, *_] = plan_of(compiled)["measure_next"]
    out = fleetc("measure", compiled, "-q", "--top", 1).out
    assert f"benchmark job of deployment '{run['deployment']}'" in " ".join(out.split())
    assert "offers this load at a rate, which tells TPOT" in " ".join(out.split())
    assert f"{run['requests']:,} requests after warm-up" in " ".join(out.split())
    assert f"{run['worth']:,.2f}" in out


def test_the_review_shows_them_and_its_json_carries_them(fleetc: Fleetc, compiled: Path) -> None:
    carried = plan_of(compiled)["measure_next"]
    assert "What to measure next" in fleetc("compile", compiled, "-q").out
    assert "What to measure next" in fleetc("compile", compiled, "-q", "--format", "markdown").out
    review = json.loads(fleetc("compile", compiled, "-q", "--format", "json").out)
    assert review["measure_next"] == carried


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        pytest.param(lambda stack: (stack / PLAN).unlink(), "Compile the stack first", id="no plan"),
        pytest.param(
            lambda stack: (stack / "fleet.yaml").write_text(
                (stack / "fleet.yaml").read_text() + "\n# later\n"
            ),
            "stale",
            id="a fleet file that changed",
        ),
        pytest.param(lambda stack: (stack / PLAN).write_text("{}"), "plan.json", id="a plan that is none"),
    ],
)
def test_a_plan_that_is_not_the_stacks_is_refused(
    fleetc: Fleetc, compiled: Path, spoil: Callable[[Path], None], says: str
) -> None:
    spoil(compiled)
    ran = fleetc("measure", compiled, "-q")
    assert ran.code == 1
    assert says in ran.err
    assert ran.out == ""
    assert "Traceback" not in ran.err


def test_a_stack_that_does_not_exist_is_said_so(fleetc: Fleetc, tmp_path: Path) -> None:
    ran = fleetc("measure", tmp_path / "nowhere")
    assert ran.code == 1
    assert "does not exist" in ran.err
