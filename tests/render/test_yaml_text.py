"""Canonical YAML: the same object, the same bytes, and no scalar that another parser reads differently."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.render.yaml_text import HEADER, manifest_text

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
BODIES = st.dictionaries(
    st.text(min_size=1),
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


def _printable(value: Any) -> bool:
    text = repr(value)
    return text.isprintable() and "\\x" not in text and "\\u" not in text and "\\r" not in text


@settings(max_examples=40, deadline=None)
@given(BODIES.filter(_printable))
def test_any_object_reads_back_as_itself(body: dict[str, Any]) -> None:
    assert yaml.safe_load(manifest_text(body)) == body


# What YAML 1.2's core schema, and the parsers of kubectl, read as something else than text.
NOT_TEXT = re.compile(
    r"(null|Null|NULL|~|true|True|TRUE|false|False|FALSE|y|Y|n|N|yes|no|on|off|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|0o[0-7]+|0x[0-9a-fA-F]+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))"
)


@pytest.mark.parametrize(
    "text",
    [
        "8000",
        "1e3",
        "12e4567",
        "0o17",
        "0x1F",
        "1_000",
        ".5",
        "1.",
        "y",
        "N",
        "yes",
        "off",
        "true",
        "null",
        "~",
        "",
        ".inf",
        ".NaN",
        "+1",
        "0b11",
    ],
)
def test_text_that_looks_like_something_else_is_quoted(text: str) -> None:
    assert f'value: "{text}"\n' in manifest_text({"value": text})


@given(st.from_regex(NOT_TEXT, fullmatch=True))
def test_text_of_every_such_form_is_quoted(text: str) -> None:
    line = manifest_text({"value": text}).removeprefix(HEADER)
    assert line.startswith(('value: "', "value: '")), line


def test_keys_stand_in_conventional_order() -> None:
    body = {
        "spec": {"b": 1, "a": 2, "name": "m"},
        "metadata": {"labels": {}, "namespace": "s", "name": "x"},
        "kind": "K",
        "apiVersion": "v1",
    }
    assert manifest_text(body).splitlines()[1:] == [
        "apiVersion: v1",
        "kind: K",
        "metadata:",
        "  name: x",
        "  namespace: s",
        "  labels: {}",
        "spec:",
        "  name: m",
        "  a: 2",
        "  b: 1",
    ]


def test_the_order_in_which_an_object_was_made_does_not_show() -> None:
    assert manifest_text({"a": 1, "b": {"x": 1, "y": 2}}) == manifest_text({"b": {"y": 2, "x": 1}, "a": 1})


def test_no_anchor_is_written_for_a_part_used_twice() -> None:
    part = {"deep": [1, 2]}
    assert "&" not in manifest_text({"one": part, "two": part})


@pytest.mark.parametrize("value", [{1, 2}, object(), b"x"])
def test_what_yaml_does_not_hold_is_an_error(value: object) -> None:
    with pytest.raises(TypeError):
        manifest_text({"value": value})
