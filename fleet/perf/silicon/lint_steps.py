"""The linter's rule on whole steps: more expert parallelism at the same requests for each GPU costs no time in a domain.

With E experts over twice the GPUs every GPU reads half the experts for the same tokens; what grows is the exchange, and
inside an NVLink domain that is no more than a tenth of a step.
"""

from __future__ import annotations

from collections.abc import Iterable

from fleet.catalog.records import Accelerator
from fleet.perf.interface import Unsupported
from fleet.perf.rounding import six
from fleet.perf.silicon.extra import Library
from fleet.perf.silicon.faults import Finding, Repair
from fleet.perf.silicon.kernels import compile_worker, total_ms
from fleet.perf.silicon.names import MIXTURES, SYSTEMS, TableKey

RISE = 1.1
REQUESTS_OF_A_RANK, PROMPT, ANSWER = 32, 1024, 1024
WIDTHS = (2, 4, 8, 16, 32, 64)


def lint_steps(library: Library, accelerator: Accelerator, engine: str) -> list[Finding]:
    """Check the decode steps of every mixture with data-parallel attention, as wide as its NVLink domain."""
    found = []
    for checkpoint, gemm, moe in MIXTURES:
        keys = [
            TableKey(checkpoint, SYSTEMS[accelerator.id], engine, gemm, moe, "fp8", 1, 1, n, 1, n, 0)
            for n in WIDTHS
            if n <= accelerator.domain_gpus
        ]
        steps = [(key.moe_ep, step_ms(library, key)) for key in keys]
        found += rising(steps, keys[0])
    return found


def step_ms(library: Library, key: TableKey) -> float | None:
    """Return one decode step of a worker, or None where the tables lack it."""
    worker = compile_worker(library, key, Repair())
    if isinstance(worker, Unsupported):
        return None
    return total_ms(worker.decode(REQUESTS_OF_A_RANK, PROMPT, ANSWER))


def rising(steps: Iterable[tuple[int, float | None]], key: TableKey) -> list[Finding]:
    """Return the first rise of a ladder of steps by expert parallelism, as a finding from that width on.

    >>> key = TableKey("m", "s", "e", "fp8_block", "fp8_block", "fp8", 1, 1, 2, 1, 2, 0)
    >>> [f.least_ep for f in rising([(2, 10.0), (4, 11.0), (8, None), (16, 15.0)], key)]
    [16]
    """
    least: float | None = None
    for ep, step in steps:
        if step is None:
            continue
        if least is not None and step > RISE * least:
            detail = f"{key.checkpoint}: a step takes {step:.1f} ms at EP{ep}, {least:.1f} ms at less"
            return [
                Finding(
                    key.system, key.engine, "step", key.moe, "rises-with-ep", six(step / least), detail,
                    key.checkpoint, ep,
                )
            ]  # fmt: skip
        least = step if least is None else min(least, step)
    return []
