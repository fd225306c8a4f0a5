"""The digest of a stack's input files, by which anyone who has the folder can tell a stale plan."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fleet.plan.document import FleetPlan

FLEET_FILE = "fleet.yaml"
OVERLAYS = "overlay*.yaml"


def input_files(folder_or_file: Path) -> tuple[Path, ...]:
    """Return the fleet file and the overlays beside it, in the order in which they are merged."""
    fleet_file = folder_or_file / FLEET_FILE if folder_or_file.is_dir() else folder_or_file
    overlays = sorted(path for path in fleet_file.parent.glob(OVERLAYS) if path != fleet_file)
    return (fleet_file, *overlays)


def spec_digest(folder_or_file: Path) -> str:
    """Return the sha256, in hexadecimal, of the names and contents of a stack's input files.

    Line ends are read as LF, so that a checkout on another system has the same digest. Files that the fleet file
    names (traces, model configs) have digests of their own in the plan.

    Args:
        folder_or_file: A stack's folder, or its fleet file.

    Raises:
        OSError: A file is missing or cannot be read.
    """
    digest = hashlib.sha256()
    for path in input_files(folder_or_file):
        content = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{path.name}\n{len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def staleness(plan: FleetPlan, folder_or_file: Path) -> str | None:
    """Say in one sentence why `plan` no longer belongs to its input files; None when it does."""
    try:
        found = spec_digest(folder_or_file)
    except OSError as error:
        name = Path(error.filename or folder_or_file).name
        return f"The plan cannot be checked against its input: {name}: {error.strerror}."
    if found == plan.digests.spec:
        return _moved_file(plan, folder_or_file)
    names = " or ".join(path.name for path in input_files(folder_or_file))
    return f"The plan is stale: {names} changed after it was compiled. Compile the stack again."


def _moved_file(plan: FleetPlan, folder_or_file: Path) -> str | None:
    """Say which trace or model config that the fleet file names is no longer what the plan was made from."""
    folder = folder_or_file if folder_or_file.is_dir() else folder_or_file.parent
    for name, digest in sorted(plan.digests.files.items()):
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            return f"The plan cannot be checked against its input: {name}: {error.strerror}."
        if hashlib.sha256(content).hexdigest() != digest:
            return f"The plan is stale: {name} changed after it was compiled. Compile the stack again."
    return None
