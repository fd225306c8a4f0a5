"""A missing real part is skipped with its reason, or fails where skipping is forbidden."""

from __future__ import annotations

import pytest

from tests.deploy.skipping import FORBID_SKIP, skip_or_fail


def test_a_missing_part_skips_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FORBID_SKIP, raising=False)
    with pytest.raises(pytest.skip.Exception, match="run `make pulumi`"):
        skip_or_fail("no Pulumi CLI: run `make pulumi`")


def test_a_missing_part_fails_where_skipping_is_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FORBID_SKIP, "1")
    with pytest.raises(pytest.fail.Exception, match=r"run `make pulumi`.*forbidden"):
        skip_or_fail("no Pulumi CLI: run `make pulumi`")
