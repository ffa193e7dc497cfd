"""Worlds that live on the model's device: tensors in, tensors out, thousands side by side in a few ops a step.

The cart and the pole, force F to the right or the left, on which the pole leans with θ:

    u  = (F + m l ω² sin θ)/M                                                        (1)
    α  = (g sin θ - u cos θ)/(l (4/3 - m cos² θ/M)),  a = u - m l α cos θ/M              (2)
    x ← x + τ v,  v ← v + τ a,  θ ← θ + τ ω,  ω ← ω + τ α                               (3)  with the values before

Source: Barto, Sutton & Anderson 1983, https://doi.org/10.1109/TSMC.1983.6313077, with the constants of Gymnasium's
CartPole-v1.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._checks import check_integer
from ..noise.counter import keys, starts_of, steps, words

_FORCE, _MASS_POLE, _MASS, _HALF, _GRAVITY, _TAU = 10.0, 0.1, 1.1, 0.5, 9.8, 0.02
_X_LIMIT, _ANGLE_LIMIT, _START = 2.4, 12 * 2 * 3.141592653589793 / 360, 0.05


class Choices(NamedTuple):
    """Actions 0 to ``n - 1``."""

    n: int
    start: int = 0


class Observations(NamedTuple):
    """Observations of one world."""

    shape: tuple[int, ...]


class CartPole:
    """CartPole-v1 of Gymnasium for many worlds at once, in torch; an episode that ends starts again in the same step.

    The k-th episode of a world begins where its seed and k say, whatever the others do.

    Args:
        num_envs: worlds.
        device: of all tensors.
        max_steps: after which an episode is cut off.

    Raises:
        ValueError: ``num_envs`` or ``max_steps`` is below 1.

    Example:
        >>> import torch
        >>> from torcheggroll.rl.worlds import CartPole
        >>> worlds = CartPole(1000)
        >>> seen, _ = worlds.reset(seed=0)
        >>> seen, reward, terminated, truncated, _ = worlds.step((seen[:, 2] > 0).long())
        >>> seen.shape, float(reward.sum())
        (torch.Size([1000, 4]), 1000.0)
    """

    metadata: dict[str, Any] = {"autoreset_mode": "SAME_STEP"}  # noqa: RUF012
    takes_tensors = True  # actions come as tensors on the worlds' device
    seed_each = True  # a list of seeds gives each world its own
    single_action_space = Choices(2)
    single_observation_space = Observations((4,))

    def __init__(self, num_envs: int, device: torch.device | str = "cpu", max_steps: int = 500) -> None:
        check_integer("num_envs", num_envs, "[1, inf)")
        check_integer("max_steps", max_steps, "[1, inf)")
        self.num_envs: int = num_envs
        self.device: torch.device = torch.device(device)
        self.max_steps: int = max_steps
        self.state: Tensor = torch.zeros(num_envs, 4, device=self.device)  # x, v, θ, ω
        self._seeds = torch.zeros(num_envs, dtype=torch.int64, device=self.device)
        self._episode = torch.zeros(num_envs, dtype=torch.int64, device=self.device)
        self._steps = torch.zeros(num_envs, dtype=torch.int64, device=self.device)

    def reset(self, *, seed: int | list[int] | None = None, options: Any = None) -> tuple[Tensor, dict[str, Any]]:
        """Begins every world anew and returns ``(worlds, 4)`` observations.

        Args:
            seed: one for each world, or one from which each world's is counted up; None goes on with later episodes.
            options: has no effect.
        """
        if seed is None:
            self._episode += 1
        else:
            given = seed if isinstance(seed, list) else list(range(seed, seed + self.num_envs))
            if len(given) != self.num_envs:
                raise ValueError(
                    f"seed must be one number, or one for each of {self.num_envs} worlds, got {len(given)}"
                )
            self._seeds = torch.tensor(given, device=self.device)
            self._episode.zero_()
        self.state = self._begin(self._seeds, self._episode)
        self._steps.zero_()
        return self.state.clone(), {}

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Moves every world on by τ.

        Args:
            action: ``(worlds,)`` integers, 0 pushes to the left and 1 to the right.

        Returns:
            Observations ``(worlds, 4)``, of the next episode where one ended; rewards; whether a world failed, and
            whether it was cut off; an empty dictionary.
        """
        x, v, theta, omega = self.state.unbind(1)
        force = (action.to(self.state.dtype) * 2 - 1) * _FORCE
        sin, cos = theta.sin(), theta.cos()
        u = (force + _MASS_POLE * _HALF * omega * omega * sin) / _MASS  # (1)
        alpha = (_GRAVITY * sin - u * cos) / (_HALF * (4 / 3 - _MASS_POLE / _MASS * cos * cos))  # (2)
        a = u - _MASS_POLE * _HALF / _MASS * alpha * cos  # (2)
        self.state = torch.stack([x + _TAU * v, v + _TAU * a, theta + _TAU * omega, omega + _TAU * alpha], 1)  # (3)
        self._steps += 1
        terminated = (self.state[:, 0].abs() > _X_LIMIT) | (self.state[:, 2].abs() > _ANGLE_LIMIT)
        truncated = (self._steps >= self.max_steps) & ~terminated
        over = terminated | truncated
        self._episode += over
        if self.device.type != "cpu":  # without waiting for the device
            self.state = torch.where(over.unsqueeze(1), self._begin(self._seeds, self._episode), self.state)
        elif len(at := over.nonzero()[:, 0]):
            self.state[at] = self._begin(self._seeds[at], self._episode[at])
        self._steps.masked_fill_(over, 0)
        return self.state.clone(), torch.ones_like(x), terminated, truncated, {}

    def close(self) -> None:
        """Has nothing to close."""

    def _begin(self, seeds: Tensor, episodes: Tensor) -> Tensor:
        """Returns where episodes of worlds begin, ``(worlds, 4)``, uniform in ±0.05."""
        key = keys(starts_of(0, 0, 1).to(self.device), seeds + (episodes << 32))
        bits = words(key, steps(0, 4, self.device)).bitwise_right_shift_(40).bitwise_and_((1 << 24) - 1)
        return (bits.to(self.state.dtype) + 0.5) * (2 * _START / (1 << 24)) - _START
