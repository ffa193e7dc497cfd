"""Schedulers of any kind, stepped after the optimizer with the arguments that their ``step`` requires."""

import inspect
from typing import Any

from torch import Tensor

_METRIC = ("metrics", "metric")


class ScheduleStep:
    """Steps a scheduler with what its ``step`` requires: nothing, a metric, an epoch.

    A metric goes by keyword. Only one that is required holds a step back until it is given; an epoch that is required
    is the number of steps taken so far, counted from 1.

    Args:
        scheduler: has a ``step``; inside a wrapper that hides its arguments, the inner scheduler is inspected.

    Raises:
        TypeError: it has no ``step``, or one that wants other arguments.
    """

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self.steps = 0
        if not callable(getattr(scheduler, "step", None)):
            raise TypeError(f"lr_scheduler must have a step(), got {scheduler!r}")
        wanted = _parameters(scheduler)
        self._hidden = wanted is None
        known = wanted or {}
        self._metric = next((name for name in _METRIC if name in known), "metrics" if wanted is None else None)
        required = [name for name, parameter in known.items() if parameter.default is inspect.Parameter.empty]
        self._waits = self._metric in required
        self._counts = "epoch" in required
        other = [name for name in required if name not in (self._metric, "epoch")]
        if other:
            raise TypeError(
                f"lr_scheduler.step() must need nothing but metrics and epoch, {type(scheduler).__name__}.step() wants "
                f"{', '.join(required)}; step it yourself, or wrap it in a class whose step(metrics) does"
            )

    def check(self, metrics: object) -> None:
        """Rejects metrics that the scheduler has no use for.

        Raises:
            ValueError: it takes none.
        """
        if metrics is not None and self._metric is None:
            raise ValueError("metrics must be None unless lr_scheduler is stepped with them, as ReduceLROnPlateau is")

    def take(self, metrics: float | Tensor | None) -> None:
        """Steps the scheduler once, unless it requires a metric that has not come."""
        self.steps += 1
        if self._waits and metrics is None:
            return
        arguments: dict[str, Any] = {"epoch": self.steps} if self._counts else {}
        if metrics is not None and self._metric is not None:
            arguments[self._metric] = metrics
        self._scheduler.step(**arguments)


def _parameters(scheduler: Any) -> dict[str, inspect.Parameter] | None:
    """Returns the named parameters of a scheduler's ``step``, or None if its signature is unknown."""
    while True:
        try:
            found = inspect.signature(scheduler.step).parameters
        except (TypeError, ValueError):
            return None
        named = {n: p for n, p in found.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
        if named or not found:
            return named
        inner = getattr(scheduler, "scheduler", getattr(scheduler, "lr_scheduler", None))
        if not callable(getattr(inner, "step", None)):
            return None
        scheduler = inner
