"""What cross-validation says of the update: its priors, and how wrong a cell still is after so many measurements."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fleet.perf.measured.update import Prior, Priors

FORMAT = 1
PATH = Path(__file__).resolve().parent.parent / "data" / "few_shot.json"


@dataclass(frozen=True, slots=True)
class FewShot:
    """The parsed data file. Errors are 90 % quantiles of the absolute relative error, every cell with the same weight.

    Measurements 0 stand for the pooled fit alone.
    """

    priors: dict[str, Priors]  # by role: mixed, apart
    tpot_error_p90: dict[str, dict[int, float]]  # role -> measurements of the cell -> error
    ttft_error_p90: dict[str, dict[int, float]]

    def tpot_left(self, role: str, measurements: int) -> float:
        """Return the share of an unseen cell's TPOT error that is left after so many measurements of it."""
        return _left(self.tpot_error_p90[role], measurements)

    def ttft_left(self, role: str, measurements: int) -> float:
        """Return the share of an unseen cell's TTFT error that is left after so many measurements of it."""
        return _left(self.ttft_error_p90[role], measurements)


def _left(errors: dict[int, float], measurements: int) -> float:
    """Return the error at the largest known number of measurements that is not above this one, as a share; at most 1."""
    known = max(k for k in errors if k <= measurements)
    return min(errors[known] / errors[0], 1.0)


def parse(text: bytes) -> FewShot:
    """Parse the data file; it is ours, so a fault in it is an error of ours."""
    parsed: dict[str, Any] = json.loads(text)
    if parsed["format"] != FORMAT:
        raise ValueError("few_shot.json has another format: run tools/calibration/few_shot.py")
    priors = {
        role: Priors(Prior(**prior["tpot"]), Prior(**prior["ttft"]))
        for role, prior in parsed["priors"].items()
    }
    errors = [
        {role: {int(k): float(e) for k, e in table.items()} for role, table in parsed[name].items()}
        for name in ("tpot_error_p90", "ttft_error_p90")
    ]
    return FewShot(priors, *errors)


@lru_cache(maxsize=1)
def committed() -> FewShot:
    """Return the figures that ship with the package."""
    return parse(PATH.read_bytes())
