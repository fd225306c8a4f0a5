"""The text review: 100 columns, safe for a terminal, everything a reviewer asks for, in the stated order."""

from __future__ import annotations

import itertools
import re
import unicodedata

import pytest

from fleet.plan.diff import diff_plans
from fleet.review.lines import display_width
from fleet.review.text import render_text, render_workload_text
from tests.plans import dev_plan, prod_plan
from tests.review.reviewed import changed_prod, first, many_deployments, nasty_plan, unchanged

ANSI = re.compile(r"\x1b\[\d+m")


def titles(text: str) -> list[str]:
    lines = text.splitlines()
    return [line for line, below in itertools.pairwise(lines) if below and set(below) == {"-"}]


@pytest.mark.parametrize(
    "pair",
    [first(dev_plan()), first(prod_plan()), changed_prod(), first(nasty_plan()), first(many_deployments(9))],
)
def test_no_line_is_wider_than_100_columns(pair) -> None:  # type: ignore[no-untyped-def]
    assert max(map(display_width, render_text(*pair).splitlines())) <= 100


def test_wide_characters_count_as_two_columns() -> None:
    plan = dev_plan()
    workload = plan.workloads[0]
    demand = workload.demand.model_copy(update={"source": "漢字" * 90})
    text = render_text(
        *first(plan.model_copy(update={"workloads": (workload.model_copy(update={"demand": demand}),)}))
    )
    assert max(map(display_width, text.splitlines())) <= 100
    assert text.replace("\n", "").replace(" ", "").count("漢字") == 90


def test_last_line_counts_in_the_form_of_terraform() -> None:
    assert render_text(*changed_prod()).splitlines()[-1] == "Plan: 1 to add, 1 to change, 2 to destroy."
    assert render_text(*first(prod_plan())).splitlines()[-1] == "Plan: 5 to add, 0 to change, 0 to destroy."
    assert (
        render_text(*unchanged(prod_plan())).splitlines()[-1] == "Plan: 0 to add, 0 to change, 0 to destroy."
    )


def test_verdict_money_and_risk_come_first_then_changes_workloads_map_and_proof() -> None:
    text = render_text(*first(prod_plan()))
    assert text.startswith("prod: CHANGES WITH RISK (")
    found = titles(text)
    assert found[0] == "At a glance"
    assert found[1].startswith("Risks (")
    assert found[2] == "What changes and why"
    assert [t.split(":")[0] for t in found[3:7]] == [
        "Workload agents",
        "Workload batch",
        "Workload chat",
        "Workload documents",
    ]
    assert found[7:] == ["Rack map", "Capacity and prices", "Certificate", "Warnings", "Inputs"]


def test_headline_stands_again_before_the_last_line() -> None:
    lines = render_text(*first(dev_plan())).splitlines()
    assert lines.count(lines[0]) == 2


def test_every_deployment_limit_question_alternative_and_price_is_printed() -> None:
    diff, plan = first(prod_plan())
    text = re.sub(r"\s+", " ", render_text(diff, plan))
    for deployment in plan.deployments:
        assert f"{deployment.id} on " in text
        assert f"{deployment.replicas} x" in text
    for workload in plan.workloads:
        assert all(f"{q.number}. {q.question}" in text for q in workload.questions)
        assert all(d.example in text for d in workload.dropped)
    assert all(f"{o.name}: {o.price.kind} of {o.price.as_of}" in text for o in plan.offerings)
    assert all(rule in text for rule in plan.certificate.rules_checked)
    assert plan.digests.spec[:12] in text
    assert plan.digests.spec not in text


def test_question_without_an_answer_says_so() -> None:
    assert "not known: needs a measurement of your own" in render_text(*first(dev_plan()))


@pytest.mark.parametrize("colour", [False, True])
def test_control_characters_of_the_plan_never_reach_the_terminal(colour: bool) -> None:
    diff, plan = first(nasty_plan())
    text = ANSI.sub("", render_text(diff, plan, colour=colour)) if colour else render_text(diff, plan)
    assert {c for c in text if unicodedata.category(c).startswith("C")} == {"\n"}


def test_colour_changes_nothing_but_escape_sequences() -> None:
    diff, plan = changed_prod()
    coloured = render_text(diff, plan, colour=True)
    assert ANSI.sub("", coloured) == render_text(diff, plan)
    assert "\x1b[31m" in coloured


def test_workload_alone_is_its_section_of_the_review() -> None:
    diff, plan = first(prod_plan())
    assert render_workload_text(plan, "chat") in render_text(diff, plan)
    with pytest.raises(KeyError):
        render_workload_text(plan, "no-such-workload")


def test_cost_of_a_deployment_can_be_followed() -> None:
    """20 GPUs at $6.155 are $123.10; a rack's price is spread over its GPUs that are no spares."""
    text = re.sub(r"\s+", " ", render_text(*first(prod_plan())))
    assert "$123.10/h = 20 GPUs x $6.155/h;" in text
    assert "$266.82/h = 24 GPUs x $11.118/h (price of its rack over the GPUs that are no spares)" in text


def test_resize_says_why_and_relayout_says_what() -> None:
    text = render_text(*changed_prod())
    assert "because demand of 'chat' at the planning peak is up 20 % (26.4 req/s to 31.7 req/s)" in text
    assert "workers.mixed.max_num_seqs: 128 -> 96" in text
    assert "documents-gb200-east -> documents-h200-east: move" in text
    assert "Operating points before and after" in text


def test_change_without_a_reason_in_both_plans_says_that() -> None:
    diff, plan = changed_prod()
    silent = prod_plan(chat_replicas=6)
    text = render_text(diff_plans(prod_plan(), silent), silent)
    assert "both plans tell no reason: no input that they record moved" in text
    assert "nothing of its own moved; it shares hardware and budget with what did: batch, chat" in re.sub(
        r"\s+", " ", render_text(diff, plan)
    )
