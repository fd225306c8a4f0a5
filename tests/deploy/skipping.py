"""Skipping a test whose real part is missing: loudly, and not at all where skipping is forbidden."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

FORBID_SKIP = "FLEETC_FORBID_SKIP"


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the test with `reason`; fail it instead when FLEETC_FORBID_SKIP is 1."""
    if os.environ.get(FORBID_SKIP) == "1":
        pytest.fail(f"{reason} (skipping is forbidden: {FORBID_SKIP}=1)", pytrace=False)
    pytest.skip(reason)
