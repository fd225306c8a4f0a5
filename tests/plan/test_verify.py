"""Every rule of a plan: sound plans break none, and each wrong figure or name is caught by the rule it breaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fleet.layout import ParallelismLayout, Precision, Role
from fleet.plan.document import DeploymentMode, FleetPlan, MappedHost, Slot, Target
from fleet.plan.verify import RULES_CHECKED, Violation, verify_plan
from tests.plan.verify_samples import changed, dev, doubled, more, prod, shared

Change = tuple[str, Any]
PROD = prod()


def rules(plan: FleetPlan) -> set[str]:
    return {violation.rule for violation in verify_plan(plan)}


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(dev(), id="one model on one host"),
        pytest.param(dev(4), id="a full host"),
        pytest.param(prod(), id="every shape of deployment"),
        pytest.param(prod(chat_replicas=8, demand=1.2), id="more demand"),
        pytest.param(prod(without=("chat",)), id="without a workload"),
        pytest.param(prod(without=("agents", "documents")), id="without racks"),
        pytest.param(shared(), id="a deployment that serves two workloads"),
    ],
)
def test_a_sound_plan_breaks_no_rule(plan: FleetPlan) -> None:
    assert verify_plan(plan) == []


CHAT, SERVED, RUN = "deployments.3", "deployments.3.served.0", "measure_next.0"
MUTATIONS: list[tuple[str, str, list[Change]]] = [
    ("numbers", "a cost that is no number", [("summary.usd_per_hour", float("nan"))]),
    ("numbers", "an endless capacity", [("workloads.2.capacity_req_per_s", float("inf"))]),
    ("numbers", "a negative rate", [(f"{SERVED}.rate_req_per_s", -1.0)]),
    ("numbers", "no replicas", [(f"{CHAT}.replicas", 0)]),
    ("numbers", "a limit of nothing", [(f"{SERVED}.limits.0.limit_ms", 0.0)]),
    ("numbers", "GPUs that weigh nothing", [(f"{CHAT}.workers.0.weight_bytes_per_gpu", 0.0)]),
    ("numbers", "a domain of spares only", [("offerings.3.spare_hosts_per_domain", 18)]),
    ("numbers", "a layout of nothing", [(f"{CHAT}.workers.0.layout.dp", 0)]),
    ("identity", "two deployments of one id", [("deployments.2.id", "chat-h100-east")]),
    ("identity", "two models of one name", [("models.1.name", "llama-70b")]),
    ("identity", "an offering named twice", [("offerings.1.name", "h100-east")]),
    ("identity", "two domains of one id", [("domains.1.id", "h100-east-00")]),
    ("identity", "a workload that lists a deployment twice", [("workloads.2.deployments", lambda d: (*d, d[0]))]),
    ("reference", "a model that is not there", [("workloads.2.model", "gpt-2")]),
    ("reference", "an offering that is not there", [(f"{CHAT}.offering", "tpu")]),
    ("reference", "a slot of a deployment that is gone", [("domains.0.hosts.0.slots.0.deployment", "old")]),
    ("reference", "a tenant of a workload that is gone", [("gateway.tenants.0.workloads", ("old",))]),
    ("reference", "a served workload that is not there", [(f"{SERVED}.workload", "old")]),
    ("reference", "a floor for a workload that is not there", [("certificate.physical_floor_gpus", lambda f: {**f, "old": 1.0})]),
    ("cross-reference", "a workload that forgets a deployment", [("workloads.2.deployments", lambda d: d[:1])]),
    ("cross-reference", "a workload that claims another's", [("workloads.1.deployments", lambda d: (*d, "chat-h100-east"))]),
    ("cross-reference", "a deployment of another model", [(f"{CHAT}.model", "deepseek-r1")]),
    ("cross-reference", "a deployment that serves nobody", [(f"{CHAT}.served", ())]),
    ("layout", "a worker with other GPUs than its layout", [(f"{CHAT}.workers.0.layout", ParallelismLayout(tp=8))]),
    ("layout", "hosts that do not make up the worker", [("deployments.4.workers.0.hosts_per_worker", 3)]),
    ("layout", "more GPUs on a host than it has", [("deployments.4.workers.0.gpus_per_host_used", 8)]),
    ("layout", "a replica of more GPUs than its workers", [(f"{CHAT}.gpus_per_replica", 5)]),
    ("layout", "more GPUs than the replicas have", [(f"{CHAT}.gpus", 24)]),
    ("layout", "experts over ranks that do not divide", [("deployments.0.workers.1.layout.ep", 12)]),
    ("layout", "experts of a model that has none", [(f"{CHAT}.workers.0.layout.ep", 4)]),
    ("mode", "aggregated serving by two roles", [("deployments.0.mode", DeploymentMode.AGGREGATED)]),
    ("mode", "disaggregated serving by one role", [(f"{CHAT}.mode", DeploymentMode.DISAGGREGATED)]),
    ("mode", "two prefill groups", [("deployments.0.workers.1.role", Role.PREFILL)]),
    ("mode", "disaggregated serving without Dynamo", [("deployments.0.target", Target.DEPLOYMENT)]),
    ("mode", "Dynamo without its version", [("deployments.0.engine.dynamo_version", None)]),
    ("mode", "a plain deployment across hosts", [("deployments.4.target", Target.DEPLOYMENT)]),
    ("mode", "a leader-worker set on one host", [(f"{CHAT}.target", Target.LEADER_WORKER_SET)]),
    ("mode", "a KV link with nothing to link", [(f"{CHAT}.kv_link", "nvlink")]),
    ("mode", "KV over NVLink across hosts", [("deployments.1.kv_link", "nvlink")]),
    ("mode", "a transfer over no link", [(f"{CHAT}.kv_transfer_ms_mean", 3.0)]),
    ("memory", "weights that lost half their bytes", [(f"{CHAT}.workers.0.weight_bytes_per_gpu", lambda b: b / 2)]),
    ("memory", "BF16 in the room of FP8", [(f"{CHAT}.weights", Precision.BF16)]),
    ("memory", "a cache below one request", [(f"{CHAT}.workers.0.kv_capacity_tokens", 16_000.0)]),
    ("memory", "a cache below one request of a rank", [("deployments.0.workers.1.kv_capacity_tokens", 500_000.0)]),
    ("memory", "more active than total parameters", [("models.0.active_params", doubled)]),
    ("batch", "a step of fewer tokens than requests", [(f"{CHAT}.workers.0.max_num_batched_tokens", 64)]),
    ("batch", "a mean batch above the limit", [(f"{CHAT}.mean_batch_per_replica", 129.0)]),
    ("domain", "a worker in two domains", [("domains.8.hosts.10.slots", lambda s: ()), ("domains.9.hosts.16.slots", lambda s: (Slot(deployment="documents-gb200-east", replica=0, role=Role.MIXED, worker=0, gpus=4),))]),
    ("domain", "a replica in two domains", [("deployments.1.domains_per_replica", 0)]),
    ("domain", "a replica of two hosts said to take one", [("deployments.1.domains_per_replica", 1)]),
    ("domain", "a stranger in a replica's whole domain", [("domains.3.hosts.0.slots", lambda s: (*s, Slot(deployment="chat-h100-east", replica=0, role=Role.MIXED, worker=0, gpus=4)))]),
    ("domain", "whole domains that it does not fill", [("deployments.4.domains_per_replica", 1)]),
    ("placement", "a replica without a place", [("domains.0.hosts.0.slots", lambda s: s[1:])]),
    ("placement", "a replica placed twice", [("domains.2.hosts.0.slots", lambda s: (*s, s[0]))]),
    ("placement", "a slot of too few GPUs", [("domains.0.hosts.0.slots.0.gpus", 3)]),
    ("placement", "a replica that does not exist", [("domains.0.hosts.0.slots.0.replica", 9)]),
    ("placement", "a worker that does not exist", [("domains.0.hosts.0.slots.0.worker", 1)]),
    ("placement", "a role that it does not have", [("domains.0.hosts.0.slots.0.role", Role.DECODE)]),
    ("placement", "hardware of another offering", [(f"{CHAT}.offering", "h200-east")]),
    ("host-capacity", "a third worker of 4 GPUs on 8", [("domains.0.hosts.0.slots", lambda s: (*s, s[0]))]),
    ("spares", "a worker on a spare tray", [("domains.8.hosts.0.is_spare", True)]),
    ("spares", "a spare tray less than promised", [("domains.8.hosts.17.is_spare", False)]),
    ("spares", "fewer spares than policy asks for", [("policy.spare_trays_per_rack", 2)]),
    ("rack-map", "a domain that was not bought", [("domains", lambda d: (*d, d[-1].model_copy(update={"id": "gb200-east-02", "index": 2})))]),
    ("rack-map", "an index that skips", [("domains.9.index", 3), ("domains.9.id", "gb200-east-03")]),
    ("rack-map", "an id of another domain", [("domains.9.id", "gb200-east-07")]),
    ("rack-map", "a host that is missing", [("domains.9.hosts", lambda h: h[:-2] + h[-1:])]),
    ("rack-map", "a host listed twice", [("domains.0.hosts", lambda h: (*h, MappedHost(index=0, slots=())))]),
    ("inventory", "more bought than there is", [("offerings.0.available_units", 2)]),
    ("hardware", "hosts that were not bought", [("offerings.3.hosts", more)]),
    ("hardware", "GPUs that were not bought", [("offerings.3.gpus_bought", more)]),
    ("hardware", "GPUs in use that nobody uses", [("offerings.3.gpus_used", more)]),
    ("hardware", "a domain of more GPUs than its hosts", [("offerings.0.domain_gpus", 16)]),
    ("hardware", "a host that has two hosts", [("offerings.0.hosts_per_domain", 2)]),
    ("hardware", "an NVL72 that shares its rack", [("offerings.3.domains_per_rack", 2)]),
    ("cost", "an offering below its price", [("offerings.0.usd_per_hour", lambda u: u * 0.999)]),
    ("cost", "another price", [("offerings.0.price.usd_per_gpu_hour", lambda u: u + 0.01)]),
    ("cost", "a deployment below its price", [(f"{CHAT}.usd_per_hour", lambda u: u * 0.999)]),
    ("cost", "an alternative that looks dearer", [("workloads.2.alternatives.0.usd_per_hour", doubled)]),
    ("cost", "an alternative of too few GPUs", [("workloads.2.alternatives.0.gpus", more)]),
    ("power", "a deployment without power", [(f"{CHAT}.power_kw", 0.0)]),
    ("power", "an offering of less power", [("offerings.0.power_kw", lambda p: p / 2)]),
    ("summary", "a cheaper fleet", [("summary.usd_per_hour", lambda u: u - 1)]),
    ("summary", "a cheaper month", [("summary.usd_per_month", lambda u: u - 1)]),
    ("summary", "less power", [("summary.power_kw", lambda p: p - 1)]),
    ("summary", "more GPUs bought", [("summary.gpus_bought", more)]),
    ("summary", "more GPUs used", [("summary.gpus_used", more)]),
    ("summary", "more hosts", [("summary.hosts", more)]),
    ("summary", "more racks", [("summary.racks", more)]),
    ("token-cost", "cheaper tokens of a deployment", [(f"{CHAT}.usd_per_million_output_tokens", lambda u: u * 0.999)]),
    ("token-cost", "cheaper useful tokens of a deployment", [(f"{CHAT}.usd_per_million_useful_tokens", lambda u: u * 0.999)]),
    ("token-cost", "cheaper tokens of the fleet", [("summary.usd_per_million_output_tokens", lambda u: u * 0.999)]),
    ("token-cost", "useful tokens that no client cancels", [("workloads.2.demand.cancellation", 0.0)]),
    ("budget", "a budget below the cost", [("policy.budget_usd_per_hour", lambda _: 1000.0)]),
    ("power-limit", "a limit below the power", [("policy.power_limit_kw", 10.0)]),
    ("certificate", "a cost that is not the plan's", [("certificate.cost", lambda c: c - 1)]),
    ("certificate", "a bound above the cost", [("certificate.bound", lambda b: b * 1.1)]),
    ("certificate", "a floor above the cost", [("certificate.floor", lambda f: f * 2)]),
    ("certificate", "a smaller gap", [("certificate.gap", 0.001)]),
    ("certificate", "a proof that is none", [("certificate.proven_optimal", True)]),
    ("certificate", "a proof that is not claimed", [("certificate.bound", lambda b: b / 0.996), ("certificate.gap", 0.0)]),
    ("certificate", "GPUs counted in dollars", [("certificate.objective", "gpus")]),
    ("certificate", "watts that are not the plan's", [("certificate.objective", "watts"), ("certificate.unit", "W")]),
    ("certificate", "an attempt that proves too much", [("certificate.attempts.1.bound", doubled)]),
    ("certificate", "an attempt cheaper than the bound", [("certificate.attempts.0.usd_per_hour", 1.0)]),
    ("physical-floor", "fewer GPUs than dense peak needs", [("certificate.physical_floor_gpus.chat", 27.0)]),
    ("physical-floor", "a workload without its floor", [("certificate.physical_floor_gpus", lambda f: {k: v for k, v in f.items() if k != "chat"})]),
    ("demand", "a planning rate below the peak", [("workloads.2.demand.peak_req_per_s", 26.5)]),
    ("demand", "retries that are not planned", [("workloads.2.demand.retries", 0.2)]),
    ("demand", "more cancelled than sent", [("workloads.2.demand.cancellation", 1.5)]),
    ("demand", "more cached than sent", [("workloads.2.demand.cached_prefix_fraction", 1.5)]),
    ("demand", "lengths out of order", [("workloads.2.demand.input_tokens.p90", 1e6)]),
    ("demand", "a mean above the longest", [("workloads.2.demand.output_tokens.mean", 1e6)]),
    ("shares", "one part per million lost", [(f"{SERVED}.share", lambda s: s - 1)]),
    ("shares", "a rate that is not the share's", [(f"{SERVED}.rate_req_per_s", lambda r: r * 1.001)]),
    ("capacity", "more traffic than the replicas take", [("deployments.2.served.0.share", 700_000), (f"{SERVED}.share", 300_000), ("deployments.2.served.0.rate_req_per_s", 18.48), (f"{SERVED}.rate_req_per_s", 7.92)]),
    ("cover", "a capacity that is not the sum", [("workloads.2.capacity_req_per_s", lambda c: c + 1)]),
    ("cover", "replicas that serve too little", [(f"{SERVED}.capacity_req_per_s", 16.0)]),
    ("survive(host)", "a host whose loss is felt", [(f"{SERVED}.capacity_req_per_s", 19.0), ("workloads.2.survives.host", lambda _: 21.3)]),
    ("survive(rack)", "a rack whose loss is felt", [("policy.survive", ("host", "rack"))]),
    ("survive(rack)", "hosts that share a rack", [("policy.survive", ("rack",)), ("offerings.0.domains_per_rack", 2)]),
    ("survive(zone)", "a zone whose loss is felt", [("policy.survive", ("zone",))]),
    ("survivors", "more left than there is", [("workloads.2.survives.host", more)]),
    ("survivors", "nothing said of a level", [("workloads.2.survives", {})]),
    ("survivors", "a level that nobody knows", [("policy.survive", ("host", "planet"))]),
    ("slo", "a limit that no line keeps", [(f"{SERVED}.limits", lambda lines: lines[:1])]),
    ("slo", "a line at a lower quantile", [(f"{SERVED}.limits.0.quantile", 90)]),
    ("slo", "a line with a looser limit", [(f"{SERVED}.limits.0.limit_ms", 900.0)]),
    ("slo", "a limit that is not met", [(f"{SERVED}.limits.0.predicted_ms", 801.0)]),
    ("slo", "a limit that was tightened", [("workloads.2.limits_as_written.0", ("ttft", 95, 500.0))]),
    ("slo", "a limit that was not written", [("workloads.2.limits_as_written", lambda rows: rows[1:])]),
    ("prediction", "quantiles that fall", [(f"{SERVED}.e2e_ms.p90", lambda ms: ms / 4)]),
    ("prediction", "another figure in the line than in the quantiles", [(f"{SERVED}.limits.0.predicted_ms", lambda ms: ms - 1)]),
    ("prediction", "a margin that is not so", [(f"{SERVED}.limits.0.margin", 0.5)]),
    ("prediction", "an error interval above the prediction", [(f"{SERVED}.limits.0.error_low_ms", 700.0)]),
    ("prediction", "an error interval below the prediction", [(f"{SERVED}.limits.0.error_high_ms", 600.0)]),
    ("prediction", "a quantile that nobody predicts", [(f"{SERVED}.limits.0.quantile", 97)]),
    ("prediction", "shares of time that do not add up", [(f"{CHAT}.decode.shares.compute", 0.5)]),
    ("utilisation", "more use than policy allows", [(f"{CHAT}.utilisation", 0.86)]),
    ("reference", "a run of a workload that is not there", [(f"{RUN}.workload", "old")]),
    ("reference", "a run of a deployment that is gone", [(f"{RUN}.deployment", "old")]),
    ("numbers", "a run with nothing in flight", [(f"{RUN}.concurrency", 0)]),
    ("measure-order", "more than three runs", [("measure_next", doubled)]),
    ("measure-order", "a run that is worth more than the one before", [("measure_next", lambda runs: runs[::-1])]),
    ("measure-load", "another load than the workload's", [(f"{RUN}.input_tokens_mean", more)]),
    ("measure-load", "a deployment of another workload", [(f"{RUN}.deployment", "chat-h100-east")]),
    ("measure-load", "fewer requests than are in flight", [(f"{RUN}.requests", 39)]),
    ("measure-load", "other GPUs than the deployment's replica", [(f"{RUN}.gpus", lambda n: 2 * n), (f"{RUN}.hours", lambda h: h / 2)]),
    ("measure-cost", "GPU-hours that are not GPUs times hours", [(f"{RUN}.gpu_hours", lambda h: h / 2)]),
    ("measure-cost", "a price that is not the offering's", [(f"{RUN}.usd_per_gpu_hour", lambda u: u / 2), (f"{RUN}.usd", lambda u: u / 2)]),
    ("measure-cost", "a cheaper run", [(f"{RUN}.usd", lambda u: u * 0.99)]),
    ("measure-worth", "a worth that does not follow", [(f"{RUN}.worth", lambda w: w + 1)]),
    ("measure-worth", "a saving without its reason", [(f"{RUN}.outcomes.1.saving", 30.0), (f"{RUN}.worth", 40.0)]),
    ("measure-worth", "a saving in which the slack is counted", [(f"{RUN}.outcomes.0.saving", 130.0), (f"{RUN}.worth", 130 / 6)]),
    ("measure-worth", "today's plan for less than it costs", [(f"{RUN}.outcomes.2.keep", 1.0)]),
    ("measure-worth", "outcomes that are not all", [(f"{RUN}.outcomes", lambda o: o[:2])]),
    ("measure-worth", "a run that widens the error", [(f"{RUN}.error_after_p90", 0.6)]),
    ("measure-worth", "more at stake than rests on it", [(f"{RUN}.at_stake_usd_per_hour", more)]),
]  # fmt: skip


def broken(changes: list[Change]) -> FleetPlan:
    plan = PROD
    for path, to in changes:
        plan = changed(plan, path, to)
    return plan


@pytest.mark.parametrize(
    ("rule", "changes"),
    [pytest.param(rule, changes, id=f"{rule}: {name}") for rule, name, changes in MUTATIONS],
)
def test_a_wrong_figure_is_caught_by_its_rule(rule: str, changes: list[Change]) -> None:
    plan = broken(changes)
    assert plan != PROD
    assert rule in rules(plan)


def test_every_rule_that_is_said_to_be_checked_has_a_plan_that_breaks_it() -> None:
    assert {rule for rule, _, _ in MUTATIONS} == set(RULES_CHECKED)
    assert len(set(RULES_CHECKED)) == len(RULES_CHECKED)


def test_no_violation_names_a_rule_that_is_not_listed() -> None:
    found = {rule for _, _, changes in MUTATIONS for rule in rules(broken(changes))}
    assert found <= set(RULES_CHECKED)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        pytest.param(200_000, set(), id="what its replicas take together"),
        pytest.param(500_000, {"capacity", "cover"}, id="each alone would fit, both together do not"),
    ],
)
def test_workloads_that_share_replicas_do_not_count_them_twice(share: int, expected: set[str]) -> None:
    found = rules(shared(share))
    assert expected <= found if expected else not found


def test_a_floor_is_compared_with_all_gpus_of_workloads_that_share_them() -> None:
    plan = changed(shared(), "certificate.physical_floor_gpus.documents", 20.0)
    plan = changed(plan, "certificate.physical_floor_gpus.chat", 20.0)
    assert rules(plan) == set()
    plan = changed(plan, "certificate.physical_floor_gpus.documents", 24.0)
    plan = changed(plan, "certificate.physical_floor_gpus.chat", 47.0)
    assert [v.subject for v in verify_plan(plan) if v.rule == "physical-floor"] == ["chat", "chat, documents"]


@pytest.mark.parametrize(("hosts_in_rack", "short"), [(1, {"documents"}), (2, {"chat", "documents"})])
def test_hosts_of_one_physical_rack_fail_together(hosts_in_rack: int, short: set[str]) -> None:
    plan = changed(changed(PROD, "policy.survive", ("rack",)), "offerings.0.domains_per_rack", hosts_in_rack)
    assert {v.subject for v in verify_plan(plan) if v.rule == "survive(rack)"} == short


def test_whole_domains_of_a_replica_hold_nobody_else() -> None:
    stranger = Slot(deployment="chat-h100-east", replica=0, role=Role.MIXED, worker=0, gpus=4)
    plan = changed(PROD, "domains.3.hosts.0.slots", lambda slots: (*slots, stranger))
    assert "batch-h200-east/0" in {v.subject for v in verify_plan(plan) if v.rule == "domain"}


def test_an_empty_rack_map_is_refused_and_breaks_nothing_else() -> None:
    empty = {"workloads": (), "deployments": (), "domains": (), "offerings": (), "models": ()}
    found = verify_plan(PROD.model_copy(update=empty))
    assert {v.rule for v in found} == {"reference"}
    plan = changed(PROD, "domains", ())
    assert {"placement", "rack-map", "summary"} <= rules(plan)


def test_a_message_says_what_was_found_and_what_is_allowed() -> None:
    plan = changed(PROD, "offerings.0.available_units", 2)
    assert verify_plan(plan) == [
        Violation("inventory", "h100-east", "units bought is 3, allowed is at most 2")
    ]


@pytest.mark.parametrize(
    "figure", [lambda u: u * (1 + 1e-8), lambda u: round(u, 6), lambda u: float(f"{u:.6g}")]
)
def test_rounding_of_a_written_figure_is_no_violation(figure: Callable[[float], float]) -> None:
    paths = [
        f"{SERVED}.limits.1.predicted_ms",
        f"{SERVED}.limits.1.margin",
        f"{CHAT}.usd_per_million_output_tokens",
        "certificate.gap",
    ]
    plan = PROD
    for path in paths:
        plan = changed(plan, path, figure)
    assert verify_plan(plan) == []
