"""Opens a stack: its files read once, checked and resolved, with what is needed to point at their lines."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from fleet.catalog.hf_config import UnsupportedConfigError
from fleet.catalog.records import Catalog
from fleet.diagnostics import Diagnostic, Rejected, Severity
from fleet.perf.interface import PerformanceModel
from fleet.pipeline.estimates import Estimates, estimates_of, read_calibration
from fleet.pipeline.resolve import resolve
from fleet.pipeline.resolved import ResolvedFleet
from fleet.plan.staleness import spec_digest
from fleet.source import Document, read_document
from fleet.spec.load import load_spec
from fleet.spec.model import FleetFile, TraceSpec
from fleet.spec.rules import check_spec
from fleet.spec.traces import TraceSummary, read_trace, trace_places

MAX_CONFIG_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class OpenedStack:
    """A stack whose file has no error. `diagnostics` are its warnings, located."""

    fleet: ResolvedFleet
    document: Document
    diagnostics: tuple[Diagnostic, ...]
    spec_digest: str
    file_digests: dict[str, str]
    calibration: str | None = None  # text of the calibration file that the fleet file names

    @property
    def sources(self) -> dict[str, str]:
        """Text of every file that a span may point into."""
        return dict(self.document.files)

    def estimates(self) -> Estimates:
        """Return the performance model that the fleet file asks for.

        Raises:
            Rejected: a backend is not installed, or the calibration file is none.
        """
        try:
            return estimates_of(self.fleet.file.spec.performance, self.calibration)
        except Rejected as rejected:
            raise self.rejected(rejected) from None

    def performance(self) -> PerformanceModel:
        """Return the performance model alone; raises as `estimates`."""
        return self.estimates().model

    def rejected(self, rejected: Rejected) -> Rejected:
        """Return a rejection with its places in the files."""
        located = map(self.located, rejected.diagnostics)
        return Rejected(located, {**self.sources, **rejected.sources})

    def located(self, diagnostic: Diagnostic) -> Diagnostic:
        """Return a diagnostic with its places in the files."""
        return self.document.locate([diagnostic])[0]


def open_stack(stack: Path, catalog: Catalog, *, may_lack_calibration: bool = False) -> OpenedStack:
    """Read, check and resolve a stack given by its folder or its fleet file.

    Args:
        may_lack_calibration: Whether the calibration file that the fleet file names may be yet to be written.

    Raises:
        Rejected: something is wrong; carries every error of the stage that found it, located.
    """
    document = read_document(stack)
    file = load_spec(document)
    folder = stack if stack.is_dir() else stack.parent
    named: dict[str, str] = {}

    def text_of(path: str) -> str:
        return _read_config(folder, path, named)

    try:
        traces = _read_traces(file, folder, named)
        path = file.spec.performance.calibration
        is_lacking = may_lack_calibration and path is not None and not (folder / path).exists()
        calibration = None if is_lacking else read_calibration(file, folder, named)
        fleet = resolve(file, catalog, text_of, traces)
    except Rejected as rejected:
        raise Rejected(
            document.locate(rejected.diagnostics), {**document.files, **rejected.sources}
        ) from None
    warnings = [d for d in (*check_spec(file), *fleet.warnings) if d.severity is not Severity.ERROR]
    return OpenedStack(
        fleet, document, tuple(document.locate(warnings)), spec_digest(stack), named, calibration
    )


def _read_traces(file: FleetFile, folder: Path, named: dict[str, str]) -> dict[TraceSpec, TraceSummary]:
    """Read every trace that the file names, and note its digest.

    Raises:
        Rejected: some cannot be used; carries the diagnostics of all.
    """
    summaries: dict[TraceSpec, TraceSummary] = {}
    found: list[Diagnostic] = []
    for spec, where in trace_places(file).items():
        try:
            summaries[spec] = read_trace(spec, folder, where)
            named[spec.path] = summaries[spec].digest
        except Rejected as rejected:
            found += rejected.diagnostics
    if found:
        raise Rejected(found)
    return summaries


def _read_config(folder: Path, path: str, named: dict[str, str]) -> str:
    try:
        with (folder / path).open("rb") as stream:
            content = stream.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise UnsupportedConfigError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_CONFIG_BYTES:
        raise UnsupportedConfigError(f"{path} is larger than 1 MiB; that is no config.json")
    named[path] = sha256(content).hexdigest()
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise UnsupportedConfigError(f"{path} is not UTF-8 text") from None
