"""Which fleetc this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed


def version() -> str:
    """Return the installed version."""
    try:
        return installed("fleetc")
    except PackageNotFoundError:
        return "0+source"
