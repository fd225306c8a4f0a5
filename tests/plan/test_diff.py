"""Two plans compared: the action of each deployment, its reasons, and everything else that moved."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.layout import ParallelismLayout, Precision
from fleet.plan.changes import Action, Change, PlanDiff
from fleet.plan.diff import diff_plans
from fleet.plan.document import Deployment, FleetPlan
from tests.plans import dev_plan, prod_plan

CHAT = "chat-h100-east"


def replaced(plan: FleetPlan, deployment_id: str, **update: Any) -> FleetPlan:
    """The plan with fields of one deployment replaced and nothing else added up again."""
    deployments = tuple(d.model_copy(update=update) if d.id == deployment_id else d for d in plan.deployments)
    return plan.model_copy(update={"deployments": deployments})


def get(plan: FleetPlan, deployment_id: str) -> Deployment:
    return next(d for d in plan.deployments if d.id == deployment_id)


def change_of(diff: PlanDiff, deployment_id: str) -> Change:
    return next(c for c in diff.changes if c.id == deployment_id)


def with_worker(plan: FleetPlan, **update: Any) -> dict[str, Any]:
    return {"workers": (get(plan, CHAT).workers[0].model_copy(update=update),)}


PLAN = prod_plan()

CASES: dict[str, tuple[dict[str, Any], Action, str | None]] = {
    "nothing differs": ({}, Action.KEEP, None),
    "more replicas are a resize": ({"replicas": 6}, Action.RESIZE, "replicas"),
    "fewer replicas are a resize": ({"replicas": 4}, Action.RESIZE, "replicas"),
    "another layout is a relayout": (
        with_worker(PLAN, layout=ParallelismLayout(tp=8)),
        Action.RELAYOUT,
        "workers.mixed.layout",
    ),
    "another batch limit is a relayout": (
        with_worker(PLAN, max_num_seqs=64),
        Action.RELAYOUT,
        "workers.mixed.max_num_seqs",
    ),
    "another precision is a relayout": ({"weights": Precision.BF16}, Action.RELAYOUT, "weights"),
    "another KV cache is a relayout": ({"kv_cache": Precision.FP8}, Action.RELAYOUT, "kv_cache"),
    "another engine version is a relayout": (
        {"engine": get(PLAN, CHAT).engine.model_copy(update={"version": "0.34.0"})},
        Action.RELAYOUT,
        "engine",
    ),
    "another checkpoint is a relayout": (
        {"checkpoint_uri": "s3://weights/llama"},
        Action.RELAYOUT,
        "checkpoint_uri",
    ),
    "speculative decoding is a relayout": (
        {"speculative": {"method": "mtp", "draft_tokens": 2}},
        Action.RELAYOUT,
        "speculative",
    ),
    "replicas and layout together are a relayout": (
        {"replicas": 3, **with_worker(PLAN, layout=ParallelismLayout(tp=8))},
        Action.RELAYOUT,
        "workers.mixed.layout",
    ),
    "another prediction keeps the deployment": ({"utilisation": 0.1, "power_kw": 1.0}, Action.KEEP, None),
    "another price keeps the deployment": ({"usd_per_hour": 1.0}, Action.KEEP, None),
    "another offering is a move even under the same id": ({"offering": "h200-east"}, Action.MOVE, "offering"),
}


@pytest.mark.parametrize(("update", "action", "path"), CASES.values(), ids=list(CASES))
def test_action_follows_what_differs(update: dict[str, Any], action: Action, path: str | None) -> None:
    change = change_of(diff_plans(PLAN, replaced(PLAN, CHAT, **update)), CHAT)
    assert change.action is action
    paths = [field.path for field in change.fields]
    assert path in paths if path else paths == []


def test_first_plan_creates_everything() -> None:
    diff = diff_plans(None, PLAN)
    assert {c.action for c in diff.changes} == {Action.CREATE}
    assert (diff.counts.add, diff.counts.change, diff.counts.destroy) == (5, 0, 0)
    assert diff.is_first
    assert diff.has_changes
    assert diff.totals.usd_per_hour.before == 0


def test_same_plan_has_no_changes() -> None:
    diff = diff_plans(PLAN, prod_plan())
    assert not diff.has_changes
    assert {c.action for c in diff.changes} == {Action.KEEP}
    assert (diff.counts.add, diff.counts.change, diff.counts.destroy, diff.counts.keep) == (0, 0, 0, 5)


def test_removed_workload_only_removes() -> None:
    diff = diff_plans(PLAN, prod_plan(without=("batch",)))
    assert [(c.id, c.action) for c in diff.changes if c.action is not Action.KEEP] == [
        ("batch-h200-east", Action.REMOVE)
    ]
    assert [r.sentence for r in change_of(diff, "batch-h200-east").reasons] == ["workload 'batch' is gone"]
    assert [(c.offering, c.units_before, c.units_after, c.gpus_after) for c in diff.capacity] == [
        ("h200-east", 4, 0, 0)
    ]
    assert [(r.workload, r.after) for r in diff.routes] == [("batch", ())]


def test_added_workload_only_creates() -> None:
    diff = diff_plans(prod_plan(without=("batch",)), PLAN)
    assert [(c.id, c.action) for c in diff.changes if c.action is not Action.KEEP] == [
        ("batch-h200-east", Action.CREATE)
    ]


def test_demand_is_the_reason_of_a_resize_and_of_no_other_workload() -> None:
    diff = diff_plans(PLAN, prod_plan(chat_replicas=6, demand=1.2))
    assert [r.sentence for r in change_of(diff, CHAT).reasons] == [
        "demand of 'chat' at the planning peak is up 20 % (26.4 req/s to 31.7 req/s)"
    ]
    assert {i.name for i in diff.inputs} == {"chat"}


def moved_to(plan: FleetPlan, old_id: str, new_id: str, offering: str) -> FleetPlan:
    return replaced(plan, old_id, id=new_id, offering=offering)


def test_workload_that_changes_its_offering_moves() -> None:
    diff = diff_plans(PLAN, moved_to(PLAN, "documents-gb200-east", "documents-b200-west", "b200-west"))
    change = change_of(diff, "documents-b200-west")
    assert change.action is Action.MOVE
    assert change.before is not None
    assert change.before.id == "documents-gb200-east"
    assert (diff.counts.add, diff.counts.change, diff.counts.destroy) == (1, 0, 1)


def test_move_needs_the_same_model() -> None:
    moved = moved_to(PLAN, "documents-gb200-east", "documents-b200-west", "b200-west")
    diff = diff_plans(PLAN, replaced(moved, "documents-b200-west", model="another"))
    assert {c.id: c.action for c in diff.changes if c.action is not Action.KEEP} == {
        "documents-gb200-east": Action.REMOVE,
        "documents-b200-west": Action.CREATE,
    }


def test_one_id_with_another_model_is_removed_and_created() -> None:
    diff = diff_plans(PLAN, replaced(PLAN, CHAT, model="another"))
    assert [c.action for c in diff.changes if c.id == CHAT] == [Action.REMOVE, Action.CREATE]


def test_two_that_go_and_two_that_come_pair_by_share() -> None:
    """chat has 70 % on H100 and 30 % on B200: the large part's successor is the large new part."""
    new = moved_to(PLAN, CHAT, "chat-a", "h200-east")
    new = moved_to(new, "chat-b200-west", "chat-b", "gb200-east")
    pairs = {c.before.id: c.id for c in diff_plans(PLAN, new).changes if c.action is Action.MOVE and c.before}
    assert pairs == {CHAT: "chat-a", "chat-b200-west": "chat-b"}


def test_second_deployment_that_goes_is_a_remove() -> None:
    one = PLAN.model_copy(
        update={"deployments": tuple(d for d in PLAN.deployments if d.id != "chat-b200-west")}
    )
    diff = diff_plans(PLAN, moved_to(one, CHAT, "chat-a", "h200-east"))
    assert {c.id: c.action for c in diff.changes if c.action is not Action.KEEP} == {
        "chat-a": Action.MOVE,
        "chat-b200-west": Action.REMOVE,
    }


def offering_with(plan: FleetPlan, name: str, **update: Any) -> FleetPlan:
    return plan.model_copy(
        update={
            "offerings": tuple(o.model_copy(update=update) if o.name == name else o for o in plan.offerings)
        }
    )


def workload_with(plan: FleetPlan, name: str, **update: Any) -> FleetPlan:
    return plan.model_copy(
        update={
            "workloads": tuple(w.model_copy(update=update) if w.name == name else w for w in plan.workloads)
        }
    )


H100_PRICE = next(o.price for o in PLAN.offerings if o.name == "h100-east")
CHAT_DEMAND = next(w.demand for w in PLAN.workloads if w.name == "chat")

INPUTS: dict[str, tuple[FleetPlan, str]] = {
    "price up": (
        offering_with(PLAN, "h100-east", price=H100_PRICE.model_copy(update={"usd_per_gpu_hour": 6.7705})),
        "price of 'h100-east' is up 10 % ($6.155 to $6.771 per GPU-hour)",
    ),
    "less inventory": (
        offering_with(PLAN, "h200-east", available_units=4),
        "'h200-east' has 4 units, it had 8",
    ),
    "another machine type": (
        offering_with(PLAN, "h200-east", machine_type="a3-x"),
        "machine type of 'h200-east' goes from a3-ultragpu-8g to a3-x",
    ),
    "tighter SLO": (
        workload_with(PLAN, "chat", limits_as_written=(("ttft", 95, 500.0), ("tpot", 95, 50.0))),
        "ttft p95 of 'chat' is tightened from 800 ms to 500 ms",
    ),
    "looser SLO": (
        workload_with(PLAN, "chat", limits_as_written=(("ttft", 95, 800.0), ("tpot", 95, 75.0))),
        "tpot p95 of 'chat' is relaxed from 50 ms to 75 ms",
    ),
    "SLO line gone": (
        workload_with(PLAN, "chat", limits_as_written=(("tpot", 95, 50.0),)),
        "ttft p95 of 'chat' is no longer limited (was 800 ms)",
    ),
    "SLO line new": (
        workload_with(PLAN, "batch", limits_as_written=(("e2e", 99, 120_000.0), ("ttft", 99, 10_000.0))),
        "ttft p99 of 'batch' is now limited to 10 s",
    ),
    "longer answers": (
        workload_with(
            PLAN,
            "chat",
            demand=CHAT_DEMAND.model_copy(
                update={"output_tokens": CHAT_DEMAND.output_tokens.model_copy(update={"mean": 422.0})}
            ),
        ),
        "mean answer of 'chat' is up 100 % (211 to 422 tokens)",
    ),
    "more retries": (
        workload_with(PLAN, "chat", demand=CHAT_DEMAND.model_copy(update={"retries": 0.3})),
        "retries of 'chat' go from 10 % to 30 %",
    ),
    "guessed instead of measured": (
        workload_with(PLAN, "chat", demand=CHAT_DEMAND.model_copy(update={"basis": "guessed"})),
        "demand of 'chat' is guessed, it was measured",
    ),
    "policy": (
        PLAN.model_copy(update={"policy": PLAN.policy.model_copy(update={"survive": ("host", "rack")})}),
        "failures to survive: host to host, rack",
    ),
    "another fleet": (
        PLAN.model_copy(update={"fleet": "other"}),
        "the plans are of different fleets: 'other', before 'prod'",
    ),
    "estimates": (
        PLAN.model_copy(update={"digests": PLAN.digests.model_copy(update={"performance": "0" * 64})}),
        "the performance estimates differ (perf.lock.json)",
    ),
}


@pytest.mark.parametrize(("new", "sentence"), INPUTS.values(), ids=list(INPUTS))
def test_input_that_moved_is_named_with_its_numbers(new: FleetPlan, sentence: str) -> None:
    assert [i.sentence for i in diff_plans(PLAN, new).inputs] == [sentence]


def test_rounding_of_a_rate_is_no_reason() -> None:
    nearly = CHAT_DEMAND.model_copy(update={"planning_req_per_s": CHAT_DEMAND.planning_req_per_s * 1.001})
    assert diff_plans(PLAN, workload_with(PLAN, "chat", demand=nearly)).inputs == ()


def test_estimates_alone_are_no_change() -> None:
    """Digests that differ while nothing that is deployed or predicted does."""
    assert not diff_plans(PLAN, INPUTS["estimates"][0]).has_changes


SETTINGS: dict[str, tuple[dict[str, Any], str, str | None, str | None]] = {
    "gateway": (
        {"gateway": PLAN.gateway.model_copy(update={"hostnames": ("a.example.com", "b.example.com")})},
        "gateway.hostnames",
        "llm.example.com",
        "a.example.com, b.example.com",
    ),
    "tenant": (
        {"gateway": PLAN.gateway.model_copy(update={"tenants": ()})},
        "gateway.tenants",
        None,
        "",
    ),
    "delivery": (
        {"delivery": PLAN.delivery.model_copy(update={"namespace": "serving"})},
        "delivery.namespace",
        "inference",
        "serving",
    ),
    "labels": ({"labels": {"team": "search"}}, "labels.team", "inference", "search"),
}


@pytest.mark.parametrize(("update", "path", "before", "after"), SETTINGS.values(), ids=list(SETTINGS))
def test_setting_that_differs_is_named_by_its_path(
    update: dict[str, Any], path: str, before: str | None, after: str | None
) -> None:
    diff = diff_plans(PLAN, PLAN.model_copy(update=update))
    found = {field.path: (field.before, field.after) for field in diff.settings}
    assert found[path] == (before, after)
    assert diff.has_changes


def test_shares_that_differ_are_a_route_change() -> None:
    new = PLAN
    for deployment, share in ((CHAT, 600_000), ("chat-b200-west", 400_000)):
        served = get(PLAN, deployment).served[0].model_copy(update={"share": share})
        new = replaced(new, deployment, served=(served,))
    diff = diff_plans(PLAN, new)
    assert [(r.workload, r.before, r.after) for r in diff.routes] == [
        (
            "chat",
            (("chat-b200-west", 300_000), (CHAT, 700_000)),
            (("chat-b200-west", 400_000), (CHAT, 600_000)),
        )
    ]
    assert diff.counts.change == 0
    assert diff.has_changes


def test_engines_that_differ_are_gathered_by_version() -> None:
    new = PLAN
    for deployment in PLAN.deployments:
        if deployment.engine.dynamo_version is None:
            new = replaced(
                new, deployment.id, engine=deployment.engine.model_copy(update={"version": "0.34.0"})
            )
    (engine,) = diff_plans(PLAN, new).engines
    assert (engine.before, engine.after) == ("vllm 0.33.0", "vllm 0.34.0")
    assert engine.deployments == ("chat-b200-west", CHAT, "documents-gb200-east")


def test_price_alone_is_a_change_of_the_plan() -> None:
    diff = diff_plans(PLAN, INPUTS["price up"][0])
    assert [(p.offering, p.after.usd_per_gpu_hour) for p in diff.prices] == [("h100-east", 6.7705)]
    assert diff.has_changes


def test_replica_on_another_host_is_counted() -> None:
    """The two H100 hosts that hold chat's first four replicas change places in the map."""
    first, second = PLAN.domains[0], PLAN.domains[1]
    swapped = (
        first.model_copy(update={"hosts": second.hosts}),
        second.model_copy(update={"hosts": first.hosts}),
    )
    diff = diff_plans(PLAN, PLAN.model_copy(update={"domains": (*swapped, *PLAN.domains[2:])}))
    assert change_of(diff, CHAT).replicas_placed_elsewhere == 4
    assert change_of(diff, CHAT).action is Action.KEEP
    assert diff.has_changes


def test_totals_are_those_of_the_summaries() -> None:
    old, new = PLAN, prod_plan(without=("batch",))
    totals = diff_plans(old, new).totals
    assert totals.usd_per_hour.change == pytest.approx(new.summary.usd_per_hour - old.summary.usd_per_hour)
    assert totals.gpus_bought.change == -32
    assert totals.power_kw.change == pytest.approx(-4 * 8 * 1.37)


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(5)), st.permutations(range(4)))
def test_order_of_parts_does_not_matter(deployments: list[int], offerings: list[int]) -> None:
    new = prod_plan(chat_replicas=6, demand=1.2, without=("batch",))
    shuffled = PLAN.model_copy(
        update={
            "deployments": tuple(PLAN.deployments[i] for i in deployments),
            "offerings": tuple(PLAN.offerings[i] for i in offerings),
        }
    )
    assert diff_plans(shuffled, new) == diff_plans(PLAN, new)


@settings(max_examples=25, deadline=None)
@given(
    st.sets(st.sampled_from(["agents", "batch", "documents"]), max_size=3),
    st.sets(st.sampled_from(["agents", "batch", "documents"]), max_size=3),
    st.integers(4, 8),
    st.integers(4, 8),
)
def test_going_there_and_back_swaps_what_is_added_and_destroyed(
    gone: set[str], back: set[str], one: int, two: int
) -> None:
    old, new = prod_plan(one, tuple(sorted(gone))), prod_plan(two, tuple(sorted(back)))
    there, again = diff_plans(old, new), diff_plans(new, old)
    assert (there.counts.add, there.counts.destroy) == (again.counts.destroy, again.counts.add)
    assert there.counts.change == again.counts.change
    assert there.totals.usd_per_hour.change == pytest.approx(-again.totals.usd_per_hour.change)
    assert there.has_changes == (old != new)


def test_dev_plan_resized_adds_no_purchase_on_the_same_host() -> None:
    diff = diff_plans(dev_plan(), dev_plan(replicas=4))
    assert [c.action for c in diff.changes] == [Action.RESIZE]
    assert diff.capacity == ()
