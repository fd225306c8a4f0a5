"""The physical floor: GPUs below which no plan can serve a workload, by dense peak FLOPS and perfect efficiency alone."""

from __future__ import annotations

from fleet.candidates.need import Weights
from fleet.catalog.records import Accelerator
from fleet.layout import Precision
from fleet.perf.rounding import six
from fleet.pipeline.resolved import ResolvedFleet, ResolvedWorkload

FLOPS_PER_PARAMETER = 2.0


class BeatsPhysics(RuntimeError):
    """A plan uses fewer GPUs than dense peak allows: our mistake, please report it with the fleet file."""


def floor_gpus(workload: ResolvedWorkload, fleet: ResolvedFleet) -> float:
    """Return the GPUs of the fastest permitted accelerator that the workload's matrix products need at dense peak.

    g = λ · (uncached prompt + answer) · 2 · active parameters / peak FLOPS; attention, memory and everything else
    come on top, so that no plan can use fewer.
    """
    tokens = workload.input.mean * (1.0 - workload.load.cached_prefix_fraction) + workload.output.mean - 1.0
    flops = (
        workload.planning_req_per_s
        * max(tokens, 0.0)
        * FLOPS_PER_PARAMETER
        * workload.model.card.active_params
    )
    peak = max(
        peak_flops(fleet.offerings[name].accelerator, w)
        for name in workload.offerings
        for w in workload.model.weights
    )
    return six(flops / peak)


def peak_flops(accelerator: Accelerator, weights: Weights) -> float:
    """Return the dense peak at which these weights can be multiplied, FLOPS; BF16 where the hardware lacks the format."""
    sourced = [
        accelerator.dense_flops.get(p) for p in (weights.precision, weights.dense_precision, Precision.BF16)
    ]
    return max(figure.value for figure in sourced if figure is not None)
