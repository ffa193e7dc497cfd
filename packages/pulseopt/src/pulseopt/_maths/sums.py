"""Sums of floats from left to right, one rounding an addition, on every Python.

The built-in ``sum`` compensates rounding errors since Python 3.12; equality to the bit needs the plain sum.
"""

from collections.abc import Iterable, Sequence


def plain_sum(values: Iterable[float]) -> float:
    """Returns ((v₁ + v₂) + v₃) + …, and 0.0 for no values."""
    total = 0.0
    for value in values:
        total += value
    return total


def plain_mean(values: Sequence[float]) -> float:
    """Returns the arithmetic mean of at least one value."""
    return plain_sum(values) / len(values)
