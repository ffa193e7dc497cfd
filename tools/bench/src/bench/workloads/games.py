"""CartPole-v1 and Acrobot-v1 for many games at once, step for step what gymnasium computes (a test compares them).

Gymnasium steps one Acrobot at a time, 17,000 a second; a population needs them side by side.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Observation = NDArray[np.float32]


class Game(Protocol):
    """Several copies of one game."""

    observations: int
    actions: int
    limit: int  # steps after which a game is cut off

    def reset(self, count: int, generator: np.random.Generator) -> Observation:
        """Starts ``count`` games anew, return (count, observations)."""
        ...

    def restart(self, which: NDArray[np.bool_], generator: np.random.Generator) -> Observation:
        """Starts some of them anew, return all observations."""
        ...

    def step(self, action: NDArray[np.int64]) -> tuple[Observation, Array, NDArray[np.bool_]]:
        """Advances all: observations, rewards, and which have ended by their own rules."""
        ...


class CartPole:
    """Keeps a pole upright on a cart: 1 per step, at most 500."""

    observations, actions, limit = 4, 2, 500

    def reset(self, count: int, generator: np.random.Generator) -> Observation:
        """Small random states."""
        self.state = generator.uniform(-0.05, 0.05, size=(count, 4))
        return self.state.astype(np.float32)

    def restart(self, which: NDArray[np.bool_], generator: np.random.Generator) -> Observation:
        """Small random states for some."""
        self.state[which] = generator.uniform(-0.05, 0.05, size=(int(np.count_nonzero(which)), 4))
        return self.state.astype(np.float32)

    def step(self, action: NDArray[np.int64]) -> tuple[Observation, Array, NDArray[np.bool_]]:
        """One Euler step of 0.02 s."""
        x, speed, angle, turn = self.state.T
        force = np.where(action == 1, 10.0, -10.0)
        cos, sin = np.cos(angle), np.sin(angle)
        pushed = (force + 0.05 * np.square(turn) * sin) / 1.1
        turning = (9.8 * sin - cos * pushed) / (0.5 * (4.0 / 3.0 - 0.1 * np.square(cos) / 1.1))
        sliding = pushed - 0.05 * turning * cos / 1.1
        self.state = np.stack(
            [x + 0.02 * speed, speed + 0.02 * sliding, angle + 0.02 * turn, turn + 0.02 * turning], axis=1
        )
        ended = (np.abs(self.state[:, 0]) > 2.4) | (np.abs(self.state[:, 2]) > 12 * 2 * np.pi / 360)
        return self.state.astype(np.float32), np.ones(len(x)), ended


class Acrobot:
    """Swing a two-link arm above a line: -1 per step until it is there, at most 500."""

    observations, actions, limit = 6, 3, 500

    def reset(self, count: int, generator: np.random.Generator) -> Observation:
        """Small random states."""
        self.state = generator.uniform(-0.1, 0.1, size=(count, 4))
        return self._observe()

    def restart(self, which: NDArray[np.bool_], generator: np.random.Generator) -> Observation:
        """Small random states for some."""
        self.state[which] = generator.uniform(-0.1, 0.1, size=(int(np.count_nonzero(which)), 4))
        return self._observe()

    def step(self, action: NDArray[np.int64]) -> tuple[Observation, Array, NDArray[np.bool_]]:
        """One Runge-Kutta step of 0.2 s."""
        torque, y, h = action - 1.0, self.state.T, 0.2
        k1 = self._slope(y, torque)
        k2 = self._slope(y + h / 2 * k1, torque)
        k3 = self._slope(y + h / 2 * k2, torque)
        k4 = self._slope(y + h * k3, torque)
        new = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        new[:2] = (new[:2] + np.pi) % (2 * np.pi) - np.pi
        new[2] = np.clip(new[2], -4 * np.pi, 4 * np.pi)
        new[3] = np.clip(new[3], -9 * np.pi, 9 * np.pi)
        self.state = np.ascontiguousarray(new.T)
        ended = -np.cos(new[0]) - np.cos(new[1] + new[0]) > 1.0
        return self._observe(), np.where(ended, 0.0, -1.0), ended

    def _observe(self) -> Observation:
        one, two, spin1, spin2 = self.state.T
        return np.stack([np.cos(one), np.sin(one), np.cos(two), np.sin(two), spin1, spin2], axis=1).astype(np.float32)

    @staticmethod
    def _slope(y: NDArray[Any], torque: NDArray[Any]) -> NDArray[Any]:
        """Equations of motion of the book by Sutton and Barto: links of mass 1 and length 1, inertia 1."""
        one, two, spin1, spin2 = y
        cos2, sin2 = np.cos(two), np.sin(two)
        d1 = 0.25 + (1.25 + cos2) + 2.0
        d2 = (0.25 + 0.5 * cos2) + 1.0
        phi2 = 0.5 * 9.8 * np.cos(one + two - np.pi / 2)
        phi1 = -0.5 * spin2**2 * sin2 - spin2 * spin1 * sin2 + 1.5 * 9.8 * np.cos(one - np.pi / 2) + phi2
        bend = (torque + d2 / d1 * phi1 - 0.5 * spin1**2 * sin2 - phi2) / (1.25 - d2**2 / d1)
        return np.stack([spin1, spin2, -(d2 * bend + phi1) / d1, bend])


class LunarLander:
    """Gymnasium's LunarLander-v3 (needs box2d), stepped one after the other."""

    observations, actions, limit = 8, 4, 1000

    def __init__(self) -> None:
        """No games yet: ``reset`` makes them."""
        self.games: list[Any] = []

    def reset(self, count: int, generator: np.random.Generator) -> Observation:
        """Starts ``count`` landings."""
        import gymnasium

        make: Any = gymnasium.make
        if len(self.games) != count:
            self.games = [make("LunarLander-v3").unwrapped for _ in range(count)]
        self.over = np.zeros(count, np.bool_)
        self.seen = np.zeros((count, self.observations), np.float32)
        return self.restart(np.ones(count, np.bool_), generator)

    def restart(self, which: NDArray[np.bool_], generator: np.random.Generator) -> Observation:
        """Starts some of them anew."""
        for index in np.flatnonzero(which):
            seed = int(generator.random() * 2**31)
            self.seen[index] = self.games[index].reset(seed=seed)[0]
        self.over = self.over & ~which
        return self.seen.copy()

    def step(self, action: NDArray[np.int64]) -> tuple[Observation, Array, NDArray[np.bool_]]:
        """Advances those that are not over."""
        rewards = np.zeros(len(self.games))
        for index in np.flatnonzero(~self.over):
            seen, reward, ended, _, _ = self.games[index].step(int(action[index]))
            self.seen[index] = seen
            rewards[index], self.over[index] = float(reward), ended
        return self.seen.copy(), rewards, self.over.copy()
