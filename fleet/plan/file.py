"""The plan as bytes: canonical JSON, its digest, and reading it back."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fleet.plan.document import FleetPlan

MAX_PLAN_BYTES = 64 * 1024 * 1024


class UnreadablePlan(ValueError):
    """The file is no plan that this version reads; the message says why and what to do."""


def canonical_json(value: Any) -> str:
    """JSON whose bytes depend on the value alone: sorted keys, two spaces, LF, no exotic numbers."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def sha256_hex(text: str | bytes) -> str:
    """Return the sha256 of UTF-8 text or bytes in hexadecimal."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def dump_plan(plan: FleetPlan) -> str:
    """Return the plan's canonical text, sealed by a digest of its own content."""
    body = plan.model_dump(mode="json")
    return canonical_json({"content_digest": sha256_hex(canonical_json(body)), **body})


def plan_digest(plan: FleetPlan) -> str:
    """Return the sha256 of a plan's file, by which a benchmark job names it."""
    return sha256_hex(dump_plan(plan))


def parse_plan(text: str, name: str = "plan.json") -> FleetPlan:
    """Read a plan back and refuse one that was edited by hand.

    Raises:
        UnreadablePlan: not JSON, another format version, an unknown field, or a digest that does not match.
    """
    try:
        data = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        if text.find("<<<<<<<") >= 0:
            raise UnreadablePlan(f"{name} holds a merge conflict. Compile the stack again.") from None
        raise UnreadablePlan(f"{name} is not JSON: {error}. Compile the stack again.") from None
    if not isinstance(data, dict) or data.get("kind") != "FleetPlan":
        raise UnreadablePlan(f"{name} is not a fleet plan (kind is not FleetPlan). Compile the stack again.")
    if not str(data.get("format_version", "")).startswith("1."):
        raise UnreadablePlan(
            f"{name} has format_version {data.get('format_version')!r}; this fleetc reads 1.x."
        )
    digest = data.pop("content_digest", None)
    try:
        sealed = canonical_json(data)  # as read: a plan of an older fleetc lacks the fields that came since
        plan = FleetPlan.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UnreadablePlan(f"{name}: {where}: {first['msg']}. Compile the stack again.") from None
    except (ValueError, RecursionError) as error:
        raise UnreadablePlan(f"{name} holds what no plan holds: {error}. Compile the stack again.") from None
    if digest != sha256_hex(sealed):
        raise UnreadablePlan(
            f"{name} was edited after it was compiled (its content digest does not match). Compile the stack again."
        )
    return plan


def read_plan(path: Path, name: str = "") -> FleetPlan:
    """Read a plan file; messages call it `name`, by default its path.

    Raises:
        UnreadablePlan: missing, unreadable, too large, or as `parse_plan`.
    """
    name = name or str(path)
    try:
        if path.stat().st_size > MAX_PLAN_BYTES:
            raise UnreadablePlan(f"{name} is larger than 64 MiB; that is no plan.")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UnreadablePlan(f"{name} does not exist. Compile the stack first.") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UnreadablePlan(f"{name} cannot be read: {reason}.") from None
    return parse_plan(text, name)


def write_atomically(path: Path, text: str) -> None:
    """Write to a temporary name beside `path` and rename; the old file is never half overwritten."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
