"""The only door to Jinja: strict templates in which every value passes a typed filter."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
import yaml


class _Filtered(str):
    """Text that a typed filter made; anything else may not reach the output of a template."""

    __slots__ = ()


def _checked(value: object, kinds: type | tuple[type, ...], what: str) -> Any:
    """The value, if it is of its filter's type; a value that was not given says so by itself."""
    if isinstance(value, jinja2.Undefined):
        str(value)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise TypeError(f"{value!r} is no {what}")
    return value


def _integer(value: object) -> _Filtered:
    return _Filtered(_checked(value, int, "integer"))


def _number(value: object) -> _Filtered:
    return _Filtered(repr(_checked(value, (int, float), "number")))


def _word(value: object) -> _Filtered:
    """One word of a command line: quoted for the shell, and safe from Kubernetes, which expands $(NAME) and reads $$ as $."""
    text = _checked(value, str, "word") or _checked(None, str, "word")
    return _Filtered(shlex.quote(text.replace("$", "$$")))


def _json_word(value: object) -> _Filtered:
    """A mapping as one word: compact JSON with sorted keys."""
    return _word(
        json.dumps(
            _checked(value, Mapping, "mapping"), sort_keys=True, separators=(",", ":"), allow_nan=False
        )
    )


def _finalize(value: object) -> object:
    if not isinstance(value, _Filtered):
        raise TypeError(f"{value!r} reached a template's output without a typed filter")
    return value


def templates_folder() -> Path:
    """Where the templates lie: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parents[2]
    inside = package / "templates"
    return inside if inside.is_dir() else package.parent / "templates"


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates_folder(), encoding="utf-8"),
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  command lines and YAML; the filters quote
    )
    environment.filters.update(integer=_integer, number=_number, word=_word, json_word=_json_word)
    return environment


def render_template(name: str, values: Mapping[str, Any]) -> str:
    """Render `templates/<name>`.

    Raises:
        jinja2.UndefinedError: the template names a value that is not given.
        TypeError: a value does not suit its filter, or passes none.
    """
    return _environment().get_template(name).render(values)


@lru_cache(maxsize=8)
def read_versions(engine: str) -> Mapping[str, Any]:
    """What differs between the versions of an engine: `templates/<engine>/versions.yaml`."""
    text = (templates_folder() / engine / "versions.yaml").read_text(encoding="utf-8")
    loaded: Mapping[str, Any] = yaml.safe_load(text)
    return loaded
