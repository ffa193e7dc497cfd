"""A moving average, updated one value at a time."""

import math

from pulseopt._checks import check
from pulseopt._maths.ema import ema_step


class EMATracker:
    """An exponential moving average.

    Args:
        alpha: weight of the newest value, in (0, 1].
        initial_value: the average before the first value; None: the first value is the first average.
        eps: kept from release 0.1.0, where it has no effect either; above 0.

    Raises:
        ValueError: an argument lies outside its range.

    >>> from pulseopt.tracking import EMATracker
    >>> tracker = EMATracker(alpha=0.5)
    >>> [tracker.update(loss) for loss in (4.0, 2.0)]
    [4.0, 3.0]
    """

    def __init__(self, alpha: float, initial_value: float | None = None, eps: float = 1e-12) -> None:
        if not 0.0 < alpha <= 1.0:
            raise ValueError("alpha must be in the interval (0, 1].")
        if eps <= 0.0:
            raise ValueError("eps must be positive.")
        check("eps", eps, "(0, inf)")
        if initial_value is not None and not math.isfinite(initial_value):
            raise ValueError("initial_value must be finite when provided.")
        self.alpha = alpha
        self.eps = eps
        self._value = initial_value

    @property
    def value(self) -> float | None:
        """The average, or None before the first value."""
        return self._value

    @property
    def initialized(self) -> bool:
        """Returns whether there is an average yet."""
        return self._value is not None

    def update(self, value: float) -> float:
        """Adds one value and returns the average.

        Args:
            value: the new value, finite.

        Returns:
            The average after it.

        Raises:
            ValueError: ``value`` is not finite; the average stays as it was.
        """
        if not math.isfinite(value):
            raise ValueError("EMA update value must be finite.")
        self._value = value if self._value is None else ema_step(self.alpha, self._value, value)
        return self._value
