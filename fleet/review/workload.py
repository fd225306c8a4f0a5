"""A workload in full: demand, SLO against prediction, deployments, survival, the nine questions, what lost and why."""

from __future__ import annotations

from fleet.layout import Role
from fleet.plan.diff import engine_label
from fleet.plan.document import (
    Deployment,
    DeploymentMode,
    FleetPlan,
    LengthSummary,
    PlannedWorkload,
    ProvenanceLine,
    Served,
    WorkerGroup,
)
from fleet.plan.inputs import gpu_price
from fleet.review.changes import shape
from fleet.review.format import (
    count,
    counted,
    latency,
    shares,
    signed,
    usd_per_million,
    usd_per_month,
    weight,
)
from fleet.review.report import Block, Facts, Item, Items, Section, Table, columns
from fleet.units import (
    MS_PER_S,
    format_bytes,
    format_kilowatts,
    format_requests_per_s,
    format_share,
    format_tokens,
    format_usd_per_hour,
)


def workload_section(workload: PlannedWorkload, plan: FleetPlan, importance: int) -> Section:
    """Return everything the plan knows of one workload."""
    serving = [(d, s) for d in plan.deployments for s in d.served if s.workload == workload.name]
    blocks: list[Block] = [_demand(workload, plan, serving), _limits(serving, plan.policy.error_quantile)]
    blocks.extend(_deployment(d, s, plan) for d, s in serving)
    blocks.append(_questions(workload))
    blocks.extend(_alternatives(workload, serving))
    blocks.append(_dropped(workload))
    title = (
        f"Workload {workload.name}: {workload.model}, SLO class {workload.slo}, priority {workload.priority}"
    )
    return Section(title, tuple(blocks), importance)


def _demand(w: PlannedWorkload, plan: FleetPlan, serving: list[tuple[Deployment, Served]]) -> Facts:
    d = w.demand
    rates = (
        f"{format_requests_per_s(d.planning_req_per_s)} at the planning peak (growth and retries in), "
        f"{format_requests_per_s(d.peak_req_per_s)} as written, mean {format_requests_per_s(d.mean_req_per_s)}"
    )
    behaviour = (
        f"{format_share(d.cached_prefix_fraction)} of prompt tokens found in the cache, {format_share(d.cancellation)} cancelled, "
        f"{format_share(d.retries)} retried, arrivals with CV {d.burstiness_cv:g}"
    )
    headroom = w.capacity_req_per_s / d.planning_req_per_s - 1 if d.planning_req_per_s else 0.0
    rows = [
        ("demand", rates),
        ("basis", f"{d.basis}{': ' + d.source if d.source else ', no source given'}"),
        ("prompt", _lengths(d.input_tokens)),
        ("answer", _lengths(d.output_tokens)),
        ("behaviour", behaviour),
        (
            "capacity",
            f"{format_requests_per_s(w.capacity_req_per_s)} within the SLO, {signed(headroom, format_share)} on the planning peak",
        ),
    ]
    rows += [
        (f"lost {level}", _left(left, d.planning_req_per_s)) for level, left in sorted(w.survives.items())
    ]
    if not w.survives:
        rows.append(("survival", "no failure has to be survived by policy"))
    usd = _usd_per_hour(w.name, serving)
    rows.append(
        (
            "cost",
            f"{format_usd_per_hour(usd)} ({usd_per_month(usd)}) for the GPUs of its replicas{_shared(serving)}",
        )
    )
    return Facts(tuple(rows))


def _lengths(tokens: LengthSummary) -> str:
    rest = ", ".join(
        f"{name} {format_tokens(getattr(tokens, name))}" for name in ("p50", "p90", "p99", "max")
    )
    return f"mean {format_tokens(tokens.mean)} tokens, {rest}"


def _left(left: float, planned: float) -> str:
    spare = f"{signed(left - planned, format_requests_per_s)} on the planning peak"
    return f"{format_requests_per_s(left)} left after the worst single loss, {spare}"


def _usd_per_hour(workload: str, serving: list[tuple[Deployment, Served]]) -> float:
    """The workload's part of each deployment: the part of its capacity that this workload's rate takes up."""
    return sum(d.usd_per_hour * _part(d, s) for d, s in serving)


def _part(d: Deployment, mine: Served) -> float:
    loads = {
        s.workload: s.rate_req_per_s / s.capacity_req_per_s if s.capacity_req_per_s else 0.0 for s in d.served
    }
    total = sum(loads.values())
    return loads[mine.workload] / total if total else 1.0 / len(d.served)


def _shared(serving: list[tuple[Deployment, Served]]) -> str:
    return ", shared ones by load" if any(len(d.served) > 1 for d, _ in serving) else ""


def _limits(serving: list[tuple[Deployment, Served]], error_quantile: float) -> Table:
    rows = tuple(
        (
            f"{line.metric.upper()} p{line.quantile}",
            d.id,
            latency(line.limit_ms),
            latency(line.predicted_ms),
            f"{latency(line.error_low_ms)} to {latency(line.error_high_ms)}",
            format_share(line.margin),
            _judgement(line.margin, line.error_high_ms > line.limit_ms),
        )
        for d, s in serving
        for line in s.limits
    )
    names = columns("SLO", "Deployment", ">Limit", ">Predicted", ">90 % interval", ">Margin", "Verdict")
    return Table(
        names,
        rows,
        title=f"SLO against prediction (planned on the p{100 * error_quantile:.0f} of the prediction error)",
    )


def _judgement(margin: float, crosses: bool) -> str:
    if margin < 0:
        return "MISSED"
    return "within the error" if crosses else "holds"


def _deployment(d: Deployment, s: Served, plan: FleetPlan) -> Facts:
    offering = next(o for o in plan.offerings if o.name == d.offering)
    weights = f"{d.weights.value} weights, {d.kv_cache.value} KV cache, context up to {format_tokens(d.max_model_len)} tokens"
    load = (
        f"{format_requests_per_s(s.rate_req_per_s)} of {format_requests_per_s(s.capacity_req_per_s)} within the SLO, where {s.binding} stops it; "
        f"busiest resource {format_share(d.utilisation)} (policy {format_share(plan.policy.max_utilisation)})"
    )
    rows = [
        ("layout", f"{shape(d)}, {d.mode.value}{_domains(d)}; {engine_label(d)} as {d.target.value}"),
        ("precision", f"{weights}; {d.checkpoint_uri}"),
        *((("worker" if g.role is Role.MIXED else f"{g.role.value} worker"), _worker(g)) for g in d.workers),
        ("load", f"{load}; {count(d.mean_batch_per_replica)} requests decoding together, mean per replica"),
        (
            "prefill is",
            f"{d.prefill.bound}-bound ({format_share(d.prefill.bound_share)}); of its time: {shares(d.prefill.shares)}",
        ),
        (
            "decode is",
            f"{d.decode.bound}-bound ({format_share(d.decode.bound_share)}); of a step: {shares(d.decode.shares)}",
        ),
        ("latency", _latency(s)),
    ]
    if d.mode is DeploymentMode.DISAGGREGATED:
        rows.append(("KV moves", f"over {d.kv_link}, mean {latency(d.kv_transfer_ms_mean)} (in the TTFT)"))
    if d.speculative:
        rows.append(("draft", ", ".join(f"{k} {v}" for k, v in sorted(d.speculative.items()))))
    spares = (
        " (price of its rack over the GPUs that are no spares)" if offering.spare_hosts_per_domain else ""
    )
    each = d.usd_per_hour / d.gpus if d.gpus else 0.0
    useful = usd_per_million(d.usd_per_million_useful_tokens, "useful")
    rows += [
        (
            "cost",
            f"{format_usd_per_hour(d.usd_per_hour)} = {counted(d.gpus, 'GPU')} x {gpu_price(each)}/h{spares}; {useful}, {usd_per_million(d.usd_per_million_output_tokens, 'output')}",
        ),
        ("power", f"{format_kilowatts(d.power_kw)} all-in"),
        (
            "start-up",
            f"weights load in {latency(d.weight_load_s * MS_PER_S)} at an assumed 1 GB/s per host",
        ),
        *_estimates(d),
    ]
    return Facts(
        tuple(rows),
        title=f"{d.id} on {offering.accelerator_name} in {offering.zone}: router weight {weight(s.share)}",
    )


def _domains(d: Deployment) -> str:
    if d.domains_per_replica:
        return f", a replica takes {counted(d.domains_per_replica, 'whole NVLink domain')}"
    return ", a replica inside one NVLink domain"


def _worker(g: WorkerGroup) -> str:
    hosts = f"{counted(g.hosts_per_worker, 'host')} x {counted(g.gpus_per_host_used, 'GPU')}"
    batch = f"at most {g.max_num_seqs:,} running requests and {g.max_num_batched_tokens:,} tokens a step of the whole worker"
    kv = f"KV cache for {format_tokens(g.kv_capacity_tokens)} tokens"
    return (
        f"{g.layout.label} on {hosts}; {batch}; weights {format_bytes(g.weight_bytes_per_gpu)} per GPU, {kv}"
    )


def _latency(s: Served) -> str:
    parts = ((name, q) for name, q in (("TTFT", s.ttft_ms), ("TPOT", s.tpot_ms), ("end to end", s.e2e_ms)))
    return "; ".join(
        f"{name} p50 {latency(q.p50)}, p95 {latency(q.p95)}, p99 {latency(q.p99)}" for name, q in parts
    )


def _estimates(d: Deployment) -> list[tuple[str, str]]:
    """Which backend priced the deployment, how wrong that may be and what it is made of, for workers apart by role."""
    rows = [("estimate", provenance(d.provenance))]
    if d.prefill_provenance is not None and d.prefill_provenance != d.provenance:
        rows.append(("prefill by", provenance(d.prefill_provenance)))
    if e := d.estimate:
        step = f"decode step {latency(e.decode_step_ms_alone)} alone, {latency(e.decode_step_ms_of_64)} of 64"
        fill = (
            f"prefill of the mean prompt {latency(e.prefill_ms)}, fixed part of TTFT {latency(e.constant_ms)}"
        )
        rows.append(("service", f"{step}; {fill}"))
    return rows


def provenance(p: ProvenanceLine) -> str:
    """Return who made an estimate, how near to data it is, its 90 % errors, and what widened them."""
    errors = f"90 % error of TPOT {format_share(p.relative_error_p90)}"
    if p.ttft_relative_error_p90:
        errors += f", of TTFT {format_share(p.ttft_relative_error_p90)}"
    return f"{p.backend} {p.version}, {p.basis}, {errors}{f'; {p.note}' if p.note else ''}"


def _questions(w: PlannedWorkload) -> Items:
    items = tuple(
        Item(
            f"{q.number}. {q.question}",
            notes=(
                q.answer if q.known or q.answer.lower().startswith("not known") else f"not known: {q.answer}",
            ),
        )
        for q in sorted(w.questions, key=lambda q: q.number)
    )
    return Items(items, title="The nine questions")


def _alternatives(w: PlannedWorkload, serving: list[tuple[Deployment, Served]]) -> list[Block]:
    chosen = _usd_per_hour(w.name, serving)
    rows = tuple(
        (
            a.offering,
            f"{a.replicas:,} x {a.layout} = {counted(a.gpus, 'GPU')}",
            f"{a.engine}, {a.precision.value}, {a.mode.value}",
            format_usd_per_hour(a.usd_per_hour),
            signed(a.usd_per_hour - chosen, format_usd_per_hour),
            a.why_lost,
        )
        for a in w.alternatives
    )
    names = columns("Offering", "Shape", "Engine", ">Cost", ">Against plan", "Why it lost")
    title = f"Alternatives that lost: the whole workload on each alone, GPUs of the replicas only, no inventory limit (plan: {format_usd_per_hour(chosen)})"
    return [Table(names, rows, title=title)] if rows else []


def _dropped(w: PlannedWorkload) -> Items:
    total = sum(d.count for d in w.dropped)
    head = f"{counted(w.candidates, 'candidate')} reached the solver, {counted(total, 'other was', 'others were')} dropped before"
    rows = sorted(w.dropped, key=lambda d: (-d.count, d.reason))
    return Items(
        (Item(head, notes=tuple(f"{d.count:,} {d.reason}: for example {d.example}" for d in rows)),),
        title="Candidates",
    )
