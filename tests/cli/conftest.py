"""Runs the command line in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleet.cli.main import app
from fleet.cli.trouble import guarded

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def fleetc(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Return a function that runs `fleetc` with arguments."""

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["fleetc", *map(str, arguments)])
        capsys.readouterr()
        code = int(guarded(app))
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def stack(tmp_path: Path, fleetc: Callable[..., Ran]) -> Path:
    """A new stack as `fleetc init` writes it."""
    assert fleetc("init", tmp_path / "mine").code == 0
    return tmp_path / "mine"
