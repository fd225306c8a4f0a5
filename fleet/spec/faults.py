"""What is wrong with a value, in the user's words: each fault that validation finds, as a diagnostic of its own rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Final

from pydantic_core import ErrorDetails

from fleet.diagnostics import Diagnostic, Label, Rule, SpecPath, at, closest, enumerated, register
from fleet.spec.base import MAPPING, NUMBER, PATTERN_RULES, PATTERNS
from fleet.spec.fields import find_field, find_home, find_model

MISSING_FIELD = register(
    "missing-field",
    what="A field that is needed is not there.",
    why="Nothing is assumed in its place.",
    fix="Add the field.",
)
UNKNOWN_FIELD = register(
    "unknown-field",
    what="A field has a name that is not known at this place.",
    why="A misspelt field that is passed over would leave its default in force, unseen.",
    fix="Correct the name, or remove the line.",
)
EMPTY_VALUE = register(
    "empty-value",
    what="A field is written without a value.",
    why="Whether the default or nothing at all is meant would be a guess.",
    fix="Give a value, or remove the line.",
)
WRONG_TYPE = register(
    "wrong-type",
    what="A value is of another kind than the field takes: text for a number, a number for a mapping.",
    why="Values are not converted silently, so that what you read is what is used.",
    fix="Write a value of the kind that the field takes.",
)
WRONG_UNIT = register(
    "wrong-unit",
    what="A value has a unit that the field does not take, or a text has none.",
    why="A wrong unit is wrong by powers of ten.",
    fix="Write the value in one of the units named.",
)
WRONG_VALUE = register(
    "wrong-value",
    what="A value is of the right kind but not one that the field takes: out of range, or none of the words allowed.",
    why="Nothing outside the range has a meaning here.",
    fix="Write one of the values named.",
)
BAD_NAME = register(
    "bad-name",
    what="A name has characters that Kubernetes does not accept in names.",
    why="Names become names and labels of objects in the cluster.",
    fix="Use lower-case letters, digits and dashes.",
)

_EXPECTED: Final[Mapping[str, str]] = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "not-a-day": "a day such as 2026-11-24",
}
_BOUNDS: Final[Mapping[str, tuple[str, str]]] = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_YES_NO: Final[Mapping[str, str]] = {
    "yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false",
}  # fmt: skip


def fault(error: ErrorDetails, is_written: Callable[[SpecPath], bool]) -> Diagnostic:
    """Return the diagnostic for one error of pydantic.

    Args:
        error: With its input and context.
        is_written: Says whether the file itself gives a value at a path.
    """
    path, on_key = _path(error, is_written)
    kind, found = error["type"], error["input"]
    if kind == "missing":
        return _missing(path)
    if kind == "extra_forbidden":
        return _unknown(path)
    context: dict[str, Any] = error.get("ctx") or {}
    expected = _EXPECTED.get(kind) or (context["noun"] if kind == "wrong-type" else None)
    if expected:
        return _wrong_type(path, expected, found, error)
    if kind in ("literal_error", "enum"):
        return _not_among(path, found, re.findall(r"'([^']*)'", context["expected"]))
    if kind == "string_pattern_mismatch":
        return _wrong_shape(path, found, context["pattern"], on_key)
    if kind in ("wrong-unit", "wrong-value"):
        return _wrong_quantity(path, WRONG_UNIT if kind == "wrong-unit" else WRONG_VALUE, context)
    return _wrong_value(path, found, kind, context)


def dotted(path: SpecPath) -> str:
    """Return a path as text: spec.models.chat.checkpoints[0]."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step[:64]}" for step in path)
    return text.removeprefix(".") or "the file"


def _path(error: ErrorDetails, is_written: Callable[[SpecPath], bool]) -> tuple[SpecPath, bool]:
    """Return the error's path as the user writes it, and whether its key is at fault."""
    path: SpecPath = ()
    for step in error["loc"]:
        if step not in (NUMBER, MAPPING) or is_written((*path, step)):
            path = (*path, step)
    is_key = path[-1:] == ("[key]",) and not is_written(path)
    return (path[:-1], True) if is_key else (path, False)


def _missing(path: SpecPath) -> Diagnostic:
    *parent, name = path
    if isinstance(name, int):
        return WRONG_VALUE.report(
            f"{dotted(tuple(parent))} is too short",
            at(*parent, text=f"needs {name + 1} values or more"),
            help="write a row as [up to, share]",
        )
    field = find_field(path)
    what = (field.description or "" if field else "").split(". ")[0].rstrip(".")
    help = f"add `{name}:`" + (f" ({what[:1].lower()}{what[1:]})" if what else "")
    message = f"{dotted(tuple(parent))} has no `{name}`"
    return MISSING_FIELD.report(message, at(*parent, text=f"needs `{name}`", on_key=True), help=help)


def _unknown(path: SpecPath) -> Diagnostic:
    *parent, name = path
    model = find_model(tuple(parent))
    known = list(model.model_fields) if model else []
    message = f"{dotted(tuple(parent))} has no field '{str(name)[:64]}'"
    close = closest(str(name), known)
    home = find_home(model, str(name)) if model else None
    if close:
        text, help = f"did you mean '{close}'?", f"write `{close}`, or remove the line"
    elif home:
        text, help = f"'{name}' is a field of `{home}`", f"move it below `{home}:`"
    else:
        text, help = f"known are {enumerated(known, shown=16)}", ""
    return UNKNOWN_FIELD.report(message, at(*path, text=text, on_key=True), help=help)


def _wrong_type(path: SpecPath, expected: str, found: object, error: ErrorDetails) -> Diagnostic:
    if found is None:
        return EMPTY_VALUE.report(f"{dotted(path)} has no value", at(*path, text=f"needs {expected}"))
    alternative = " or a mapping" if NUMBER in error["loc"] else ""
    message = f"{dotted(path)} takes {expected}{alternative}, not {described(found)}"
    label = at(*path, text=f"this is {described(found, with_value=False)}")
    return WRONG_TYPE.report(message, label, help=_type_help(path, expected, found, error))


def _type_help(path: SpecPath, expected: str, found: object, error: ErrorDetails) -> str:
    shown = str(found).lower() if isinstance(found, bool) else str(found)[:64]
    is_scalar = not isinstance(found, list | dict)
    if expected == "text" and is_scalar:
        return f'put it in quotes: "{shown}"'
    if expected == "true or false" and isinstance(found, str):
        return f"write {_YES_NO.get(found.lower(), 'true or false')}"
    if expected in ("a whole number", "a number") and isinstance(found, str):
        is_number = re.fullmatch(r"[0-9]+(\.[0-9]+)?", found) is not None
        return (
            f"remove the quotes: {shown}"
            if is_number and found[0] != "0"
            else "write digits only, for example 12"
        )
    if expected == "a list":
        if path[-2:-1] == ("histogram",):
            return "write a row as [up to, share]"
        return f"write [{shown}]" if is_scalar else "begin each item with `- `"
    model = find_model(path)
    if model and (expected == "a mapping" or isinstance(found, dict)):
        return f"write its fields below it: {enumerated(list(model.model_fields), shown=12)}"
    context = error.get("ctx") or {}
    return f"write it like {context['example']}" if "example" in context else f"write {expected}"


def _not_among(path: SpecPath, found: object, allowed: list[str]) -> Diagnostic:
    field = path[-1] if path else "value"
    if isinstance(field, int) and len(path) > 1:
        field = path[-2]
    if found is None:
        return EMPTY_VALUE.report(f"{dotted(path)} has no value", at(*path, text=f"needs {_either(allowed)}"))
    close = closest(found, allowed) if isinstance(found, str) else None
    text = f"did you mean '{close}'?" if close else f"allowed: {_either(allowed)}"
    message = f"{described(found)} is none of the values of `{field}`"
    return WRONG_VALUE.report(message, at(*path, text=text), help=f"write {_either(allowed)}")


def _wrong_shape(path: SpecPath, found: object, pattern: str, on_key: bool) -> Diagnostic:
    shape = next(shape for shape, candidate in PATTERNS.items() if candidate == pattern)
    rule = BAD_NAME if shape == "name" else WRONG_VALUE
    message = f"{described(found)} is not a {shape}"
    help = f"write {PATTERN_RULES[shape]}"
    if shape == "name" and isinstance(found, str):
        better = re.sub(r"[^a-z0-9.-]+", "-", found.lower())[:63].strip("-.")
        help = f"write {better}" if better else help
    label = at(*path, text=f"allowed: {PATTERN_RULES[shape]}", on_key=on_key)
    return rule.report(message, label, help=help)


def _wrong_quantity(path: SpecPath, rule: Rule, context: Mapping[str, Any]) -> Diagnostic:
    message = f"{dotted(path)}: {context['reason']}"
    if "out of range" in message:
        help = f"write {context['range']} ({context['unit']})"
        return rule.report(message, at(*path, text=f"allowed is {context['range']}"), help=help)
    help = f"write it like {context['example']}, or as a plain number ({context['unit']})"
    return rule.report(message, at(*path, text=f"allowed: {context['allowed']}"), help=help)


def _wrong_value(path: SpecPath, found: object, kind: str, context: Mapping[str, Any]) -> Diagnostic:
    label: Label = at(*path)
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        allowed = f"{words} {context[key]:g}"
        label = at(*path, text=f"allowed is {allowed}")
        message = f"{dotted(path)} is {described(found)}, which is out of range"
        return WRONG_VALUE.report(message, label, help=f"write {allowed}")
    if kind in ("too_short", "too_long"):
        count = context["min_length"] if kind == "too_short" else context["max_length"]
        allowed = f"at {'least' if kind == 'too_short' else 'most'} {count} value{'' if count == 1 else 's'}"
        message = f"{dotted(path)} has {context['actual_length']} values"
        return WRONG_VALUE.report(message, at(*path, text=f"takes {allowed}"), help=f"give {allowed}")
    message = f"{dotted(path)}: {described(found)} cannot be used here"
    return WRONG_VALUE.report(message, label)


def described(found: object, *, with_value: bool = True) -> str:
    """Return what a value is, for a sentence: the text 'abc', the number 5, a list."""
    if isinstance(found, str):
        return f"the text '{found[:64]}{'…' if len(found) > 64 else ''}'" if with_value else "text"
    if isinstance(found, bool | int | float | date):
        kind = "truth value" if isinstance(found, bool) else "day" if isinstance(found, date) else "number"
        return f"the {kind} {str(found).lower()[:64]}" if with_value else f"a {kind}"
    return "a list" if isinstance(found, list) else "a mapping" if isinstance(found, dict) else "nothing"


def _either(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
