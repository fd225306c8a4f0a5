"""The silicon backend: steps summed from the tables' kernels, our memory rule, never below the physical floor.

    decode step    = max( Σ decode kernels of b = B / dp / pp requests / A ,  floor )        A tokens emitted by a step
    latency        = max( Σ prefill kernels of one prompt ,  floor )
    prefill        = max( latency / dp / pp ,  floor )                       ranks and stages prefill side by side
    interference   = ( Σ mixed kernels - Σ decode kernels ) · new tokens / chunk / dp / pp
    burst          = prefill / 20                                            one request in ten, behind half a burst
    steps waited   = 1 / 2                                                   what is left of the running iteration

The tables know kernels: no scheduler, tokeniser or network. What those cost is not here, and in the error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from fleet.catalog.load import load_catalog
from fleet.layout import Role
from fleet.perf.error_bars import class_of
from fleet.perf.interface import Basis, Estimate, Point, Provenance, Unsupported
from fleet.perf.roofline import floors
from fleet.perf.rounding import six
from fleet.perf.service import CHUNK_TOKENS
from fleet.perf.silicon import errors, faults
from fleet.perf.silicon.extra import HOW_TO_INSTALL, Library, library
from fleet.perf.silicon.kernels import Kernels, Worker, compile_worker, total_ms
from fleet.perf.silicon.lint import lint_engine
from fleet.perf.silicon.lint_steps import lint_steps
from fleet.perf.silicon.names import NODE_GPUS, TableKey, table_key
from fleet.perf.silicon.parts import bound_of, decode_shares, prefill_shares
from fleet.perf.silicon.tables import newest
from fleet.perf.terms import decode_terms
from fleet.perf.workers import Batch, batch_of

POINTS_KEPT = 65536
"""Points whose kernels are kept: a closed loop asks for the same ones several times."""

BURST_SHARE = 1.0 / 20.0
STEPS_WAITED = 0.5


@dataclass(frozen=True, slots=True)
class _Load:
    """What one rank of a worker does, in whole requests and tokens."""

    batch: int
    isl: int
    osl: int
    prefix: int

    @property
    def new(self) -> int:
        return self.isl - self.prefix


@dataclass(frozen=True, slots=True)
class _Steps:
    decode: Kernels
    prefill: Kernels
    interference_ms: float  # of one prompt on one rank


@dataclass(frozen=True, slots=True)
class _Least:
    """The floors of a point and how its roofline divides multiplications, ms."""

    decode_ms: float
    prefill_ms: float
    latency_ms: float
    weights_ms: float
    compute_ms: float


class Silicon:
    """Kernel timings as a backend. Workers are compiled once; tables that the linter refuses are not used."""

    def __init__(
        self, installed: Library | None = None, table_errors: errors.TableErrors | None = None
    ) -> None:
        self._library = installed or library()
        self._errors = table_errors or errors.committed()
        self._workers: dict[TableKey, Worker | Unsupported] = {}
        self._findings: dict[tuple[str, str], tuple[faults.Finding, ...]] = {}
        self._versions = cache(self._version_of)
        self._steps = lru_cache(maxsize=POINTS_KEPT)(self._steps_of)

    @property
    def name(self) -> str:
        return "silicon"

    @property
    def digest(self) -> str:
        """sha256 of the library's files, of what the linter found in them and of the measured errors."""
        of = self._library.digest if self._library else "not installed"
        parts = (of, faults.PATH.read_text(encoding="utf-8"), repr(self._errors))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def estimate(self, points: Sequence[Point]) -> list[Estimate | Unsupported]:
        """Return an estimate or a reason for every point, in order. A new point takes at most half a millisecond."""
        if self._library is None:
            return [Unsupported("extra-not-installed", HOW_TO_INSTALL) for _ in points]
        batch = batch_of(points)
        answers: dict[int, Estimate | Unsupported] = dict(batch.faults)
        if batch.workers:
            keys = [table_key(worker) for worker in batch.workers]
            for row, (position, least) in enumerate(
                zip(batch.positions.tolist(), _leasts(batch), strict=True)
            ):
                w = int(batch.worker[row])
                answers[position] = self._answer(points[position], keys[w], batch, w, least)
        return [answers[i] for i in range(batch.size)]

    def _answer(
        self, point: Point, key: TableKey | Unsupported, batch: Batch, w: int, least: _Least
    ) -> Estimate | Unsupported:
        if isinstance(key, Unsupported):
            return key
        worker = self._worker(key, point)
        if isinstance(worker, Unsupported):
            return worker
        layout = point.layout
        load = _Load(
            batch=max(round(point.batch / layout.dp / layout.pp), 1),
            isl=max(round(point.isl), 1),
            osl=max(round(point.osl), 1),
            prefix=min(round(point.cached_prefix), max(round(point.isl), 1) - 1),
        )
        try:
            steps = self._steps(key, load)
        except Exception as fault:  # noqa: BLE001  the library's reason for a shape beyond its tables
            return Unsupported(
                "tables-lack-data", f"{key.checkpoint} on {key.system}: {fault}".split(" at /")[0]
            )
        return self._estimate(point, key, worker, batch, w, least, steps)

    def _estimate(
        self, point: Point, key: TableKey, worker: Worker, batch: Batch, w: int, least: _Least, steps: _Steps
    ) -> Estimate:
        memory, layout = batch.memories[w], point.layout
        emitted = point.draft.acceptance_length if point.draft else 1.0
        side_by_side = layout.dp * layout.pp
        alone = total_ms(steps.prefill)
        prefill = max(alone / side_by_side, least.prefill_ms)
        step = decode_shares(
            steps.decode, has_ranks=key.moe_ep > 1, weights_ms=least.weights_ms, compute_ms=least.compute_ms
        )
        fill = prefill_shares(steps.prefill, has_ranks=key.moe_ep > 1)
        provenance, is_substituted = self._provenance(key, worker, steps)
        tpot_error, ttft_error = self._errors.at(class_of(point), is_substituted=is_substituted)
        mixed = point.role is Role.MIXED
        return Estimate(
            decode_step_ms=six(max(total_ms(steps.decode) / emitted, least.decode_ms)),
            prefill_ms=six(prefill),
            prefill_latency_ms=six(max(alone, least.latency_ms, prefill)),
            interference_ms=six(steps.interference_ms / side_by_side) if mixed else 0.0,
            constant_ms=0.0,
            weight_bytes_per_gpu=memory.weight_bytes_per_gpu,
            kv_bytes_per_token=memory.kv_bytes_per_token,
            kv_capacity_tokens=memory.kv_capacity_tokens,
            decode_bound=bound_of(step),
            prefill_bound=bound_of(fill),
            decode_shares=step,
            prefill_shares=fill,
            relative_error_p90=six(tpot_error),
            provenance=provenance,
            ttft_relative_error_p90=six(ttft_error),
            kv_bytes_per_sequence=memory.kv_bytes_per_sequence,
            prefill_wait_steps=STEPS_WAITED if mixed else 0.0,
            burst_ms=six(BURST_SHARE * prefill) if mixed else 0.0,
        )

    def _worker(self, key: TableKey, point: Point) -> Worker | Unsupported:
        """Return the compiled worker, or why its tables are not used."""
        found = self._workers.get(key)
        if found is None:
            assert self._library
            repair = faults.repair_of(key, self._found(key, point.accelerator.id))
            found = repair if isinstance(repair, Unsupported) else compile_worker(self._library, key, repair)
            self._workers[key] = found
        return found

    def _found(self, key: TableKey, accelerator_id: str) -> tuple[faults.Finding, ...]:
        """Return the findings on one accelerator: those kept as data for this library, else checked now."""
        assert self._library
        kept = faults.committed()
        if kept.digest == self._library.digest:
            return tuple(f for f in kept.findings if f.system == key.system)
        known = self._findings.get((key.system, key.engine))
        if known is None:
            gpu = load_catalog().accelerators[accelerator_id]
            of_engine = [
                f for engine in (key.engine, *faults.DONORS) for f in lint_engine(self._library, gpu, engine)
            ]
            known = (*dict.fromkeys(of_engine), *lint_steps(self._library, gpu, key.engine))
            self._findings[key.system, key.engine] = known
        return known

    def _steps_of(self, key: TableKey, load: _Load) -> _Steps:
        worker = self._workers[key]
        assert isinstance(worker, Worker)
        decode = worker.decode(load.batch, load.isl, load.osl)
        chunk = min(load.new, int(CHUNK_TOKENS))
        mixed = worker.mixed(chunk, load.batch, load.isl, load.osl, load.prefix)
        beside = max(total_ms(mixed) - total_ms(decode), 0.0) * load.new / chunk
        return _Steps(decode, worker.prefill(load.isl, load.prefix), beside)

    def _provenance(self, key: TableKey, worker: Worker, steps: _Steps) -> tuple[Provenance, bool]:
        """Return where an estimate comes from, and whether something else was priced than what was asked."""
        assert self._library
        notes = list(worker.notes)
        if key.spans_nodes:
            notes.append(f"EP{key.moe_ep} priced over nodes of {NODE_GPUS.get(key.system, 8)} GPUs")
        total = total_ms(steps.decode)
        derived = sum(
            latency_ms for _, latency_ms, source in steps.decode if source not in ("silicon", "mixed")
        )
        if derived > 0.5 * total:
            notes.append(f"{derived / total:.0%} of the step between measured kernels")
        provenance = Provenance(
            self.name, self._versions(key.system, key.engine), Basis.EXTRAPOLATED, "; ".join(notes)
        )
        return provenance, bool(notes)

    def _version_of(self, system: str, engine: str) -> str:
        """Return which tables price an engine: the library's version and the engine's that its GEMMs were timed with."""
        assert self._library
        path = newest(self._library.tables, system, engine, "gemm")
        timed = f", {engine} {path.parent.name}" if path else ""
        return f"{self._library.distribution} {self._library.version}{timed}"


def _leasts(batch: Batch) -> list[_Least]:
    least, terms = floors(batch.table), decode_terms(batch.table)
    columns = (
        least.decode_ms,
        least.prefill_ms,
        least.latency_ms,
        terms["dense_weights"] + terms["expert_weights"],
        terms["compute"],
    )
    return [_Least(*row) for row in zip(*(c.tolist() for c in columns), strict=True)]
