"""The catalogue as shipped: YAML files beside this module, read once and checked."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

import yaml

from fleet.catalog.records import (
    Accelerator,
    AcceptanceLength,
    Catalog,
    EngineId,
    EngineRelease,
    Machine,
    ModelCard,
    Price,
)

_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def load_catalog() -> Catalog:
    """Return the catalogue that this version ships with. Read and checked once per process.

    Raises:
        pydantic.ValidationError: a data file breaks a record's rules; that is our fault, not the user's.
    """
    files = read_data_files()
    digest = hashlib.sha256(b"".join(files.values())).hexdigest()
    tables = {name.removesuffix(".yaml"): yaml.load(text, _Loader) for name, text in files.items()}  # noqa: S506
    return Catalog.model_validate({**tables, "digest": digest})


def read_data_files() -> dict[str, bytes]:
    """Return the catalogue's data files by name, in name order."""
    folder = resources.files("fleet.catalog").joinpath("data")
    entries = sorted(
        (entry for entry in folder.iterdir() if entry.name.endswith(".yaml")), key=lambda entry: entry.name
    )
    return {entry.name: entry.read_bytes() for entry in entries}


def find_accelerator(catalog: Catalog, accelerator_id: str) -> Accelerator | None:
    """Return the accelerator, or None where the catalogue has none of that id."""
    return catalog.accelerators.get(accelerator_id)


def find_model(catalog: Catalog, model_id: str) -> ModelCard | None:
    """Return the model card, or None where the catalogue has none of that id."""
    return catalog.models.get(model_id)


def find_machine(catalog: Catalog, provider: str, machine_type: str) -> Machine | None:
    """Return the machine type of a provider, or None where the catalogue does not list it."""
    return catalog.machines.get(f"{provider}/{machine_type}")


def find_engine(catalog: Catalog, engine: EngineId, version: str | None = None) -> EngineRelease | None:
    """Return the engine at that version, or its newest version; None where the catalogue does not list it."""
    releases = [release for release in catalog.engines if release.id is engine]
    if version is not None:
        releases = [release for release in releases if release.version == version]
    return releases[-1] if releases else None


def find_price(catalog: Catalog, provider: str, machine_type: str, kind: str = "on-demand") -> Price | None:
    """Return the list price of a machine type, or None where the catalogue has none of that kind.

    Whether it is still to be used is `Price.is_out_of_date`.
    """
    for price in catalog.prices:
        if (price.provider, price.machine_type, price.kind) == (provider, machine_type, kind):
            return price
    return None


def find_acceptance(
    catalog: Catalog, model_id: str, method: str, mode: str = "plain"
) -> AcceptanceLength | None:
    """Return the measured acceptance lengths of a model's draft method, or None where there are none."""
    for row in catalog.acceptance:
        if (row.model, row.method, row.mode) == (model_id, method, mode):
            return row
    return None
