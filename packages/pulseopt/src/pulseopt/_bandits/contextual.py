"""The contextual controller: one discounted UCB controller for each context."""

from typing import Any

from pulseopt._bandits.arms import Arms
from pulseopt._bandits.ucb import DiscountedUCBController


class BucketedContextualController(Arms):
    """One discounted UCB controller for each context, and one over all contexts that new ones start from.

    Args:
        n_arms: number of arms, at least 1.
        bucket_names: the contexts, at least one, all distinct.
        exploration_coef, discount, warmup_rounds, eps: as in `DiscountedUCBController`.
        random_seed: seed of the controller over all contexts; context i gets ``random_seed + 1000 + i``.
        prior_from_global: whether a new context starts from the statistics over all contexts.

    Raises:
        ValueError: an argument lies outside its range.

    >>> from pulseopt import BucketedContextualController
    >>> controller = BucketedContextualController(n_arms=2, bucket_names=["improving", "worsening"], random_seed=0)
    >>> controller.set_context("improving")
    >>> controller.update(controller.select_mode(), reward=0.5)
    >>> controller.get_state()["bucket_visit_counts"]
    {'improving': 1, 'worsening': 0}
    """

    def __init__(
        self,
        n_arms: int,
        bucket_names: list[str],
        exploration_coef: float = 1.0,
        discount: float = 0.95,
        warmup_rounds: int = 1,
        eps: float = 1e-12,
        random_seed: int | None = None,
        prior_from_global: bool = True,
    ) -> None:
        super().__init__(n_arms)
        if not bucket_names:
            raise ValueError("bucket_names must contain at least one bucket.")
        if len(set(bucket_names)) != len(bucket_names):
            raise ValueError("bucket_names must be unique.")
        self.bucket_names: list[str] = list(bucket_names)
        self.random_seed: int | None = random_seed
        self.prior_from_global = prior_from_global
        self._prior = DiscountedUCBController(n_arms, exploration_coef, discount, warmup_rounds, eps, random_seed)
        self._active: str | None = None
        self._buckets: dict[str, DiscountedUCBController] = {}
        self._visits = dict.fromkeys(self.bucket_names, 0)
        self._reward_sums = dict.fromkeys(self.bucket_names, 0.0)
        self._chosen: dict[str, set[int]] = {name: set() for name in self.bucket_names}

    def set_context(self, bucket_id: str) -> None:
        """Sets the context of the following choices and updates.

        Args:
            bucket_id: one of ``bucket_names``.

        Raises:
            ValueError: the context does not exist.
        """
        if bucket_id not in self._visits:
            raise ValueError(f"Unknown context bucket '{bucket_id}'.")
        if bucket_id not in self._buckets:
            bucket = self._new_bucket(bucket_id)
            if self.prior_from_global:
                bucket.copy_state_from(self._prior.get_state())
            self._buckets[bucket_id] = bucket
        self._active = bucket_id

    def select_mode(self) -> int:
        """Returns the next arm, chosen by the controller of the context.

        Raises:
            RuntimeError: no context has been set.
        """
        name, bucket = self._active_bucket()
        arm = bucket.select_mode()
        self._chosen[name].add(arm)
        return arm

    def update(self, mode_id: int, reward: float) -> None:
        """Updates the controller of the context and the one over all contexts.

        Args:
            mode_id: the arm played, in [0, n_arms).
            reward: finite; higher is better.

        Raises:
            RuntimeError: no context has been set.
            ValueError: ``mode_id`` is not an arm, or ``reward`` is not finite; nothing has been changed.
        """
        name, bucket = self._active_bucket()
        self._prior.update(mode_id, reward)
        bucket.update(mode_id, reward)
        self._visits[name] += 1
        self._reward_sums[name] += reward

    def get_state(self) -> dict[str, object]:
        """Returns settings and statistics, for inspection; `state_dict` is for checkpoints."""
        buckets = {name: self._buckets.get(name) for name in self.bucket_names}
        return {
            "n_arms": self.n_arms,
            "bucket_names": list(self.bucket_names),
            "active_bucket_id": self._active,
            "prior_from_global": self.prior_from_global,
            "global_prior_state": self._prior.get_state(),
            "bucket_states": {name: bucket and bucket.get_state() for name, bucket in buckets.items()},
            "bucket_visit_counts": dict(self._visits),
            "bucket_reward_sums": dict(self._reward_sums),
            "bucket_distinct_arm_counts": {name: len(arms) for name, arms in self._chosen.items()},
        }

    def state_dict(self) -> dict[str, Any]:
        """Returns everything the next choice depends on, as lists, numbers and strings."""
        return {
            "n_arms": self.n_arms,
            "bucket_names": list(self.bucket_names),
            "prior_from_global": self.prior_from_global,
            "random_seed": self.random_seed,
            "active_bucket_id": self._active,
            "global_prior": self._prior.state_dict(),
            "buckets": {name: bucket.state_dict() for name, bucket in self._buckets.items()},
            "visits": dict(self._visits),
            "reward_sums": dict(self._reward_sums),
            "chosen": {name: sorted(arms) for name, arms in self._chosen.items()},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resumes from a checkpoint.

        Args:
            state_dict: the result of `state_dict`.

        Raises:
            ValueError: it was saved under other settings; nothing has been changed.
        """
        self._check_settings(state_dict, ("n_arms", "bucket_names", "prior_from_global"))
        buckets = {name: self._new_bucket(name) for name in state_dict["buckets"]}
        for name, bucket in buckets.items():
            bucket.load_state_dict(state_dict["buckets"][name])
        self._prior.load_state_dict(state_dict["global_prior"])
        self.random_seed = state_dict["random_seed"]
        self._active = state_dict["active_bucket_id"]
        self._buckets = buckets
        self._visits = dict(state_dict["visits"])
        self._reward_sums = dict(state_dict["reward_sums"])
        self._chosen = {name: set(arms) for name, arms in state_dict["chosen"].items()}

    def _new_bucket(self, name: str) -> DiscountedUCBController:
        prior, seed = self._prior, self.random_seed
        if seed is not None:
            seed += 1000 + self.bucket_names.index(name)
        return DiscountedUCBController(
            self.n_arms, prior.exploration_coef, prior.discount, prior.warmup_rounds, prior.eps, seed
        )

    def _active_bucket(self) -> tuple[str, DiscountedUCBController]:
        if self._active is None:
            raise RuntimeError("set_context() must be called before select_mode() or update().")
        return self._active, self._buckets[self._active]
