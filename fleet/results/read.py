"""Reads files of benchmark results, whichever tool wrote them, and says what is wrong with all of them together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from fleet.diagnostics import Diagnostic, Rejected, Severity
from fleet.results.aiperf import csv_record, is_csv_export, is_export, read_export
from fleet.results.checks import faults_of
from fleet.results.faults import UNKNOWN_FORMAT
from fleet.results.figures import Figures
from fleet.results.record import BenchmarkResult
from fleet.results.records import Record, ResultsFile, json_records, read_file
from fleet.results.sglang import is_sglang, read_sglang
from fleet.results.table import read_row, table_records
from fleet.results.vllm import is_vllm, read_vllm

MOST_UNKNOWN = 20
"""Records of no known format after which a file is not read on."""

Reader = Callable[[Record, Figures], BenchmarkResult]


@dataclass(frozen=True, slots=True)
class Read:
    """What files hold: results in the order of the files, and warnings with the texts that they point into."""

    results: tuple[BenchmarkResult, ...]
    warnings: tuple[Diagnostic, ...]
    sources: dict[str, str]


def read_results(path: Path) -> list[BenchmarkResult]:
    """Return the runs of one file.

    Raises:
        Rejected: something in it is wrong; carries every fault, located.
    """
    return list(read_files([path]).results)


def read_files(paths: Iterable[Path]) -> Read:
    """Return the runs of several files.

    Raises:
        Rejected: some file is wrong; carries the faults of all files, located.
    """
    results: list[BenchmarkResult] = []
    found: list[Diagnostic] = []
    sources: dict[str, str] = {}
    for path in paths:
        file = read_file(path)
        if isinstance(file, Diagnostic):
            found.append(file)
            continue
        sources[file.name] = file.text
        results += _results(file, found)
    if any(d.severity is Severity.ERROR for d in found):
        raise Rejected(found, sources)
    return Read(tuple(results), tuple(found), sources)


def _results(file: ResultsFile, found: list[Diagnostic]) -> list[BenchmarkResult]:
    """Return the sound results of a file; what is wrong goes to `found`."""
    results = []
    for record, reader in _records(file, found):
        figures = Figures(record)
        result = reader(record, figures)
        faults = figures.faults or faults_of(record, result)
        found += faults
        if not any(d.severity is Severity.ERROR for d in faults):
            results.append(result)
    return results


def _records(file: ResultsFile, found: list[Diagnostic]) -> Iterable[tuple[Record, Reader]]:
    """Yield every record of a file with its reader."""
    if file.text.lstrip()[:1] in ("{", "["):
        unknown = 0
        for record in json_records(file, found):
            reader = _reader(record)
            if reader is not None:
                yield record, reader
                continue
            found.append(_unknown(record))
            unknown += 1
            if unknown == MOST_UNKNOWN:
                return
    elif is_csv_export(file.text):
        yield csv_record(file), read_export
    else:
        yield from ((record, read_row) for record in table_records(file, found))


def _reader(record: Record) -> Reader | None:
    readers: tuple[tuple[Callable[[dict[str, object]], bool], Reader], ...] = (
        (is_export, read_export),
        (is_vllm, read_vllm),
        (is_sglang, read_sglang),
    )
    return next((reader for fits, reader in readers if fits(record.data)), None)


def _unknown(record: Record) -> Diagnostic:
    keys = ", ".join(f"'{key[:30]}'" for key in list(record.data)[:4])
    holds = f"an object with {keys}" if keys else "no object with figures"
    report = record.report(UNKNOWN_FORMAT, f"{record.name} is no result that is known: it holds {holds}")
    if "metadata" in record.data and "metrics" in record.data:
        return replace(
            report, help="these are single requests: give profile_export_aiperf.json, which stands beside it"
        )
    return report
