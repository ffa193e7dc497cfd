"""Controllers: which arm to play next, given what the arms have earned."""

from importlib import import_module
from typing import Protocol

from pulseopt._bandits.baselines import FixedModeController, RandomController
from pulseopt._bandits.contextual import BucketedContextualController
from pulseopt._bandits.ucb import DiscountedUCBController
from pulseopt._maths.context import TREND_CONTEXT_BUCKETS, TREND_PHASE_CONTEXT_BUCKETS

__all__ = [
    "TREND_CONTEXT_BUCKETS",
    "TREND_PHASE_CONTEXT_BUCKETS",
    "BaseController",
    "BucketedContextualController",
    "DiscountedUCBController",
    "FixedModeController",
    "RandomController",
]


class BaseController(Protocol):
    """Anything that plays arms numbered from 0.

    A controller with a method ``set_context(bucket)`` is told the context before each choice; one with
    ``state_dict`` and ``load_state_dict`` can be checkpointed inside a manager.
    """

    def select_mode(self) -> int:
        """Returns the arm to play next."""
        ...

    def update(self, mode_id: int, reward: float) -> None:
        """Records the reward that an arm has earned."""
        ...

    def get_state(self) -> dict[str, object]:
        """Returns the statistics, for people to look at."""
        ...


def __getattr__(name: str) -> object:
    """Returns a name of release 0.1.0 that has moved to `pulseopt.legacy`, with a DeprecationWarning."""
    return import_module("pulseopt.legacy").moved(__name__, name)
