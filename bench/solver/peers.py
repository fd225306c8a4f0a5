"""Other planners' problem files as problems of this solver."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import lcm
from pathlib import Path
from typing import Any

from solver.problem import Budget, Demand, Offering, Option, Problem

MICRO = 1_000_000
NANO = 1_000_000_000
USUAL = Budget()
SERVES_NOTHING = Fraction(
    1, MICRO
)  # the rate that the file format writes where a GPU cannot serve a size at all


@dataclass(frozen=True, slots=True)
class Peer:
    """One problem of another planner, by the name it has in its table of answers."""

    name: str
    problem: Problem


def read_melange(path: Path, *, whole_slices: bool, budget: Budget = USUAL) -> Problem:
    """Return a Mélange allocation problem: GPU types shared by the buckets of a size histogram.

    A GPU of type g serves rate r of bucket b with load r / tputs[b], and loads add up to at most the number of GPUs:
    one option of one GPU for each type, with a capacity for each bucket. With `whole_slices` each bucket is cut into
    `slice_factor` slices, and a slice is served by one type; otherwise its traffic may be split.
    """
    data = json.loads(path.read_text(), parse_float=Decimal)
    rate = Fraction(data["total_request_rate"])
    buckets = {
        f"b{row}-{column}": Fraction(part) * rate
        for row, line in enumerate(data["workload_distribution"])
        for column, part in enumerate(line)
        if part > 0
    }
    most = _most_gpus(data, buckets)
    scale = {name: _scale(amount) for name, amount in buckets.items()}
    offerings = tuple(
        _single_gpus(name, most, Fraction(info["cost"]) * MICRO) for name, info in data["gpu_info"].items()
    )
    options = tuple(
        Option(
            id=name,
            offering=name,
            slot=name,
            gpus=1,
            domains=0,
            capacity=tuple(
                (bucket, int(served * scale[bucket]))
                for bucket in buckets
                if (served := _served(info, bucket)) > SERVES_NOTHING
            ),
        )
        for name, info in data["gpu_info"].items()
    )
    demands = tuple(
        Demand(
            bucket, -int(-amount * scale[bucket]), 0, pieces=int(data["slice_factor"]) if whole_slices else 0
        )
        for bucket, amount in buckets.items()
    )
    return Problem(offerings, tuple(i for i in options if i.capacity), demands, budget=budget)


def _served(info: dict[str, Any], bucket: str) -> Fraction:
    row, column = bucket[1:].split("-")
    return Fraction(info["tputs"][int(row)][int(column)])


def _scale(rate: Fraction) -> int:
    """Whole-number scale of one bucket's rate and capacities: only their ratios matter."""
    return 10 ** max(6, 9 - len(str(int(rate))))


def _most_gpus(data: dict[str, Any], buckets: dict[str, Fraction]) -> int:
    """GPUs of one type that serve every bucket that the type can serve."""
    needed = [
        sum(
            (rate / _served(info, b) for b, rate in buckets.items() if _served(info, b) > SERVES_NOTHING),
            Fraction(1),
        )
        for info in data["gpu_info"].values()
    ]
    return int(max(needed)) + 1


def _single_gpus(name: str, most: int, cost: Fraction) -> Offering:
    return Offering(
        id=name,
        zone="anywhere",
        unit_domains=1,
        max_units=most,
        min_units=0,
        domain_gpus=1,
        host_gpus=1,
        domains_per_rack=1,
        cost_per_unit=int(cost),
        power_per_unit=0,
    )


def read_inferno(path: Path, *, mixed: bool, budget: Budget = USUAL) -> Problem:
    """Return an llm-inferno candidate table: services on accelerators of limited capacity.

    A replica takes `UnitsPerReplica` units of its accelerator type, wherever they are, at a cost of its own. Unless
    `mixed`, a service uses one accelerator only.
    """
    data = json.loads(path.read_text(), parse_float=Decimal)
    offerings = tuple(_single_gpus(kind, int(units), Fraction(0)) for kind, units in data["capacity"].items())
    options, rates = [], {}
    for row in data["candidates"]:
        served, rate = Fraction(row["MaxRPM"]), Fraction(row["Rate"])
        scale = lcm(served.denominator, rate.denominator)
        rates[row["Server"]] = max(rates.get(row["Server"], 1), scale)
        options.append((row, served))
    built = tuple(
        Option(
            id=f"{row['Server']} on {row['Acc']}",
            offering=row["Type"],
            slot=f"{row['Server']} on {row['Acc']}" if mixed else row["Server"],
            gpus=int(row["UnitsPerReplica"]),
            domains=int(row["UnitsPerReplica"]) if int(row["UnitsPerReplica"]) > 1 else 0,
            capacity=((row["Server"], int(served * NANO)),),
            cost_per_replica=int(Fraction(row["Cost"]) / int(row["Replicas"]) * MICRO),
        )
        for row, served in options
    )
    demands = {
        row["Server"]: Demand(row["Server"], int(Fraction(row["Rate"]) * NANO), 1) for row, _ in options
    }
    return Problem(offerings, built, tuple(demands.values()), budget=budget)
