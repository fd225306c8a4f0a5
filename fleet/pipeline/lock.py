"""The performance lock: the estimates that a plan rests on, frozen, so that a compile can be repeated without a backend.

The lock holds every answer that the compile asked a backend for, by worker, as columns of text: a changed estimate is a
changed line. Shares are kept where the plan shows them: at the operating points of the candidates that reached the solver.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fleet.candidates.need import Candidate
from fleet.diagnostics import Diagnostic, Label, Rejected, Severity, Span, at, enumerated, register
from fleet.perf.interface import Estimate, Unsupported
from fleet.perf.rounding import six
from fleet.pipeline.estimates import Estimates
from fleet.pipeline.lock_columns import (
    Coordinates,
    by_value,
    provenance_read,
    provenance_written,
    read,
    read_places,
    sources_of,
    written,
    written_places,
)
from fleet.pipeline.measure.narrowing import AfterRuns
from fleet.pipeline.recording import Answer, Locked, NotInLock, Recording
from fleet.plan.file import canonical_json, sha256_hex
from fleet.spec.model import PerformanceSpec

FORMAT_VERSION = "2.1"
MAX_BYTES = 64 * 1024 * 1024
AGAIN = "compile without --locked"

UNREADABLE = register(
    "unreadable-lock",
    what="perf.lock.json is missing, is no performance lock of this version, or was edited after it was written.",
    why="A locked compile has no other source of estimates; estimates that nobody computed would decide what is bought.",
    fix="compile without --locked, which writes the lock anew",
)
OTHER_ESTIMATES = register(
    "lock-of-other-estimates",
    what="The lock was written with other backends or another calibration file than the fleet file names now.",
    why="The plan would claim estimates that it does not rest on.",
    fix="compile without --locked, which writes the lock anew",
)
NOT_IN_LOCK = register(
    "estimate-not-in-lock",
    what="A locked compile needs an estimate that the lock does not hold.",
    why="The lock holds what the last compile asked for: other lengths, targets, hardware or engines need other estimates. "
    "Other prices, less hardware and other request rates do not.",
    fix="compile without --locked, which asks the backends and writes the lock anew",
)
NOT_RANKED = register(
    "measurements-not-ranked",
    severity=Severity.WARNING,
    what="A locked compile could not rank the benchmark runs worth making: the lock holds no estimates for the outcomes.",
    why="The plan is as good as ever; that it names no run does not mean that none is worth making.",
    fix="compile without --locked, which asks the backends",
)


@dataclass(frozen=True, slots=True)
class Origin:
    """What the fleet file says of estimates: backends, and the sha256 of the calibration file that it names."""

    backends: tuple[str, ...]
    calibration: str | None

    @classmethod
    def of(cls, spec: PerformanceSpec, file_digests: Mapping[str, str]) -> Origin:
        digest = file_digests[spec.calibration] if spec.calibration is not None else None
        return cls(tuple(spec.backends), digest)


# ---------------------------------------------------------------- writing


def lock_text(
    origin: Origin,
    warnings: Sequence[Diagnostic],
    recording: Recording,
    after: AfterRuns,
    candidates: Sequence[Candidate],
) -> str:
    """Return the lock's canonical text: every answer of the recording, and the capacities that came of them.

    Args:
        warnings: What the plan has to say of its estimates, at places of `spec.performance`.
        after: What runs would leave of the errors: the plan ranks what to measure next by it.
    """
    shown = {_mark(e) for c in candidates for e in (c.capacity.decode, c.capacity.prefill)}
    kept = {label: _only_shown(rows, shown) for label, rows in recording.answers.items()}
    sources = sources_of(a for rows in kept.values() for a in rows.values() if isinstance(a, Estimate))
    body = {
        "kind": "PerformanceLock",
        "format_version": FORMAT_VERSION,
        "backends": list(origin.backends),
        "calibration": origin.calibration,
        "warnings": [[d.rule, list(d.path), d.message, d.help] for d in warnings],
        "backend": recording.name,
        "backend_digest": recording.digest,
        "records": recording.records.known,
        "sources": {word: provenance_written(provenance) for provenance, word in sources.items()},
        "errors_after_runs": asdict(after),
        "capacities": {c.id: _capacity(c) for c in candidates},
        "workers": {label: _sealed(_worker(rows, sources)) for label, rows in kept.items()},
    }
    return canonical_json({**body, "content_digest": sha256_hex(canonical_json(body))})


def _capacity(candidate: Candidate) -> str:
    """Return a candidate's capacity as a reviewer compares it; it follows from the estimates and is not read back."""
    served, capacity = candidate.capacity.served, candidate.capacity
    latencies = f"TTFT p95 {six(served.ttft.p95):g} ms, TPOT p95 {six(served.tpot.p95):g} ms"
    return f"{six(served.rate_req_per_s):g} req/s ({capacity.binding}), batch limit {capacity.batch_limit}, {latencies}"


def _mark(estimate: Estimate) -> tuple[object, ...]:
    """Return what tells estimates apart, shares included."""
    shares = (*sorted(estimate.decode_shares.items()), *sorted(estimate.prefill_shares.items()))
    return (estimate.decode_step_ms, estimate.prefill_ms, *shares)


def _only_shown(
    rows: Mapping[Coordinates, Answer], shown: set[tuple[object, ...]]
) -> dict[Coordinates, Answer]:
    return {
        where: a
        if isinstance(a, Unsupported) or _mark(a) in shown
        else replace(a, decode_shares={}, prefill_shares={})
        for where, a in rows.items()
    }


def _worker(rows: Mapping[Coordinates, Answer], sources: Mapping[Any, str]) -> dict[str, Any]:
    """Return one worker's answers: columns of estimates, and refusals as they are."""
    estimates = {where: a for where, a in rows.items() if isinstance(a, Estimate)}
    entry: dict[str, Any] = written(estimates, sources) if estimates else {}
    refused: dict[Unsupported, list[Coordinates]] = {}
    for where in sorted(rows, key=by_value):
        if isinstance(answer := rows[where], Unsupported):
            refused.setdefault(answer, []).append(where)
    told = [{**asdict(why), **written_places(places)} for why, places in refused.items()]
    return entry | ({"refused": told} if told else {})


def _sealed(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "digest": sha256_hex(canonical_json(entry))[:16]}


# ---------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock that was read and whose digests hold. `text` is its file's, by which a plan names it."""

    text: str
    origin: Origin
    estimates: Estimates
    after: AfterRuns

    def check(self, origin: Origin) -> None:
        """Refuse a lock that was not written for what the fleet file says of estimates.

        Raises:
            Rejected: it was written with other backends, or with another calibration file.
        """
        where = ("spec", "performance")
        if self.origin.backends != origin.backends:
            was, now = ", ".join(self.origin.backends), ", ".join(origin.backends)
            message = f"the lock holds estimates of {was}; the fleet file asks for {now}"
            raise Rejected([OTHER_ESTIMATES.report(message, at(*where, "backends"))])
        if self.origin.calibration != origin.calibration:
            message = "the lock was written with another calibration file, or with none"
            if origin.calibration is None:
                message = "the lock was written with a calibration file; the fleet file names none"
            raise Rejected([OTHER_ESTIMATES.report(message, at(*where, "calibration"))])


def read_lock(path: Path) -> Lock:
    """Read a lock and verify its digests.

    Raises:
        Rejected: it is missing, too large, no lock, or was edited; an edited worker is shown with its line.
    """
    name = path.as_posix()
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _unreadable(f"{name} is larger than 64 MiB; that is no performance lock")
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise _unreadable(f"{name} does not exist") from None
    except OSError as error:
        raise _unreadable(f"{name} cannot be read: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise _unreadable(f"{name} is not UTF-8 text") from None
    return parse_lock(text, name)


def parse_lock(text: str, name: str = "perf.lock.json") -> Lock:
    """Return the lock that a text holds.

    Raises:
        Rejected: as `read_lock`.
    """
    body = _body(text, name)
    digest = body.pop("content_digest", None)
    try:
        sealed = sha256_hex(canonical_json(body))
        for label, entry in body["workers"].items():
            if entry != _sealed({key: value for key, value in entry.items() if key != "digest"}):
                raise _edited(text, name, label)
        if digest != sealed:
            raise _unreadable(f"{name} was edited after it was written: its content digest does not match")
        sources = {word: provenance_read(row) for word, row in body["sources"].items()}
        answers = {label: _answers(entry, sources) for label, entry in body["workers"].items()}
        origin = Origin(tuple(body["backends"]), body["calibration"])
        warnings = tuple(_warning(*row) for row in body["warnings"])
        after = AfterRuns(**body["errors_after_runs"])
        perf = Locked(body["backend"], body["backend_digest"], body["records"], answers)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as fault:
        raise _unreadable(f"{name} holds what no lock holds: {type(fault).__name__} {fault}") from None
    return Lock(text, origin, Estimates(perf, warnings), after)


def _warning(rule: str, path: Sequence[str], message: str, help: str) -> Diagnostic:
    where = at(*path)
    return Diagnostic(rule, Severity.WARNING, message, (where,), (), help, where.path)


def _body(text: str, name: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        conflict = "holds a merge conflict" if "<<<<<<<" in text else f"is not JSON: {error}"
        raise _unreadable(f"{name} {conflict}") from None
    if not isinstance(body, dict) or body.get("kind") != "PerformanceLock":
        raise _unreadable(f"{name} is no performance lock (kind is not PerformanceLock)")
    if body.get("format_version") != FORMAT_VERSION:
        found = str(body.get("format_version"))[:20]
        raise _unreadable(f"{name} has format version {found}; a locked compile reads {FORMAT_VERSION}")
    return body


def _answers(entry: Mapping[str, Any], sources: Mapping[str, Any]) -> dict[Coordinates, Answer]:
    columns = {key: value for key, value in entry.items() if key not in ("digest", "refused")}
    answers: dict[Coordinates, Answer] = dict(read(columns, sources)) if columns else {}
    for row in entry.get("refused", ()):
        why = Unsupported(row["reason"], row["detail"])
        answers |= dict.fromkeys(read_places(row), why)
    return answers


def _unreadable(message: str) -> Rejected:
    return Rejected([UNREADABLE.report(message)])


def _edited(text: str, name: str, label: str) -> Rejected:
    """Point at the line where the edited worker's entry begins."""
    quoted = json.dumps(label, ensure_ascii=False)
    lines = text.splitlines()
    number = next((i for i, line in enumerate(lines, start=1) if line.strip().startswith(f"{quoted}:")), 1)
    column = lines[number - 1].find(quoted) + 1
    span = Span(name, number, max(column, 1), max(column, 1) + len(quoted))
    message = f"{name} was edited after it was written: the digest of one worker's estimates does not match"
    return Rejected(
        [UNREADABLE.report(message, Label(span, "these estimates are not what was computed"))], {name: text}
    )


def not_in_lock(missing: NotInLock, *where: str) -> Diagnostic:
    """Return the diagnostic of estimates that the lock does not hold; `where` is the spec path that needs them."""
    return NOT_IN_LOCK.report(_head(missing), at(*where, on_key=True), notes=missing.missing[:3], help=AGAIN)


def not_ranked(missing: NotInLock) -> Diagnostic:
    """Return the warning of a plan that cannot say what to measure next."""
    message = f"what to measure next is left out: {_head(missing)}"
    return NOT_RANKED.report(message, at("spec", "performance"), notes=missing.missing[:3])


def _head(missing: NotInLock) -> str:
    if missing.changed:
        return f"the catalogue's records of {enumerated(missing.changed)} changed since the lock was written"
    workers = len(missing.missing)
    return f"the lock lacks estimates of {'one worker' if workers == 1 else f'{workers} workers'}"
