"""Every figure of the catalogue says where it was read."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from fleet.catalog.load import read_data_files

Path = tuple[str | int, ...]

TABLES: dict[str, Any] = {name: yaml.safe_load(text) for name, text in read_data_files().items()}


def _is_figure(value: object) -> bool:
    if isinstance(value, list):
        return any(_is_figure(item) for item in value)
    return isinstance(value, int | float) and not isinstance(value, bool)


def mappings(node: object, path: Path = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield every mapping in the data with its path."""
    if isinstance(node, dict):
        yield path, node
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in items:
        yield from mappings(child, (*path, key))


def figures_without_source(node: object) -> list[Path]:
    """Return the mappings that hold a number and no source of their own."""
    return [
        path
        for path, mapping in mappings(node)
        if any(_is_figure(value) for value in mapping.values())
        and not str(mapping.get("source") or "").strip()
    ]


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_figure_has_a_source(name: str) -> None:
    assert figures_without_source(TABLES[name]) == []


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_removed_source_is_noticed_wherever_it_stood(name: str) -> None:
    checked = 0
    for path, mapping in mappings(TABLES[name]):
        if "source" not in mapping or not any(_is_figure(value) for value in mapping.values()):
            continue
        mutated = copy.deepcopy(TABLES[name])
        target = mutated
        for key in path:
            target = target[key]
        del target["source"]
        assert figures_without_source(mutated) == [path]
        checked += 1
    assert checked > 0


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_number_that_was_read_as_text_is_noticed(name: str) -> None:
    texts = [
        (path, key)
        for path, mapping in mappings(TABLES[name])
        for key, value in mapping.items()
        if key in {"value", "mean_tokens"} and not _is_figure(value)
    ]
    assert texts == []  # YAML 1.1 reads 8.0e12 as text; it has to be 8.0e+12


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_source_names_a_place_outside_this_project(name: str) -> None:
    sources = {mapping["source"] for _, mapping in mappings(TABLES[name]) if "source" in mapping}
    assert sources
    assert [
        source for source in sources if len(source) < 10 or (" " not in source and "://" not in source)
    ] == []


@pytest.mark.parametrize("name", ["prices.yaml", "acceptance.yaml"])
def test_a_price_and_a_measurement_have_a_date(name: str) -> None:
    records = TABLES[name]
    undated = [r for r in records if not (r.get("as_of") or r.get("usd_per_gpu_hour", {}).get("as_of"))]
    assert undated == []
