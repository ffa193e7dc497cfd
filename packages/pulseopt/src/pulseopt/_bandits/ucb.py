"""The discounted UCB controller: statistics, random ties, checkpoints."""

import random
from typing import Any

from pulseopt._bandits.arms import Arms
from pulseopt._checks import check, check_integer
from pulseopt._maths.ucb import best_arms, fade, mean_rewards, scores, warmup_arms
from pulseopt._records.checkpoint import decode, encode


class DiscountedUCBController(Arms):
    """Discounted UCB, equations (1) to (3).

    Args:
        n_arms: number of arms, at least 1.
        exploration_coef: c, at least 0; rewards should have a magnitude of about 1.
        discount: γ, in (0, 1].
        warmup_rounds: plays of every arm before the bound decides, at least 0.
        eps: the smallest count to divide by, above 0.
        random_seed: seed for breaking ties; None draws fresh entropy.

    Raises:
        ValueError: an argument lies outside its range.

    Source: Garivier & Moulines 2008, https://arxiv.org/abs/0805.3415

    >>> from pulseopt import DiscountedUCBController
    >>> controller = DiscountedUCBController(n_arms=2, exploration_coef=0.1, random_seed=0)
    >>> for _ in range(20):
    ...     arm = controller.select_mode()
    ...     controller.update(arm, reward=(0.0, 1.0)[arm])
    >>> controller.best_arm()
    1
    """

    _SETTINGS = ("n_arms", "exploration_coef", "discount", "warmup_rounds", "eps")

    def __init__(
        self,
        n_arms: int,
        exploration_coef: float = 1.0,
        discount: float = 0.95,
        warmup_rounds: int = 1,
        eps: float = 1e-12,
        random_seed: int | None = None,
    ) -> None:
        super().__init__(n_arms)
        if exploration_coef < 0.0:
            raise ValueError("exploration_coef must be non-negative.")
        check("exploration_coef", exploration_coef, "[0, inf)")
        if not 0.0 < discount <= 1.0:
            raise ValueError("discount must be in the interval (0, 1].")
        if warmup_rounds < 0:
            raise ValueError("warmup_rounds must be non-negative.")
        check_integer("warmup_rounds", warmup_rounds, "[0, inf)")
        if eps <= 0.0:
            raise ValueError("eps must be positive.")
        check("eps", eps, "(0, inf)")
        self.exploration_coef = exploration_coef
        self.discount = discount
        self.warmup_rounds = warmup_rounds
        self.eps = eps
        self.random_seed: int | None = random_seed
        self._counts = [0.0] * n_arms
        self._reward_sums = [0.0] * n_arms
        self._warmup_counts = [0] * n_arms
        self._total_updates = 0
        self._rng = random.Random(random_seed)

    def select_mode(self) -> int:
        """Returns a least played arm during warm-up, the arm with the highest bound afterwards."""
        arms = warmup_arms(self._warmup_counts, self.warmup_rounds)
        if not arms:
            arms = best_arms(scores(self._counts, self._reward_sums, self.exploration_coef, self.eps))
        return self._rng.choice(arms)  # a single arm draws too: the promised sequence of random numbers

    def update(self, mode_id: int, reward: float) -> None:
        """Discounts all arms, then adds the reward to the one played.

        Args:
            mode_id: the arm played, in [0, n_arms).
            reward: finite; higher is better.

        Raises:
            ValueError: ``mode_id`` is not an arm, or ``reward`` is not finite.
        """
        super().update(mode_id, reward)
        self._counts = fade(self._counts, self.discount, mode_id, 1.0)
        self._reward_sums = fade(self._reward_sums, self.discount, mode_id, reward)
        self._warmup_counts[mode_id] += 1
        self._total_updates += 1

    def best_arm(self) -> int:
        """Returns the arm with the highest discounted mean reward among those that have been played."""
        means = mean_rewards(self._counts, self._reward_sums, self.eps)
        return max(range(self.n_arms), key=lambda arm: (self._warmup_counts[arm] > 0, means[arm]))

    def shift(self, places: int) -> None:
        """Gives arm k the statistics of arm k + ``places``; new arms have none.

        Args:
            places: how far the arms move; negative in the other direction.
        """
        kept = [k + places if 0 <= k + places < self.n_arms else None for k in range(self.n_arms)]
        self._counts = [0.0 if k is None else self._counts[k] for k in kept]
        self._reward_sums = [0.0 if k is None else self._reward_sums[k] for k in kept]
        self._warmup_counts = [0 if k is None else self._warmup_counts[k] for k in kept]

    def get_state(self) -> dict[str, object]:
        """Returns settings and statistics, for inspection; `state_dict` is for checkpoints."""
        return {
            "n_arms": self.n_arms,
            "exploration_coef": self.exploration_coef,
            "discount": self.discount,
            "warmup_rounds": self.warmup_rounds,
            "total_updates": self._total_updates,
            "counts": list(self._counts),
            "reward_sums": list(self._reward_sums),
            "mean_rewards": mean_rewards(self._counts, self._reward_sums, self.eps),
            "warmup_counts": list(self._warmup_counts),
        }

    def copy_state_from(self, state: dict[str, Any]) -> None:
        """Copies the statistics, and nothing else.

        Args:
            state: the result of `get_state` of a controller with as many arms.

        Raises:
            ValueError: the statistics are of another number of arms; nothing has been changed.
        """
        for name in ("counts", "reward_sums", "warmup_counts"):
            values = state.get(name)
            if not isinstance(values, list) or len(values) != self.n_arms:  # pyright: ignore[reportUnknownArgumentType]
                raise ValueError(f"state['{name}'] must match the controller arm count.")
        total_updates = state.get("total_updates")
        if not isinstance(total_updates, int) or total_updates < 0:
            raise ValueError("state['total_updates'] must be a non-negative integer.")
        self._counts = [float(value) for value in state["counts"]]
        self._reward_sums = [float(value) for value in state["reward_sums"]]
        self._warmup_counts = [int(value) for value in state["warmup_counts"]]
        self._total_updates = total_updates

    def state_dict(self) -> dict[str, Any]:
        """Returns everything the next choice depends on, as lists and numbers."""
        rng = encode(self._rng)
        return {**self.get_state(), "eps": self.eps, "random_seed": self.random_seed, "random_state": rng}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resumes from a checkpoint.

        Args:
            state_dict: the result of `state_dict`.

        Raises:
            ValueError: it was saved under other settings; nothing has been changed.
        """
        self._check_settings(state_dict, self._SETTINGS)
        rng = decode(state_dict["random_state"])
        self.copy_state_from(state_dict)
        self.random_seed, self._rng = state_dict["random_seed"], rng
