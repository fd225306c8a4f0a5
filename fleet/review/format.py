"""Numbers as a review prints them: a unit on each, one rounding everywhere, changes with their sign."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fleet.plan.changes import Delta
from fleet.plan.document import PlannedOffering
from fleet.units import HOURS_PER_MONTH, MS_PER_S, format_ms, format_share, format_usd

UNCHANGED = "unchanged"


def usd_per_month(usd_per_hour: float) -> str:
    """Return a price per hour as a month of 730 hours, in whole dollars from a hundred dollars on.

    >>> usd_per_month(1402.5), usd_per_month(-0.1)
    ('$1,023,825/month', '-$73.00/month')
    """
    usd = usd_per_hour * HOURS_PER_MONTH
    if abs(usd) < 100:
        return f"{format_usd(usd)}/month"
    return f"{'-' if usd < 0 else ''}${abs(usd):,.0f}/month"


def usd_per_million(usd: float, tokens: str) -> str:
    """Return a price of tokens: `tokens` says which are counted.

    >>> usd_per_million(9.134, "useful")
    '$9.13 per million useful tokens'
    """
    return f"{format_usd(usd)} per million {tokens} tokens"


def signed(value: float, show: Callable[[float], str]) -> str:
    """Return a change with its sign.

    >>> signed(98.4, format_usd), signed(-2, format_usd)
    ('+$98.40', '-$2.00')
    """
    return f"{'-' if value < 0 else '+'}{show(abs(value))}"


def count(number: float) -> str:
    """Return a number with thousands separated; a digit after the point where it says something.

    >>> count(12000), count(2.5), count(1228.8)
    ('12,000', '2.5', '1,229')
    """
    return f"{number:,.0f}" if abs(number) >= 100 or abs(number - round(number)) < 0.05 else f"{number:,.1f}"


def latency(ms: float) -> str:
    """Return a latency in milliseconds below a second, else in seconds, never in minutes, so that quantiles compare.

    >>> latency(48.5), latency(1200), latency(63_640)
    ('48.5 ms', '1.2 s', '63.6 s')
    """
    seconds = ms / MS_PER_S
    if seconds < 1:
        return format_ms(ms)
    return f"{seconds:,.0f} s" if seconds >= 100 else f"{float(f'{seconds:.3g}'):g} s"


def counted(number: float, noun: str, plural: str = "") -> str:
    """Return a count with its noun.

    >>> counted(1, "replica"), counted(2, "replica"), counted(2, "has", "have")
    ('1 replica', '2 replicas', '2 have')
    """
    return f"{count(number)} {noun if number == 1 else plural or noun + 's'}"


def percent_change(delta: Delta) -> str:
    """Return the relative change with its sign, empty where there was nothing before.

    >>> percent_change(Delta(100.0, 106.6)), percent_change(Delta(0.0, 5.0))
    ('+6.6 %', '')
    """
    return signed(delta.relative, format_share) if delta.relative is not None else ""


def change(delta: Delta, show: Callable[[float], str]) -> str:
    """Return before, after, difference and its share; only the value where nothing moved or nothing was before.

    >>> change(Delta(100.0, 106.6), format_usd)
    '$100.00 -> $106.60 (+$6.60, +6.6 %)'
    >>> change(Delta(2.0, 2.0), format_usd), change(Delta(0.0, 2.0), format_usd)
    ('$2.00 (unchanged)', '$2.00')
    """
    if show(delta.before) == show(delta.after):
        return f"{show(delta.after)} ({UNCHANGED})"
    if delta.before == 0:
        return show(delta.after)
    return (
        f"{show(delta.before)} -> {show(delta.after)} ({signed(delta.change, show)}, {percent_change(delta)})"
    )


def shares(parts: Mapping[str, float]) -> str:
    """Return parts of a whole, the largest first.

    >>> shares({"compute": 0.1, "memory-bandwidth": 0.9})
    'memory-bandwidth 90 %, compute 10 %'
    """
    ordered = sorted(parts.items(), key=lambda part: (-part[1], part[0]))
    return ", ".join(f"{name} {format_share(share)}" for name, share in ordered)


def weight(parts_per_million: int) -> str:
    """Return a router weight in percent.

    >>> weight(700_000), weight(333_333)
    ('70 %', '33.3 %')
    """
    return format_share(parts_per_million / 1e6)


def listed(names: tuple[str, ...] | list[str], most: int = 6) -> str:
    """Return names in a row; those beyond `most` are counted.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most:,} more"


def units(offering: PlannedOffering, number: int) -> str:
    """Return units of purchase by what they are: "3 hosts", "2 racks", "1 block of 4 hosts"."""
    domain = offering.domain
    if offering.unit_domains == 1:
        return counted(number, domain)
    return f"{counted(number, 'block')} of {counted(offering.unit_domains, domain)}"
