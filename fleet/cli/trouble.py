"""Turns trouble into a message and an exit code: the user's file, the user's call, the machine, or us."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from enum import IntEnum
from typing import Any

import typer

_WRONG_CALL: Any = typer.BadParameter.__mro__[2]
"""The base of everything that the command-line parser raises about a call (ClickException, in the copy that Typer uses)."""

INFEASIBLE_RULES = frozenset({"fleet-is-infeasible", "no-candidate-reaches-slo", "no-answer-within-effort"})


class Exit(IntEnum):
    """What the exit codes mean."""

    DONE = 0
    ERROR = 1
    CHANGED = 2
    INFEASIBLE = 3
    FAILED = 4


class Stop(Exception):
    """End the command with a message for the user: what is wrong, and one thing to do."""

    def __init__(self, message: str, help: str = "", code: Exit = Exit.ERROR) -> None:
        super().__init__(message)
        self.help, self.code = help, code


def guarded(app: Callable[..., Any]) -> int:
    """Run the command line and return its exit code."""
    if sys.stdout is None or sys.stderr is None:  # closed by the caller: there is nobody to tell
        return Exit.ERROR
    try:
        code = app(standalone_mode=False)
        return code if isinstance(code, int) else Exit.DONE
    except typer.Exit as end:
        return end.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return _say("interrupted", code=130)
    except _WRONG_CALL as wrong:
        context = getattr(wrong, "ctx", None)
        return _say(wrong.format_message(), f"see `{context.command_path if context else 'fleetc'} --help`")
    except Stop as stop:
        return _say(str(stop), stop.help, stop.code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.ERROR
    except OSError as failed:
        where = f"{failed.filename}: " if failed.filename else ""
        return _say(f"{where}{failed.strerror or failed}")
    except Exception as trouble:  # noqa: BLE001  the last resort: whatever is left is our mistake
        return _explained(trouble)


def _explained(trouble: Exception) -> int:
    """Tell trouble whose types are only imported when there is some, so that help stays fast."""
    from fleet.diagnostics import Rejected
    from fleet.plan.file import UnreadablePlan

    if isinstance(trouble, UnreadablePlan):
        return _say(str(trouble))
    if isinstance(trouble, Rejected):
        print_diagnostics(trouble)
        found = {diagnostic.rule for diagnostic in trouble.diagnostics}
        return Exit.INFEASIBLE if found & INFEASIBLE_RULES else Exit.ERROR
    return _internal(trouble)


def print_diagnostics(rejected: Any, *, as_json: bool = False) -> None:
    """Print diagnostics to standard error (text) or standard output (JSON)."""
    from fleet.diagnostics import render_json, render_text

    if as_json:
        sys.stdout.write(render_json(rejected.diagnostics))
    else:
        sys.stderr.write(render_text(rejected.diagnostics, rejected.sources, color=has_color(sys.stderr)))


def has_color(stream: Any) -> bool:
    """Colour only on a terminal whose user has not refused it."""
    return bool(stream.isatty()) and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def _say(message: str, help: str = "", code: int = Exit.ERROR) -> int:
    sys.stderr.write(f"fleetc: {message}\n" + (f"  = help: {help}\n" if help else ""))
    return int(code)


def _internal(bug: Exception) -> int:
    if "FLEETC_TRACEBACK" in os.environ:
        traceback.print_exc()
    return _say(
        f"internal error: {type(bug).__name__}: {bug}",
        "this is our mistake, not yours: please report it with your fleet file (FLEETC_TRACEBACK=1 shows where)",
    )
