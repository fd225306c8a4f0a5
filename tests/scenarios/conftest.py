"""Scenarios run the command line in this process."""

from tests.cli.conftest import fleetc

__all__ = ["fleetc"]
