"""Candidates contain what people run: the layouts that the public InferenceX benchmark declared in 2025-11 to 2026-08."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fleet.candidates.enumerate import space_of
from fleet.candidates.need import Limits, Need, Place, Weights
from fleet.catalog.load import load_catalog
from fleet.catalog.records import DomainKind
from fleet.layout import ParallelismLayout, Precision
from fleet.perf.interface import Lengths
from fleet.perf.memory import fits
from fleet.perf.replica import Load

CATALOG = load_catalog()
TABLE = Path(__file__).parents[3] / "shared" / "bench" / "labels" / "declared_layouts.csv"
MODELS = {
    "dsr1": "deepseek-r1",
    "dsr1-fp8": "deepseek-r1",
    "DeepSeek-R1-0528": "deepseek-r1",
    "glm5": "glm-5",
    "glm5.1": "glm-5",
    "gptoss": "gpt-oss-120b",
    "kimik2.5": "kimi-k2.5",
    "kimik2.6": "kimi-k2.5",
    "minimaxm2.5": "minimax-m2.5",
    "qwen3.5": "qwen3.5-397b-a17b",
    "dsv4": "deepseek-r1",  # no card yet: layouts are held against a model with as many heads and experts
    "minimaxm3": "minimax-m2.5",
}
PLACES = {
    "h100": "h100-sxm",
    "h200": "h200-sxm",
    "b200": "b200-hgx",
    "b300": "b300-hgx",
    "gb200": "gb200-nvl72",
    "gb300": "gb300-nvl72",
}
WEIGHTS = {
    "fp4": (Precision.NVFP4, Precision.MXFP4),
    "nvfp4": (Precision.NVFP4,),
    "int4": (Precision.MXFP4,),
    "fp8": (Precision.FP8,),
    "bf16": (Precision.BF16,),
}
CONTEXT = 9216.0
Key = tuple[Any, ...]
Row = dict[str, str]


@dataclass(frozen=True)
class Contained:
    """Layouts of mixed workers, and of every form its workers' layouts and the codes of its pairings, sorted."""

    mixed: frozenset[ParallelismLayout]
    layouts: tuple[dict[ParallelismLayout, int], ...]
    codes: tuple[NDArray[np.int64], ...]

    def has(self, key: Key) -> bool:
        if len(key) == 1:
            return key[0] in self.mixed
        prefill, a, decode, b = key
        for layouts, codes in zip(self.layouts, self.codes, strict=True):
            if prefill in layouts and decode in layouts:
                code = encoded(layouts[prefill], a, layouts[decode], b)
                place = int(np.searchsorted(codes, code))
                if place < codes.size and codes[place] == code:
                    return True
        return False


def encoded(prefill: Any, prefill_workers: Any, decode: Any, decode_workers: Any) -> Any:
    """Return one number for a pairing; layouts by their places, each below 1,024."""
    return ((prefill * 1024 + prefill_workers) * 1024 + decode) * 1024 + decode_workers


@cache
def contained(model: str, accelerator: str, precision: str, engine: str) -> Contained:
    record = CATALOG.accelerators[accelerator]
    place = Place("here", record, record.nic_bytes_per_s.value, record.domain_gpus, 64, 2.0)
    release = next(e for e in CATALOG.engines if e.id.value == engine)
    rendered = release.model_copy(update={"targets": ("kubernetes", "dynamo")})
    dense = Precision.FP8 if model == "deepseek-r1" else Precision.BF16
    weights = tuple(
        Weights(p, p if p in (Precision.FP8, Precision.BF16) else dense, "hf://x") for p in WEIGHTS[precision]
    )
    limits = Limits(
        max_tp=72,
        max_gpus_per_replica=176,
        allow_pipeline=True,
        allow_aggregated=True,
        allow_disaggregated=True,
    )
    load = Load(lengths=Lengths((1000.0,), (1000.0,), (1.0,)))
    need = Need(
        "w",
        CATALOG.models[model],
        weights,
        (Precision.FP8,),
        (rendered,),
        None,
        load,
        1.0,
        int(CONTEXT),
        limits,
    )
    space = space_of(need, place)
    codes = [
        np.unique(encoded(pairs.prefill, pairs.prefill_workers, pairs.decode, pairs.decode_workers))
        for pairs in space.apart
    ]
    return Contained(
        frozenset(shape.replica.decoder.layout for shape in space.mixed),
        tuple({w.layout: i for i, w in enumerate(pairs.workers)} for pairs in space.apart),
        tuple(codes),
    )


def layout(row: Row, side: str) -> ParallelismLayout:
    """Return one side of a declared layout: with data-parallel attention its TP is the number of ranks."""
    tp, ep = (max(int(float(row[side + name] or 1)), 1) for name in ("tp", "ep"))
    gpus = max(tp, ep)
    if row[side + "dp_attn"] == "True":
        return ParallelismLayout(dp=gpus, ep=gpus if ep > 1 else 1)
    return ParallelismLayout(tp=gpus, ep=ep if ep == 1 or ep < gpus else gpus)


def key_of(row: Row) -> Key:
    if not row["d_workers"]:
        return (layout(row, ""),)
    a, b = int(float(row["p_workers"])), int(float(row["d_workers"]))
    ratio = gcd(a, b)
    return (layout(row, "p_"), a // ratio, layout(row, "d_"), b // ratio)


def fault(row: Row, model: str, accelerator: str, engine: str) -> str:
    """Return why a declared layout is no candidate although somebody wrote it down, empty where it must be one."""
    if row["d_workers"] and not float(row["d_workers"]):
        return "no decode worker"
    key, gpu = key_of(row), CATALOG.accelerators[accelerator]
    if len(key) == 4 and gpu.domain is DomainKind.RACK and key[0].gpus * key[1] + key[2].gpus * key[3] > 72:
        return "wider than a rack"
    card, release = CATALOG.models[model], next(e for e in CATALOG.engines if e.id.value == engine)
    least = min(WEIGHTS[row["precision"]], key=lambda p: p.bits)
    dense = Precision.FP8 if model == "deepseek-r1" and least.bits < 8 else least
    layouts = [x for x in key if isinstance(x, ParallelismLayout)]
    refused = [fits(card, gpu, release, x, least, dense, Precision.FP8, CONTEXT) for x in layouts]
    return "no room for a request beside the weights at the engine's default" if any(refused) else ""


def test_candidates_contain_every_declared_layout_that_fits_its_memory() -> None:
    if not TABLE.is_file():
        pytest.skip(f"{TABLE.name} is not beside the checkout: nothing to hold candidates against")
    found: Counter[str] = Counter()
    missing: list[str] = []
    with TABLE.open(newline="") as file:
        for row in csv.DictReader(file):
            gpu = re.search("gb200|gb300|b200|b300|h100|h200", row["runner"])
            if gpu is None or row["framework"] == "tilert":
                found["hardware or engine that fleetc does not know"] += 1
                continue
            model, accelerator = MODELS[row["prefix"]], PLACES[gpu.group()]
            known = {"sglang", "trt"} & set(re.split("[-_]", row["framework"]))
            engine = {"trt": "trtllm", "sglang": "sglang"}.get(next(iter(known), ""), "vllm")
            if contained(model, accelerator, row["precision"], engine).has(key_of(row)):
                found["contained"] += 1
            elif reason := fault(row, model, accelerator, engine):
                found[reason] += 1
            else:
                missing.append(
                    f"{model} {row['precision']} on {accelerator} with {engine}: {row['recipe'] or key_of(row)}"
                )
    assert not missing, "\n".join(missing)
    assert found["contained"] > 3700, dict(found)
    assert sum(found.values()) - found["contained"] < 60, dict(found)
