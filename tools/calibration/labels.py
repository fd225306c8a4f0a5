"""Labels of disaggregated rows joined to the table: workers, attention data parallelism, draft depth and batch limits.

`calibration_labels.csv` says which declared layouts a row can be; rows with one are kept. Draft depth and batch limit
stand in the recipe names of `declared_layouts.csv` (mtp3, batch256), found there by the same layout.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PREFIXES = {
    "deepseek": "dsr1",
    "gpt-oss": "gptoss",
    "glm-5": "glm5",
    "kimi": "kimik2.5",
    "minimax": "minimaxm2.5",
    "qwen3.5": "qwen3.5",
}
DEPTH = re.compile(r"mtp(\d)(?:[._]|$)")
BATCH = re.compile(r"(?:batch|/bs)(\d+)")
NEAR = 0.06
"""Declared and measured concurrency are the same when they differ by less (they are rounded to multiples of workers)."""

MEASURED = ("gpu", "engine", "precision", "isl", "osl", "concurrency_or_batch", "ttft_ms", "tpot_ms")
"""Columns in which a row and its copy agree."""

Key = tuple[str, ...]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def labelled_rows(table: Path, labels: Path, left_out: Counter[str]) -> Iterator[dict[str, str]]:
    """Yield the disaggregated rows of a table that have one label, its columns added; count the others by reason."""
    declared, by_id = _recipes(read(labels / "declared_layouts.csv")), _labels_by_id(labels)
    seen: set[Key] = set()
    for record in read(table):
        if record["mode"] != "disagg":
            continue
        found = by_id.get(_id(record), [])
        copy = tuple(record[name] for name in MEASURED)
        if len(found) != 1:
            left_out["disaggregated with no label" if not found else "disaggregated with several labels"] += 1
        elif copy in seen:
            left_out["disaggregated copy of another row"] += 1
        else:
            seen.add(copy)
            yield _joined(record, found[0], declared)


def ambiguous_rows(table: Path, labels: Path) -> Iterator[list[dict[str, str]]]:
    """Yield for every disaggregated row that has several labels its record under each of them; copies once."""
    declared, by_id = _recipes(read(labels / "declared_layouts.csv")), _labels_by_id(labels)
    seen: set[Key] = set()
    for record in read(table):
        found = by_id.get(_id(record), []) if record["mode"] == "disagg" else []
        copy = tuple(record[name] for name in MEASURED)
        if len(found) > 1 and copy not in seen:
            seen.add(copy)
            yield [_joined(record, label, declared) for label in found]


def _labels_by_id(labels: Path) -> dict[str, list[dict[str, str]]]:
    """Return the labels that tell workers, by the id of their row."""
    by_id: dict[str, list[dict[str, str]]] = {}
    for label in read(labels / "calibration_labels.csv"):
        if label["d_workers"]:
            by_id.setdefault(label["id"], []).append(label)
    return by_id


def _id(record: dict[str, str]) -> str:
    found = re.search(r"id=([^;]+)", record["notes"])
    return found.group(1).strip() if found else ""


def _layout_key(x: dict[str, str], names: tuple[str, ...]) -> Key:
    return tuple(str(int(float(x[n]))) if x[n] else "" for n in names)


LAYOUT = ("p_workers", "p_tp", "d_workers", "d_tp", "d_ep")


def _recipes(declared: list[dict[str, str]]) -> dict[Key, list[tuple[list[float], str]]]:
    """Index recipe names by model, accelerator, engine, precision, speculation, lengths and layout."""
    found: dict[Key, list[tuple[list[float], str]]] = {}
    for row in declared:
        gpu = re.search(r"gb200|gb300|b200|b300|h100|h200", row["runner"])
        if not row["d_workers"] or not gpu or not row["recipe"]:
            continue
        engine = (
            "trtllm" if "trt" in row["framework"] else "sglang" if "sglang" in row["framework"] else "vllm"
        )
        prefix = {"dsr1-fp8": "dsr1", "DeepSeek-R1-0528": "dsr1"}.get(row["prefix"], row["prefix"])
        head = (prefix, gpu.group(), engine, row["precision"], row["spec"], row["isl"], row["osl"])
        loads = [float(c) for c in row["conc"].split(";") if c]
        found.setdefault(head + _layout_key(row, LAYOUT), []).append((loads, row["recipe"]))
    return found


def _joined(
    record: dict[str, str], label: dict[str, str], recipes: dict[Key, list[tuple[list[float], str]]]
) -> dict[str, str]:
    model = record["model"].lower()
    prefix = next((short for part, short in PREFIXES.items() if part in model), "")
    gpu = record["gpu"].split("-")[0].lower()
    head = (prefix, gpu, record["engine"], record["precision"], label["spec"], record["isl"], record["osl"])
    candidates = recipes.get(head + _layout_key(label, LAYOUT), [])
    load = float(record["concurrency_or_batch"])
    near = [name for loads, name in candidates if any(abs(c - load) <= NEAR * load for c in loads)]
    tp = {side: int(float(label[f"{side}_tp"])) for side in "pd"}
    ep = {side: int(float(label[f"{side}_ep"] or 1)) for side in "pd"}
    depth = _most_common(DEPTH, near) or _most_common(DEPTH, [name for _, name in candidates])
    return record | {
        "parallelism": f"P: TP{tp['p']} DP1 EP{ep['p']} | D: TP{tp['d']} DP1 EP{ep['d']}",
        "p_workers": label["p_workers"],
        "d_workers": label["d_workers"],
        "p_dp_attn": label["p_dp_attn"],
        "d_dp_attn": label["d_dp_attn"],
        "batch_limit": _most_common(BATCH, near),
        "draft_tokens": depth if label["spec"] == "mtp" else "",
        "spec": label["spec"],
    }


def _most_common(pattern: re.Pattern[str], names: list[str]) -> str:
    """Return what a pattern finds most often in recipe names, empty when it finds nothing."""
    found = Counter(m.group(1) for name in names if (m := pattern.search(name)))
    return max(sorted(found), key=lambda value: found[value]) if found else ""
