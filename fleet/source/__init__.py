"""YAML text with the position of every value: files in, a document with located values out."""

from fleet.source.files import MAX_BYTES, STACK_FILE, read_document, read_file, stack_file
from fleet.source.overlay import merge
from fleet.source.parse import parse
from fleet.source.tree import Document, SourceText

__all__ = [
    "MAX_BYTES",
    "STACK_FILE",
    "Document",
    "SourceText",
    "merge",
    "parse",
    "read_document",
    "read_file",
    "stack_file",
]
