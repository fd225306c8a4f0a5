"""What the file's types allow at a place: which fields there are, and what each is for."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from fleet.diagnostics import SpecPath
from fleet.spec.base import SpecModel
from fleet.spec.model import FleetFile


def find_model(path: SpecPath) -> type[SpecModel] | None:
    """Return the model whose fields stand at a path, if one does."""
    annotation: Any = FleetFile
    for step in path:
        annotation = _annotation_below(annotation, step)
    return next((option for option in _options(annotation) if _is_model(option)), None)


def find_field(path: SpecPath) -> FieldInfo | None:
    """Return the field that a path ends in, if it ends in one."""
    model = find_model(path[:-1])
    return model.model_fields.get(str(path[-1])) if model else None


def find_home(model: type[SpecModel], name: str) -> str | None:
    """Return the field of a model under whose own fields a name belongs, if there is one."""
    for field_name, field in model.model_fields.items():
        for option in _options(field.annotation):
            if _is_model(option) and name in option.model_fields:
                return field_name
    return None


def _annotation_below(annotation: Any, step: str | int) -> Any:
    for option in _options(annotation):
        if _is_model(option) and step in option.model_fields:
            return option.model_fields[step].annotation
        arguments = get_args(option)
        if get_origin(option) is dict:
            return arguments[1]
        if get_origin(option) is tuple and isinstance(step, int):
            return arguments[0] if arguments[-1] is Ellipsis else arguments[min(step, len(arguments) - 1)]
    return None


def _options(annotation: Any) -> Iterator[Any]:
    """Yield the types that a value may have, without their metadata."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _options(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for argument in get_args(annotation):
            yield from _options(argument)
    else:
        yield annotation


def _is_model(option: Any) -> bool:
    return isinstance(option, type) and issubclass(option, SpecModel)
