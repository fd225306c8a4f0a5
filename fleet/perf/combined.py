"""Calibrated estimates at the level of kernel tables: two backends combined cell by cell, by what cross-validation kept.

    quantity   = calibrated^(1 - w) · silicon^w      cells without data of their own or of an older sibling
               = calibrated                          elsewhere: where the level is known the tables add nothing

Decode step, interference and occupied prefill share one weight, the latency of a prompt alone has another. What neither
table nor term knows (constants, the queueing of a closed loop) stays the calibrated backend's. The weights are data:
tools/silicon/fit_combination.py derives them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import exp, log
from pathlib import Path
from typing import Any

from fleet.perf import coefficients
from fleet.perf.coefficients import cell_and_role
from fleet.perf.error_bars import class_of
from fleet.perf.interface import Basis, Estimate, PerformanceModel, Point, Provenance, Unsupported
from fleet.perf.roofline import Roofline
from fleet.perf.rounding import six
from fleet.perf.siblings import lender_of

PATH = Path(__file__).parent / "data" / "combination.json"


@dataclass(frozen=True, slots=True)
class Rule:
    """One class of cells: the tables' weights in steps and in latencies, and how wrong the result is on unseen groups."""

    step: float
    latency: float
    tpot_error_p90: float
    ttft_error_p90: float


@dataclass(frozen=True, slots=True)
class Combination:
    """The rules by class (see `class_of`); a class without one keeps the calibrated estimate."""

    digest: str
    rules: dict[str, Rule]


def parse(text: bytes) -> Combination:
    """Parse the data file; it is ours, so a fault in it is an error of ours."""
    parsed: dict[str, Any] = json.loads(text)
    rules = {name: Rule(**rule) for name, rule in parsed["rules"].items()}
    return Combination(hashlib.sha256(text).hexdigest(), rules)


def weighted(calibrated: float, silicon: float, weight: float) -> float:
    """Return the weighted geometric mean; there is nothing to combine where either is 0.

    >>> round(weighted(1.0, 4.0, 0.5), 9), weighted(0.0, 4.0, 0.5)
    (2.0, 0.0)
    """
    if calibrated <= 0.0 or silicon <= 0.0:
        return calibrated
    return exp((1.0 - weight) * log(calibrated) + weight * log(silicon))


@lru_cache(maxsize=1)
def committed() -> Combination:
    """Return the combination that ships with the package."""
    return parse(PATH.read_bytes())


class Combined:
    """Two backends as one. Cells with data of their own are the calibrated backend's alone."""

    def __init__(
        self,
        calibrated: PerformanceModel,
        silicon: PerformanceModel,
        combination: Combination | None = None,
        cells: Container[str] | None = None,
    ) -> None:
        """Take two backends; `cells` are those that the calibrated one has data of (those it ships with)."""
        self._calibrated = calibrated
        self._silicon = silicon
        self._combination = combination or committed()
        self._cells = coefficients.committed().cells if cells is None else cells
        parts = (calibrated.digest, silicon.digest, self._combination.digest)
        self._digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @property
    def name(self) -> str:
        return f"{self._calibrated.name}+{self._silicon.name}"

    @property
    def digest(self) -> str:
        """sha256 of both backends' digests and of the combination."""
        return self._digest

    def estimate(self, points: Sequence[Point]) -> list[Estimate | Unsupported]:
        """Return an estimate or a reason for every point, in order; the tables are asked only where they count."""
        answers = self._calibrated.estimate(points)
        asked = [
            (i, answer, rule)
            for i, (point, answer) in enumerate(zip(points, answers, strict=True))
            if isinstance(answer, Estimate) and (rule := self._rule(point, answer)) is not None
        ]
        chosen = [points[i] for i, _, _ in asked]
        others, least = self._silicon.estimate(chosen), Roofline().estimate(chosen)
        for (i, own, rule), other, floor in zip(asked, others, least, strict=True):
            assert isinstance(floor, Estimate)
            answers[i] = self._combined(own, other, floor, rule)
        return answers

    def _rule(self, point: Point, answer: Estimate) -> Rule | None:
        if answer.provenance.basis is not Basis.EXTRAPOLATED:
            return None
        lender = lender_of(point)
        if lender and cell_and_role(lender) in self._cells:
            return None
        rule = self._combination.rules.get(class_of(point))
        return rule if rule and (rule.step > 0.0 or rule.latency > 0.0) else None

    def _combined(
        self, own: Estimate, other: Estimate | Unsupported, floor: Estimate, rule: Rule
    ) -> Estimate:
        if isinstance(other, Unsupported):
            note = _joined(own.provenance.note, f"silicon: {other.reason}")
            return replace(own, provenance=replace(own.provenance, note=note))
        prefill = max(weighted(own.prefill_ms, other.prefill_ms, rule.step), floor.prefill_ms)
        latency = weighted(own.prefill_latency_ms, other.prefill_latency_ms, rule.latency)
        step = max(weighted(own.decode_step_ms, other.decode_step_ms, rule.step), floor.decode_step_ms)
        widened = other.provenance.note != ""
        return replace(
            own,
            decode_step_ms=six(step),
            prefill_ms=six(prefill),
            prefill_latency_ms=six(max(latency, floor.prefill_latency_ms, prefill)),
            interference_ms=six(weighted(own.interference_ms, other.interference_ms, rule.step)),
            relative_error_p90=six(_error(own.relative_error_p90, rule.tpot_error_p90, widened=widened)),
            ttft_relative_error_p90=six(
                _error(own.ttft_relative_error_p90, rule.ttft_error_p90, widened=widened)
            ),
            provenance=Provenance(
                backend=f"{self.name}({rule.step:.2g})",
                version=self.digest[:12],
                basis=own.provenance.basis,
                note=_joined(own.provenance.note, other.provenance.note),
            ),
        )


def _error(own: float, combined: float, *, widened: bool) -> float:
    """Return the combined error; where the tables priced something else, no less than the calibrated one."""
    return max(own, combined) if widened else combined


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
