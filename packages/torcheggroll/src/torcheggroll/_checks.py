"""Checks of hyper-parameters against their intervals."""

from numbers import Integral, Real

from torch import Tensor


def check(name: str, value: float | Tensor, interval: str) -> None:
    """Refuses a ``value`` outside ``interval``, written as on paper: ``"[0, 1)"``.

    NaN lies in no interval, and infinity in none that ends with ``inf)``.

    Raises:
        TypeError: ``value`` is neither a real number nor a tensor.
        ValueError: ``value`` lies outside ``interval``, or is a tensor of several elements.
    """
    if not isinstance(value, Real | Tensor):
        raise TypeError(f"{name} must be a number in {interval}, got {value!r} of type {type(value).__name__}")
    if isinstance(value, Tensor) and value.numel() != 1:
        raise ValueError(f"{name} must be one number in {interval}, got a tensor of shape {tuple(value.shape)}")
    low, high = (float(end) for end in interval[1:-1].split(","))
    above = value >= low if interval[0] == "[" else value > low
    below = value <= high if interval[-1] == "]" else value < high
    if not (above and below):
        raise ValueError(f"{name} must be in {interval}, got {value!r}")


def check_integer(name: str, value: int, interval: str) -> None:
    """Refuses a ``value`` that is not an integer in ``interval``.

    Raises:
        TypeError: ``value`` is not an integer; ``True`` and ``2.0`` are refused too.
        ValueError: ``value`` lies outside ``interval``.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer in {interval}, got {value!r} of type {type(value).__name__}")
    check(name, value, interval)
