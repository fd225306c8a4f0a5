"""The JSON review: versioned, canonical, and its parts agree with each other and with the text."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from fleet.plan.changes import PlanDiff
from fleet.plan.document import FleetPlan
from fleet.review.document import ReviewDocument, render_json, review_document
from fleet.review.risk import find_risks
from fleet.review.text import render_text
from tests.plans import dev_plan, prod_plan
from tests.review.reviewed import changed_prod, first, many_deployments, nasty_plan, unchanged

ROOT = Path(__file__).parents[2]
PAIRS = {
    "first dev": first(dev_plan()),
    "first prod": first(prod_plan()),
    "changed prod": changed_prod(),
    "unchanged prod": unchanged(prod_plan()),
    "nasty strings": first(nasty_plan()),
}


@pytest.fixture(params=PAIRS, ids=list(PAIRS))
def pair(request: pytest.FixtureRequest) -> tuple[PlanDiff, FleetPlan]:
    return PAIRS[request.param]


def test_format_is_versioned_and_text_reads_back_as_the_document(pair: tuple[PlanDiff, FleetPlan]) -> None:
    text = render_json(*pair)
    assert json.loads(text)["format_version"] == "1.0"
    assert ReviewDocument.model_validate_json(text) == review_document(*pair)


def test_document_follows_its_published_schema(pair: tuple[PlanDiff, FleetPlan]) -> None:
    jsonschema.validate(json.loads(render_json(*pair)), ReviewDocument.model_json_schema())


def test_counts_are_those_of_the_changes(pair: tuple[PlanDiff, FleetPlan]) -> None:
    document = review_document(*pair)
    actions = [
        action for change in document.changes if change.type == "deployment" for action in change.actions
    ]
    summary = document.summary
    assert (summary.add, summary.change, summary.destroy, summary.keep) == tuple(
        actions.count(action) for action in ("create", "update", "delete", "no-op")
    )
    assert (
        summary.closing_line
        == f"Plan: {summary.add} to add, {summary.change} to change, {summary.destroy} to destroy."
    )


def test_sides_of_a_change_fit_its_actions(pair: tuple[PlanDiff, FleetPlan]) -> None:
    for change in review_document(*pair).changes:
        has_before, has_after = change.before is not None, change.after is not None
        expected = {"create": (False, True), "remove": (True, False)}.get(change.action, (True, True))
        assert (has_before, has_after) == expected, change.address


def test_addresses_are_unique(pair: tuple[PlanDiff, FleetPlan]) -> None:
    addresses = [change.address for change in review_document(*pair).changes]
    assert len(addresses) == len(set(addresses))


def test_cost_and_capacity_are_those_of_the_plan(pair: tuple[PlanDiff, FleetPlan]) -> None:
    diff, plan = pair
    document = review_document(diff, plan)
    assert document.cost.usd_per_hour.after == plan.summary.usd_per_hour
    assert document.cost.usd_per_month.after == pytest.approx(plan.summary.usd_per_hour * 730)
    assert document.cost.usd_per_hour.change == pytest.approx(
        document.cost.usd_per_hour.after - document.cost.usd_per_hour.before
    )
    assert (
        sum(o.gpus_after for o in document.capacity.offerings)
        == plan.summary.gpus_bought
        == document.capacity.gpus_bought.after
    )
    assert (
        sum(o.gpus_before for o in document.capacity.offerings) == document.capacity.gpus_bought.before
        or diff.is_first
    )


def test_risks_are_counted_and_are_those_of_the_text(pair: tuple[PlanDiff, FleetPlan]) -> None:
    document = review_document(*pair)
    assert [r.sentence for r in document.risks] == [r.sentence for r in find_risks(*pair)]
    assert document.summary.high_risks + document.summary.medium_risks == len(document.risks)
    assert f"Risks ({len(document.risks)})" in render_text(*pair)


def test_every_limit_stands_with_its_margin(pair: tuple[PlanDiff, FleetPlan]) -> None:
    diff, plan = pair
    document = review_document(diff, plan)
    assert len(document.slo) == sum(len(s.limits) for d in plan.deployments for s in d.served)
    for line in document.slo:
        assert line.margin == pytest.approx((line.limit_ms - line.predicted_ms) / line.limit_ms)
        assert line.error_low_ms <= line.predicted_ms <= line.error_high_ms


def test_move_names_both_addresses_and_relayout_its_restarts() -> None:
    changes = {c.address: c for c in review_document(*changed_prod()).changes}
    move = changes["deployment.documents-h200-east"]
    assert (move.action, move.actions, move.previous_address) == (
        "move",
        ("delete", "create"),
        "deployment.documents-gb200-east",
    )
    relayout = changes["deployment.chat-h100-east"]
    assert (relayout.action, relayout.restart_paths) == ("relayout", ("workers.mixed.max_num_seqs",))
    assert [r.rule for r in relayout.reasons] == ["demand-changed"]
    assert changes["capacity.h200-east"].actions == ("update",)
    assert changes["route.batch"].after is None


def test_same_plans_give_the_same_bytes() -> None:
    assert render_json(*changed_prod()) == render_json(*changed_prod())


def test_large_fleet_is_whole() -> None:
    document = review_document(*first(many_deployments(200)))
    assert document.summary.add == 200
    assert len(document.slo) == 400


def test_every_notation_is_the_same_under_any_hash_seed() -> None:
    script = (
        "from tests.review.reviewed import changed_prod\n"
        "from fleet.review.document import render_json\n"
        "from fleet.review.markdown import render_markdown\n"
        "from fleet.review.text import render_text\n"
        "pair = changed_prod()\n"
        "print(render_json(*pair), render_markdown(*pair), render_text(*pair))\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed},
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert len(outputs.pop()) > 10_000
