"""The interface of a controller, and the checks that all controllers share."""

import math
from typing import Any, Protocol

from pulseopt._checks import check_integer
from pulseopt._records.checkpoint import check_same


class BaseController(Protocol):
    """Anything that chooses among arms numbered from 0; `EpisodeManager` takes one.

    A method ``set_context(bucket)``, if there is one, receives the context before each choice. With ``state_dict`` and
    ``load_state_dict`` a controller can be checkpointed inside a manager.

    >>> class Alternating:
    ...     def __init__(self):
    ...         self.played = 0
    ...
    ...     def select_mode(self):
    ...         return self.played % 2
    ...
    ...     def update(self, mode_id, reward):
    ...         self.played += 1
    ...
    ...     def get_state(self):
    ...         return {"played": self.played}
    >>> controller = Alternating()
    >>> controller.update(controller.select_mode(), reward=0.1)
    >>> controller.select_mode()
    1
    """

    def select_mode(self) -> int:
        """Returns the arm to play next."""
        ...

    def update(self, mode_id: int, reward: float) -> None:
        """Records a reward.

        Args:
            mode_id: the arm that earned it.
            reward: finite; higher is better.
        """
        ...

    def get_state(self) -> dict[str, object]:
        """Returns the statistics, for inspection."""
        ...


class Arms:
    """Arms numbered from 0.

    Args:
        n_arms: number of arms, at least 1.

    Raises:
        ValueError: ``n_arms`` is below 1.
    """

    n_arms: int

    def __init__(self, n_arms: int) -> None:
        if n_arms <= 0:
            raise ValueError("n_arms must be a positive integer.")
        check_integer("n_arms", n_arms, "[1, inf)")
        self.n_arms = n_arms

    def update(self, mode_id: int, reward: float) -> None:
        """Checks the arm and the reward, and learns nothing from them.

        Args:
            mode_id: the arm, in [0, n_arms).
            reward: finite; higher is better.

        Raises:
            ValueError: ``mode_id`` is not an arm, or ``reward`` is not finite.
        """
        if not 0 <= mode_id < self.n_arms:
            raise ValueError(f"mode_id must be in [0, {self.n_arms}), got {mode_id}.")
        if not math.isfinite(reward):
            raise ValueError("reward must be a finite float.")

    def _check_settings(self, state_dict: dict[str, Any], names: tuple[str, ...]) -> None:
        """Rejects a checkpoint that was saved under other settings."""
        check_same(self, {name: getattr(self, name) for name in names}, state_dict)
