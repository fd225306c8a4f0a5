"""Golden files: what a person reviews. Rewrite them with `pytest tests/review --update-golden`, then read the diff."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    with contextlib.suppress(ValueError):  # another folder with golden files has added it
        parser.addoption(
            "--update-golden", action="store_true", help="rewrite golden files instead of comparing with them"
        )


@pytest.fixture
def assert_golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with a golden file, or write it with --update-golden."""

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden", default=False):
            path.write_text(text, encoding="utf-8", newline="\n")
        assert path.is_file(), f"{name} is missing: run pytest tests/review --update-golden"
        assert text == path.read_text(encoding="utf-8"), (
            f"{name} differs: run pytest tests/review --update-golden and read the diff"
        )

    return check
