"""Vector environments on the device of the model: tensors in, tensors out, thousands of copies in one step."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._checks import check_integer
from ..noise.counter import steps
from ._cartpole import fused_cpu, reference


class Choices(NamedTuple):
    """Actions 0 to ``n - 1``."""

    n: int
    start: int = 0


class Observations(NamedTuple):
    """Observations of one world."""

    shape: tuple[int, ...]


class CartPole:
    """Gymnasium's CartPole-v1 as a vector environment in torch; an episode that ends is reset in the same step.

    The initial state of the k-th episode of an environment depends only on its seed and k.

    Args:
        num_envs: number of environments, at least 1.
        device: device of all tensors.
        max_steps: steps after which an episode is truncated, at least 1.

    Raises:
        ValueError: ``num_envs`` or ``max_steps`` is below 1.

    Source: Barto, Sutton & Anderson 1983, https://doi.org/10.1109/TSMC.1983.6313077, as in Gymnasium

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
        self._episodes = torch.zeros(num_envs, dtype=torch.int64, device=self.device)  # where in its stream each is
        self._end = torch.full((num_envs,), max_steps, device=self.device)  # the step that cuts each off
        self._now = 0

    def reset(self, *, seed: int | list[int] | None = None, options: Any = None) -> tuple[Tensor, dict[str, Any]]:
        """Resets every environment.

        Args:
            seed: a list with one seed for each environment, or the first of consecutive seeds; None continues with the
                next episodes.
            options: has no effect.

        Returns:
            Observations ``(num_envs, 4)``, and an empty dictionary.

        Raises:
            ValueError: a list of seeds has another length.
        """
        if seed is None:
            self._episodes += steps(0, 1, self.device)
        else:
            if not isinstance(seed, list):
                check_integer("seed", seed, "(-inf, inf)")
            given = seed if isinstance(seed, list) else list(range(seed, seed + self.num_envs))
            if len(given) != self.num_envs:
                raise ValueError(
                    f"seed must be one number, or one for each of {self.num_envs} worlds, got {len(given)}"
                )
            self._episodes = reference.streams(torch.tensor(given, device=self.device))
        self.state = reference.begun(self._episodes, self.state.dtype).t()
        self._end.fill_(self.max_steps)
        self._now = 0
        return self.state.clone(memory_format=torch.contiguous_format), {}

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Advances every environment by τ.

        Args:
            action: ``(num_envs,)`` integers; 0 pushes to the left and 1 to the right.

        Returns:
            Observations ``(num_envs, 4)``, of the next episode where one ended; rewards; terminated; truncated; an
            empty dictionary.

        Raises:
            ValueError: ``action`` does not hold a 0 or a 1 for each environment; on a GPU only its shape is checked.
        """
        action = self._checked(action)
        self._now += 1
        path = fused_cpu if fused_cpu.fits(self.state) else reference
        after = path.step(self.state.t(), action, self._episodes, self._end, self._now, self.max_steps)
        self.state = after.state.t()
        rewards = torch.ones(self.num_envs, dtype=self.state.dtype, device=self.device)
        return after.seen, rewards, after.terminated, after.truncated, {}

    def _checked(self, action: Tensor) -> Tensor:
        given = torch.as_tensor(action)
        whole = given.to(self.device, torch.int64)
        fits = given.shape == (self.num_envs,) and not given.is_floating_point()
        if not fits or (self.device.type == "cpu" and bool((whole >> 1).any())):  # without waiting for another device
            raise ValueError(
                f"action must hold 0 or 1 for each of {self.num_envs} worlds, got {given.dtype} of shape "
                f"{tuple(given.shape)}; take argmax(-1) of the policy's two outputs"
            )
        return whole

    def close(self) -> None:
        """Has nothing to close."""
