"""What AIConfigurator 0.12 itself says of every row of a calibration table, for the comparison in `make accuracy`.

Run with a Python that has aiconfigurator==0.12.0 (which fleetc does not need) and this checkout on its path:
    PYTHONPATH=. python tools/silicon/predict_aiconfigurator.py TABLE OUT

Each row goes through AIConfigurator's own `cli_estimate` in its mode: same checkpoint, system, engine, widths, KV cache
precision and lengths as ours, batch = concurrency of one attention rank; disaggregated rows by their label, prefill
batch 1, decode batch = concurrency of one rank of one decode worker. Its tables are newer than every row: the oldest of
the versions it offers are the nearest. Where it has no data for what a row says, the nearest that it has is taken:
attention in BF16, precisions that it infers from the checkpoint, experts by expert parallelism of the same width. Rows
it cannot price at all carry its reason.
"""

from __future__ import annotations

import argparse
import csv
import logging
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from aiconfigurator.cli.api import cli_estimate
from aiconfigurator_core.sdk.errors import PerfDataNotAvailableError
from calibration.labels import labelled_rows

from fleet.catalog.load import load_catalog
from fleet.catalog.records import Catalog
from fleet.layout import Role
from fleet.perf.interface import Unsupported
from fleet.perf.replica import WorkerSpec
from fleet.perf.rows import Row, RowFault, read_row
from fleet.perf.silicon.names import TableKey, table_key

NEAREST = {"vllm": "0.24.0", "sglang": "0.5.14", "trtllm": "1.3.0rc20"}
COLUMNS = ("id", "ttft_ms", "tpot_ms", "reason")
PATHS = re.compile(r"/\S+/")


def records(table: Path, labels: Path) -> Iterator[dict[str, str]]:
    """Yield aggregated rows, then the disaggregated ones with one label, its columns added."""
    with table.open(newline="") as file:
        yield from (r for r in csv.DictReader(file) if r["mode"] == "agg")
    yield from labelled_rows(table, labels, Counter())


def key_of(worker: WorkerSpec, row: Row, role: Role) -> TableKey:
    key = table_key(worker.point(role, batch=1.0, isl=row.isl, osl=row.osl))
    if isinstance(key, Unsupported):
        raise RowFault(key.reason, key.detail)
    return key


def shared(key: TableKey, row: Row) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "model_path": key.checkpoint,
        "system_name": key.system,
        "backend_name": key.engine,
        "backend_version": NEAREST[key.engine],
        "isl": max(round(row.isl), 1),
        "osl": max(round(row.osl), 2),
    }
    if row.replica.decoder.draft:
        draft = row.replica.decoder.draft
        asked |= {"nextn": draft.tokens, "nextn_accepted": draft.acceptance_length - 1.0}
    return asked


def widths(key: TableKey, prefix: str = "") -> dict[str, int]:
    names = {
        "tp": "tp_size",
        "pp": "pp_size",
        "dp": "attention_dp_size",
        "moe_tp": "moe_tp_size",
        "moe_ep": "moe_ep_size",
    }
    return {f"{prefix}{name}": getattr(key, ours) for ours, name in names.items()}


def attempts(key: TableKey, question: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what to say beside the question, in order: the row's precisions, then what is nearest to them."""
    weights = {"gemm_quant_mode": key.gemm, "moe_quant_mode": key.moe}
    exact = weights | {"kvcache_quant_mode": key.kv}
    nearest: list[dict[str, Any]] = [exact, exact | {"fmha_quant_mode": "bfloat16"}, weights, {}]
    if key.moe_tp == 1:
        return nearest
    split = [name for name in question if name.endswith("moe_tp_size")]
    spread = dict.fromkeys(split, 1) | {
        name.replace("moe_tp", "moe_ep"): question[name] * question[name.replace("moe_tp", "moe_ep")]
        for name in split
    }
    return [*nearest, exact | spread]


def asked(row: Row) -> tuple[TableKey, dict[str, Any]]:
    """Return what to ask AIConfigurator for a row, precisions left out."""
    replica = row.replica
    if replica.mixed is not None:
        key = key_of(replica.mixed, row, Role.MIXED)
        batch = max(round(row.concurrency / key.dp), 1)
        return key, {"mode": "agg", "batch_size": batch} | shared(key, row) | widths(key)
    decode, prefill = key_of(replica.decoder, row, Role.DECODE), key_of(replica.prefiller, row, Role.PREFILL)
    workers = {
        "mode": "disagg",
        "prefill_batch_size": 1,
        "prefill_num_workers": replica.prefill_workers,
        "decode_batch_size": max(round(row.concurrency / replica.decode_workers / decode.dp), 1),
        "decode_num_workers": replica.decode_workers,
    }
    return decode, workers | shared(decode, row) | widths(prefill, "prefill_") | widths(decode, "decode_")


def estimate(row: Row) -> tuple[float, float]:
    """Return TTFT and TPOT, ms, as AIConfigurator estimates them; raises what it raises of the first attempt."""
    key, question = asked(row)
    first: Exception | None = None
    for attempt in attempts(key, question):
        try:
            answer = cli_estimate(**(question | attempt))
        except (PerfDataNotAvailableError, ValueError) as fault:
            first = first or fault
        else:
            return answer.ttft, answer.tpot
    assert first
    raise first


def predicted(record: dict[str, str], catalog: Catalog) -> list[str]:
    """Return the cells of COLUMNS for one record."""
    found = re.search(r"id=([^;]+)", record["notes"])
    name = found.group(1).strip() if found else ""
    try:
        ttft, tpot = estimate(read_row(record, catalog))
    except RowFault as fault:
        return [name, "", "", f"{fault.unsupported.reason}: {fault.unsupported.detail}"]
    except Exception as fault:  # noqa: BLE001  a foreign tool's reasons are data here
        return [name, "", "", PATHS.sub("", f"{type(fault).__name__}: {fault}").split("\n")[0][:200]]
    return [name, f"{ttft:.6g}", f"{tpot:.6g}", ""]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    catalog = load_catalog()
    rows = [predicted(r, catalog) for r in records(arguments.table, arguments.table.parent / "labels")]
    with arguments.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    without = sum(1 for row in rows if row[3])
    print(f"{len(rows)} rows, {len(rows) - without} priced")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
