"""Estimates as a compile asks for them: recorded from any backend, and answered again without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel

from fleet.perf.interface import Estimate, PerformanceModel, Point, Unsupported
from fleet.pipeline.lock_columns import Coordinates, coordinates
from fleet.plan.file import canonical_json, sha256_hex

Answer = Estimate | Unsupported


def record_digest(record: BaseModel) -> str:
    """Return a digest of everything that a record of the catalogue says."""
    return sha256_hex(canonical_json(record.model_dump(mode="json")))[:16]


@dataclass
class Records:
    """Names of the catalogue's records and the digests of what they say: an estimate holds for just these."""

    known: dict[str, str] = field(default_factory=dict)
    is_open: bool = True
    changed: set[str] = field(default_factory=set)
    _digests: dict[int, tuple[BaseModel, str]] = field(default_factory=dict)

    def name(self, name: str, record: BaseModel) -> str:
        """Return the name of a record. A second record of a name (two configs of one model) carries its digest.

        A closed set of records takes no new ones: it notes the names whose record differs now.
        """
        _, digest = self._digests.setdefault(id(record), (record, ""))
        if not digest:
            digest = record_digest(record)
            self._digests[id(record)] = (record, digest)
        exact = name if self.known.get(name, digest) == digest else f"{name}#{digest[:6]}"
        if self.is_open:
            self.known[exact] = digest
        elif name in self.known and exact not in self.known:
            self.changed.add(name)
        return exact


def worker_label(point: Point, records: Records) -> str:
    """Name the worker that a point describes: everything of it but batch and lengths."""
    model = records.name(point.model.id, point.model)
    accelerator = records.name(point.accelerator.id, point.accelerator)
    engine = records.name(f"{point.engine.id.value} {point.engine.version}", point.engine)
    formats = f"{point.weights.value}/{point.dense_weights.value}/{point.kv.value}"
    draft = f", draft {point.draft.tokens} x {point.draft.acceptance_length:g}" if point.draft else ""
    return f"{model} {formats} on {accelerator}, {engine}, {point.layout.label} {point.role.value}{draft}"


class _Labels:
    """Labels of one batch of points: points that refer to the same records are of one worker."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._known: dict[tuple[object, ...], str] = {}

    def of(self, p: Point) -> str:
        identities = (id(p.model), id(p.accelerator), id(p.engine), id(p.layout), id(p.draft))
        key = (*identities, p.role, p.weights, p.dense_weights, p.kv)
        label = self._known.get(key)
        if label is None:
            label = self._known[key] = worker_label(p, self._records)
        return label


class Recording:
    """A backend whose every answer is kept, by worker and by where the point lies."""

    def __init__(self, backend: PerformanceModel) -> None:
        self._backend = backend
        self.records = Records()
        self.answers: dict[str, dict[Coordinates, Answer]] = {}

    @property
    def name(self) -> str:
        return self._backend.name

    @property
    def digest(self) -> str:
        return self._backend.digest

    def estimate(self, points: Sequence[Point]) -> list[Answer]:
        answers = self._backend.estimate(points)
        labels = _Labels(self.records)
        for point, answer in zip(points, answers, strict=True):
            self.answers.setdefault(labels.of(point), {}).setdefault(coordinates(point), answer)
        return answers


class NotInLock(LookupError):
    """Points were asked for that the lock does not hold. `missing`: one sentence for each worker."""

    def __init__(self, missing: Sequence[str], changed: Sequence[str]) -> None:
        super().__init__(missing[0])
        self.missing, self.changed = tuple(missing), tuple(changed)


class Locked:
    """A performance model that answers from a lock alone: what it does not hold is refused, never guessed."""

    def __init__(
        self,
        name: str,
        digest: str,
        records: Mapping[str, str],
        answers: Mapping[str, Mapping[Coordinates, Answer]],
    ) -> None:
        self.name, self.digest = name, digest
        self._records = Records(dict(records), is_open=False)
        self._answers = answers

    def estimate(self, points: Sequence[Point]) -> list[Answer]:
        """Return what was recorded for every point, in order.

        Raises:
            NotInLock: some point was not recorded, or for another record of the catalogue; names every worker of such.
        """
        labels, found = _Labels(self._records), []
        missing: dict[str, list[Coordinates]] = {}
        for point in points:
            label, where = labels.of(point), coordinates(point)
            answer = self._answers.get(label, {}).get(where)
            if answer is None:
                missing.setdefault(label, []).append(where)
            else:
                found.append(answer)
        changed = sorted(self._records.changed)
        if missing or changed:
            sentences = [self._sentence(label, places) for label, places in missing.items()]
            raise NotInLock(sentences or [f"the catalogue's record of {changed[0]} differs"], changed)
        return found

    def _sentence(self, label: str, places: Sequence[Coordinates]) -> str:
        if label not in self._answers:
            return f"{label}: nothing"
        batch, isl, osl, cached = places[0]
        where = f"batch {batch}, {isl} prompt, {osl} answer and {cached} cached tokens"
        return f"{label}: not {where}" + (f", and {len(places) - 1} points more" if len(places) > 1 else "")
