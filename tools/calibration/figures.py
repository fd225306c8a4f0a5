"""Which catalogue figures a fit depends on: when one changes, the coefficients must be fitted again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from fleet.catalog.records import Accelerator, Catalog, ModelCard
from fleet.perf.interface import Point


def _numbers(value: Any) -> Any:
    """Keep the numbers of a record, sources and notes left out."""
    if isinstance(value, dict):
        return {k: v for k, v in ((k, _numbers(v)) for k, v in value.items()) if v is not None}
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def digest_of(models: Iterable[ModelCard], accelerators: Iterable[Accelerator]) -> str:
    """Return a digest of the figures of these records."""
    records = {r.id: _numbers(r.model_dump()) for r in (*models, *accelerators)}
    return hashlib.sha256(json.dumps(records, sort_keys=True).encode()).hexdigest()


def figures_digest(catalog: Catalog, points: Iterable[Point]) -> str:
    """Return the digest of the records that points refer to."""
    models = {p.model.id for p in points}
    accelerators = {p.accelerator.id for p in points}
    return digest_of((catalog.models[i] for i in models), (catalog.accelerators[i] for i in accelerators))
