"""The one door to the extra `silicon`: imported when first asked for, its version and digest, its engine handles.

`aisimulate`, the successor of aiconfigurator-core, ships the same SDK under another name; it is taken where it is there.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from fleet.perf.silicon.names import TableKey

Operation = tuple[str, float, float, str]
"""One kernel of a step: its name, milliseconds, watt-milliseconds, and where its time comes from."""

DISTRIBUTIONS = (("aisimulate_core", "aisimulate"), ("aiconfigurator_core", "aiconfigurator-core"))
"""Import name and distribution of every library that has the tables, the newest first."""

HOW_TO_INSTALL = "the kernel tables are not installed: pip install 'fleetc[silicon]' (Linux on x86-64)"


class EngineHandle(Protocol):
    """What is used of the library's compiled engine: the kernels of a step, in order."""

    def decode_step_per_op(self, gen_tokens: int, isl: int, osl: int) -> list[Operation]:
        """One iteration of `gen_tokens` requests of a rank in the middle of their answers."""

    def mixed_step_breakdown_per_op(
        self, ctx_tokens: int, gen_tokens: int, isl: int, osl: int, prefix: int = 0
    ) -> tuple[list[Operation], list[Operation], list[Operation]]:
        """One iteration with `ctx_tokens` of a prompt beside it: shared, prefill attention, decode attention."""

    def run_static_per_op(
        self, *, batch_size: int, isl: int, osl: int, prefix: int = 0, mode: str = "static"
    ) -> tuple[list[Operation], list[Operation]]:
        """Prefill (mode `static_ctx`) of `batch_size` prompts: its kernels, and an empty list."""


@dataclass(frozen=True)
class Library:
    """An installed library: its name, version and digest, the folder of its tables, and how to compile a worker."""

    distribution: str
    version: str
    digest: str  # see `digest_of`
    tables: Path
    compile: Callable[..., Any]
    kept: dict[tuple[str, str], EngineHandle] = field(default_factory=dict)
    """A handle for each system and engine: the library drops the tables it has read with the last handle on them."""

    def handle(self, key: TableKey, engine: str, attention: str | None) -> EngineHandle:
        """Compile a worker as `engine` runs it; raises what the library raises where it cannot."""
        handle: EngineHandle = self.compile(
            key.checkpoint,
            key.system,
            engine,
            tp_size=key.tp,
            pp_size=key.pp,
            attention_dp_size=key.dp,
            moe_tp_size=key.moe_tp,
            moe_ep_size=key.moe_ep,
            gemm_quant_mode=key.gemm,
            moe_quant_mode=key.moe,
            kvcache_quant_mode=key.kv,
            fmha_quant_mode=attention,
            nextn=key.draft_tokens,
        )
        self.kept[key.system, engine] = handle
        return handle


def available() -> str | None:
    """Return None when the tables are installed, else why not and what to install. Imports nothing heavy."""
    return HOW_TO_INSTALL if _installed() is None else None


def _installed() -> tuple[str, str] | None:
    return next((names for names in DISTRIBUTIONS if find_spec(names[0]) is not None), None)


def digest_of(record: str, module: str) -> str:
    """Return the sha256 of a distribution's own files, whoever installed it: what installers add is left out.

    >>> digest_of("m/a.py,sha256=x,1\\nm/__pycache__/a.pyc,,\\n", "m") == digest_of("m/a.py,sha256=x,1\\n", "m")
    True
    """
    own = [x for x in record.splitlines() if x.startswith(f"{module}/") and "__pycache__" not in x]
    return hashlib.sha256("\n".join(sorted(own)).encode()).hexdigest()


@lru_cache(maxsize=1)
def library() -> Library | None:
    """Return the installed library, or None. Its own warnings are silenced: what they say stands in provenance."""
    names = _installed()
    if names is None:
        return None
    module, distribution = names
    logging.getLogger(module).setLevel(logging.ERROR)
    record = metadata.distribution(distribution).read_text("RECORD") or ""
    return Library(
        distribution=distribution,
        version=metadata.version(distribution),
        digest=digest_of(record, module),
        tables=Path(str(import_module(module).__file__)).parent / "systems" / "data",
        compile=import_module(f"{module}.sdk.engine").EngineHandle.compile,
    )
