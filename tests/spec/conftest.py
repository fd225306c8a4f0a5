"""The file with every field, and what the loader says about changed versions of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.diagnostics import Diagnostic, Rejected, render_text
from fleet.source import SourceText, parse
from fleet.spec.load import load_spec
from fleet.spec.rules import check_spec

Judge = Callable[[str], list[Diagnostic]]

JARGON = (
    "Input should",
    "valid dictionary",
    "instance of",
    "Extra inputs",
    "pydantic",
    "Traceback",
    "<mapping>",
    "<number>",
)


@pytest.fixture(scope="session")
def full_text() -> str:
    """Return the text of a good file with every field."""
    return (Path(__file__).parent / "files" / "full.yaml").read_text(encoding="utf-8")


@pytest.fixture
def judge() -> Judge:
    """Return what is said about a file, located, whether it is rejected or not."""

    def found(text: str) -> list[Diagnostic]:
        try:
            document = parse(SourceText("fleet.yaml", text))
            diagnostics = document.locate(check_spec(load_spec(document)))
        except Rejected as rejected:
            diagnostics = rejected.diagnostics
        shown = render_text(diagnostics, {"fleet.yaml": text})
        assert not any(word in shown and word not in text for word in JARGON), shown
        assert all(diagnostic.span and diagnostic.help for diagnostic in diagnostics), shown
        return list(diagnostics)

    return found
