"""What every part of the fleet file is made of: closed models, names, and plain values without silent conversion."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Strict, Tag
from pydantic_core import PydanticCustomError


class SpecModel(BaseModel):
    """Base of every part of the file: closed and immutable; the texts under its fields describe them in the schema."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


_DNS = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_LABEL = r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)"
PATTERNS: Final[Mapping[str, str]] = {
    "name": r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$",
    "line of text": r"^\S(.{0,498}\S)?$",
    "remark": r"^(\S(.{0,498}\S)?)?$",
    "uri": r"^[a-z][a-z0-9+.-]{1,15}://\S{1,480}$",
    "hostname": rf"^(\*\.)?{_DNS}(\.{_DNS}){{1,9}}$",
    "label key": rf"^({_DNS}(\.{_DNS}){{0,9}}/)?{_LABEL}$",
    "label value": rf"^{_LABEL}?$",
}
"""The shapes that text must have, by the word for it."""

PATTERN_RULES: Final[Mapping[str, str]] = {
    "name": "lower-case letters, digits, dashes and dots, at most 63, beginning and ending with a letter or digit",
    "line of text": "one line of 1 to 500 characters, without spaces at its ends",
    "remark": "one line of at most 500 characters, without spaces at its ends",
    "uri": "a scheme and a place, for example hf://org/name, s3://bucket/folder or pvc://claim/folder",
    "hostname": "a DNS name such as llm.example.com or *.example.com",
    "label key": "a name such as team or example.com/team",
    "label value": "at most 63 letters, digits, dashes, dots and underscores",
}
"""What each shape asks for, in words."""

Name = Annotated[str, Field(pattern=PATTERNS["name"])]
"""A name that Kubernetes accepts as a label: lower case, digits, dashes and dots."""
Line = Annotated[str, Field(pattern=PATTERNS["line of text"])]
Remark = Annotated[str, Field(pattern=PATTERNS["remark"])]
"""A line that may be empty."""
Uri = Annotated[str, Field(pattern=PATTERNS["uri"])]
Hostname = Annotated[str, Field(pattern=PATTERNS["hostname"])]
LabelKey = Annotated[str, Field(pattern=PATTERNS["label key"])]
LabelValue = Annotated[str, Field(pattern=PATTERNS["label value"])]

Count = Annotated[int, Strict()]
"""A whole number; neither true nor "12" is one."""
Real = Annotated[float, Strict()]
Flag = Annotated[bool, Strict()]
"""true or false; "yes" and 1 are neither."""


def _as_day(value: object) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise PydanticCustomError("not-a-day", "not a day")


Day = Annotated[
    date,
    BeforeValidator(_as_day, json_schema_input_type=date),
]
"""A day, written 2026-11-24."""

NUMBER, MAPPING = "<number>", "<mapping>"


def _shape(value: Any) -> str:
    return MAPPING if isinstance(value, dict | BaseModel) else NUMBER


BY_SHAPE = Discriminator(_shape)
"""Chooses between a number and a mapping by what is written, so that only one of the two can be wrong."""
IS_NUMBER, IS_MAPPING = Tag(NUMBER), Tag(MAPPING)
