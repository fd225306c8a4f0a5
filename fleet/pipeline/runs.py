"""Benchmark runs as measurements: which deployment of the plan each run was of, and what its load was for one replica."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import PurePath

from fleet.catalog.records import EngineRelease
from fleet.diagnostics import (
    Diagnostic,
    Label,
    Rejected,
    Rule,
    Severity,
    Span,
    did_you_mean,
    enumerated,
    register,
)
from fleet.layout import Precision, Role
from fleet.perf.calibrated import Calibrated
from fleet.perf.closed_loop import Loop, LoopResult, closed_loops
from fleet.perf.interface import Draft, Unsupported
from fleet.perf.measured.measurement import Measurement
from fleet.perf.replica import ReplicaSpec, WorkerSpec
from fleet.perf.roofline import Roofline
from fleet.perf.rows import RowFault, read_row
from fleet.pipeline.resolved import ResolvedFleet
from fleet.plan.document import Deployment, FleetPlan, WorkerGroup
from fleet.plan.file import plan_digest
from fleet.results.checks import requests_in_flight
from fleet.results.record import (
    CACHED_LABEL,
    DEPLOYMENT_LABEL,
    GPUS_LABEL,
    PLAN_LABEL,
    REPLICAS_LABEL,
    BenchmarkResult,
)

UNKNOWN_DEPLOYMENT = register(
    "unknown-deployment",
    what="A benchmark result, or --deployment, names a deployment that the plan does not have.",
    why="What was measured cannot be told without the layout of its workers.",
    fix="Name a deployment of the plan with --deployment, or compile the plan that was benchmarked.",
)
UNCLEAR_DEPLOYMENT = register(
    "unclear-deployment",
    what="A benchmark result does not say which deployment it measured, and not exactly one of the plan serves a model of its name.",
    why="Calibrating the wrong deployment would be worse than calibrating none.",
    fix="Give --deployment ID for the files of one deployment, or run the benchmark job that `fleetc render` writes: it notes its deployment.",
)
OTHER_PLAN = register(
    "result-of-another-plan",
    what="A benchmark result was measured on another plan than the one that is committed, or on other GPUs than its deployment has.",
    why="The deployment of the same name may have had another layout then.",
    fix="Compile the plan that was benchmarked, or say with --deployment ID that its layout is that of the plan.",
)
LOAD_UNKNOWN = register(
    "load-is-not-steady",
    what="A benchmark result does not say how many requests were in flight: all were sent at once, or its file leaves the load out.",
    why="A time without its load says nothing: TPOT grows with the requests that run together.",
    fix="Run the benchmark with a fixed number of requests in flight (--max-concurrency, --concurrency), and give its JSON.",
)
AT_A_RATE = register(
    "measured-at-a-rate",
    severity=Severity.WARNING,
    what="A benchmark sent requests at a rate instead of keeping a number of them in flight; its TPOT is used at the mean number in flight, its TTFT is not used.",
    why="TTFT at a rate depends on how the requests arrived, which the result does not tell.",
    fix="Run the benchmark with a fixed number of requests in flight as well.",
)
UNPRICEABLE = register(
    "unpriceable-result",
    what="A benchmark result is of something that no estimate exists for: a name that the catalogue does not have, a layout that cannot be read, or a load that does not fit into memory.",
    why="A measurement can only correct a prediction.",
    fix="Correct the row, or leave it out.",
)
IMPLAUSIBLE = register(
    "implausible-time",
    what="A measured time is shorter than the hardware's peak bandwidth and arithmetic allow, or TPOT is more than 30 times the prediction.",
    why="Such a time is one of another unit, of another deployment, of speculative decoding, or of prompts that came from a prefix cache.",
    fix="Give times in milliseconds, of the deployment as the plan has it, with the cached share of the prompts in the label fleetc_cached.",
)
CONTRADICTORY = register(
    "contradictory-results",
    what="Two benchmark results of the same deployment, layout, lengths and load are further apart than runs of one machine ever are.",
    why="They differ by 0.4 to 2.3 % between runs; beyond 1.3 times one of them is wrong, or something that is not written down differs.",
    fix="Drop one of the two: leave its file out, or remove its row from the calibration file.",
)

TPOT_NOISE, TTFT_NOISE = 1.3, 1.6
"""Factors beyond which two runs of one situation contradict each other; repeats of any version differ by less."""

CLOCK = 1.05
"""Factor by which clocks and token counts of a tool may be off the physical floor."""

SLOWEST = 30.0
"""Factor on the predicted TPOT beyond which a unit is wrong and not a level: no public run is above 10."""


@dataclass(slots=True)
class Runs:
    """Places results on deployments and collects what is wrong with them."""

    fleet: ResolvedFleet
    plan: FleetPlan | None
    deployment: str | None = None  # that all results without a row of their own are of
    held: Mapping[str, Measurement] = field(default_factory=dict)  # in the calibration already, by record
    found: list[Diagnostic] = field(default_factory=list)
    digest: str | None = field(init=False)  # of the plan, as a benchmark job notes it

    def __post_init__(self) -> None:
        self.digest = None if self.plan is None else plan_digest(self.plan)

    @property
    def deployments(self) -> dict[str, Deployment]:
        """Those of the plan whose model and offering the fleet file still has."""
        fleet = self.fleet
        return {
            d.id: d
            for d in (self.plan.deployments if self.plan else ())
            if d.model in fleet.models and d.offering in fleet.offerings
        }

    def measurements(self, results: Iterable[BenchmarkResult]) -> list[Measurement]:
        """Return the measurements of results, in order.

        Raises:
            Rejected: some result cannot be used, or two contradict each other; carries every finding.
        """
        placed = [(result, found) for result in results if (found := self._measurement(result)) is not None]
        faults = self._unpriceable(placed)
        self.found += [*faults, *contradictions(placed)]
        if any(d.severity is Severity.ERROR for d in self.found):
            raise Rejected(self.found)
        return [measurement for _, measurement in placed]

    def _measurement(self, result: BenchmarkResult) -> Measurement | None:
        if result.row:
            return self._of_row(result)
        if result.record_sha256 in self.held and self._is_of_another_plan(result):
            return self.held[result.record_sha256]  # it was placed when its plan was the committed one
        deployment = self._deployment_of(result)
        load = self._load_of(result)
        if deployment is None or load is None or result.isl is None or result.osl is None:
            return None
        replicas = self._replicas(result, deployment)
        if replicas is None:
            return None
        decoding = next(g for g in deployment.workers if g.role is not Role.PREFILL)
        loop = Loop(
            replica=replica_of(deployment, self.fleet),
            isl=result.isl,
            osl=result.osl,
            concurrency=max(load / replicas, 1.0),
            cached_prefix=_cached_share(result) * result.isl,
            batch_limit=float(decoding.max_num_seqs),
        )
        ttft = None if result.concurrency is None else result.ttft.mean
        return Measurement(
            loop, result.tpot.mean, ttft, _kept_source(result), result.record_sha256, deployment.id
        )

    def _of_row(self, result: BenchmarkResult) -> Measurement | None:
        try:
            row = read_row(result.row, self.fleet.catalog)
        except RowFault as fault:
            self._report(UNPRICEABLE, result, f"{fault.unsupported.reason}: {fault.unsupported.detail}")
            return None
        limit = inf if row.batch_limit is None else row.batch_limit
        loop = Loop(row.replica, row.isl, row.osl, row.concurrency, batch_limit=limit)
        return Measurement(loop, row.tpot_ms, row.ttft_ms, _kept_source(result), result.record_sha256)

    def _deployment_of(self, result: BenchmarkResult) -> Deployment | None:
        """Return the deployment that a result was measured on, by option, label or model name."""
        known = self.deployments
        named = self.deployment or result.labels.get(DEPLOYMENT_LABEL)
        if named is not None:
            if named not in known:
                hint = did_you_mean(named, known)
                self._report(UNKNOWN_DEPLOYMENT, result, f"the plan has no deployment '{named[:80]}'", hint)
                return None
            if self.deployment is None and self._is_of_another_plan(result):
                self._report(
                    OTHER_PLAN, result, f"'{named}' was measured on another plan than the committed one"
                )
                return None
            return known[named]
        fitting = [d for d in known.values() if result.model and result.model in self._names(d)]
        if len(fitting) == 1:
            return fitting[0]
        served = f"the model '{result.model[:80]}'" if result.model else "a model that is not named"
        ids = [d.id for d in fitting] or sorted(known)
        which = (
            f"{len(fitting)} deployments serve it" if fitting else "no deployment serves it under that name"
        )
        hint = (
            f"give --deployment with one of {enumerated(ids, last='or')}"
            if ids
            else "compile the stack first"
        )
        self._report(UNCLEAR_DEPLOYMENT, result, f"measured on {served}: {which}", hint)
        return None

    def _names(self, deployment: Deployment) -> set[str]:
        """Return the names under which a deployment's model is asked for."""
        model = self.fleet.models[deployment.model]
        return {model.served_name, deployment.checkpoint_uri.removeprefix("hf://")}

    def _is_of_another_plan(self, result: BenchmarkResult) -> bool:
        said = result.labels.get(PLAN_LABEL)
        return said is not None and self.digest is not None and said != self.digest

    def _replicas(self, result: BenchmarkResult, deployment: Deployment) -> float | None:
        """Return over how many replicas the load was spread: as labelled, else one."""
        for label in (REPLICAS_LABEL, GPUS_LABEL):
            if label in result.labels and result.whole(label) is None:
                shown = repr(result.labels[label][:40])
                self._report(OTHER_PLAN, result, f"the label {label} is {shown}, no number of them")
                return None
        gpus, each = result.whole(GPUS_LABEL), deployment.gpus_per_replica
        replicas = result.whole(REPLICAS_LABEL) or (1 if gpus is None else gpus // each)
        if gpus is not None and gpus != replicas * each:
            what = f"it ran on {gpus} GPUs, a replica of '{deployment.id}' has {each}"
            self._report(OTHER_PLAN, result, what)
            return None
        return float(replicas)

    def _load_of(self, result: BenchmarkResult) -> float | None:
        """Return the requests in flight over all replicas."""
        if result.concurrency is not None:
            return result.concurrency
        in_flight = requests_in_flight(result) if result.request_rate is not None else None
        if in_flight is None:
            self._report(LOAD_UNKNOWN, result, "nothing says how many requests were in flight")
            return None
        self._report(
            AT_A_RATE, result, f"{result.request_rate:g} requests/s kept {in_flight:.3g} in flight on average"
        )
        return in_flight

    def _unpriceable(self, placed: Sequence[tuple[BenchmarkResult, Measurement]]) -> list[Diagnostic]:
        """Return what cannot be predicted, and so cannot be corrected, and what cannot have been measured."""
        loops = [measurement.loop for _, measurement in placed]
        faults = []
        for (result, measurement), predicted, floor in zip(
            placed, closed_loops(Calibrated(), loops), closed_loops(Roofline(), loops), strict=True
        ):
            if isinstance(predicted, Unsupported):
                faults.append(diagnostic(UNPRICEABLE, result, f"{predicted.reason}: {predicted.detail}"))
            elif not isinstance(floor, Unsupported) and (what := _implausible(measurement, predicted, floor)):
                faults.append(diagnostic(IMPLAUSIBLE, result, what))
        return faults

    def _report(self, rule: Rule, result: BenchmarkResult, message: str, help: str = "") -> None:
        self.found.append(diagnostic(rule, result, message, help))


def _implausible(measurement: Measurement, predicted: LoopResult, floor: LoopResult) -> str:
    """Return why a measurement cannot be one of its loop; empty where it can.

    The floor of TTFT is that of one prompt alone, for a loop's own TTFT has waiting in it that need not have been.
    """
    tpot, ttft = measurement.tpot_ms, measurement.ttft_ms
    alone = floor.prefill.prefill_latency_ms
    if tpot and tpot * CLOCK < floor.tpot_ms:
        return f"TPOT is {tpot:g} ms, the hardware needs {floor.tpot_ms:g} ms at least"
    if ttft and ttft * CLOCK < alone:
        return f"TTFT is {ttft:g} ms, the hardware needs {alone:g} ms at least for such a prompt"
    if tpot and tpot > SLOWEST * predicted.tpot_ms:
        return f"TPOT is {tpot:g} ms, {tpot / predicted.tpot_ms:,.0f} times the {predicted.tpot_ms:g} ms predicted"
    return ""


def diagnostic(rule: Rule, result: BenchmarkResult, message: str, help: str = "") -> Diagnostic:
    """Return a diagnostic that points at a result's record."""
    return rule.report(f"{result.source}: {message}", Label(span=span_of(result)), help=help)


def span_of(result: BenchmarkResult) -> Span:
    """Return where a result's record begins."""
    return Span(result.file, result.line, 1, 2)


def contradictions(placed: Sequence[tuple[BenchmarkResult | None, Measurement]]) -> list[Diagnostic]:
    """Return every pair of runs of one situation whose times are too far apart; repeated records are one run."""
    found: list[Diagnostic] = []
    by_situation: dict[tuple[object, ...], list[tuple[BenchmarkResult | None, Measurement]]] = {}
    for result, measurement in placed:
        runs = by_situation.setdefault(measurement.situation, [])
        if any(other.sha256 == measurement.sha256 for _, other in runs):
            continue
        for other_result, other in runs:
            what = _difference(other, measurement)
            if what and (result or other_result):
                found.append(_contradiction(what, (other_result, other), (result, measurement)))
        runs.append((result, measurement))
    return found


def _difference(first: Measurement, second: Measurement) -> str:
    for name, a, b, noise in (
        ("TPOT", first.tpot_ms, second.tpot_ms, TPOT_NOISE),
        ("TTFT", first.ttft_ms, second.ttft_ms, TTFT_NOISE),
    ):
        if a and b and max(a, b) > noise * min(a, b):
            return f"{name} of {a:g} ms and of {b:g} ms"
    return ""


def _contradiction(
    what: str,
    first: tuple[BenchmarkResult | None, Measurement],
    second: tuple[BenchmarkResult | None, Measurement],
) -> Diagnostic:
    labels = [
        Label(span=span_of(result), text="one of the two")
        for result, _ in (first, second)
        if result is not None
    ]
    kept = [
        f"the other is a row of the calibration file: {m.source}" for r, m in (first, second) if r is None
    ]
    names = " and ".join(r.source if r else m.source for r, m in (first, second))
    report = CONTRADICTORY.report(f"{names} show {what} under the same load", *labels, notes=kept)
    return replace(report, path=())


def _cached_share(result: BenchmarkResult) -> float:
    """Return the share of the prompts that a labelled run found in the prefix cache; 0 where it does not say."""
    try:
        share = float(result.labels.get(CACHED_LABEL, "0"))
    except ValueError:
        return 0.0
    return share if 0.0 <= share < 1.0 else 0.0


def _kept_source(result: BenchmarkResult) -> str:
    """Return a result's name without the folders of this machine."""
    line = "" if result.source == result.file else f":{result.line}"
    return f"{PurePath(result.file).name}{line}"


# ---------------------------------------------------------------- replicas of the plan


def replica_of(deployment: Deployment, fleet: ResolvedFleet) -> ReplicaSpec:
    """Return one replica of a deployment of the plan, as the performance model sees it."""
    by_role = {group.role: group for group in deployment.workers}
    if mixed := by_role.get(Role.MIXED):
        return ReplicaSpec(mixed=_worker(deployment, mixed, fleet))
    prefill, decode = by_role[Role.PREFILL], by_role[Role.DECODE]
    offering = fleet.offerings[deployment.offering]
    over_nvlink = deployment.kv_link == "nvlink"
    link = offering.accelerator.nvlink_bytes_per_s.value if over_nvlink else offering.nic_bytes_per_s
    return ReplicaSpec(
        prefill=replace(_worker(deployment, prefill, fleet), draft=None),
        prefill_workers=prefill.workers_per_replica,
        decode=_worker(deployment, decode, fleet),
        decode_workers=decode.workers_per_replica,
        kv_link_bytes_per_s=link * prefill.gpus_per_worker,
    )


def _worker(deployment: Deployment, group: WorkerGroup, fleet: ResolvedFleet) -> WorkerSpec:
    model = fleet.models[deployment.model]
    return WorkerSpec(
        model=model.card,
        accelerator=fleet.offerings[deployment.offering].accelerator,
        engine=_engine(deployment, fleet),
        layout=group.layout,
        weights=deployment.weights,
        dense_weights=_dense(deployment, fleet),
        kv=deployment.kv_cache,
        draft=_draft(deployment),
    )


def _engine(deployment: Deployment, fleet: ResolvedFleet) -> EngineRelease:
    known = [e for e in fleet.catalog.engines if e.id.value == deployment.engine.id]
    exact = [e for e in known if e.version == deployment.engine.version]
    return (exact or known)[-1]


def _dense(deployment: Deployment, fleet: ResolvedFleet) -> Precision:
    weights = fleet.models[deployment.model].weights
    same = [
        w.dense_precision
        for w in weights
        if (w.precision, w.uri) == (deployment.weights, deployment.checkpoint_uri)
    ]
    return same[0] if same else deployment.weights


def _draft(deployment: Deployment) -> Draft | None:
    said = deployment.speculative
    return Draft(int(said["draft_tokens"]), float(said["acceptance_length"])) if said else None
