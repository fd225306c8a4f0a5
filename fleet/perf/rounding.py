"""Six significant digits at the boundary: SIMD differences between machines end here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DIGITS = 6


def six_digits(values: NDArray[np.float64]) -> list[float]:
    """Return non-negative values rounded to six significant digits, as Python floats.

    >>> six_digits(np.array([0.0, 1234567.0, 0.00123456789]))
    [0.0, 1234570.0, 0.00123457]
    """
    return [float(f"{v:.6g}") for v in values.tolist()]


def six(value: float) -> float:
    """Return one value rounded to six significant digits.

    >>> six(123.4567891)
    123.457
    """
    return float(f"{value:.6g}")
