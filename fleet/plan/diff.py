"""Two plans compared: typed changes of deployments, purchases and routes, with the inputs that moved."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from fleet.plan.changes import (
    Action,
    CapacityChange,
    Change,
    Delta,
    EngineChange,
    FieldChange,
    FigureChange,
    PlanDiff,
    PriceChange,
    RouteChange,
    Totals,
    Value,
)
from fleet.plan.document import Deployment, FleetPlan
from fleet.plan.estimates import estimate_changes
from fleet.plan.inputs import InputChange, Subject, input_changes

Place = frozenset[tuple[str, int]]
"""Hosts of a replica: (domain id, host index)."""


def diff_plans(old: FleetPlan | None, new: FleetPlan) -> PlanDiff:
    """Compare the plan in force (None: there is none) with a new one.

    The same two plans give the same diff, whatever the order of their parts.
    """
    inputs = input_changes(old, new) if old else ()
    return PlanDiff(
        fleet=new.fleet,
        is_first=old is None,
        changes=tuple(_changes(old, new, inputs)),
        capacity=tuple(_capacity(old, new)),
        routes=tuple(_routes(old, new)),
        engines=tuple(_engines(old, new)),
        prices=tuple(_prices(old, new)),
        inputs=inputs,
        settings=tuple(_settings(old, new)) if old else (),
        figures=tuple(_figures(old, new)) if old else (),
        estimates=estimate_changes(old, new) if old else (),
        totals=_totals(old, new),
    )


# ---------------------------------------------------------------- deployments


def _changes(old: FleetPlan | None, new: FleetPlan, inputs: tuple[InputChange, ...]) -> list[Change]:
    before = {d.id: d for d in old.deployments} if old else {}
    after = {d.id: d for d in new.deployments}
    stay = {i: i for i in before.keys() & after.keys() if before[i].model == after[i].model}
    gone = [before[i] for i in sorted(before.keys() - stay.keys())]
    come = [after[i] for i in sorted(after.keys() - stay.keys())]
    pairs = stay | _moves(gone, come)
    places = (_places(old) if old else {}, _places(new))
    changes = [_change(before[was], after[now], inputs, places) for was, now in pairs.items()]
    changes += [
        Change(Action.REMOVE, d, None, reasons=_reasons((d,), inputs)) for d in gone if d.id not in pairs
    ]
    changes += [
        Change(Action.CREATE, None, d, reasons=_reasons((d,), inputs))
        for d in come
        if d.id not in pairs.values()
    ]
    return sorted(changes, key=lambda change: (change.id, change.action is not Action.REMOVE))


def _moves(gone: list[Deployment], come: list[Deployment]) -> dict[str, str]:
    """Pair what goes with what comes for the same model and workload, the largest share of traffic first."""
    free = sorted(come, key=lambda d: (-_largest_share(d), d.id))
    pairs: dict[str, str] = {}
    for old in sorted(gone, key=lambda d: (-_largest_share(d), d.id)):
        match = next((d for d in free if d.model == old.model and _workloads(d) & _workloads(old)), None)
        if match is not None:
            pairs[old.id] = match.id
            free.remove(match)
    return pairs


def _largest_share(deployment: Deployment) -> int:
    return max((s.share for s in deployment.served), default=0)


def _workloads(deployment: Deployment) -> set[str]:
    return {s.workload for s in deployment.served}


def _change(
    old: Deployment,
    new: Deployment,
    inputs: tuple[InputChange, ...],
    places: tuple[dict[tuple[str, int], Place], dict[tuple[str, int], Place]],
) -> Change:
    differing = tuple(_fields(old, new))
    if old.offering != new.offering:
        action = Action.MOVE
    elif any(f.path != "replicas" for f in differing):
        action = Action.RELAYOUT
    else:
        action = Action.RESIZE if differing else Action.KEEP
    both = range(min(old.replicas, new.replicas)) if action in (Action.RESIZE, Action.KEEP) else range(0)
    elsewhere = sum(places[0].get((old.id, r)) != places[1].get((new.id, r)) for r in both)
    reasons = () if action is Action.KEEP else _reasons((old, new), inputs)
    return Change(action, old, new, differing, reasons, elsewhere)


def _fields(old: Deployment, new: Deployment) -> Iterator[FieldChange]:
    """Deployed properties that differ, in the order of `_deployed`."""
    before, after = dict(_deployed(old)), dict(_deployed(new))
    for path in before | after:
        if before.get(path) != after.get(path):
            yield FieldChange(path, before.get(path), after.get(path))


def _deployed(d: Deployment) -> Iterator[tuple[str, Value]]:
    """What reaches the cluster: everything of a deployment but predictions and money."""
    yield "offering", d.offering
    yield "replicas", d.replicas
    yield "mode", d.mode.value
    yield "target", d.target.value
    yield "engine", engine_label(d)
    yield "engine.image", d.engine.image
    yield "engine.memory_fraction", d.engine.memory_fraction
    yield "weights", d.weights.value
    yield "checkpoint_uri", d.checkpoint_uri
    yield "kv_cache", d.kv_cache.value
    yield "max_model_len", d.max_model_len
    yield "speculative", ", ".join(f"{k}={v}" for k, v in sorted((d.speculative or {}).items())) or None
    yield "domains_per_replica", d.domains_per_replica
    yield "kv_link", d.kv_link
    for group in d.workers:
        for name in (
            "workers_per_replica",
            "gpus_per_host_used",
            "hosts_per_worker",
            "max_num_seqs",
            "max_num_batched_tokens",
        ):
            yield f"workers.{group.role.value}.{name}", getattr(group, name)
        yield f"workers.{group.role.value}.layout", group.layout.label


def engine_label(deployment: Deployment) -> str:
    """Return the engine and its version, with Dynamo's where it carries the deployment: "vllm 0.31.0 (Dynamo 1.6.1)"."""
    engine = deployment.engine
    return f"{engine.id} {engine.version}" + (
        f" (Dynamo {engine.dynamo_version})" if engine.dynamo_version else ""
    )


def _reasons(sides: tuple[Deployment, ...], inputs: tuple[InputChange, ...]) -> tuple[InputChange, ...]:
    """Inputs that this deployment depends on directly: its workloads, its offerings, and what holds for the fleet."""
    names = {
        Subject.WORKLOAD: {w for d in sides for w in _workloads(d)},
        Subject.OFFERING: {d.offering for d in sides},
    }
    return tuple(i for i in inputs if i.subject is Subject.FLEET or i.name in names[i.subject])


def _places(plan: FleetPlan) -> dict[tuple[str, int], Place]:
    places: dict[tuple[str, int], set[tuple[str, int]]] = defaultdict(set)
    for domain in plan.domains:
        for host in domain.hosts:
            for slot in host.slots:
                places[slot.deployment, slot.replica].add((domain.id, host.index))
    return {replica: frozenset(hosts) for replica, hosts in places.items()}


# ---------------------------------------------------------------- purchases, routes, engines, prices


def _capacity(old: FleetPlan | None, new: FleetPlan) -> Iterator[CapacityChange]:
    before = {o.name: o for o in old.offerings} if old else {}
    after = {o.name: o for o in new.offerings}
    for name in sorted(before | after):
        was, now = before.get(name), after.get(name)
        counts = [(o.bought_units, o.gpus_bought, o.usd_per_hour) if o else (0, 0, 0.0) for o in (was, now)]
        if counts[0][:2] != counts[1][:2]:
            shown = after.get(name) or before[name]
            yield CapacityChange(
                name,
                shown.accelerator_name,
                counts[0][0],
                counts[1][0],
                counts[0][1],
                counts[1][1],
                counts[0][2],
                counts[1][2],
            )


def _routes(old: FleetPlan | None, new: FleetPlan) -> Iterator[RouteChange]:
    before, after = (_weights(plan) if plan else {} for plan in (old, new))
    for workload in sorted(before | after):
        if before.get(workload) != after.get(workload):
            yield RouteChange(workload, before.get(workload, ()), after.get(workload, ()))


def _weights(plan: FleetPlan) -> dict[str, tuple[tuple[str, int], ...]]:
    weights: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for deployment in sorted(plan.deployments, key=lambda d: d.id):
        for served in deployment.served:
            weights[served.workload].append((deployment.id, served.share))
    return {workload: tuple(shares) for workload, shares in weights.items()}


def _engines(old: FleetPlan | None, new: FleetPlan) -> Iterator[EngineChange]:
    before = {d.id: engine_label(d) for d in old.deployments} if old else {}
    moved: dict[tuple[str, str], list[str]] = defaultdict(list)
    for d in sorted(new.deployments, key=lambda d: d.id):
        if d.id in before and before[d.id] != engine_label(d):
            moved[before[d.id], engine_label(d)].append(d.id)
    for (was, now), ids in sorted(moved.items()):
        yield EngineChange(was, now, tuple(ids))


def _prices(old: FleetPlan | None, new: FleetPlan) -> Iterator[PriceChange]:
    before = {o.name: o.price for o in old.offerings} if old else {}
    for offering in sorted(new.offerings, key=lambda o: o.name):
        was = before.get(offering.name)
        if was is not None and was != offering.price:
            yield PriceChange(offering.name, was, offering.price)


def _figures(old: FleetPlan, new: FleetPlan) -> Iterator[FigureChange]:
    before = {(d.id, served.workload): served for d in old.deployments for served in d.served}
    for deployment in sorted(new.deployments, key=lambda d: d.id):
        for served in sorted(deployment.served, key=lambda s: s.workload):
            was = before.get((deployment.id, served.workload))
            if was is not None and was.model_copy(update={"share": served.share}) != served:
                yield FigureChange(deployment.id, was, served)


def _settings(old: FleetPlan, new: FleetPlan) -> Iterator[FieldChange]:
    """Settings that have no typed change of their own, flat, by path."""
    before, after = (dict(_flat(_settings_of(plan), "")) for plan in (old, new))
    for path in sorted(before | after):
        if before.get(path) != after.get(path):
            yield FieldChange(path, before.get(path), after.get(path))


def _settings_of(plan: FleetPlan) -> dict[str, Any]:
    chosen = {"domain_label", "node_selector", "tolerations", "name"}
    return {
        "gateway": plan.gateway.model_dump(mode="json"),
        "delivery": plan.delivery.model_dump(mode="json"),
        "labels": plan.labels,
        "models": [model.model_dump(mode="json") for model in plan.models],
        "offerings": [offering.model_dump(mode="json", include=chosen) for offering in plan.offerings],
    }


def _flat(value: Any, path: str) -> Iterator[tuple[str, Value]]:
    """Leaves of nested settings; a list of named parts goes by their names, any other list is one value."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _flat(part, f"{path}.{key}" if path else key)
    elif (
        isinstance(value, list) and value and all(isinstance(part, dict) and "name" in part for part in value)
    ):
        for part in value:
            yield from _flat(part, f"{path}.{part['name']}")
    elif isinstance(value, list):
        yield (
            path,
            ", ".join(
                json.dumps(part, sort_keys=True) if isinstance(part, dict) else str(part) for part in value
            ),
        )
    else:
        yield path, value


def _totals(old: FleetPlan | None, new: FleetPlan) -> Totals:
    def delta(name: str) -> Delta:
        return Delta(float(getattr(old.summary, name)) if old else 0.0, float(getattr(new.summary, name)))

    return Totals(**{field.name: delta(field.name) for field in fields(Totals)})
