"""The file that has every field."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from fleet.diagnostics import Diagnostic
from fleet.source import read_document
from fleet.spec.load import load_spec
from fleet.spec.model import FleetFile, LengthSpec, RateSpec, SpecModel

Judge = Callable[[str], list[Diagnostic]]

FULL = Path(__file__).parent / "files" / "full.yaml"


@pytest.fixture(scope="module")
def file() -> FleetFile:
    return load_spec(read_document(FULL))


def test_it_has_no_error_and_the_warnings_that_it_should(judge: Judge, full_text: str) -> None:
    assert [(d.rule, d.span.line) for d in judge(full_text) if d.span] == [
        ("forecast-demand", 74),
        ("guessed-demand", 83),
        ("retries-multiply-load", 155),
    ]


def models_of(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for subclass in model.__subclasses__():
        yield subclass
        yield from models_of(subclass)


def written_fields(value: Any) -> Iterator[tuple[type[BaseModel], str]]:
    if isinstance(value, BaseModel):
        for name in value.model_fields_set:
            yield type(value), name
            yield from written_fields(getattr(value, name))
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from written_fields(item)


def test_it_exercises_every_field_of_every_type(file: FleetFile) -> None:
    every = {(model, name) for model in models_of(SpecModel) for name in model.model_fields}
    assert every - {(FleetFile, name) for name in FleetFile.model_fields} <= set(written_fields(file))


def test_units_are_read_into_the_unit_of_the_type(file: FleetFile) -> None:
    spec = file.spec
    interactive = spec.slos["interactive"]
    assert interactive.ttft
    assert interactive.tpot
    assert interactive.e2e
    assert (interactive.ttft.p50, interactive.ttft.p95, interactive.ttft.p99) == (300.0, 800.0, 2000.0)
    assert (interactive.tpot.p95, interactive.e2e.p95, interactive.attainment) == (50.0, 30_000.0, 0.95)
    chat = spec.workloads["chat"].demand
    assert isinstance(chat.rate, RateSpec)
    assert isinstance(chat.input, LengthSpec)
    assert isinstance(chat.output, LengthSpec)
    assert (chat.rate.mean, chat.rate.peak) == (1.5, 24.0)
    assert (chat.input.p90, chat.input.p95, chat.input.p99) == (2000, 2500, 4096)
    assert chat.output.histogram == ((64, 0.2), (256, 0.5), (1024, 0.3))
    assert spec.workloads["steady"].demand.input == 4000
    h100 = spec.hardware.offerings["h100-a"]
    assert (h100.price.per_gpu, h100.price.as_of) == (2.1, date(2026, 10, 1))
    assert (h100.network_per_gpu, h100.power_limit) == (50e9, 120.0)
    assert spec.hardware.offerings["b300-lease"].price.per_rack == pytest.approx(150_000 / 730)
    assert spec.hardware.offerings["b300-lease"].price.as_of == date(2026, 11, 1)
    assert (spec.policy.budget, spec.policy.power_limit, spec.policy.risk.max_utilisation) == (
        3000.0,
        1200.0,
        0.8,
    )
    assert spec.gateway.tenants["research"].token_budget == 2e6
    assert spec.models["llama-70b"].max_context == 32768


def test_what_is_read_cannot_be_changed(file: FleetFile) -> None:
    with pytest.raises(ValueError, match="frozen"):
        file.spec.policy.budget = 1.0  # type: ignore[misc]
