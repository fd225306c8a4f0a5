"""Risks: each is found where it is, and not where it is not."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.plan.diff import diff_plans
from fleet.plan.document import FleetPlan, WarningLine
from fleet.review.risk import Level, Risk, find_risks
from fleet.review.verdict import closing_line, exit_code, verdict
from tests.plans import dev_plan, prod_plan
from tests.review.reviewed import changed_prod, first, unchanged

PLAN = prod_plan()
CHAT = "chat-h100-east"


def deployment_with(deployment_id: str, **update: Any) -> FleetPlan:
    changed = tuple(d.model_copy(update=update) if d.id == deployment_id else d for d in PLAN.deployments)
    return PLAN.model_copy(update={"deployments": changed})


def deployment(deployment_id: str) -> Any:
    return next(d for d in PLAN.deployments if d.id == deployment_id)


def workload_with(name: str, **update: Any) -> FleetPlan:
    return PLAN.model_copy(
        update={
            "workloads": tuple(w.model_copy(update=update) if w.name == name else w for w in PLAN.workloads)
        }
    )


def line_with(predicted_ms: float, high_ms: float) -> FleetPlan:
    """chat's TPOT limit of 50 ms on H100 with this prediction."""
    served = deployment(CHAT).served[0]
    line = served.limits[1].model_copy(
        update={
            "predicted_ms": predicted_ms,
            "error_high_ms": high_ms,
            "margin": (50.0 - predicted_ms) / 50.0,
        }
    )
    return deployment_with(CHAT, served=(served.model_copy(update={"limits": (served.limits[0], line)}),))


def risks(new: FleetPlan, old: FleetPlan | None = PLAN) -> list[tuple[str, str, Level]]:
    return [(r.kind, r.subject, r.level) for r in find_risks(diff_plans(old, new), new)]


STANDING = risks(PLAN)
MEASURED = next(w.demand for w in PLAN.workloads if w.name == "chat")
WARNING = WarningLine(
    rule="price-past-its-use-by-date", severity="warning", subject="h100-east", message="old", help=""
)
CERTIFICATE = PLAN.certificate

CASES: dict[str, tuple[FleetPlan, tuple[str, str, Level]]] = {
    "a workload is removed": (prod_plan(without=("batch",)), ("remove", "batch-h200-east", Level.HIGH)),
    "GPUs are released": (prod_plan(without=("batch",)), ("released-gpus", "h200-east", Level.HIGH)),
    "a deployment moves": (
        deployment_with("documents-gb200-east", id="documents-x", offering="h200-east"),
        ("move", "documents-x", Level.HIGH),
    ),
    "a layout changes": (deployment_with(CHAT, max_model_len=8192), ("relayout", CHAT, Level.HIGH)),
    "a rollout has no room": (
        deployment_with("batch-h200-east", max_model_len=8192),
        ("no-room-to-surge", "batch-h200-east", Level.HIGH),
    ),
    "replicas are taken away": (deployment_with(CHAT, replicas=4), ("fewer-replicas", CHAT, Level.MEDIUM)),
    "an SLO margin is thin": (line_with(48.0, 49.0), ("thin-slo-margin", CHAT, Level.MEDIUM)),
    "an SLO is missed": (line_with(51.0, 53.0), ("thin-slo-margin", CHAT, Level.HIGH)),
    "a limit lies inside the error": (line_with(45.0, 51.0), ("limit-inside-error", "prod", Level.MEDIUM)),
    "a deployment is over its utilisation": (
        deployment_with(CHAT, utilisation=0.86),
        ("over-utilised", CHAT, Level.HIGH),
    ),
    "a deployment gets more than it serves": (
        deployment_with(
            CHAT, served=(deployment(CHAT).served[0].model_copy(update={"capacity_req_per_s": 1.0}),)
        ),
        ("over-capacity", CHAT, Level.HIGH),
    ),
    "an estimate is extrapolated": (
        deployment_with(
            CHAT, provenance=deployment(CHAT).provenance.model_copy(update={"basis": "extrapolated"})
        ),
        ("extrapolated-estimate", CHAT, Level.MEDIUM),
    ),
    "demand is guessed": (
        workload_with("chat", demand=MEASURED.model_copy(update={"basis": "guessed"})),
        ("guessed-demand", "chat", Level.MEDIUM),
    ),
    "a failure is barely survived": (
        workload_with("documents", survives={"host": 6.61}),
        ("thin-survival", "documents", Level.MEDIUM),
    ),
    "a failure is not survived": (
        workload_with("documents", survives={"host": 6.5}),
        ("does-not-survive", "documents", Level.HIGH),
    ),
    "the gap is wide": (
        PLAN.model_copy(update={"certificate": CERTIFICATE.model_copy(update={"gap": 0.011})}),
        ("wide-gap", "prod", Level.MEDIUM),
    ),
    "the plan carries a warning": (
        PLAN.model_copy(update={"warnings": (WARNING,)}),
        ("price-past-its-use-by-date", "h100-east", Level.MEDIUM),
    ),
    "the rack map holds other GPUs than the deployments": (
        PLAN.model_copy(update={"domains": PLAN.domains[1:]}),
        ("numbers-disagree", "h100-east", Level.HIGH),
    ),
    "the summary is not the sum of the offerings": (
        PLAN.model_copy(
            update={
                "summary": PLAN.summary.model_copy(update={"usd_per_hour": PLAN.summary.usd_per_hour + 1.0})
            }
        ),
        ("numbers-disagree", "prod", Level.HIGH),
    ),
    "router weights do not add up": (
        deployment_with(CHAT, served=(deployment(CHAT).served[0].model_copy(update={"share": 600_000}),)),
        ("numbers-disagree", "chat", Level.HIGH),
    ),
    "physics is beaten": (
        PLAN.model_copy(
            update={"certificate": CERTIFICATE.model_copy(update={"physical_floor_gpus": {"chat": 27.0}})}
        ),
        ("below-physical-floor", "chat", Level.HIGH),
    ),
}


@pytest.mark.parametrize("plan", [dev_plan(), PLAN, changed_prod()[1]], ids=["dev", "prod", "changed prod"])
def test_numbers_of_the_sample_plans_agree(plan: FleetPlan) -> None:
    assert "numbers-disagree" not in {r.kind for r in find_risks(*first(plan))}


def test_idle_gpus_are_a_risk_where_they_cost_more_than_a_tenth() -> None:
    """Half of dev's host is idle; with four replicas none of it is."""
    assert "idle-gpus" in {r.kind for r in find_risks(*first(dev_plan()))}
    assert "idle-gpus" not in {r.kind for r in find_risks(*first(dev_plan(replicas=4)))}


@pytest.mark.parametrize(("new", "risk"), CASES.values(), ids=list(CASES))
def test_risk_is_found(new: FleetPlan, risk: tuple[str, str, Level]) -> None:
    assert risk not in STANDING
    assert risk in risks(new)


QUIET: dict[str, tuple[FleetPlan, str]] = {
    "a margin of 5 % is no thin one": (line_with(47.5, 49.0), "chat-h100-east"),
    "a rollout with a free host has room": (deployment_with(CHAT, max_model_len=8192), "no-room-to-surge"),
    "an information is no risk": (
        PLAN.model_copy(update={"warnings": (WARNING.model_copy(update={"severity": "info"}),)}),
        "price-past-its-use-by-date",
    ),
    "a failure that the policy does not ask about": (
        workload_with("documents", survives={"host": 7.0, "zone": 0.0}),
        "does-not-survive",
    ),
    "a gap of 1 % is the target": (
        PLAN.model_copy(update={"certificate": CERTIFICATE.model_copy(update={"gap": 0.01})}),
        "wide-gap",
    ),
}


@pytest.mark.parametrize(("new", "word"), QUIET.values(), ids=list(QUIET))
def test_no_false_alarm(new: FleetPlan, word: str) -> None:
    found = [risk for risk in risks(new) if risk not in STANDING and word in (risk[0], risk[1])]
    assert [risk for risk in found if risk[0] != "relayout"] == []


def test_guess_is_told_once_where_the_plan_warns_of_it() -> None:
    plan = dev_plan()
    for warnings in (plan.warnings, ()):
        kinds = [r.kind for r in find_risks(*first(plan.model_copy(update={"warnings": warnings})))]
        assert kinds.count("guessed-demand") == 1


def test_high_risks_come_first() -> None:
    levels = [r.level for r in find_risks(*changed_prod())]
    assert levels == sorted(levels, key=lambda level: level is not Level.HIGH)
    assert {Level.HIGH, Level.MEDIUM} == set(levels)


def test_removal_says_whether_its_workload_is_still_served() -> None:
    gone = prod_plan(without=("batch",))
    (removed,) = [r for r in find_risks(diff_plans(PLAN, gone), gone) if r.kind == "remove"]
    assert removed.sentence.endswith("nothing serves 'batch' any more")
    one = PLAN.model_copy(
        update={
            "deployments": tuple(d for d in PLAN.deployments if d.id != "chat-b200-west"),
            "workloads": tuple(
                w.model_copy(update={"deployments": (CHAT,)}) if w.name == "chat" else w
                for w in PLAN.workloads
            ),
        }
    )
    (removed,) = [r for r in find_risks(diff_plans(PLAN, one), one) if r.kind == "remove"]
    assert removed.sentence.endswith("'chat' stays with chat-h100-east")


HIGH = Risk(Level.HIGH, "remove", "x", "x goes")
MEDIUM = Risk(Level.MEDIUM, "wide-gap", "x", "wide")


@pytest.mark.parametrize(
    ("is_changed", "found", "words"),
    [
        (True, (HIGH, MEDIUM, MEDIUM), "CHANGES WITH HIGH RISK (1 high, 2 others)"),
        (True, (MEDIUM,), "CHANGES WITH RISK (1, none high)"),
        (True, (), "CHANGES, NO RISK FOUND"),
        (False, (MEDIUM,), "NO CHANGES (1 standing risk)"),
        (False, (), "NO CHANGES"),
    ],
)
def test_verdict_says_whether_something_changes_and_what_is_at_risk(
    is_changed: bool, found: tuple[Risk, ...], words: str
) -> None:
    diff, _ = changed_prod() if is_changed else unchanged(PLAN)
    assert verdict(diff, found) == words


@pytest.mark.parametrize(
    ("is_changed", "detailed", "code"),
    [(True, True, 2), (True, False, 0), (False, True, 0), (False, False, 0)],
)
def test_exit_code_tells_of_changes_only_when_asked(is_changed: bool, detailed: bool, code: int) -> None:
    diff, _ = changed_prod() if is_changed else unchanged(PLAN)
    assert exit_code(diff, detailed) == code


def test_closing_line_counts_a_move_on_both_sides() -> None:
    diff, _ = changed_prod()
    assert closing_line(diff) == "Plan: 1 to add, 1 to change, 2 to destroy."
