"""Records of a results file: its JSON values one after the other, each with where it stands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from fleet.diagnostics import Diagnostic, Label, Rule, Span
from fleet.results.faults import BROKEN, UNREADABLE

MAX_BYTES = 256 * 1024 * 1024
_BLANK = re.compile(r"[\s,]*")


@dataclass(frozen=True, slots=True)
class ResultsFile:
    """A file's text under the name that messages use."""

    name: str
    text: str
    sha256: str

    def span(self, start: int, end: int) -> Span:
        """Return the place of a stretch of the text, cut at the end of its first line."""
        line = self.text.count("\n", 0, start) + 1
        begin = self.text.rfind("\n", 0, start) + 1
        stop = self.text.find("\n", start)
        end = min(end, len(self.text) if stop < 0 else stop)
        return Span(self.name, line, start - begin + 1, max(end - begin + 1, start - begin + 2))

    def report(self, rule: Rule, message: str, start: int, end: int, text: str = "") -> Diagnostic:
        """Return a diagnostic of a stretch of the text."""
        return rule.report(message, Label(span=self.span(start, end), text=text))


@dataclass(frozen=True, slots=True)
class Record:
    """One JSON object of a file, or one row of its table; `start` and `end` are offsets in the text."""

    file: ResultsFile
    number: int  # 1 for the first of the file
    start: int
    end: int
    data: dict[str, Any]

    @property
    def line(self) -> int:
        return self.file.text.count("\n", 0, self.start) + 1

    @property
    def name(self) -> str:
        """The file, with the line of the record where it is not the first."""
        return self.file.name if self.number == 1 else f"{self.file.name}:{self.line}"

    @property
    def sha256(self) -> str:
        """Digest of what the record says, wherever it stands."""
        said = json.dumps(self.data, sort_keys=True, ensure_ascii=True)
        return sha256(said.encode()).hexdigest()

    def report(self, rule: Rule, message: str, key: str = "", text: str = "") -> Diagnostic:
        """Return a diagnostic that points at a key of the record, or at its beginning."""
        found = re.compile(rf'"{re.escape(key)}"\s*:\s*[^,\n}}\]]*').search(
            self.file.text, self.start, self.end
        )
        start, end = (found.start(), found.end()) if key and found else (self.start, self.start + 1)
        return self.file.report(rule, message, start, end, text)


def read_file(path: Path) -> ResultsFile | Diagnostic:
    """Return a file's text, or why it cannot be read."""
    name = str(path)

    def unreadable(reason: str) -> Diagnostic:
        return UNREADABLE.report(f"{name}: {reason}", Label(span=Span(name, 1, 1, 2)))

    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as failed:
        return unreadable(failed.strerror or "it cannot be read")
    if len(content) > MAX_BYTES:
        return unreadable("it is larger than 256 MiB; give the tool's summary, not its raw records")
    if not content.strip():
        return unreadable("it is empty")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return unreadable("it is no UTF-8 text")
    if "\0" in text:
        return unreadable("it holds NUL characters: it is no text")
    return ResultsFile(name, text, sha256(content).hexdigest())


def json_records(file: ResultsFile, faults: list[Diagnostic]) -> Iterator[Record]:
    """Yield the objects of a file: one, one a line, or several one after the other; arrays are opened.

    What is no JSON goes to `faults`, and reading goes on at the next line that begins an object.
    """
    decoder = json.JSONDecoder()
    position, number = 0, 0
    while True:
        blank = _BLANK.match(file.text, position)
        position = blank.end() if blank else position
        if position >= len(file.text):
            return
        try:
            value, end = decoder.raw_decode(file.text, position)
        except (ValueError, RecursionError) as fault:
            faults.append(_broken(file, position, fault))
            following = file.text.find("\n{", position + 1)
            if following < 0:
                return
            position = following + 1
            continue
        for item in value if isinstance(value, list) else [value]:
            number += 1
            yield Record(file, number, position, end, item if isinstance(item, dict) else {})
        position = end


def _broken(file: ResultsFile, position: int, fault: Exception) -> Diagnostic:
    at, reason = position, "it is nested too deeply"
    if isinstance(fault, json.JSONDecodeError):
        at, reason = fault.pos, fault.msg[:1].lower() + fault.msg[1:]
    elif isinstance(fault, ValueError):
        reason = "it holds a number with too many digits"
    ends = not file.text[at:].strip()
    at = min(at, max(len(file.text.rstrip()) - 1, 0))
    what = "ends in the middle" if ends or "unterminated" in reason else "is no JSON"
    return file.report(BROKEN, f"{file.name} {what}: {reason}", at, at + 1)
