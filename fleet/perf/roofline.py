"""The physical floor of a worker's time: peak rates and perfect overlap. It prices nothing; nothing may beat it.

    decode step   max( weights + KV + state over HBM,  dense FLOPs over peak,  bytes over the links )
    prefill       max( dense FLOPs over peak, bytes over the links )      occupied time: weights are read anyway
                  the same, and every weight once over HBM                latency of one request alone

Source: Williams et al., CACM 52(4), 2009.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fleet.perf.interface import Basis, Bound, Estimate, Point, Provenance, Unsupported
from fleet.perf.rounding import six_digits
from fleet.perf.terms import Columns, Table, decode_terms, latency_terms, prefill_terms
from fleet.perf.workers import batch_of

VERSION = "2"
RESOURCES = (Bound.MEMORY, Bound.COMPUTE, Bound.COMMUNICATION)
IN_SWITCH_REDUCTION = 0.5
"""An all-reduce inside the NVLink switch sends every byte once where a ring sends it nearly twice."""


@dataclass(frozen=True, slots=True)
class Floors:
    """Least times, ms. Rows of `decode` and `prefill` follow RESOURCES: shape (3, N)."""

    decode: Columns
    prefill: Columns
    latency: Columns

    @property
    def decode_ms(self) -> Columns:
        return np.asarray(self.decode.max(axis=0))

    @property
    def prefill_ms(self) -> Columns:
        return np.asarray(self.prefill.max(axis=0))

    @property
    def latency_ms(self) -> Columns:
        return np.asarray(self.latency.max(axis=0))


def floors(t: Table) -> Floors:
    """Return the least times of every point, by resource."""
    d, p, latency = decode_terms(t), prefill_terms(t), latency_terms(t)
    nothing = np.zeros_like(t.batch)
    return Floors(
        decode=np.stack([
            d["dense_weights"] + d["expert_weights"] + d["kv"] + d["state"],
            d["compute"] + d["attention"],
            d["allreduce"] * IN_SWITCH_REDUCTION + d["ep_bytes"],
        ]),
        prefill=np.stack([
            nothing,
            p["compute"] + p["attention"],
            p["allreduce"] * IN_SWITCH_REDUCTION + p["alltoall"],
        ]),
        latency=np.stack([
            latency["weights"],
            latency["compute"] + latency["attention"],
            latency["allreduce"] * IN_SWITCH_REDUCTION + latency["alltoall"],
        ]),
    )  # fmt: skip


class Roofline:
    """The floor as a backend: error 0 means that it is a bound, not that it is right."""

    @property
    def name(self) -> str:
        return "roofline"

    @property
    def digest(self) -> str:
        """The floor has no data of its own: its arithmetic's version."""
        return f"roofline-{VERSION}"

    def estimate(self, points: Sequence[Point]) -> list[Estimate | Unsupported]:
        """Return the floor of every point, in order."""
        batch = batch_of(points)
        answers: list[Estimate | Unsupported] = [*(batch.faults.get(i) for i in range(batch.size))]  # type: ignore[list-item]
        if not batch.workers:
            return answers
        least = floors(batch.table)
        decode, prefill = six_digits(least.decode_ms), six_digits(least.prefill_ms)
        latency = six_digits(np.maximum(least.latency_ms, least.prefill_ms))
        decode_bound, prefill_bound = least.decode.argmax(axis=0), least.prefill.argmax(axis=0)
        provenance = Provenance(self.name, VERSION, Basis.FLOOR, "a physical bound, no prediction")
        for row, position in enumerate(batch.positions.tolist()):
            memory = batch.memories[batch.worker[row]]
            step, fill = RESOURCES[decode_bound[row]], RESOURCES[prefill_bound[row]]
            answers[position] = Estimate(
                decode_step_ms=decode[row],
                prefill_ms=prefill[row],
                prefill_latency_ms=latency[row],
                interference_ms=0.0,
                constant_ms=0.0,
                weight_bytes_per_gpu=memory.weight_bytes_per_gpu,
                kv_bytes_per_token=memory.kv_bytes_per_token,
                kv_capacity_tokens=memory.kv_capacity_tokens,
                decode_bound=step,
                prefill_bound=fill,
                decode_shares={step.value: 1.0},
                prefill_shares={fill.value: 1.0},
                relative_error_p90=0.0,
                provenance=provenance,
                kv_bytes_per_sequence=memory.kv_bytes_per_sequence,
            )
        return answers
