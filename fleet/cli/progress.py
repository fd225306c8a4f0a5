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
    started = monotonic()
    if sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status("reading") as status:
            yield lambda text: status.update(text)
    else:
        yield lambda text: print(f"[{monotonic() - started:5.1f} s] {text}", file=sys.stderr, flush=True)  # noqa: T201
