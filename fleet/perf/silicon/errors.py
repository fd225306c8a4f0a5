"""How wrong the kernel tables are against measurements: error quantiles by class. Nothing was fitted on those rows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from math import expm1, log1p
from pathlib import Path
from typing import Any

PATH = Path(__file__).parent / "data" / "errors.json"

SUBSTITUTED = "|substituted"
SUBSTITUTED_FACTOR = 1.5
"""Factor on the log error where something else was priced than what was asked, in classes without such rows of their own."""

NEVER_MEASURED = 1.0
"""Error where no class has been measured at all: a factor of two."""


@dataclass(frozen=True, slots=True)
class TableErrors:
    """By class: 90 % of measurements lie within a factor 1 + error of the estimate, groups of rows with the same weight."""

    digest: str  # of the library they were measured with
    tpot: dict[str, float]
    ttft: dict[str, float]

    def at(self, class_name: str, *, is_substituted: bool) -> tuple[float, float]:
        """Return the error of TPOT and of TTFT."""
        return _at(self.tpot, class_name, is_substituted), _at(self.ttft, class_name, is_substituted)


def _at(errors: dict[str, float], class_name: str, is_substituted: bool) -> float:
    plain = errors.get(class_name, max(errors.values(), default=NEVER_MEASURED))
    if not is_substituted:
        return plain
    return max(plain, errors.get(class_name + SUBSTITUTED, expm1(SUBSTITUTED_FACTOR * log1p(plain))))


@lru_cache(maxsize=1)
def committed() -> TableErrors:
    """Return the errors that ship with the package."""
    parsed: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
    return TableErrors(parsed["digest"], parsed["tpot"], parsed["ttft"])
