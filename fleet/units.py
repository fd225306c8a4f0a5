"""Types that carry units, and the only unit conversions of the project."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction as Rational
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

MAX_TEXT = 64
"""Longest text that is read as a quantity; anything longer is refused unread."""

LARGEST = 1e24
"""No quantity reaches this, so that products of a few of them stay finite."""

MS_PER_S = 1_000.0
S_PER_H = 3_600.0
W_PER_KW = 1_000.0
BITS_PER_BYTE = 8
GIB = 2.0**30
HOURS_PER_MONTH = 730  # 8760 / 12, as clouds bill it

_NUMBER = r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,2})?"
_NUMBER_AT_START = re.compile(rf"{_NUMBER}(.*)", re.DOTALL)


@dataclass(frozen=True)
class Quantity:
    """What can be measured in some units: how people write it, and the number that it means.

    `factors` maps a spelling to the size of that unit in `unit`. A space in a spelling may be left out in the text,
    and "/" may stand between spaces; the empty spelling lets a text go without a unit. An instance is also pydantic
    metadata: `Annotated[float, DURATION.within(above=0)]`.

    >>> DURATION.parse("1.2 s")
    1200.0
    >>> RATE.parse("90 req/min")
    1.5
    """

    noun: str  # "a duration"
    unit: str  # of a plain number: "milliseconds"
    allowed: str  # units named in messages: "ms, s, min or h"
    examples: tuple[str, ...]
    factors: Mapping[str, Rational] = field(hash=False)
    sign: str = ""  # may stand before the number: "$"
    is_whole: bool = False
    at_least: float = 0.0
    above: float | None = None
    at_most: float | None = None

    def within(
        self, at_least: float = 0.0, *, above: float | None = None, at_most: float | None = None
    ) -> Quantity:
        """Return the same quantity with bounds, in `unit`."""
        return replace(self, at_least=at_least, above=above, at_most=at_most)

    def parse(self, value: object) -> float:
        """Return the number in `unit` that a number or a text means (an int if the quantity is whole).

        Raises:
            PydanticCustomError: a ValueError of type wrong-type, wrong-unit or wrong-value, with `found`, `allowed`,
                `example`, `unit` and `range` in its context.
        """
        if isinstance(value, str):
            return self._checked(self._read(value), f"'{value}'")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._refusal("wrong-type", f"this is not {self.noun}", "")
        return self._checked(value, str(value) if -LARGEST < value < LARGEST else "this")

    def _read(self, text: str) -> Rational:
        if len(text) > MAX_TEXT:
            raise self._refusal("wrong-value", f"{len(text)} characters are not {self.noun}", "a long text")
        match = self._pattern.fullmatch(text.strip())
        if match is None:
            raise self._unreadable(text.strip())
        digits = match["number"].replace("_", "")
        return Rational(digits) * self._compact_factors[match["unit"].replace(" ", "")]

    def _unreadable(self, text: str) -> PydanticCustomError:
        number = _NUMBER_AT_START.fullmatch(text.removeprefix(self.sign).strip())
        if number is None:
            return self._refusal("wrong-value", f"'{text}' is not {self.noun}", f"'{text}'")
        unit = number[1].strip()
        if unit.startswith(","):
            return self._refusal("wrong-value", f"'{text}' has a comma between digits", f"'{text}'")
        reason = f"'{unit}' is not a unit of {self.noun}" if unit else f"'{text}' has no unit"
        return self._refusal("wrong-unit", reason, f"'{text}'")

    def _checked(self, number: Rational | float, shown: str) -> float:
        if not -LARGEST < number < LARGEST:  # false for NaN too
            raise self._refusal("wrong-value", f"{shown} is too large or no number at all", shown)
        low = number < self.at_least or (self.above is not None and number <= self.above)
        if low or (self.at_most is not None and number > self.at_most):
            raise self._refusal("wrong-value", f"{shown} is out of range", shown)
        if not self.is_whole:
            return float(number)
        if number != int(number):
            raise self._refusal("wrong-value", f"{shown} is not a whole number of {self.unit}", shown)
        return int(number)

    def _refusal(
        self, kind: Literal["wrong-type", "wrong-unit", "wrong-value"], reason: str, found: str
    ) -> PydanticCustomError:
        context: dict[str, Any] = {
            "reason": reason,
            "noun": self.noun,
            "found": found,
            "allowed": self.allowed,
            "example": self.examples[0],
            "unit": self.unit,
            "range": self.range,
        }
        return PydanticCustomError(
            kind, "{reason}; allowed: {range}, in {allowed}, for example {example}", context
        )

    @property
    def range(self) -> str:
        """The bounds in words.

        >>> SHARE.within(0.5, at_most=0.99).range
        '0.5 to 0.99'
        """
        low = f"{self.at_least:g}" if self.above is None else f"more than {self.above:g}"
        if self.at_most is None:
            return low if self.above is not None else f"{low} or more"
        return f"{low} to {self.at_most:g}"

    @cached_property
    def _compact_factors(self) -> dict[str, Rational]:
        return {spelling.replace(" ", ""): factor for spelling, factor in self.factors.items()}

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(self._regex("(?P<number>", "(?P<unit>"))

    def _regex(self, number: str, unit: str) -> str:
        longest_first = sorted(self.factors, key=lambda spelling: (-len(spelling), spelling))
        spellings = "|".join(s.replace(" ", " ?").replace("/", " ?/ ?") for s in longest_first)
        sign = f"{re.escape(self.sign)}? ?" if self.sign else ""
        return f"{sign}{number}{_NUMBER}) ?{unit}{spellings})"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.parse)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        number: JsonSchemaValue = {"type": "integer" if self.is_whole else "number"}
        if self.above is None:
            number["minimum"] = self.at_least
        else:
            number["exclusiveMinimum"] = self.above
        if self.at_most is not None:
            number["maximum"] = self.at_most
        text = {"type": "string", "maxLength": MAX_TEXT, "pattern": f"^ *{self._regex('(?:', '(?:')} *$"}
        return {
            "anyOf": [number, text],
            "description": f"{self.noun.capitalize()}: a plain number is {self.unit}; a text is in {self.allowed}.",
            "examples": list(self.examples),
        }


def _factors(*groups: tuple[Iterable[str], Rational | int]) -> dict[str, Rational]:
    return {spelling: Rational(size) for spellings, size in groups for spelling in spellings}


def _prefixed(bases: Iterable[str], size: Rational, prefixes: Mapping[str, int]) -> dict[str, Rational]:
    """Return every prefix before every base: ("B/s",) with k and M gives B/s, kB/s and MB/s."""
    return {prefix + base: size * factor for base in bases for prefix, factor in prefixes.items()}


_DECIMAL = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_COUNT = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "B": 10**9, "Ki": 2**10, "Mi": 2**20}
_MONEY = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6}

_SECOND = ("/s", "/sec", "/second")
_MINUTE = ("/min", "/minute")
_HOUR = ("/h", "/hr", "/hour")
_DAY = ("/d", "/day")

DURATION = Quantity(
    noun="a duration",
    unit="milliseconds",
    allowed="ms, s, min, h or d",
    examples=("800ms", "1.2 s", "2 min"),
    factors=_factors(
        (("us", "µs"), Rational(1, 1000)),
        (("ms",), 1),
        (("s", "sec", "second", "seconds"), 1_000),
        (("min", "minute", "minutes"), 60_000),
        (("h", "hour", "hours"), 3_600_000),
        (("d", "day", "days"), 86_400_000),
    ),
)

_REQUESTS = ("req", "request", "requests")
RATE = Quantity(
    noun="a request rate",
    unit="requests per second",
    allowed="req/s, req/min, req/h or req/day",
    examples=("24 req/s", "90 req/min"),
    factors=_factors(
        (("rps", *(base + per for base in _REQUESTS for per in _SECOND)), 1),
        ((base + per for base in _REQUESTS for per in _MINUTE), Rational(1, 60)),
        ((base + per for base in _REQUESTS for per in _HOUR), Rational(1, 3_600)),
        ((base + per for base in _REQUESTS for per in _DAY), Rational(1, 86_400)),
    ),
)

BANDWIDTH = Quantity(
    noun="a bandwidth",
    unit="bytes per second",
    allowed="GB/s (bytes) or Gbit/s (bits)",
    examples=("400 Gbit/s", "50 GB/s"),
    factors=_prefixed(("B/s",), Rational(1), _DECIMAL | _BINARY)
    | _prefixed(("bit/s", "bps", "b/s"), Rational(1, BITS_PER_BYTE), _DECIMAL),
)

SIZE = Quantity(
    noun="a size",
    unit="bytes",
    allowed="B, kB, MB, GB, TB, KiB, MiB, GiB or TiB",
    examples=("4 TiB", "80 GB"),
    factors=_prefixed(("B",), Rational(1), _DECIMAL | _BINARY),
)

_TOKEN = ("tok", "token", "tokens")
MEAN_TOKENS = Quantity(
    noun="a number of tokens",
    unit="tokens",
    allowed="tokens, if need be with k, M, Ki or Mi",
    examples=("8k", "32Ki", "4096"),
    factors=_prefixed(("", *(" " + base for base in _TOKEN)), Rational(1), _COUNT),
    at_most=1e9,
)
TOKEN_COUNT = replace(MEAN_TOKENS, is_whole=True)

TOKEN_RATE = Quantity(
    noun="a token rate",
    unit="tokens per minute",
    allowed="tok/min, tok/s, tok/h or tok/day, with k, M or B",
    examples=("2M tok/min", "50k tok/s"),
    factors=_prefixed((" " + base + per for base in _TOKEN for per in _SECOND), Rational(60), _COUNT)
    | _prefixed((" " + base + per for base in _TOKEN for per in _MINUTE), Rational(1), _COUNT)
    | _prefixed((" " + base + per for base in _TOKEN for per in _HOUR), Rational(1, 60), _COUNT)
    | _prefixed((" " + base + per for base in _TOKEN for per in _DAY), Rational(1, 1_440), _COUNT),
)

SHARE = Quantity(
    noun="a share",
    unit="a fraction of one",
    allowed="a fraction or a percentage",
    examples=("15%", "0.15"),
    factors=_factors((("",), 1), (("%", "percent"), Rational(1, 100))),
)

MONEY_RATE = Quantity(
    noun="a price per hour",
    unit="US dollars per hour",
    allowed="US dollars per h, day, month (730 h) or year",
    examples=("$2.10/h", "2.10 USD/h"),
    factors=_prefixed((base + per for base in ("", " USD") for per in _HOUR), Rational(1), _MONEY)
    | _prefixed((base + per for base in ("", " USD") for per in _DAY), Rational(1, 24), _MONEY)
    | _prefixed((base + "/month" for base in ("", " USD")), Rational(1, HOURS_PER_MONTH), _MONEY)
    | _prefixed((base + "/year" for base in ("", " USD")), Rational(1, 8_760), _MONEY),
    sign="$",
)

POWER = Quantity(
    noun="a power",
    unit="kilowatts",
    allowed="W, kW or MW",
    examples=("120 kW", "1.2 MW"),
    factors=_factors((("W",), Rational(1, 1000)), (("kW",), 1), (("MW",), 1_000)),
)

DurationMs = Annotated[float, DURATION]
PositiveMs = Annotated[float, DURATION.within(above=0)]
RequestsPerS = Annotated[float, RATE]
BytesPerS = Annotated[float, BANDWIDTH]
Bytes = Annotated[float, SIZE]
Tokens = Annotated[int, TOKEN_COUNT]
MeanTokens = Annotated[float, MEAN_TOKENS]
TokensPerMinute = Annotated[float, TOKEN_RATE]
Fraction = Annotated[float, SHARE.within(at_most=1)]
"""A part of a whole, 0 to 1."""
Ratio = Annotated[float, SHARE.within(at_most=10)]
"""What comes on top of a whole; may exceed it, up to tenfold."""
UsdPerHour = Annotated[float, MONEY_RATE]
Kilowatts = Annotated[float, POWER]


def format_usd(usd: float) -> str:
    """Return an amount of money with cents, or with three digits below a dollar.

    >>> format_usd(1234.5), format_usd(0.1237), format_usd(-3)
    ('$1,234.50', '$0.124', '-$3.00')
    """
    sign = "-" if usd < 0 else ""
    digits = 3 if 0 < abs(usd) < 1 else 2
    return f"{sign}${abs(usd):,.{digits}f}"


def format_usd_per_hour(usd_per_hour: float) -> str:
    """Return a price with its unit.

    >>> format_usd_per_hour(2.1)
    '$2.10/h'
    """
    return f"{format_usd(usd_per_hour)}/h"


def format_ms(ms: float) -> str:
    """Return a duration in the largest unit that leaves one or more.

    >>> [format_ms(ms) for ms in (0.25, 8.4, 812, 1200, 150_000, 7_200_000)]
    ['0.25 ms', '8.4 ms', '812 ms', '1.2 s', '2.5 min', '2 h']
    """
    return _scaled(ms, {"h": 3_600_000.0, "min": 60_000.0, "s": MS_PER_S, "ms": 1.0})


def format_bytes(count: float) -> str:
    """Return a size in binary units.

    >>> format_bytes(80 * 2**30), format_bytes(512)
    ('80 GiB', '512 B')
    """
    return _scaled(count, {"TiB": 2.0**40, "GiB": GIB, "MiB": 2.0**20, "KiB": 2.0**10, "B": 1.0})


def format_bytes_per_s(bytes_per_s: float) -> str:
    """Return a bandwidth in decimal units of bytes.

    >>> format_bytes_per_s(50e9), format_bytes_per_s(1.8e12)
    ('50 GB/s', '1.8 TB/s')
    """
    return _scaled(bytes_per_s, {"TB/s": 1e12, "GB/s": 1e9, "MB/s": 1e6, "kB/s": 1e3, "B/s": 1.0})


def format_tokens(tokens: float) -> str:
    """Return a number of tokens, in full below ten thousand.

    >>> format_tokens(8192), format_tokens(128_000), format_tokens(2.5e6)
    ('8,192', '128k', '2.5M')
    """
    if abs(tokens) < 10_000:
        return f"{tokens:,.0f}"
    return _scaled(tokens, {"B": 1e9, "M": 1e6, "k": 1e3}).replace(" ", "")


def format_requests_per_s(requests_per_s: float) -> str:
    """Return a request rate.

    >>> format_requests_per_s(24), format_requests_per_s(0.05)
    ('24 req/s', '0.05 req/s')
    """
    return f"{_short(requests_per_s)} req/s"


def format_share(share: float) -> str:
    """Return a share in percent.

    >>> format_share(0.15), format_share(0.0042), format_share(1)
    ('15 %', '0.42 %', '100 %')
    """
    return f"{_short(100 * share)} %"


def format_kilowatts(kilowatts: float) -> str:
    """Return a power.

    >>> format_kilowatts(10.2), format_kilowatts(1200), format_kilowatts(0.7)
    ('10.2 kW', '1.2 MW', '700 W')
    """
    return _scaled(kilowatts, {"MW": 1e3, "kW": 1.0, "W": 1 / W_PER_KW})


def _scaled(number: float, sizes: Mapping[str, float]) -> str:
    """Return a number in the first unit that it is at least one of, else in the last; `sizes` falls."""
    unit = next((unit for unit, size in sizes.items() if abs(number) >= size), list(sizes)[-1])
    return f"{_short(number / sizes[unit])} {unit}"


def _short(number: float) -> str:
    """Return three significant digits, or every digit before the point; no trailing zeros, no exponent."""
    if number == 0:
        return "0"
    if abs(number) >= 99.95:
        return f"{number:,.0f}"
    rounded = f"{float(f'{number:.3g}'):.9f}".rstrip("0").rstrip(".")
    return rounded if rounded.strip("-0.") else "0"
