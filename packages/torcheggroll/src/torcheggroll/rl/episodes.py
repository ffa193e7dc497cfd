"""Episode accounting under each Gymnasium autoreset mode.

NEXT_STEP: the step after the end of an episode only resets; its action and reward have no meaning. SAME_STEP: the last
step already returns the first observation of the next episode. DISABLED: an environment resets only on request, with
``options={"reset_mask": ...}``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

_MODES = {"NEXT_STEP": "NEXT_STEP", "NEXTSTEP": "NEXT_STEP", "SAME_STEP": "SAME_STEP", "SAMESTEP": "SAME_STEP",
          "DISABLED": "DISABLED"}  # fmt: skip


class EpisodeReturns(NamedTuple):
    """The episodes of a set of environments; `PolicySearch.played` holds those of the last step.

    Args:
        returns: ``(environments, episodes)`` float64, the sum of rewards of each episode.
        lengths: ``(environments, episodes)`` int64, its number of steps.

    Example:
        >>> import torch
        >>> from torcheggroll.rl import EpisodeReturns
        >>> EpisodeReturns(torch.ones(2, 1), torch.full((2, 1), 9)).lengths.sum()
        tensor(18)
    """

    returns: Tensor  # (environments, episodes) float64: sum of rewards
    lengths: Tensor  # (environments, episodes) int64: steps


class Seeds(NamedTuple):
    """The seeds of the episodes of all environments."""

    of: Callable[[int, int], int]  # environment and episode to seed
    each: bool  # whether the environments take one each, or one for all


def autoreset_mode(envs: Any) -> str:
    """Returns the autoreset mode of a vector environment; Gymnasium 1.0 declares none and has only NEXT_STEP.

    Raises:
        ValueError: the mode is not one of the three.
    """
    metadata: dict[str, object] = getattr(envs, "metadata", None) or {}
    mode = metadata.get("autoreset_mode", "NEXT_STEP")
    name = str(getattr(mode, "name", mode)).upper()
    if name not in _MODES:
        raise ValueError(f"autoreset_mode must be NEXT_STEP, SAME_STEP or DISABLED, got {mode!r}")
    return _MODES[name]


class ReturnCounter:
    """Sums the rewards of each episode of each environment.

    Args:
        environments: number of environments.
        episodes: number of episodes of each that count; later ones are ignored.
        mode: the result of ``autoreset_mode``.
        device: device of the environments' tensors.
    """

    def __init__(self, environments: int, episodes: int, mode: str, device: torch.device | None = None) -> None:
        self.returns = torch.zeros(environments, episodes, dtype=torch.float64, device=device)
        self.lengths = torch.zeros(environments, episodes, dtype=torch.int64, device=device)
        self.episode = torch.zeros(environments, dtype=torch.int64, device=device)  # the one that each is in
        self.counted = torch.ones(
            environments, dtype=torch.bool, device=device
        )  # whether the coming step belongs to it
        self.fresh = torch.ones(environments, dtype=torch.bool, device=device)  # whether an episode begins with it
        self._resetting = torch.zeros(environments, dtype=torch.bool, device=device)  # whether it only resets
        self._total = torch.zeros(environments, dtype=torch.float64, device=device)
        self._steps = torch.zeros(environments, dtype=torch.int64, device=device)
        self._pauses = mode == "NEXT_STEP"

    @property
    def busy(self) -> bool:
        """Returns whether an episode that counts is still to end."""
        return bool((self.episode < self.returns.shape[1]).any())

    def record(self, reward: Tensor, ended: Tensor) -> Tensor:
        """Records one step of every environment; returns those whose episode ended with it."""
        self._total += torch.where(self.counted, reward.to(torch.float64), 0.0)
        self._steps += self.counted
        over = ended & ~self._resetting
        if bool(over.any()):
            self.close(over & self.counted)
            self.episode += over
        self.fresh = over
        if self._pauses:
            self.fresh, self._resetting = self._resetting, over
        self.counted = (self.episode < self.returns.shape[1]) & ~self._resetting
        return over

    def close(self, which: Tensor) -> None:
        """Records the rewards so far as the return of the running episode."""
        rows = which.nonzero()[:, 0]
        at = self.episode[rows]
        self.returns[rows, at], self.lengths[rows, at] = self._total[rows], self._steps[rows]
        self._total[rows], self._steps[rows] = 0.0, 0


def play(
    envs: Any,
    act: Callable[[Tensor, Tensor], Any],
    episodes: int,
    seeds: Seeds,
    watch: Callable[[Tensor, Tensor], None] | None = None,
    max_steps: int | None = None,
) -> EpisodeReturns:
    """Plays until every environment has ended ``episodes`` episodes.

    Args:
        envs: a Gymnasium vector environment.
        act: observations ``(environments, *shape)``, and which of them begin an episode, to an array of actions.
        episodes: per environment.
        seeds: seeds of the episodes; where environments reset by themselves, only the first is set.
        watch: called with every observation and a mask of the environments where it counts.
        max_steps: after so many steps whoever still plays is cut off, with the reward it has.
    """
    mode, count = autoreset_mode(envs), int(envs.num_envs)
    counter = ReturnCounter(count, episodes, mode, getattr(envs, "device", None))
    first = [seeds.of(i, 0) for i in range(count)]
    seen = envs.reset(seed=first if seeds.each else first[0])[0]
    steps = 0
    while counter.busy and (max_steps is None or steps < max_steps):
        observation = torch.as_tensor(seen)
        if watch is not None:
            watch(observation, counter.counted)
        seen, reward, terminated, truncated, _ = envs.step(act(observation, counter.fresh))
        over = counter.record(torch.as_tensor(reward), torch.as_tensor(terminated | truncated))
        if mode == "DISABLED" and bool(over.any()):
            following = [seeds.of(i, int(k)) for i, k in enumerate(counter.episode)] if seeds.each else None
            seen = envs.reset(seed=following, options={"reset_mask": over if takes_tensors(envs) else over.numpy()})[0]
        steps += 1
    counter.close(counter.counted)
    return EpisodeReturns(counter.returns.cpu(), counter.lengths.cpu())


def takes_tensors(envs: Any) -> bool:
    """Returns whether a vector environment takes and returns tensors on its own device."""
    return bool(getattr(envs, "takes_tensors", False))
