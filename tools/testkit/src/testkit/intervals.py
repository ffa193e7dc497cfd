"""Intervals as written on paper, and the values that tell whether one is enforced."""

import math
from typing import NamedTuple

FAR = 1e30  # stands for "as large as you like" where an interval has no upper end


class Probe(NamedTuple):
    """A value and whether it lies inside."""

    value: float
    inside: bool


def probes(interval: str, *, integer: bool = False) -> list[Probe]:
    """Returns both sides of each end of an interval, NaN and the infinities.

    Args:
        interval: such as ``"[0, 1)"``, ``"(0, inf)"`` or ``"[1, inf]"``.
        integer: the setting takes whole numbers only, so that fractions are outside too.

    Raises:
        ValueError: ``interval`` is not written like that, or is empty.
    """
    low, high = _ends(interval)
    lowest, highest = _inside(interval, low, high, integer)
    values = [lowest, highest, *_outside(interval, low, high, integer), math.nan, math.inf, -math.inf]
    if integer and math.isfinite(lowest):
        values += [lowest + 0.5]
    found = [Probe(value, _contains(interval, value, integer)) for value in values]
    return [Probe(int(v) if integer and ok and math.isfinite(v) else v, ok) for v, ok in found]


def _ends(interval: str) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in interval[1:-1].split(","))
    except ValueError:
        raise ValueError(f'an interval is written like "[0, 1)", got {interval!r}') from None
    if interval[0] not in "([" or interval[-1] not in ")]" or not low <= high:
        raise ValueError(f'an interval is written like "[0, 1)", got {interval!r}')
    return low, high


def _inside(interval: str, low: float, high: float, integer: bool) -> tuple[float, float]:
    """Returns the least and the greatest value that we try inside."""
    up = low + 1 if integer else math.nextafter(low, math.inf)
    down = high - 1 if integer else math.nextafter(high, -math.inf)
    lowest = low if interval[0] == "[" else up
    highest = high if interval[-1] == "]" else down
    far = 10**6 if integer else FAR
    return (lowest if math.isfinite(lowest) else -far), (highest if math.isfinite(high) else far)


def _outside(interval: str, low: float, high: float, integer: bool) -> list[float]:
    """Returns the nearest value beyond each end that has a beyond."""
    below = (low - 1 if integer else math.nextafter(low, -math.inf)) if interval[0] == "[" else low
    above = (high + 1 if integer else math.nextafter(high, math.inf)) if interval[-1] == "]" else high
    return [value for value in (below, above) if math.isfinite(value)]


def _contains(interval: str, value: float, integer: bool) -> bool:
    low, high = _ends(interval)
    above = value >= low if interval[0] == "[" else value > low
    below = value <= high if interval[-1] == "]" else value < high
    return above and below and (not integer or (math.isfinite(value) and value == int(value)))
