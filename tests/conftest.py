"""What all tests share: golden files, and skips that become failures where every real part must be there."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# The same examples on every run: a check that fails must fail again. Search for new ones with --hypothesis-profile=default.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    """With FLEETC_FORBID_SKIP=1 a test that skips has failed: CI has every real part that can be had."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("FLEETC_FORBID_SKIP") == "1" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped where skipping is forbidden: {report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr}"
