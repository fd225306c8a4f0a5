"""Typed, bounded reading of the fields of a Hugging Face config.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LARGEST_COUNT = 100_000_000
"""No width, vocabulary, layer count or context of a model comes near; a product of four of them stays exact."""

LARGEST_LAYERS = 4096
"""Layers, and entries of a list that has one for each layer: what is read takes bounded time."""


class UnsupportedConfigError(ValueError):
    """The configuration is not one that a model card can be made from; the message says why, in one sentence."""


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one configuration, read under a name that messages carry."""

    values: Mapping[str, object]
    name: str

    def fault(self, key: str, reason: str) -> UnsupportedConfigError:
        """Return (not raise) the error that says what is wrong with a field."""
        return UnsupportedConfigError(f"{self.name}: {key} {reason}")

    def find_count(self, key: str, *, minimum: int = 1, maximum: int = LARGEST_COUNT) -> int | None:
        """Return a whole number from `minimum` to `maximum`, or None where the field is absent or null.

        Raises:
            UnsupportedConfigError: the field holds anything else.
        """
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fault(key, f"must be a whole number, not {_describe(value)}")
        if not minimum <= value <= maximum:
            raise self.fault(key, f"must lie between {minimum} and {maximum}, not {_describe(value)}")
        return value

    def count(
        self, key: str, *, default: int | None = None, minimum: int = 1, maximum: int = LARGEST_COUNT
    ) -> int:
        """Return a whole number from `minimum` to `maximum`; `default` where absent.

        Raises:
            UnsupportedConfigError: the field is absent without default, or no such number.
        """
        value = self.find_count(key, minimum=minimum, maximum=maximum)
        if value is not None:
            return value
        if default is None:
            raise self.fault(key, "is missing")
        return default

    def layers(self) -> int:
        """Return the number of layers."""
        return self.count("num_hidden_layers", maximum=LARGEST_LAYERS)

    def flag(self, key: str, *, default: bool) -> bool:
        """Return a truth value; `default` where absent or null."""
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.fault(key, f"must be true or false, not {_describe(value)}")
        return value

    def find_string(self, key: str) -> str | None:
        """Return a string, or None where absent or null."""
        value = self.values.get(key)
        if value is None or isinstance(value, str):
            return value
        raise self.fault(key, f"must be a string, not {_describe(value)}")

    def find_strings(self, key: str) -> tuple[str, ...] | None:
        """Return a list of strings, or None where absent or null."""
        items = self._find_list(key)
        if items is None:
            return None
        strings = tuple(item for item in items if isinstance(item, str))
        if len(strings) != len(items):
            raise self.fault(key, "must be a list of strings")
        return strings

    def find_layer_indices(self, key: str, layers: int) -> frozenset[int]:
        """Return a list of layer numbers, each below `layers`; empty where absent or null."""
        items = self._find_list(key) or []
        indices = frozenset(
            i for i in items if isinstance(i, int) and not isinstance(i, bool) and 0 <= i < layers
        )
        if len(indices) != len(items):
            raise self.fault(key, f"must be a list of different layer numbers from 0 to {layers - 1}")
        return indices

    def find_section(self, key: str) -> Fields | None:
        """Return the fields of a nested mapping, or None where absent or null."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.fault(key, f"must be a mapping, not {_describe(value)}")
        return Fields(value, f"{self.name}: {key}")

    def _find_list(self, key: str) -> list[object] | None:
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) > LARGEST_LAYERS:
            raise self.fault(key, f"must be a list of at most {LARGEST_LAYERS} entries")
        return value


def _describe(value: object) -> str:
    """Return a short form of a value for a message."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a mapping"
    if isinstance(value, int) and abs(value) > LARGEST_COUNT:
        return "a far larger number" if value > 0 else "a large negative number"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
