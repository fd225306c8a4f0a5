"""`fleetc estimate`: one point with its parts, or a table priced row by row."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet.catalog.load import load_catalog
from fleet.catalog.records import Catalog, EngineRelease, ModelCard
from fleet.cli.trouble import Exit, Stop
from fleet.diagnostics import did_you_mean, enumerated
from fleet.layout import ParallelismLayout, Precision, Role
from fleet.perf.calibrated import Calibrated
from fleet.perf.closed_loop import closed_loop
from fleet.perf.interface import Estimate, PerformanceModel, ServedPoint, Unsupported
from fleet.perf.points import UnusableTable, estimate_table
from fleet.perf.replica import ReplicaSpec, WorkerSpec
from fleet.perf.roofline import Roofline
from fleet.plan.file import write_atomically
from fleet.units import format_bytes, format_ms, format_share, format_tokens

MAX_TABLE_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Wanted:
    """The point as asked for on the command line."""

    model: str | None
    accelerator: str | None
    engine: str
    precision: str | None
    kv_cache: str
    tp: int
    pp: int
    dp: int
    ep: int
    isl: float
    osl: float
    concurrency: float


def run_point(wanted: Wanted, as_json: bool) -> None:
    """Print the prediction of one replica under a closed loop, its parts and the physical floor.

    Raises:
        Stop: a name is unknown, or the point cannot exist.
    """
    worker = _worker(wanted, load_catalog())
    perf = Calibrated()
    estimate = _one(perf, worker, wanted)
    floor = _one(Roofline(), worker, wanted)
    served = closed_loop(perf, ReplicaSpec(mixed=worker), wanted.isl, wanted.osl, wanted.concurrency)
    if isinstance(served, Unsupported):
        raise Stop(f"cannot be served ({served.reason}): {served.detail}")
    facts = _facts(wanted, worker, estimate, floor, served)
    sys.stdout.write(
        json.dumps(facts, indent=2) + "\n" if as_json else _text(wanted, worker, estimate, floor, served)
    )


def run_table(points: Path, out: Path | None) -> None:
    """Price a CSV row by row; rows that cannot be priced say why in the column `unsupported`.

    Raises:
        Stop: no output is named, or the file is no such table.
    """
    if out is None:
        raise Stop("--points needs --out: where the priced table goes", "add --out FILE.csv")
    if points.resolve() == out.resolve():
        raise Stop("--out is the table itself", "name another file")
    if points.is_dir():
        raise Stop(f"{points} is a folder", "give a CSV file")
    if points.stat().st_size > MAX_TABLE_BYTES:
        raise Stop(f"{points} is larger than 256 MiB", "split it")
    try:
        priced = estimate_table(points.read_text(encoding="utf-8-sig"), load_catalog(), Calibrated())
    except (UnusableTable, UnicodeDecodeError) as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise Stop(
            f"{points}: {reason}",
            "give a CSV with the columns model, gpu, n_gpus, engine, precision, mode, parallelism, isl, osl, concurrency_or_batch",
        ) from None
    write_atomically(out, priced)
    sys.stdout.write(f"wrote {out}\n")


def _worker(wanted: Wanted, catalog: Catalog) -> WorkerSpec:
    if wanted.model is None or wanted.accelerator is None:
        raise Stop("give --model and --accelerator, or --points FILE.csv", "see `fleetc estimate --help`")
    card = _known(wanted.model, catalog.models, "model")
    accelerator = _known(wanted.accelerator, catalog.accelerators, "accelerator")
    releases = {e.id.value: e for e in catalog.engines}
    engine = _known(wanted.engine, releases, "engine")
    precision = _precision(wanted.precision or card.native_precision.value)
    layout = ParallelismLayout(tp=wanted.tp, pp=wanted.pp, dp=wanted.dp, ep=wanted.ep)
    return WorkerSpec(
        card, accelerator, engine, layout, precision, _dense(card, precision), _precision(wanted.kv_cache)
    )


def _known(name: str, records: Any, what: str) -> Any:
    if name not in records:
        raise Stop(f"the catalogue has no {what} '{name[:80]}'", did_you_mean(name, records))
    return records[name]


def _precision(name: str) -> Precision:
    try:
        return Precision(name)
    except ValueError:
        raise Stop(
            f"'{name[:40]}' is no precision", f"known are {enumerated([p.value for p in Precision])}"
        ) from None


def _dense(card: ModelCard, precision: Precision) -> Precision:
    known = next((c.dense_precision for c in card.checkpoints if c.precision == precision), None)
    return known or (Precision.BF16 if precision is Precision.MXFP4 else precision)


def _one(perf: PerformanceModel, worker: WorkerSpec, wanted: Wanted) -> Estimate:
    point = worker.point(Role.MIXED, batch=wanted.concurrency, isl=wanted.isl, osl=wanted.osl)
    [found] = perf.estimate([point])
    if isinstance(found, Unsupported):
        raise Stop(f"no estimate ({found.reason}): {found.detail}", code=Exit.ERROR)
    return found


def _rates(wanted: Wanted, worker: WorkerSpec, served: ServedPoint) -> float:
    """Output tokens per second and GPU."""
    return served.rate_req_per_s * wanted.osl / worker.layout.gpus


def _facts(
    wanted: Wanted, worker: WorkerSpec, estimate: Estimate, floor: Estimate, served: ServedPoint
) -> dict[str, Any]:
    return {
        "ttft_ms_mean": served.ttft.mean,
        "tpot_ms_mean": served.tpot.mean,
        "output_tok_per_s_per_gpu": float(f"{_rates(wanted, worker, served):.6g}"),
        "decode_step_ms": estimate.decode_step_ms,
        "decode_step_floor_ms": floor.decode_step_ms,
        "decode_bound": estimate.decode_bound.value,
        "decode_shares": estimate.decode_shares,
        "prefill_ms": estimate.prefill_ms,
        "prefill_floor_ms": floor.prefill_ms,
        "prefill_bound": estimate.prefill_bound.value,
        "prefill_shares": estimate.prefill_shares,
        "interference_ms": estimate.interference_ms,
        "constant_ms": estimate.constant_ms,
        "weight_bytes_per_gpu": estimate.weight_bytes_per_gpu,
        "kv_capacity_tokens": estimate.kv_capacity_tokens,
        "relative_error_p90": estimate.relative_error_p90,
        "backend": estimate.provenance.backend,
        "basis": estimate.provenance.basis.value,
        "note": estimate.provenance.note,
    }


def _text(
    wanted: Wanted, worker: WorkerSpec, estimate: Estimate, floor: Estimate, served: ServedPoint
) -> str:
    engine: EngineRelease = worker.engine
    error = format_share(estimate.relative_error_p90)
    shares = "".join(
        f"    {name:<20} {format_share(share):>7}\n"
        for name, share in sorted(estimate.decode_shares.items(), key=lambda kv: -kv[1])
        if share >= 0.0005
    )
    fill = "".join(
        f"    {name:<20} {format_share(share):>7}\n"
        for name, share in sorted(estimate.prefill_shares.items(), key=lambda kv: -kv[1])
        if share >= 0.0005
    )
    return (
        f"{worker.model.name} {worker.weights.value} as {worker.layout.label} on {worker.layout.gpus} x {worker.accelerator.name}, {engine.name} {engine.version}\n"
        f"{wanted.isl:g} prompt and {wanted.osl:g} answer tokens, {wanted.concurrency:g} requests in flight (closed loop)\n\n"
        f"  TTFT        mean {format_ms(served.ttft.mean)}\n"
        f"  TPOT        mean {format_ms(served.tpot.mean)}  (90 % error +- {error})\n"
        f"  throughput  {_rates(wanted, worker, served):,.0f} output tokens/s for each GPU\n\n"
        f"  decode step {format_ms(estimate.decode_step_ms)} (physical floor {format_ms(floor.decode_step_ms)}), bound by {estimate.decode_bound.value}\n{shares}"
        f"  prefill     {format_ms(estimate.prefill_ms)} a request (physical floor {format_ms(floor.prefill_ms)}), bound by {estimate.prefill_bound.value}\n{fill}"
        f"  beside it   a prefill delays all decoding by {format_ms(estimate.interference_ms)}; fixed part of TTFT {format_ms(estimate.constant_ms)}\n"
        f"  memory      {format_bytes(estimate.weight_bytes_per_gpu)} of weights on each GPU, KV cache for {format_tokens(estimate.kv_capacity_tokens)} tokens\n"
        f"  backend     {estimate.provenance.backend}, {estimate.provenance.basis.value}{': ' + estimate.provenance.note if estimate.provenance.note else ''}\n"
    )
