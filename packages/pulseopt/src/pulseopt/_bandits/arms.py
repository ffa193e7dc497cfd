"""What every controller here knows: how many arms there are, and how to refuse what is none."""

import math
from typing import Any, Protocol

from pulseopt._checks import check_integer
from pulseopt._records.checkpoint import check_same


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


class Arms:
    """Arms numbered from 0."""

    n_arms: int

    def __init__(self, n_arms: int) -> None:
        if n_arms <= 0:
            raise ValueError("n_arms must be a positive integer.")
        check_integer("n_arms", n_arms, "[1, inf)")
        self.n_arms = n_arms

    def _check_update(self, mode_id: int, reward: float) -> None:
        """Rejects an arm that does not exist and a reward that is not finite."""
        if not 0 <= mode_id < self.n_arms:
            raise ValueError(f"mode_id must be in [0, {self.n_arms}), got {mode_id}.")
        if not math.isfinite(reward):
            raise ValueError("reward must be a finite float.")

    def _check_settings(self, state_dict: dict[str, Any], names: tuple[str, ...]) -> None:
        """Rejects a checkpoint that was saved under other settings."""
        check_same(self, {name: getattr(self, name) for name in names}, state_dict)
