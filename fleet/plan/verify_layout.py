"""Checks each deployment by itself: its workers' arithmetic, its mode and target, its memory and its batch.

With tp, pp, dp, cp, ep of a worker on h hosts of g GPUs, n_r workers of role r in a replica, R replicas:

    tp · pp · dp · cp = GPUs of a worker = h · g,  ep = 1 or, of an MoE, ep | tp · dp · cp  (layout)
    Σ_r n_r · GPUs = GPUs of a replica,  R · GPUs of a replica = GPUs                     (layout)
    one mixed role, or prefill and decode;  KV moves exactly between two roles            (mode)
    GPUs · weight bytes ≥ parameters · bits / 8,  KV tokens / dp ≥ longest request        (memory)
    running requests ≤ tokens of a step,  mean batch ≤ Σ running requests                 (batch)
    worker ≤ usable GPUs of a domain,  replica = k · usable GPUs if it takes k domains    (domain)
"""

from __future__ import annotations

from collections.abc import Iterator

from fleet.layout import Role
from fleet.plan.document import Deployment, DeploymentMode, Target, WorkerGroup
from fleet.plan.verify_ledger import (
    DIGITS,
    EXACT,
    PARAMETERS,
    Ledger,
    Violation,
    at_least,
    at_most,
    same,
    usable_domain_gpus,
)

RULES = ("layout", "mode", "memory", "batch", "domain")

_ROLES = {
    DeploymentMode.AGGREGATED: (Role.MIXED,),
    DeploymentMode.DISAGGREGATED: (Role.DECODE, Role.PREFILL),
}
_BITS_PER_BYTE = 8


def deployments_alone(ledger: Ledger) -> Iterator[Violation]:
    """Yield what contradicts itself within a deployment."""
    for deployment in ledger.plan.deployments:
        for group in deployment.workers:
            yield from _layout_of_worker(ledger, deployment, group)
        yield from _layout_of_replica(deployment)
        yield from _mode(deployment)
        yield from _target(deployment)
        yield from _memory(ledger, deployment)
        yield from _batch(deployment)
        yield from _domain(ledger, deployment)


def _layout_of_worker(ledger: Ledger, deployment: Deployment, group: WorkerGroup) -> Iterator[Violation]:
    subject, layout = f"{deployment.id}/{group.role}", group.layout
    yield from same("layout", subject, "GPUs of a worker", group.gpus_per_worker, layout.gpus, EXACT)
    if layout.ep > 1 and layout.stage_gpus % layout.ep:
        yield Violation(
            "layout",
            subject,
            f"ep is {layout.ep}, allowed is 1 or a divisor of the stage's {layout.stage_gpus} GPUs",
        )
    if layout.ep > 1 and not ledger.models[deployment.model].is_moe:
        yield Violation("layout", subject, f"ep is {layout.ep}, allowed is 1: the model has no experts")
    on_hosts = group.hosts_per_worker * group.gpus_per_host_used
    yield from same("layout", subject, "GPUs of a worker's hosts", on_hosts, group.gpus_per_worker, EXACT)
    on_host = ledger.offerings[deployment.offering].gpus_per_host
    yield from at_most("layout", subject, "GPUs used on a host", group.gpus_per_host_used, on_host, EXACT)


def _layout_of_replica(deployment: Deployment) -> Iterator[Violation]:
    of_workers = sum(group.workers_per_replica * group.gpus_per_worker for group in deployment.workers)
    yield from same(
        "layout", deployment.id, "GPUs of a replica", deployment.gpus_per_replica, of_workers, EXACT
    )
    of_replicas = deployment.replicas * deployment.gpus_per_replica
    yield from same("layout", deployment.id, "GPUs", deployment.gpus, of_replicas, EXACT)


def _mode(deployment: Deployment) -> Iterator[Violation]:
    roles = tuple(sorted(group.role for group in deployment.workers))
    if roles != _ROLES[deployment.mode]:
        found, allowed = ", ".join(roles) or "none", " and ".join(_ROLES[deployment.mode])
        yield Violation(
            "mode", deployment.id, f"workers' roles are {found}; {deployment.mode} serving has {allowed}"
        )
    if (deployment.kv_link == "none") != (deployment.mode is DeploymentMode.AGGREGATED):
        yield Violation(
            "mode",
            deployment.id,
            f"KV link is {deployment.kv_link}, and serving is {deployment.mode}; KV moves exactly where roles are apart",
        )
    if deployment.kv_link == "none" and deployment.kv_transfer_ms_mean:
        yield Violation(
            "mode",
            deployment.id,
            f"KV transfer takes {deployment.kv_transfer_ms_mean:.10g} ms over no link, allowed is 0",
        )
    if deployment.kv_link == "nvlink" and deployment.domains_per_replica > 1:
        yield Violation(
            "mode",
            deployment.id,
            f"KV moves over NVLink across {deployment.domains_per_replica} domains, allowed is 1",
        )


def _target(deployment: Deployment) -> Iterator[Violation]:
    hosts = max((group.hosts_per_worker for group in deployment.workers), default=0)
    target = deployment.target
    if target is Target.DYNAMO:
        if deployment.engine.dynamo_version is None:
            yield Violation("mode", deployment.id, "target is dynamo without a Dynamo version, needed is one")
        return
    if deployment.mode is not DeploymentMode.AGGREGATED:
        yield Violation(
            "mode", deployment.id, f"{deployment.mode} serving has the target {target}, allowed is dynamo"
        )
    if (target is Target.LEADER_WORKER_SET) != (hosts > 1):
        yield Violation(
            "mode",
            deployment.id,
            f"target is {target} with {hosts} hosts for a worker; one host is a deployment, more are a leader-worker-set",
        )


def _memory(ledger: Ledger, deployment: Deployment) -> Iterator[Violation]:
    model = ledger.models[deployment.model]
    yield from at_most(
        "memory", model.name, "active parameters", model.active_params, model.total_params, EXACT
    )
    least_bytes = model.total_params * deployment.weights.bits / _BITS_PER_BYTE
    for group in deployment.workers:
        subject = f"{deployment.id}/{group.role}"
        held_bytes = group.weight_bytes_per_gpu * group.layout.gpus
        yield from at_least(
            "memory",
            subject,
            f"bytes of {deployment.weights} weights in a worker",
            held_bytes,
            least_bytes,
            PARAMETERS,
        )
        rank_tokens = group.kv_capacity_tokens / group.layout.dp
        yield from at_least(
            "memory", subject, "KV tokens of an attention rank", rank_tokens, deployment.max_model_len, DIGITS
        )


def _batch(deployment: Deployment) -> Iterator[Violation]:
    for group in deployment.workers:
        subject = f"{deployment.id}/{group.role}"
        yield from at_least(
            "batch", subject, "tokens of a step", group.max_num_batched_tokens, group.max_num_seqs, EXACT
        )
    running = sum(
        g.workers_per_replica * g.max_num_seqs for g in deployment.workers if g.role is not Role.PREFILL
    )
    yield from at_most(
        "batch", deployment.id, "mean batch of a replica", deployment.mean_batch_per_replica, running, DIGITS
    )


def _domain(ledger: Ledger, deployment: Deployment) -> Iterator[Violation]:
    """A worker is inside one domain or takes whole ones; a replica takes no more whole domains than it needs."""
    usable, whole = usable_domain_gpus(ledger.offerings[deployment.offering]), deployment.domains_per_replica
    for group in deployment.workers:
        subject = f"{deployment.id}/{group.role}"
        held = max(whole, 1) * usable
        yield from at_most("domain", subject, "GPUs of a worker", group.gpus_per_worker, held, EXACT)
        if group.gpus_per_worker > usable:
            partly = group.gpus_per_worker % usable
            yield from same("domain", subject, "GPUs of a worker beside whole domains", partly, 0, EXACT)
    if whole:
        subject, gpus = deployment.id, deployment.gpus_per_replica
        yield from same(
            "domain", subject, f"whole domains of a replica of {gpus} GPUs", whole, -(-gpus // usable), EXACT
        )
