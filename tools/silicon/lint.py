"""Check the installed kernel tables and write what fails as data. Run: python tools/silicon/lint.py."""

from __future__ import annotations

import sys

from fleet.catalog.load import load_catalog
from fleet.perf.silicon.extra import HOW_TO_INSTALL, library
from fleet.perf.silicon.faults import PATH, Linted, encode
from fleet.perf.silicon.lint import lint_tables


def main() -> int:
    installed = library()
    if installed is None:
        print(HOW_TO_INSTALL, file=sys.stderr)
        return 2
    findings = tuple(lint_tables(installed, load_catalog()))
    PATH.write_text(
        encode(Linted(installed.distribution, installed.version, installed.digest, findings)), "utf-8"
    )
    for finding in findings:
        print(f"{finding.table}: {finding.rule}, {finding.detail}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
