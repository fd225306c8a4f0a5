"""What the linter found, kept as data, and what becomes of a worker whose tables are faulty: repaired or not priced."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fleet.perf.interface import Unsupported
from fleet.perf.silicon.names import MIXTURES, TableKey

PATH = Path(__file__).parent / "data" / "lint.json"

DONORS = ("sglang", "trtllm", "vllm")
"""Engines whose GEMM tables may stand in for a faulty one of the same accelerator and precision, in order."""


PADDED = "slower-at-less"
"""The rule whose faults are repaired by padding: a kernel may always be run at a larger batch."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One table that breaks one rule. `measure` is the share or ratio that the rule limits.

    `kind` is that of a table, or `step` for whole decode steps: then `checkpoint` and `least_ep` say of which.
    """

    system: str
    engine: str
    kind: str
    precision: str
    rule: str
    measure: float
    detail: str
    checkpoint: str = ""
    least_ep: int = 0

    @property
    def table(self) -> str:
        return f"{self.system}/{self.kind}/{self.engine} in {self.precision}"


@dataclass(frozen=True, slots=True)
class Linted:
    """The findings of one library: its distribution, version and digest."""

    distribution: str
    version: str
    digest: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Repair:
    """How a worker is priced in spite of a faulty table."""

    gemm_donor: str = ""  # engine whose GEMM table is taken
    is_padded: bool = False  # no kernel is slower than at twice the batch
    notes: tuple[str, ...] = ()


@lru_cache(maxsize=1)
def committed() -> Linted:
    """Return the findings that ship with the package."""
    parsed: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
    findings = tuple(Finding(**finding) for finding in parsed["findings"])
    return Linted(parsed["distribution"], parsed["version"], parsed["digest"], findings)


def encode(linted: Linted) -> str:
    """Return the data file's text: one finding a line."""
    head = {k: v for k, v in asdict(linted).items() if k != "findings"}
    lines = ",\n  ".join(json.dumps(asdict(f), ensure_ascii=False) for f in linted.findings)
    return json.dumps(head, indent=1)[:-2] + ',\n "findings": [\n  ' + lines + "\n ]\n}\n"


def repair_of(key: TableKey, findings: Sequence[Finding]) -> Repair | Unsupported:
    """Return how a worker with these widths and precisions is priced, or why its tables are not used."""
    mine = [f for f in findings if f.system == key.system and f.engine == key.engine and _concerns(f, key)]
    hard = [f for f in mine if f.rule != PADDED]
    donor, notes = "", []
    for finding in hard:
        donor = _donor(finding, findings) if finding.kind == "gemm" else ""
        if not donor:
            return Unsupported("table-fails-lint", f"{finding.table}: {finding.rule}, {finding.detail}")
        notes.append(f"GEMMs of {donor} ({finding.table}: {finding.rule})")
    soft = [f for f in mine if f.rule == PADDED and f.table not in {h.table for h in hard}]
    notes += [f"{f.table} padded ({f.rule})" for f in soft]
    return Repair(donor, bool(soft), tuple(notes))


def _concerns(finding: Finding, key: TableKey) -> bool:
    if finding.kind == "step":
        is_checked = any(key.checkpoint == checkpoint for checkpoint, _, _ in MIXTURES)
        is_like = finding.checkpoint == key.checkpoint or not is_checked
        return is_like and key.dp > 1 and key.moe_ep >= finding.least_ep
    gemm = "fp8" if key.gemm == "fp8_static" else key.gemm
    return finding.precision == {"gemm": gemm, "moe": key.moe}.get(finding.kind, key.kv)


def _donor(finding: Finding, findings: Sequence[Finding]) -> str:
    faulty = {
        f.engine
        for f in findings
        if (f.system, f.kind, f.precision) == (finding.system, finding.kind, finding.precision)
    }
    return next((engine for engine in DONORS if engine not in faulty), "")
