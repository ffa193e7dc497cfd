"""Controllers that do not learn: a random arm, or a fixed one."""

import random
from typing import Any

from pulseopt._bandits.arms import Arms
from pulseopt._records.checkpoint import decode, encode


class RandomController(Arms):
    """Chooses every arm with the same probability, whatever the rewards.

    Args:
        n_arms: number of arms, at least 1.
        random_seed: seed of the choices; None draws fresh entropy.

    Raises:
        ValueError: ``n_arms`` is below 1.

    >>> from pulseopt import RandomController
    >>> controller = RandomController(n_arms=3, random_seed=0)
    >>> [controller.select_mode() for _ in range(4)]
    [1, 1, 0, 1]
    """

    def __init__(self, n_arms: int, random_seed: int | None = None) -> None:
        super().__init__(n_arms)
        self.random_seed: int | None = random_seed
        self._rng = random.Random(random_seed)

    def select_mode(self) -> int:
        """Returns an arm drawn uniformly."""
        return self._rng.randrange(self.n_arms)

    def get_state(self) -> dict[str, object]:
        """Returns the settings."""
        return {"n_arms": self.n_arms, "random_seed": self.random_seed}

    def state_dict(self) -> dict[str, Any]:
        """Returns everything the next choice depends on, as lists and numbers."""
        return {**self.get_state(), "random_state": encode(self._rng)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resumes from a checkpoint.

        Args:
            state_dict: the result of `state_dict`.

        Raises:
            ValueError: it had another number of arms; nothing has been changed.
        """
        self._check_settings(state_dict, ("n_arms",))
        self._rng = decode(state_dict["random_state"])
        self.random_seed = state_dict["random_seed"]


class FixedModeController(Arms):
    """Always chooses the same arm.

    Args:
        n_arms: number of arms, at least 1.
        fixed_mode_id: the arm, in [0, n_arms).

    Raises:
        ValueError: an argument lies outside its range.

    >>> from pulseopt.controller import FixedModeController
    >>> FixedModeController(n_arms=3, fixed_mode_id=2).select_mode()
    2
    """

    def __init__(self, n_arms: int, fixed_mode_id: int) -> None:
        super().__init__(n_arms)
        if not 0 <= fixed_mode_id < n_arms:
            raise ValueError(f"fixed_mode_id must be in [0, {n_arms}), got {fixed_mode_id}.")
        self.fixed_mode_id = fixed_mode_id

    def select_mode(self) -> int:
        """Returns the arm."""
        return self.fixed_mode_id

    def get_state(self) -> dict[str, object]:
        """Returns the settings."""
        return {"n_arms": self.n_arms, "fixed_mode_id": self.fixed_mode_id}

    def state_dict(self) -> dict[str, Any]:
        """Returns the settings; there is nothing else."""
        return self.get_state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Checks that a saved controller plays the same arm.

        Args:
            state_dict: the result of `state_dict`.

        Raises:
            ValueError: it does not.
        """
        self._check_settings(state_dict, ("n_arms", "fixed_mode_id"))
