"""Rules about where estimates come from."""

from __future__ import annotations

from collections.abc import Iterator

from fleet.diagnostics import Diagnostic, at, check, enumerated
from fleet.spec.model import FleetFile
from fleet.spec.performance import BackendName

KNOWN = ((BackendName.CALIBRATED,), (BackendName.CALIBRATED, BackendName.SILICON))


@check()
def unknown_backends(file: FleetFile) -> Iterator[Diagnostic]:
    """The backends are none of the lists that estimates can be made from.

    What: `performance.backends` is neither [calibrated] nor [calibrated, silicon].
    Why: Every estimate starts from the calibrated model: the silicon tables know kernels, not engines.
    Fix: Write backends: [calibrated], or [calibrated, silicon].
    """
    backends = file.spec.performance.backends
    if backends not in KNOWN:
        label = at("spec", "performance", "backends", text=f"{enumerated([b.value for b in backends])} here")
        yield unknown_backends.report("no estimates can be made from these backends", label)


CHECKS = (unknown_backends,)
