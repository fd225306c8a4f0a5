"""The Pulumi CLI for the tests that run the stock engine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.deploy.pulumi_project import find_pulumi, required_version
from tests.deploy.skipping import skip_or_fail


@pytest.fixture(scope="session")
def pulumi_cli() -> Path:
    """The CLI on PATH if its version fits, else the one built by `make pulumi`."""
    found = find_pulumi(os.environ["PATH"])
    if found is None:
        lowest = ".".join(map(str, required_version()))
        skip_or_fail(f"no Pulumi CLI {lowest} or newer: run `make pulumi`")
    return found
