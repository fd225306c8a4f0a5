"""Sample plans for the tests of verify, and a way to change one figure anywhere in a plan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from fleet.layout import ParallelismLayout, Role
from fleet.plan.document import (
    Deployment,
    FleetPlan,
    MappedDomain,
    MappedHost,
    MeasureOutcome,
    MeasureRun,
    Slot,
)
from tests.plan_parts import LLAMA, deployment, mixed, offering, served, workload
from tests.plans import assemble, dev_plan, policy_line, prod_plan

LOWEST_QUANTILE = {"interactive": 0.95, "documents": 0.95, "offline": 0.99}
"""Of the limits of each SLO of the sample plans."""

Path = tuple[str | int, ...]


def dev(replicas: int = 2) -> FleetPlan:
    return repaired(dev_plan(replicas))


def prod(**wishes: Any) -> FleetPlan:
    return with_runs(repaired(prod_plan(**wishes)))


def with_runs(plan: FleetPlan) -> FleetPlan:
    """Return the plan with two runs to make: one of its first deployment, and one of a layout that it does not have."""
    if not plan.deployments:
        return plan
    first = plan.deployments[0]
    load = next(w for w in plan.workloads if w.name == first.served[0].workload)
    hardware = next(o for o in plan.offerings if o.name == first.offering)
    accelerators = {o.name: o.accelerator for o in plan.offerings}
    stake = sum(
        d.usd_per_hour
        for d in plan.deployments
        if (d.model, accelerators[d.offering], d.engine.id, d.weights, d.mode)
        == (first.model, hardware.accelerator, first.engine.id, first.weights, first.mode)
    )
    cost, price = plan.certificate.cost, hardware.price.usd_per_gpu_hour
    run = MeasureRun(
        workload=load.name,
        deployment=first.id,
        offering=first.offering,
        engine=first.engine.id,
        engine_version=first.engine.version,
        weights=first.weights,
        kv_cache=first.kv_cache,
        mode=first.mode,
        layout="as planned",
        gpus=first.gpus_per_replica,
        also_decides=(),
        input_tokens_mean=load.demand.input_tokens.mean,
        output_tokens_mean=load.demand.output_tokens.mean,
        cached_prefix_fraction=load.demand.cached_prefix_fraction,
        concurrency=40,
        requests=400,
        hours=0.25,
        gpu_hours=first.gpus_per_replica * 0.25,
        usd_per_gpu_hour=price,
        usd=first.gpus_per_replica * 0.25 * price,
        error_before_p90=0.5,
        error_after_p90=0.3,
        at_stake_usd_per_hour=stake,
        slack=10.0,
        worth=20.0,
        outcomes=(
            outcome(-1.7, 1 / 6, cost, cost - 130.0, 120.0),
            outcome(0.0, 2 / 3, cost, cost, 0.0),
            outcome(1.7, 1 / 6, cost + 50.0, cost + 50.0, 0.0),
        ),
    )
    other = run.model_copy(
        update={
            "deployment": None,
            "layout": "TP4",
            "gpus": 4,
            "gpu_hours": 1.0,
            "usd": price,
            "worth": 0.0,
            "outcomes": tuple(outcome(z, p, cost, cost, 0.0) for z, p in ((-1.7, 1 / 6), (0.0, 5 / 6))),
        }
    )
    return plan.model_copy(update={"measure_next": (run, other)})


def outcome(score: float, probability: float, keep: float, best: float, saving: float) -> MeasureOutcome:
    return MeasureOutcome(
        standard_score=score,
        probability=probability,
        tpot_factor=1.0 + score / 10,
        keep=keep,
        best=best,
        saving=saving,
        gap=0.0,
    )


def repaired(plan: FleetPlan) -> FleetPlan:
    """Price tokens by their definition, and leave out alternatives on offerings that the plan does not have."""
    workloads = {w.name: w for w in plan.workloads}

    def tokens_per_h(d: Deployment) -> tuple[float, float]:
        output = useful = 0.0
        for line in d.served:
            w = workloads[line.workload]
            tokens = line.share / 1e6 * w.demand.planning_req_per_s * w.demand.output_tokens.mean * 3600
            output += tokens
            useful += tokens * LOWEST_QUANTILE[w.slo] * (1 - w.demand.cancellation) / (1 + w.demand.retries)
        return output, useful

    def priced(usd: float, output: float, useful: float) -> dict[str, float]:
        return {
            "usd_per_million_output_tokens": usd / output * 1e6,
            "usd_per_million_useful_tokens": usd / useful * 1e6,
        }

    tokens = [tokens_per_h(d) for d in plan.deployments]
    deployments = tuple(
        d.model_copy(update=priced(d.usd_per_hour, *t)) for d, t in zip(plan.deployments, tokens, strict=True)
    )
    if tokens:
        summed = priced(plan.summary.usd_per_hour, sum(o for o, _ in tokens), sum(u for _, u in tokens))
        plan = plan.model_copy(update={"summary": plan.summary.model_copy(update=summed)})
    names = {o.name for o in plan.offerings}
    known = tuple(
        w.model_copy(update={"alternatives": tuple(a for a in w.alternatives if a.offering in names)})
        for w in plan.workloads
    )
    return plan.model_copy(update={"deployments": deployments, "workloads": known})


def shared(documents_share: int = 200_000) -> FleetPlan:
    """The replicas of chat on H100 also serve documents.

    Ten replicas take 56 chat requests/s or 4 documents/s. Chat sends 18.48: a load of 0.33. A fifth of documents is
    1.32: a load of 0.33 again, so that 28 and 2 requests/s are lent.
    """
    plan = prod(chat_replicas=10)
    chat, documents = plan.workloads[2], plan.workloads[3]
    b200, h100, gb200 = plan.deployments[2:]
    h100 = h100.model_copy(
        update={"served": (*h100.served, served(documents, documents_share, 4.0, 0.85, 0.12))}
    )
    rest = 1_000_000 - documents_share
    gb200 = gb200.model_copy(update={"served": (served(documents, rest, 10.5, 0.85, 0.12),)})
    chat = chat.model_copy(update={"capacity_req_per_s": 9.9 + 28.0, "survives": {"host": 28.0}})
    documents = documents.model_copy(
        update={
            "capacity_req_per_s": 10.5 + 2.0,
            "survives": {"host": 7.0 + 2.0},
            "deployments": (gb200.id, h100.id),
        }
    )
    return repaired(
        plan.model_copy(
            update={
                "workloads": (*plan.workloads[:2], chat, documents),
                "deployments": (*plan.deployments[:2], b200, h100, gb200),
            }
        )
    )


def many_racks(racks: int) -> FleetPlan:
    """One-GPU replicas on every usable GPU of so many NVL72 racks: the most slots that a rack map can have."""
    rack = offering("gb200", "gb200-nvl72", 10.0, 2.0, racks)
    load = workload("chat", LLAMA, "interactive", racks * 50.0, 1000, 200)
    small = deployment(load, rack, mixed(ParallelismLayout(tp=1), 4, 72.7), 68, 1.0)
    one = assemble("large", (LLAMA,), (load,), (rack,), (small,), policy_line())
    each = {"replicas": 68 * racks, "gpus": 68 * racks, "mean_batch_per_replica": 1.0}
    line = one.deployments[0].served[0].model_copy(update={"capacity_req_per_s": 68.0 * racks})
    many = one.deployments[0].model_copy(
        update={
            **each,
            "served": (line,),
            "usd_per_hour": 720.0 * racks,
            "power_kw": 68 * 2.0 * racks,
            "utilisation": 0.8,
        }
    )
    bought = {
        "bought_units": racks,
        "hosts": 18 * racks,
        "gpus_bought": 72 * racks,
        "gpus_used": 68 * racks,
        "usd_per_hour": 720.0 * racks,
        "power_kw": 144.0 * racks,
    }
    totals = {key: value for key, value in bought.items() if key != "bought_units"}
    usd = 720.0 * racks
    one = one.model_copy(
        update={
            "deployments": (many,),
            "offerings": (one.offerings[0].model_copy(update=bought),),
            "domains": tuple(_full_rack(index, many.id) for index in range(racks)),
            "workloads": (
                one.workloads[0].model_copy(
                    update={"capacity_req_per_s": 68.0 * racks, "survives": {}, "alternatives": ()}
                ),
            ),
            "summary": one.summary.model_copy(update={**totals, "usd_per_month": usd * 730, "racks": racks}),
            "certificate": one.certificate.model_copy(
                update={"cost": usd, "bound": usd * 0.996, "floor": 0.0, "attempts": ()}
            ),
            "policy": one.policy.model_copy(update={"budget_usd_per_hour": None}),
        }
    )
    return repaired(one)


def _full_rack(index: int, name: str) -> MappedDomain:
    first = index * 68

    def slots(host: int) -> tuple[Slot, ...]:
        numbers = range(first + host * 4, first + host * 4 + 4)
        return tuple(Slot(deployment=name, replica=n, role=Role.MIXED, worker=0, gpus=1) for n in numbers)

    hosts = tuple(MappedHost(index=h, slots=slots(h) if h < 17 else (), is_spare=h == 17) for h in range(18))
    return MappedDomain(id=f"gb200-{index:02d}", offering="gb200", index=index, hosts=hosts)


# ---------------------------------------------------------------- one change


def changed(plan: FleetPlan, path: str | Path, to: Any) -> FleetPlan:
    """Return the plan with another value at a path such as "deployments.0.gpus"; `to` may be a function of the old one."""
    steps = path.split(".") if isinstance(path, str) else path
    result = _changed(plan, steps, to)
    assert isinstance(result, FleetPlan)
    return result


def _changed(value: Any, steps: Any, to: Any) -> Any:
    if not steps:
        return to(value) if callable(to) else to
    head, rest = steps[0], steps[1:]
    if isinstance(value, BaseModel):
        return value.model_copy(update={head: _changed(getattr(value, head), rest, to)})
    if isinstance(value, tuple):
        index = int(head)
        return (*value[:index], _changed(value[index], rest, to), *value[index + 1 :])
    return {**value, head: _changed(value[head], rest, to)}


def numeric_paths(value: object, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every number in a plan."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield path
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from numeric_paths(getattr(value, name), (*path, name))
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from numeric_paths(item, (*path, index))
    elif isinstance(value, dict):
        for key in value:
            yield from numeric_paths(value[key], (*path, key))


def value_at(plan: FleetPlan, path: Path) -> Any:
    found: Any = plan
    for step in path:
        found = getattr(found, str(step)) if isinstance(found, BaseModel) else found[step]
    return found


def more(value: float) -> float:
    return value + 1


def doubled(value: float) -> float:
    return value * 2
