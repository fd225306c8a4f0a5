"""Progress on standard error: one changing line on a terminal, plain lines elsewhere, nothing when asked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic


@contextmanager
def reporting(quiet: bool) -> Iterator[Callable[[str], None]]:
    """Yield a function that tells what is being done; it never touches standard output."""
    if quiet:
        yield lambda _: None
        return
    if sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status("reading") as status:
            yield lambda text: status.update(text)
    else:
        yield _Lines().tell


class _Lines:
    """Plain lines for a log: at most one a second, so that long work is followed and short work is silent."""

    def __init__(self) -> None:
        self._started = self._told = monotonic()

    def tell(self, text: str) -> None:
        now = monotonic()
        if now - self._told >= 1.0:
            self._told = now
            sys.stderr.write(f"[{now - self._started:5.1f} s] {text}\n")
            sys.stderr.flush()
