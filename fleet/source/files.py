"""The one place where YAML files are opened: bounded, decoded, a stack's overlays found."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fleet.diagnostics import Label, Rejected
from fleet.source import rules
from fleet.source.overlay import merge
from fleet.source.parse import parse
from fleet.source.tree import Document, SourceText

STACK_FILE = "fleet.yaml"
OVERLAYS = "overlay*.yaml"
MAX_BYTES = 4 * 2**20
MAX_OVERLAYS = 32


def read_document(stack: str | os.PathLike[str]) -> Document:
    """Return the document of a stack: its fleet.yaml with every overlay merged in, in the order of their names.

    Args:
        stack: The folder of the stack, or its fleet.yaml. Another file is read alone, without overlays.

    Raises:
        Rejected: with every fault of the first file that has any, and the text of the files read.
    """
    path = stack_file(stack)
    document = parse(read_file(path))
    if path.name != STACK_FILE:
        return document
    overlays = sorted(path.parent.glob(OVERLAYS), key=lambda overlay: overlay.name)
    if len(overlays) > MAX_OVERLAYS:
        message = f"{path.parent.as_posix()} has {len(overlays)} overlays; allowed are {MAX_OVERLAYS}"
        raise Rejected([rules.TOO_MANY_VALUES.report(message)])
    for overlay in overlays:
        document = merge(document, parse(read_file(overlay)))
    return document


def stack_file(stack: str | os.PathLike[str]) -> Path:
    """Return the path of a stack's main file; relative paths in the stack start at its folder.

    Raises:
        Rejected: nothing is there, or a folder without fleet.yaml.
    """
    path = Path(stack)
    try:
        if not path.is_dir():
            return path
        if not (path / STACK_FILE).exists():
            raise _refused(f"{path.as_posix()} has no {STACK_FILE}", _hint_for_folder(path))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise _unreadable(path, error) from error
    return path / STACK_FILE


def read_file(path: Path, *, max_bytes: int = MAX_BYTES) -> SourceText:
    """Return the text of a file, a byte-order mark removed. No more than `max_bytes` are ever read.

    Raises:
        Rejected: the file is missing, unreadable, too large or not UTF-8.
    """
    name = path.as_posix()
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "not a plain file"
            raise Rejected([rules.NOT_A_FILE.report(f"{name} is {what}")])
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if len(content) > max_bytes:
        size = f"{max(status.st_size, len(content)) / 2**20:,.1f} MiB"
        raise Rejected(
            [rules.FILE_TOO_LARGE.report(f"{name} has {size}; at most {max_bytes / 2**20:g} MiB are read")]
        )
    return decode(name, content)


def decode(name: str, content: bytes) -> SourceText:
    """Return bytes as text.

    Raises:
        Rejected: the bytes are not UTF-8; the first that is not is shown.
    """
    try:
        return SourceText(name, content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        good = content[: error.start].decode("utf-8", errors="replace").removeprefix("\ufeff")
        shown = SourceText(name, good + "\ufffd")
        label = Label(shown.span(len(good), len(good) + 1), f"byte 0x{content[error.start]:02X}")
        report = rules.NOT_UTF_8.report(_encoding_message(content), label)
        raise Rejected([report], {name: shown.text}) from error


def _encoding_message(content: bytes) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "the file is UTF-16, not UTF-8"
    return "the file is binary, not text" if b"\0" in content else "the file is not UTF-8"


def _hint_for_folder(folder: Path) -> str:
    for name in ("fleet.yml", "Fleet.yaml", "fleet.json"):
        if (folder / name).exists():
            return f"rename {name} to {STACK_FILE}"
    return f"write one with `fleetc init {folder.as_posix()}`, or give the folder that holds it"


def _refused(message: str, help: str) -> Rejected:
    return Rejected([rules.FILE_NOT_FOUND.report(message, help=help)])


def _unreadable(path: Path, error: OSError | ValueError) -> Rejected:
    name = path.as_posix()
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return _refused(f"{name} does not exist", "give a stack's folder, or the path of its fleet.yaml")
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return Rejected([rules.FILE_NOT_READABLE.report(f"{name} cannot be read: {reason.lower()}")])
