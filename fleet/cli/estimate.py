"""`fleetc estimate`: one point with its parts, backends side by side, an open loop's percentiles, or a table."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TypeVar

from fleet.catalog.load import load_catalog
from fleet.catalog.records import Catalog, ModelCard
from fleet.cli.estimate_text import compared_text, facts_of, open_loop_text, point_text, side_by_side
from fleet.cli.trouble import Stop
from fleet.diagnostics import did_you_mean, enumerated
from fleet.layout import ParallelismLayout, Precision
from fleet.perf.backends import MissingBackend, model_of, silicon
from fleet.perf.closed_loop import Loop, LoopResult, closed_loops
from fleet.perf.interface import Draft, Lengths, PerformanceModel, ServedPoint, Target, Unsupported
from fleet.perf.measured import Calibration, load_calibration
from fleet.perf.points import UnusableTable, estimate_table
from fleet.perf.replica import Load, ReplicaSpec, WorkerSpec
from fleet.perf.roofline import Roofline
from fleet.perf.serving import capacities, served_at
from fleet.plan.file import write_atomically

MAX_TABLE_BYTES = 256 * 1024 * 1024
MAX_CALIBRATION_BYTES = 16 * 1024 * 1024
QUANTILES = (50, 90, 95, 99)
MOST_WORKERS = 1024

_WORKERS = re.compile(r"(?:(\d{1,4})x)?((?:(?:TP|PP|DP|EP|CP)\d{1,4})+)")
_WIDTH = re.compile(r"(TP|PP|DP|EP|CP)(\d+)")
_LIMIT = re.compile(r"(ttft|tpot|e2e)-p(50|90|95|99)=(\d+(?:\.\d+)?)(ms|s)")

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The point as asked for on the command line."""

    model: str | None
    accelerator: str | None
    engine: str
    precision: str | None
    kv_cache: str
    layout: ParallelismLayout
    prefill: str | None  # workers apart: 2xTP4
    decode: str | None
    isl: float
    osl: float
    cached_prefix: float
    concurrency: float
    batch_limit: int | None
    draft_tokens: int | None
    acceptance: float | None
    rate: float | None  # requests/s: an open loop
    limits: tuple[str, ...]  # ttft-p95=500ms

    @property
    def load(self) -> Load:
        """What one replica is asked to serve in an open loop.

        Raises:
            Stop: a limit cannot be read.
        """
        return Load(
            Lengths((self.isl,), (self.osl,), (1.0,)),
            cached_prefix_fraction=self.cached_prefix / self.isl,
            targets=tuple(map(_target, self.limits)),
            max_batch=1024 if self.batch_limit is None else self.batch_limit,
        )


def run_point(
    wanted: Wanted, backends: str, calibration: Path | None, *, compare: bool, as_json: bool
) -> None:
    """Print the prediction of one replica, its parts and the physical floor; or every backend's side by side.

    Raises:
        Stop: a name is unknown, a backend is not installed, or the point cannot exist.
        Rejected: the calibration file is none.
    """
    replica = _replica(wanted, load_catalog())
    loop = Loop(
        replica,
        wanted.isl,
        wanted.osl,
        wanted.concurrency,
        cached_prefix=wanted.cached_prefix,
        batch_limit=inf if wanted.batch_limit is None else wanted.batch_limit,
    )
    if compare:
        if wanted.rate is not None or wanted.limits:
            raise Stop("--compare is of a closed loop", "leave out --rate and --limit, or --compare")
        rows = side_by_side(loop, _every_backend(_calibration(calibration)))
        sys.stdout.write(json.dumps(rows, indent=2) + "\n" if as_json else compared_text(loop, rows))
        return
    perf = _model(backends, calibration)
    result = _served(closed_loops(perf, [loop])[0])
    floor = _served(closed_loops(Roofline(), [loop])[0])
    open_loop = _open_loop(perf, replica, wanted)
    if as_json:
        facts = {**facts_of(loop, result, floor), **({"open_loop": open_loop} if open_loop else {})}
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
    else:
        sys.stdout.write(point_text(loop, result, floor) + open_loop_text(open_loop))


def run_table(points: Path, out: Path | None, backends: str, calibration: Path | None) -> None:
    """Price a CSV row by row; rows that cannot be priced say why in the column `unsupported`.

    Raises:
        Stop: no output is named, or the file is no such table.
        Rejected: the calibration file is none.
    """
    if out is None:
        raise Stop("--points needs --out: where the priced table goes", "add --out FILE.csv")
    if points.resolve() == out.resolve():
        raise Stop("--out is the table itself", "name another file")
    if points.is_dir():
        raise Stop(f"{points} is a folder", "give a CSV file")
    if points.stat().st_size > MAX_TABLE_BYTES:
        raise Stop(f"{points} is larger than 256 MiB", "split it")
    perf = _model(backends, calibration)
    try:
        priced = estimate_table(points.read_text(encoding="utf-8-sig"), load_catalog(), perf)
    except (UnusableTable, UnicodeDecodeError) as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise Stop(
            f"{points}: {reason}",
            "give a CSV with the columns model, gpu, n_gpus, engine, precision, mode, parallelism, isl, osl, concurrency_or_batch",
        ) from None
    write_atomically(out, priced)
    sys.stdout.write(f"wrote {out}\n")


# ---------------------------------------------------------------- backends


def _calibration(path: Path | None) -> Calibration | None:
    """Return the calibration that a file holds.

    Raises:
        Stop: it is too large or no text.
        Rejected: it is no calibration; located under the file's own name.
    """
    if path is None:
        return None
    with path.open("rb") as stream:
        content = stream.read(MAX_CALIBRATION_BYTES + 1)
    if len(content) > MAX_CALIBRATION_BYTES:
        raise Stop(f"{path} is larger than 16 MiB", "give a file that `fleetc calibrate` wrote")
    try:
        return load_calibration(content.decode("utf-8"), str(path))
    except UnicodeDecodeError:
        raise Stop(f"{path} is not UTF-8 text", "give a file that `fleetc calibrate` wrote") from None


def _model(backends: str, calibration: Path | None) -> PerformanceModel:
    names = [name.strip() for name in backends.split(",")]
    if names not in (["calibrated"], ["calibrated", "silicon"]):
        raise Stop(f"no estimates can be made from '{backends[:60]}'", "--backends calibrated,silicon")
    try:
        return model_of(names, _calibration(calibration))
    except MissingBackend as missing:
        raise Stop(str(missing), "pip install 'fleetc[silicon]'") from None


def _every_backend(calibration: Calibration | None) -> dict[str, PerformanceModel | str]:
    """Return every backend by name, or why it is not here."""
    models: dict[str, PerformanceModel | str] = {
        "roofline": Roofline(),
        "calibrated": model_of(["calibrated"], None),
    }
    for name, make in (
        ("silicon", silicon),
        ("calibrated+silicon", lambda: model_of(["calibrated", "silicon"], None)),
    ):
        try:
            models[name] = make()
        except MissingBackend as missing:
            models[name] = str(missing)
    measured = "no results of your own: give --calibration FILE"
    models["measured"] = model_of(["calibrated"], calibration) if calibration is not None else measured
    return models


# ---------------------------------------------------------------- the replica and its load


def _replica(wanted: Wanted, catalog: Catalog) -> ReplicaSpec:
    if wanted.model is None or wanted.accelerator is None:
        raise Stop("give --model and --accelerator, or --points FILE.csv", "see `fleetc estimate --help`")
    if (wanted.prefill is None) != (wanted.decode is None):
        raise Stop(
            "workers apart need both --prefill and --decode", "for example --prefill 2xTP4 --decode DP8EP8"
        )
    card = _known(wanted.model, catalog.models, "model")
    accelerator = _known(wanted.accelerator, catalog.accelerators, "accelerator")
    engine = _known(wanted.engine, {e.id.value: e for e in catalog.engines}, "engine")
    precision = _precision(wanted.precision or card.native_precision.value)
    formats = (precision, _dense(card, precision), _precision(wanted.kv_cache))

    def worker(layout: ParallelismLayout) -> WorkerSpec:
        return WorkerSpec(card, accelerator, engine, layout, *formats, _draft(wanted))

    if wanted.prefill is None or wanted.decode is None:
        return ReplicaSpec(mixed=worker(wanted.layout))
    (prefill_workers, prefill), (decode_workers, decode) = map(workers_of, (wanted.prefill, wanted.decode))
    if wanted.layout.gpus > 1:
        raise Stop(
            "--tp, --pp, --dp and --ep are of workers that do both", "write 2xTP4 in --prefill and --decode"
        )
    gpus = prefill.gpus * prefill_workers + decode.gpus * decode_workers
    link = accelerator.nvlink_bytes_per_s if gpus <= accelerator.domain_gpus else accelerator.nic_bytes_per_s
    return ReplicaSpec(
        prefill=worker(prefill),
        prefill_workers=prefill_workers,
        decode=worker(decode),
        decode_workers=decode_workers,
        kv_link_bytes_per_s=link.value * prefill.gpus,
    )


def workers_of(text: str) -> tuple[int, ParallelismLayout]:
    """Return how many workers of which layout a text asks for.

    Raises:
        Stop: it is no such text.

    >>> count, layout = workers_of("2xDP8EP8")
    >>> count, layout.label
    (2, 'DP8 EP8')
    """
    match = _WORKERS.fullmatch(text.replace(" ", "").upper().replace("X", "x"))
    axes = _WIDTH.findall(match[2]) if match else []
    widths = {axis.lower(): int(width) for axis, width in axes}
    count = int(match[1] or 1) if match else 0
    is_named = bool(axes) and len(widths) == len(axes) and min(widths.values()) >= 1
    if not is_named or not 1 <= count <= MOST_WORKERS:
        raise Stop(f"'{text[:40]}' names no workers", "write them like 2xTP4 or DP8EP8")
    return count, ParallelismLayout(**widths)


def _known(name: str, records: Mapping[str, Record], what: str) -> Record:
    if name not in records:
        raise Stop(f"the catalogue has no {what} '{name[:80]}'", did_you_mean(name, records))
    return records[name]


def _precision(name: str) -> Precision:
    try:
        return Precision(name)
    except ValueError:
        known = enumerated([p.value for p in Precision])
        raise Stop(f"'{name[:40]}' is no precision", f"known are {known}") from None


def _dense(card: ModelCard, precision: Precision) -> Precision:
    known = next((c.dense_precision for c in card.checkpoints if c.precision == precision), None)
    return known or (Precision.BF16 if precision is Precision.MXFP4 else precision)


def _draft(wanted: Wanted) -> Draft | None:
    if wanted.draft_tokens is None and wanted.acceptance is None:
        return None
    if wanted.draft_tokens is None or wanted.acceptance is None:
        raise Stop(
            "a draft needs --draft-tokens and --acceptance",
            "the gain is the acceptance; it depends on the work and is not guessed",
        )
    return Draft(wanted.draft_tokens, wanted.acceptance)


def _target(text: str) -> Target:
    match = _LIMIT.fullmatch(text.strip().lower())
    if match is None:
        raise Stop(
            f"'{text[:40]}' is no limit",
            "write one like ttft-p95=500ms: ttft, tpot or e2e; p50 to p99; ms or s",
        )
    metric, quantile, amount, unit = match.groups()
    return Target(metric, int(quantile), float(amount) * (1000.0 if unit == "s" else 1.0))


def _served(result: LoopResult | Unsupported) -> LoopResult:
    if isinstance(result, Unsupported):
        raise Stop(f"no estimate ({result.reason}): {result.detail}")
    return result


def _open_loop(perf: PerformanceModel, replica: ReplicaSpec, wanted: Wanted) -> list[dict[str, object]]:
    """Return what one replica does at --rate, and at the largest rate within every --limit; Poisson arrivals."""
    rows: list[dict[str, object]] = []
    load = wanted.load
    if wanted.rate is not None:
        served = served_at(perf, replica, load, wanted.rate)
        if isinstance(served, Unsupported):
            help = "lower --rate" if wanted.rate > 0 else "give a --rate above 0"
            raise Stop(f"cannot be served ({served.reason}): {served.detail}", help)
        rows.append(_row("at this rate", served.rate_req_per_s, served))
    if load.targets:
        [found] = capacities(perf, [replica], load)
        if isinstance(found, Unsupported):
            raise Stop(f"no rate is within every limit ({found.reason}): {found.detail}", "relax --limit")
        rows.append(
            _row(
                f"largest within the limits, {found.binding} stops it",
                found.served.rate_req_per_s,
                found.served,
            )
        )
    return rows


def _row(what: str, rate: float, served: ServedPoint) -> dict[str, object]:
    latencies = {"ttft": served.ttft, "tpot": served.tpot, "e2e": served.e2e}
    quantiles = {f"{name}_ms": {f"p{q}": p.at(q) for q in QUANTILES} for name, p in latencies.items()}
    return {"what": what, "rate_req_per_s": rate, "mean_batch": served.mean_batch, **quantiles}
