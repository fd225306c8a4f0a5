"""A valued run as the plan carries it: where it is made, its load and price, and what each outcome changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fleet.candidates.need import Shape
from fleet.layout import Role
from fleet.perf.interface import Capacity, Estimate, PerformanceModel
from fleet.perf.rounding import six
from fleet.perf.serving import capacities
from fleet.pipeline.lower import MICRO_USD
from fleet.pipeline.measure.narrowing import AfterRuns, Narrowing, narrowing_of
from fleet.pipeline.measure.operating import run_of
from fleet.pipeline.measure.reach import FAST, PROBABILITIES, SCORES, Near
from fleet.pipeline.measure.shifted import Shifted, factors
from fleet.pipeline.measure.worth import Outcome, Worth
from fleet.pipeline.resolved import ResolvedFleet
from fleet.plan.document import Deployment, DeploymentMode, FleetPlan, MeasureOutcome, MeasureRun

MOST_FLIPS = 4
"""Changes named for an outcome; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Describer:
    """What a description draws on. `in_force`: the plan's deployments by candidate."""

    fleet: ResolvedFleet
    plan: FleetPlan
    perf: PerformanceModel
    after: AfterRuns
    near: Sequence[Near]
    in_force: Mapping[str, Deployment]

    def run(self, cell: str, worth: Worth) -> MeasureRun:
        """Return the run of a cell at the operating point of the candidate that decides most."""
        here = [n for n in self.near if n.cell == cell]
        near = self._representative(here, worth)
        deployment = self.in_force.get(near.id)
        capacity = near.candidate.capacity if near.candidate else self._returned(near)
        narrowing = self._narrowing(near, capacity)
        load = run_of(near, capacity, deployment)
        demand = next(w.demand for w in self.plan.workloads if w.name == near.workload)
        price = next(o.price for o in self.plan.offerings if o.name == near.shape.place.offering)
        hours = six(load.hours)
        gpu_hours = six(near.shape.gpus * hours)
        outcomes = tuple(
            self._outcome(cell, z, outcome, narrowing) for z, outcome in enumerate(worth.outcomes)
        )
        return MeasureRun(
            workload=near.workload,
            deployment=deployment.id if deployment else None,
            offering=near.shape.place.offering,
            engine=near.shape.engine.id.value,
            engine_version=near.shape.engine.version,
            weights=near.shape.weights.precision,
            kv_cache=near.shape.kv,
            mode=_mode(near.shape),
            layout=near.shape.label,
            gpus=near.shape.gpus,
            also_decides=tuple(sorted({n.workload for n in here} - {near.workload})),
            input_tokens_mean=demand.input_tokens.mean,
            output_tokens_mean=demand.output_tokens.mean,
            cached_prefix_fraction=demand.cached_prefix_fraction,
            concurrency=load.concurrency,
            requests=load.requests,
            hours=hours,
            gpu_hours=gpu_hours,
            usd_per_gpu_hour=price.usd_per_gpu_hour,
            usd=six(gpu_hours * price.usd_per_gpu_hour),
            error_before_p90=six(narrowing.tpot_before),
            error_after_p90=six(narrowing.tpot_after),
            at_stake_usd_per_hour=six(self._at_stake(near)),
            slack=self._amount(worth.slack),
            worth=six(sum(o.probability * o.saving for o in outcomes)),
            outcomes=outcomes,
        )

    def _representative(self, here: Sequence[Near], worth: Worth) -> Near:
        """Return the dearest deployment of a cell; without one, what the plan would choose if the cell is fast."""
        used = [n for n in here if n.id in self.in_force]
        if used:
            return min(used, key=lambda n: (-self.in_force[n.id].usd_per_hour, n.id))
        wanted = worth.outcomes[FAST].replicas
        return min(
            here,
            key=lambda n: (
                -wanted.get(n.id, 0) * n.shape.reserved_gpus,
                n.usd_per_request_rate(n.rates[FAST]),
                n.id,
            ),
        )

    def _returned(self, near: Near) -> Capacity:
        """Return the operating point of a dropped candidate in the outcome that brings it back."""
        load = self.fleet.workloads[near.workload].load
        [found] = capacities(Shifted(self.perf, SCORES[FAST], self.after), [near.shape.replica], load)
        assert isinstance(found, Capacity), "a candidate within reach serves when its cell is fast"
        return found

    def _narrowing(self, near: Near, capacity: Capacity) -> Narrowing:
        """Return what the run narrows at the operating point."""
        workload = self.fleet.workloads[near.workload]
        role = Role.DECODE if near.shape.is_disaggregated else Role.MIXED
        batch = six(1.0 + capacity.served.mean_batch)
        isl, osl = workload.input.mean, workload.output.mean
        point = near.shape.replica.decoder.point(role, batch=batch, isl=isl, osl=osl)
        if near.candidate:
            ttft = capacity.prefill.ttft_relative_error_p90
            return narrowing_of(point, replace(capacity.decode, ttft_relative_error_p90=ttft), self.after)
        [estimate] = self.perf.estimate([point])
        assert isinstance(estimate, Estimate), "its capacity was found"
        return narrowing_of(point, estimate, self.after)

    def _at_stake(self, near: Near) -> float:
        """USD/h of the deployments of this model, accelerator, engine, precision and mode."""
        card = self.fleet.workloads[near.workload].model.card_name
        accelerator, shape = near.shape.place.accelerator.id, near.shape
        cards = {m.name: m.card for m in self.plan.models}
        accelerators = {o.name: o.accelerator for o in self.plan.offerings}
        return sum(
            d.usd_per_hour
            for d in self.plan.deployments
            if (cards[d.model], accelerators[d.offering], d.engine.id, d.weights, d.mode)
            == (card, accelerator, shape.engine.id.value, shape.weights.precision, _mode(shape))
        )

    def _outcome(self, cell: str, z: int, outcome: Outcome, narrowing: Narrowing) -> MeasureOutcome:
        return MeasureOutcome(
            standard_score=six(SCORES[z]),
            probability=six(PROBABILITIES[z]),
            tpot_factor=six(factors(narrowing, SCORES[z])[0]),
            keep=None if outcome.keep is None else self._amount(outcome.keep),
            best=None if outcome.best is None else self._amount(outcome.best),
            saving=self._amount(outcome.saving),
            gap=six(outcome.gap),
            flips=self._flips(cell, outcome),
        )

    def _amount(self, amount: int) -> float:
        is_money = self.plan.certificate.unit == "USD/h"
        return round(amount / MICRO_USD, 6) if is_money else float(amount)

    def _flips(self, cell: str, outcome: Outcome) -> tuple[str, ...]:
        """Say which workloads of the cell would get other layouts; nothing where the best plan saves nothing."""
        if not outcome.saving and outcome.keep is not None:
            return ()
        if outcome.best is None:
            return ("no plan within reach serves the demand",)
        changes = []
        for workload in sorted({n.workload for n in self.near if n.cell == cell}):
            mine = [n for n in self.near if n.workload == workload]
            gone = [n for n in mine if n.id in self.in_force and not outcome.replicas.get(n.id)]
            come = [n for n in mine if n.id not in self.in_force and outcome.replicas.get(n.id)]
            if come and gone:
                changes.append(f"{workload}: {_named(come)} instead of {_named(gone)}")
            elif come or gone:
                verb, which = ("joins", come) if come else ("goes", gone)
                changes.append(f"{workload}: {_named(which)} {verb}")
        if not changes:
            changes = ["the same layouts, other numbers of replicas"]
        more = [f"and {len(changes) - MOST_FLIPS} more"] if len(changes) > MOST_FLIPS else []
        return (*changes[:MOST_FLIPS], *more)


def _mode(shape: Shape) -> DeploymentMode:
    return DeploymentMode.DISAGGREGATED if shape.is_disaggregated else DeploymentMode.AGGREGATED


def _named(rows: Sequence[Near]) -> str:
    return " and ".join(
        f"{n.shape.label} {n.shape.weights.precision.value} on {n.shape.place.offering}" for n in rows
    )
