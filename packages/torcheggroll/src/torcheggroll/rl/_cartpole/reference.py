"""The cart, pushed by a force F to the right or the left, and the pole that leans by θ on it.

    u  = (F + m l ω² sin θ)/M                                                        (1)
    α  = (g sin θ - u cos θ)/(l (4/3 - m cos² θ/M)),  a = u - m l α cos θ/M              (2)
    x ← x + τ v,  v ← v + τ a,  θ ← θ + τ ω,  ω ← ω + τ α                               (3)  with the values before

Source: Barto, Sutton & Anderson 1983, https://doi.org/10.1109/TSMC.1983.6313077, with the constants of Gymnasium's
CartPole-v1.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ...noise.counter import mix_, steps

_FORCE, _MASS_POLE, _MASS, _HALF, _GRAVITY, _TAU = 10.0, 0.1, 1.1, 0.5, 9.8, 0.02
_X_LIMIT, _ANGLE_LIMIT, _START = 2.4, 12 * 2 * 3.141592653589793 / 360, 0.05


class Moved(NamedTuple):
    """The results of a step."""

    state: Tensor  # (4, worlds): of the next episode where one ended
    seen: Tensor  # (worlds, 4): the same numbers, world by world
    terminated: Tensor  # (worlds,) bool
    truncated: Tensor  # (worlds,) bool


def step(state: Tensor, action: Tensor, episodes: Tensor, end: Tensor, now: int, max_steps: int) -> Moved:
    """Moves every world on by τ, and begins the next episode where one ended, without waiting for the device.

    Args:
        state: rows x, v, θ, ω, ``(4, worlds)``.
        action: ``(worlds,)`` int64, 0 or 1.
        episodes: ``(worlds,)`` int64, where in its stream each world is; counted on in place.
        end: ``(worlds,)`` int64, the step that cuts each episode off; set anew in place.
        now: the number of this step.
        max_steps: of an episode.
    """
    state = moved(state, action)
    terminated = (state[0].abs() > _X_LIMIT) | (state[2].abs() > _ANGLE_LIMIT)
    truncated = (end <= now) & ~terminated
    over = terminated | truncated
    episodes += over * steps(0, 1, episodes.device)
    end.masked_fill_(over, now + max_steps)
    state = torch.where(over, begun(episodes, state.dtype), state)
    return Moved(state, state.t().contiguous(), terminated, truncated)


def moved(state: Tensor, action: Tensor) -> Tensor:
    """Applies (1) to (3) in ops that round alike on every path."""
    _, v, theta, omega = state.unbind(0)
    sin, cos = theta.sin(), theta.cos()
    force = (action.to(state.dtype) * 2 - 1) * _FORCE
    u = (omega * omega * sin * (_MASS_POLE * _HALF) + force) * (1 / _MASS)  # (1)
    lever = cos * cos * -(_MASS_POLE * _HALF / _MASS) + _HALF * 4 / 3  # (2)
    alpha = (sin * _GRAVITY - u * cos) / lever  # (2)
    a = u - alpha * cos * (_MASS_POLE * _HALF / _MASS)  # (2)
    return torch.stack([v, a, omega, alpha]) * _TAU + state  # (3)


def streams(seeds: Tensor) -> Tensor:
    """Returns where the streams of these seeds ``(worlds,)`` begin."""
    return mix_(seeds.clone(), torch.empty_like(seeds))


def begun(episodes: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns where episodes begin, rows of ``(4, worlds)``: the 16-bit parts of a random word, in [-0.05, 0.05)."""
    return streams(episodes).view(torch.int16).view(-1, 4).t().to(dtype) * (_START / (1 << 15))
