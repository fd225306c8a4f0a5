"""Capacities as the solver sees them: so few digits that the last bit of a float never decides."""

from __future__ import annotations

from math import floor, log10

DIGITS = 4


def rounded(value: float) -> float:
    """Return a positive value with four significant digits, the rest cut off: a capacity is never promised that is not there.

    >>> rounded(11.3297), rounded(0.0123456)
    (11.32, 0.01234)
    """
    scale = 10.0 ** (DIGITS - 1 - floor(log10(value)))
    return floor(value * scale) / scale
