"""One benchmark run of one replica, as the update sees it."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.layout import Role
from fleet.perf.closed_loop import Loop
from fleet.perf.coefficients import cell_and_role
from fleet.perf.interface import Point

SAME_LOAD_DIGITS = 2


@dataclass(frozen=True, slots=True)
class Measurement:
    """A closed loop and what it showed: means, ms; None where the run does not tell them."""

    loop: Loop
    tpot_ms: float | None
    ttft_ms: float | None
    source: str = ""  # file name without its folder, with the record in it
    sha256: str = ""  # of the run's own record
    deployment: str = ""  # of the plan; empty for rows of a table

    @property
    def decoding(self) -> Point:
        """The worker that decodes, with one request."""
        role = Role.DECODE if self.loop.replica.is_disaggregated else Role.MIXED
        return self.loop.replica.decoder.point(role, batch=1.0, isl=self.loop.isl, osl=self.loop.osl)

    @property
    def cell(self) -> str:
        """The cell, with its role, that the run tells of."""
        return cell_and_role(self.decoding)

    @property
    def situation(self) -> tuple[object, ...]:
        """What two runs share when one repeats the other: replica, lengths and load, within a few per cent."""
        loop, replica = self.loop, self.loop.replica
        workers = tuple(
            (w.layout, w.kv, w.dense_weights, w.draft, w.engine.version)
            for w in (replica.prefiller, replica.decoder)
        )
        counts = (replica.prefill_workers, replica.decode_workers, loop.batch_limit)
        load = tuple(float(f"{x:.{SAME_LOAD_DIGITS}g}") for x in (loop.isl, loop.osl, loop.concurrency))
        return (self.cell, workers, counts, load, loop.cached_prefix)
