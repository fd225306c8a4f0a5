"""A document into a typed fleet file, every fault of a kind reported in one run."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from fleet.diagnostics import Diagnostic, Rejected, Severity
from fleet.source import Document
from fleet.spec.faults import fault
from fleet.spec.model import FleetFile
from fleet.spec.rules import check_spec

MAX_FAULTS = 100
"""Faults reported of one file; a file with more was written for something else."""


def load_spec(document: Document) -> FleetFile:
    """Return the fleet file that a document holds.

    Raises:
        Rejected: values are wrong, or (once all are right) rules are broken; carries every one, located, and in the
            latter case the warnings too. The warnings of a good file come from `check_spec`.
    """
    try:
        file = FleetFile.model_validate(document.data)
    except ValidationError as error:
        details = error.errors(include_url=False)[:MAX_FAULTS]
        raise _rejected(document, [fault(detail, document.has) for detail in details]) from None
    found = check_spec(file)
    if any(diagnostic.severity is Severity.ERROR for diagnostic in found):
        raise _rejected(document, found)
    return file


def _rejected(document: Document, found: Iterable[Diagnostic]) -> Rejected:
    return Rejected(document.locate(found), document.files)
