"""`fleetc init`: a commented starting file that compiles."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

from fleet.cli.stack import FLEET
from fleet.cli.trouble import Stop
from fleet.plan.file import write_atomically


def run(folder: Path) -> None:
    """Write the starting file into a folder that has none.

    Raises:
        Stop: the folder holds a fleet file already, or is a file.
    """
    if str(folder) == ".":
        raise Stop("no folder is named for the stack", "write fleetc init DIR")
    target = folder / FLEET
    if target.exists() or target.is_symlink():
        raise Stop(f"{target} exists and is left as it is", "choose another folder")
    if folder.exists() and not folder.is_dir():
        raise Stop(f"{folder} is a file", "choose another folder")
    name = (
        "".join(
            c if c.isascii() and (c.isalnum() or c == "-") else "-" for c in folder.resolve().name.lower()
        ).strip("-")[:40]
        or "fleet"
    )
    text = (
        files("fleet.cli")
        .joinpath("starting_fleet.yaml")
        .read_text(encoding="utf-8")
        .replace("name: starting-fleet", f"name: {name}")
    )
    write_atomically(target, text)
    sys.stdout.write(f"wrote {target}\nnext: fleetc compile {folder}\n")
