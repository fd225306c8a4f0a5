"""Where a stack's estimates come from: its calibration file, and the performance model that it asks for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from fleet.diagnostics import Diagnostic, Rejected, at, register
from fleet.perf.interface import PerformanceModel
from fleet.spec.model import FleetFile, PerformanceSpec

MAX_BYTES = 16 * 1024 * 1024
NAMED = at("spec", "performance", "calibration", text="named here")

UNREADABLE = register(
    "unreadable-calibration",
    what="The calibration file that the fleet file names is missing, too large or no text.",
    why="Without it the plan would rest on other estimates than the fleet file says.",
    fix="write it with `fleetc calibrate STACK RESULTS...`, or remove performance.calibration",
)
NOT_INSTALLED = register(
    "backend-not-installed",
    what="The fleet file asks for a backend whose package is not installed here.",
    why="Backends are stated and never detected: the same file gives the same plan on every machine.",
    fix="pip install 'fleetc[silicon]', or compile --locked from the committed estimates",
)


@dataclass(frozen=True, slots=True)
class Estimates:
    """A performance model, and what the plan has to say of it (at spec paths)."""

    model: PerformanceModel
    warnings: tuple[Diagnostic, ...] = ()


def read_calibration(file: FleetFile, folder: Path, named: dict[str, str]) -> str | None:
    """Return the text of the calibration file that a fleet file names, its digest noted; None where it names none.

    Raises:
        Rejected: it is missing, unreadable, too large or no text.
    """
    path = file.spec.performance.calibration
    if path is None:
        return None
    try:
        with (folder / path).open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise Rejected([UNREADABLE.report(f"{path} is larger than 16 MiB", NAMED)])
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise Rejected([UNREADABLE.report(f"{path} is not UTF-8 text", NAMED)]) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise Rejected([UNREADABLE.report(f"{path} cannot be read: {reason.lower()}", NAMED)]) from None
    named[path] = sha256(content).hexdigest()
    return text


def estimates_of(spec: PerformanceSpec, calibration_text: str | None) -> Estimates:
    """Return the model that `performance` asks for. Backends are imported here, where one is needed, and nowhere before.

    Raises:
        Rejected: a backend is not installed, or the calibration file holds what `fleetc calibrate` does not write.
    """
    from fleet.perf.backends import MissingBackend, model_of
    from fleet.perf.measured import load_calibration

    calibration = None
    if calibration_text is not None:
        try:
            calibration = load_calibration(calibration_text, spec.calibration or "")
        except Rejected as broken:
            raise Rejected(_named(broken.diagnostics), broken.sources) from None
    try:
        model = model_of([b.value for b in spec.backends], calibration)
    except MissingBackend as missing:
        where = at("spec", "performance", "backends", text="asked for here")
        raise Rejected([NOT_INSTALLED.report(str(missing), where)]) from None
    return Estimates(model, tuple(_named(calibration.warnings() if calibration else ())))


def _named(found: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Return diagnostics of a calibration file with the place that names it; places in the file itself stay first."""
    return [
        replace(d, labels=(*(label for label in d.labels if label.span), NAMED), path=NAMED.path)
        for d in found
    ]
