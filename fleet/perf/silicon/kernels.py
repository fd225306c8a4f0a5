"""One worker's kernels: compiled once, asked for steps, and where a table is faulty, repaired from sound ones.

decode      kernels of one iteration of b = B / dp requests, contexts in the middle of their answers
prefill     kernels of one prompt alone
mixed       kernels of an iteration with a chunk of a prompt beside b requests

Repairs: GEMMs from another engine's table of the same accelerator and precision (`donor`); no kernel slower than the
same one at twice the batch (`padded`): rows that are padded are never a loss.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fleet.perf.interface import Unsupported
from fleet.perf.silicon.extra import EngineHandle, Library, Operation
from fleet.perf.silicon.faults import Repair
from fleet.perf.silicon.names import TableKey

Kernels = tuple[tuple[str, float, str], ...]
"""Name, milliseconds and source of every kernel of a step."""

ATTENTION = (None, "bfloat16", "fp8")
"""Precisions of attention kernels to try, in order: the checkpoint's own, then BF16, which most tables have."""

PROBE = (8, 1024, 256)
"""Batch, prompt and answer that a handle must be able to price before it is taken."""


def _kernels(operations: list[Operation]) -> Kernels:
    return tuple((name, latency_ms, source) for name, latency_ms, _, source in operations)


def _is_gemm(name: str) -> bool:
    return name.endswith("_gemm")


def _with_gemms_of(kernels: Kernels, donor: Kernels) -> Kernels:
    """Return the kernels with the donor's GEMMs of the same names; those it does not have raise KeyError."""
    given = {name: (name, latency_ms, source) for name, latency_ms, source in donor}
    return tuple(given[kernel[0]] if _is_gemm(kernel[0]) else kernel for kernel in kernels)


def _no_slower_than(kernels: Kernels, padded: Kernels) -> Kernels:
    return tuple(
        (name, min(latency_ms, other[1]), source)
        for (name, latency_ms, source), other in zip(kernels, padded, strict=True)
    )


@dataclass(frozen=True)
class Worker:
    """A compiled worker, its repair and how it differs from what was asked, in words."""

    handle: EngineHandle
    donor: EngineHandle | None
    is_padded: bool
    notes: tuple[str, ...]

    def decode(self, batch: int, isl: int, osl: int) -> Kernels:
        """Return the kernels of one iteration of `batch` requests of a rank."""
        kernels = self._decode(batch, isl, osl)
        return _no_slower_than(kernels, self._decode(2 * batch, isl, osl)) if self.is_padded else kernels

    def _decode(self, batch: int, isl: int, osl: int) -> Kernels:
        kernels = _kernels(self.handle.decode_step_per_op(batch, isl, osl))
        if self.donor is None:
            return kernels
        return _with_gemms_of(kernels, _kernels(self.donor.decode_step_per_op(batch, isl, osl)))

    def prefill(self, isl: int, prefix: int) -> Kernels:
        """Return the kernels of one prompt, of which `prefix` tokens are cached."""
        found = [
            _kernels(h.run_static_per_op(batch_size=1, isl=isl, osl=1, prefix=prefix, mode="static_ctx")[0])
            for h in (self.handle, self.donor)
            if h is not None
        ]
        return found[0] if self.donor is None else _with_gemms_of(*found)

    def mixed(self, chunk: int, batch: int, isl: int, osl: int, prefix: int) -> Kernels:
        """Return the kernels of an iteration with `chunk` tokens of a prompt beside `batch` requests."""
        found = []
        for h in (self.handle, self.donor):
            if h is not None:
                parts = h.mixed_step_breakdown_per_op(chunk, batch, isl, osl, prefix)
                found.append(_kernels([operation for part in parts for operation in part]))
        return found[0] if self.donor is None else _with_gemms_of(*found)


def compile_worker(library: Library, key: TableKey, repair: Repair) -> Worker | Unsupported:
    """Compile a worker; where the tables lack its attention precision or its experts' split, take the nearest."""
    reason = ""
    for candidate, note in _nearest(key):
        for attention in ATTENTION:
            try:
                worker = _compiled(library, candidate, attention, repair)
            except Exception as fault:  # noqa: BLE001  what a foreign library raises here is a reason, not our fault
                reason = reason or f"{type(fault).__name__}: {fault}".split(" at /")[0].split("\n")[0]
                continue
            notes = [note] if note else []
            notes += [f"attention in {attention}"] if attention else []
            return Worker(worker.handle, worker.donor, worker.is_padded, (*notes, *repair.notes))
    return Unsupported("tables-lack-data", f"{key.checkpoint} on {key.system} with {key.engine}: {reason}")


def _compiled(library: Library, key: TableKey, attention: str | None, repair: Repair) -> Worker:
    handle = library.handle(key, key.engine, attention)
    donor = library.handle(key, repair.gemm_donor, attention) if repair.gemm_donor else None
    worker = Worker(handle, donor, repair.is_padded, ())
    batch, isl, osl = PROBE
    worker.decode(batch, isl, osl)
    worker.prefill(isl, 0)
    worker.mixed(isl, batch, isl, osl, 0)
    return worker


def _nearest(key: TableKey) -> list[tuple[TableKey, str]]:
    """Return the worker as asked and what is nearest to it: its experts by rank, its KV cache in BF16."""
    asked = [(key, "")]
    if key.moe_tp > 1:
        spread = replace(key, moe_tp=1, moe_ep=key.moe_tp * key.moe_ep)
        asked.append((spread, f"experts priced as EP{spread.moe_ep}"))
    if key.kv != "bfloat16":
        asked.append((replace(key, kv="bfloat16"), "KV cache priced in BF16"))
    return asked


def total_ms(kernels: Kernels) -> float:
    """Return the time of a step, its kernels one after another."""
    return sum(latency_ms for _, latency_ms, _ in kernels)
