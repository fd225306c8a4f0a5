"""Quantities as people write them."""

from __future__ import annotations

import math
import re
from fractions import Fraction as Rational

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from fleet import units
from fleet.units import Quantity

QUANTITIES = {name: value for name, value in vars(units).items() if isinstance(value, Quantity)}

WRITTEN = [
    ("DURATION", "800ms", 800.0), ("DURATION", "1.2 s", 1200.0), ("DURATION", "2 min", 120_000.0), ("DURATION", "1h", 3.6e6),
    ("DURATION", "250us", 0.25), ("DURATION", "250µs", 0.25), ("DURATION", "1 day", 86.4e6), ("DURATION", " 5 s ", 5000.0),
    ("DURATION", 800, 800.0), ("DURATION", 0.5, 0.5), ("DURATION", "0ms", 0.0), ("DURATION", ".5s", 500.0), ("DURATION", "5.s", 5000.0), ("DURATION", "1e3 ms", 1000.0),
    ("RATE", "24 req/s", 24.0), ("RATE", "90 req/min", 1.5), ("RATE", "24 rps", 24.0), ("RATE", "3600 requests / hour", 1.0), ("RATE", "86400 req/day", 1.0),
    ("SIZE", "4 TiB", 4 * 2.0**40), ("SIZE", "80GB", 80e9), ("SIZE", "512 B", 512.0), ("SIZE", "1 KiB", 1024.0), ("SIZE", "1 kB", 1000.0),
    ("BANDWIDTH", "400 Gbit/s", 50e9), ("BANDWIDTH", "50 GB/s", 50e9), ("BANDWIDTH", "400 Gbps", 50e9), ("BANDWIDTH", "1.8 TB/s", 1.8e12), ("BANDWIDTH", "1 GiB/s", 2.0**30),
    ("MONEY_RATE", "$2.10/h", 2.1), ("MONEY_RATE", "2.10 USD/h", 2.1), ("MONEY_RATE", "$2.10 / hour", 2.1), ("MONEY_RATE", "2.1/hr", 2.1),
    ("MONEY_RATE", "$48/day", 2.0), ("MONEY_RATE", "$1460/month", 2.0), ("MONEY_RATE", "$17.52k/year", 2.0), ("MONEY_RATE", "$3k/h", 3000.0), ("MONEY_RATE", "1.5M USD/year", 1.5e6 / 8760),
    ("SHARE", "15%", 0.15), ("SHARE", 0.15, 0.15), ("SHARE", "0.15", 0.15), ("SHARE", "99.9 %", 0.999), ("SHARE", "200%", 2.0),
    ("POWER", "120 kW", 120.0), ("POWER", "1.2 MW", 1200.0), ("POWER", "700W", 0.7), ("POWER", 10.2, 10.2),
    ("TOKEN_COUNT", "8k", 8000), ("TOKEN_COUNT", "32Ki", 32768), ("TOKEN_COUNT", "8k tokens", 8000), ("TOKEN_COUNT", "4096", 4096), ("TOKEN_COUNT", 4096, 4096), ("TOKEN_COUNT", 4096.0, 4096), ("TOKEN_COUNT", "1.5k", 1500), ("TOKEN_COUNT", "1_000", 1000), ("TOKEN_COUNT", "1M", 10**6),
    ("MEAN_TOKENS", "1154.7", 1154.7), ("MEAN_TOKENS", 1154.7, 1154.7),
    ("TOKEN_RATE", "2M tok/min", 2e6), ("TOKEN_RATE", "50k tok/s", 3e6), ("TOKEN_RATE", "60 tok/h", 1.0), ("TOKEN_RATE", "1B tokens/day", 1e9 / 1440), ("TOKEN_RATE", 5, 5.0),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "value"), WRITTEN, ids=[f"{name} {text}" for name, text, _ in WRITTEN]
)
def test_a_quantity_is_read_exactly(name: str, text: object, value: float) -> None:
    found = QUANTITIES[name].parse(text)
    assert found == value
    assert type(found) is type(value)


REFUSED = [
    ("DURATION", "800", "wrong-unit"), ("DURATION", "8 req/s", "wrong-unit"), ("DURATION", "5 m", "wrong-unit"), ("DURATION", "5 MS", "wrong-unit"), ("DURATION", "1m30s", "wrong-unit"), ("DURATION", "1:30", "wrong-unit"),
    ("DURATION", "soon", "wrong-value"), ("DURATION", "", "wrong-value"), ("DURATION", "ms", "wrong-value"), ("DURATION", "-5ms", "wrong-value"), ("DURATION", -5, "wrong-value"),
    ("DURATION", math.nan, "wrong-value"), ("DURATION", math.inf, "wrong-value"), ("DURATION", 10**400, "wrong-value"), ("DURATION", "1e99 d", "wrong-value"), ("DURATION", "1e999 ms", "wrong-unit"), ("DURATION", "9" * 5000 + "ms", "wrong-value"),
    ("DURATION", True, "wrong-type"), ("DURATION", None, "wrong-type"), ("DURATION", [5], "wrong-type"), ("DURATION", {"ms": 5}, "wrong-type"),
    ("RATE", "24", "wrong-unit"), ("RATE", "24/s", "wrong-unit"), ("RATE", "1,200 req/s", "wrong-value"), ("RATE", "24 tok/s", "wrong-unit"),
    ("BANDWIDTH", "400 gb/s", "wrong-unit"), ("BANDWIDTH", "400 GB", "wrong-unit"), ("SIZE", "4 TB/s", "wrong-unit"), ("SIZE", "4 tib", "wrong-unit"),
    ("MONEY_RATE", "$2.10", "wrong-unit"), ("MONEY_RATE", "2.10 EUR/h", "wrong-unit"), ("MONEY_RATE", "€2.10/h", "wrong-value"), ("MONEY_RATE", "2.10 $/h", "wrong-unit"),
    ("SHARE", "15 ms", "wrong-unit"), ("POWER", "120 kWh", "wrong-unit"), ("POWER", "1 mW", "wrong-unit"),
    ("TOKEN_COUNT", "1.5", "wrong-value"), ("TOKEN_COUNT", 1.5, "wrong-value"), ("TOKEN_COUNT", "8 KB", "wrong-unit"), ("TOKEN_COUNT", 10**10, "wrong-value"),
    ("TOKEN_RATE", "2M", "wrong-unit"), ("TOKEN_RATE", "٣ tok/s", "wrong-value"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "kind"), REFUSED, ids=[f"{name} {str(text)[:20]}" for name, text, _ in REFUSED]
)
def test_what_is_no_such_quantity_is_refused_with_the_units_and_an_example(
    name: str, text: object, kind: str
) -> None:
    quantity = QUANTITIES[name]
    with pytest.raises(PydanticCustomError) as caught:
        quantity.parse(text)
    assert caught.value.type == kind
    assert quantity.allowed in str(caught.value)
    assert quantity.examples[0] in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("quantity", QUANTITIES.values(), ids=QUANTITIES)
def test_every_example_and_every_spelling_is_read(quantity: Quantity) -> None:
    for text in (*quantity.examples, *(f"2 {spelling}" for spelling in quantity.factors)):
        quantity.within().parse(text.replace("2 ", "1000000 ") if quantity.is_whole else text)


@given(
    st.sampled_from(sorted(QUANTITIES)),
    st.one_of(st.text(max_size=80), st.from_regex(r"\$?[-+]?[0-9._]{1,9}(e[0-9]{1,3})?[ a-zA-Z/%]{0,9}")),
)
def test_any_text_is_a_finite_quantity_or_refused(name: str, text: str) -> None:
    quantity = QUANTITIES[name]
    try:
        value = quantity.parse(text)
    except PydanticCustomError:
        return
    assert 0 <= value < units.LARGEST


@given(st.decimals(min_value=0, max_value=10**6, places=3))
def test_decimals_are_exact(number: object) -> None:
    assert units.DURATION.parse(f"{number}s") == float(Rational(str(number)) * 1000)
    assert units.SHARE.parse(f"{number}%") == float(Rational(str(number)) / 100)


@given(
    st.sampled_from(sorted(QUANTITIES)),
    st.from_regex(r"\A\$? ?[0-9]{1,4} ?(req/s|ms|k tok/s|GB/s|%|kW|USD/h|/h|k|GiB)?\Z"),
)
def test_the_schema_takes_the_same_texts_as_the_parser(name: str, text: str) -> None:
    quantity = QUANTITIES[name]
    schema = TypeAdapter(units.Annotated[float, quantity]).json_schema()
    matches = re.search(schema["anyOf"][1]["pattern"], text) is not None
    try:
        quantity.parse(text)
    except PydanticCustomError as error:
        assert not matches or error.type == "wrong-value"  # noqa: PT017  either outcome is fine, together they are checked
    else:
        assert matches


def test_bounds_are_kept_by_parser_and_schema() -> None:
    share = TypeAdapter(units.Annotated[float, units.SHARE.within(above=0, at_most=0.5)])
    assert share.validate_python("50%") == 0.5
    for text in ("0%", 0, "51%", 0.51):
        with pytest.raises(ValidationError, match=r"more than 0 to 0\.5"):
            share.validate_python(text)
    assert share.json_schema()["anyOf"][0] == {"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}


@given(st.floats(1e-3, 1e9))
def test_what_is_formatted_is_read_back_within_rounding(value: float) -> None:
    pairs = (
        (units.format_ms, units.DURATION),
        (units.format_bytes, units.SIZE),
        (units.format_bytes_per_s, units.BANDWIDTH),
        (units.format_kilowatts, units.POWER),
        (units.format_share, units.SHARE),
        (units.format_requests_per_s, units.RATE),
    )
    for write, quantity in pairs:
        assert quantity.parse(write(value).replace(",", "")) == pytest.approx(value, rel=6e-3)
