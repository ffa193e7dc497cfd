"""The controllers of two axes: a factor on the learning rate and a deviation of gradient noise.

The factors a_k are equally spaced on a log scale, and one of them is 1. With m the arm with the highest discounted mean
reward:

    B ← B a_m    (27)  the base that the factors multiply, moved after a number of episodes; arm k then becomes k + m
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

from pulseopt._bandits.arms import BaseController
from pulseopt._bandits.baselines import RandomController
from pulseopt._bandits.contextual import BucketedContextualController
from pulseopt._bandits.ucb import DiscountedUCBController
from pulseopt._checks import check, check_integer
from pulseopt._maths.context import TREND_CONTEXT_BUCKETS, TREND_PHASE_CONTEXT_BUCKETS
from pulseopt._records.checkpoint import stateful

CONTROL_MODES = ("independent", "conditional", "joint")
BUCKETS: dict[str, list[str]] = {
    "none": [],
    "trend": TREND_CONTEXT_BUCKETS,
    "trend_phase": TREND_PHASE_CONTEXT_BUCKETS,
}
_NOISE_SEED = 101  # added to the seed for the noise axis

NoiseControllers = BaseController | list[BaseController] | None


def checked_axis(name: str, values: Sequence[float], zero: bool) -> list[float]:
    """Returns an axis as floats.

    Args:
        name: the argument's name, for messages.
        values: the candidates.
        zero: whether 0 is one.

    Raises:
        ValueError: there is no candidate, or one is negative, 0 where it must not be, not finite, or repeated.
    """
    if not values:
        raise ValueError(f"{name} must contain at least one value.")
    if any(value < 0.0 or (value == 0.0 and not zero) for value in values):
        raise ValueError(f"{name} values must all be {'non-negative' if zero else 'positive'}.")
    for position, value in enumerate(values):
        check(f"{name}[{position}]", value, "[0, inf)")
        if value in values[:position]:
            raise ValueError(f"{name} contains a duplicate value: {value}.")
    return [float(value) for value in values]


class AxisControllers:
    """Chooses a pair of candidates and hands the reward to the controllers that chose it.

    Args:
        lrs: the factors.
        noises: the deviations.
        mode: ``"independent"``, ``"conditional"`` or ``"joint"``.
        lr_controller: chooses the factor, in joint mode the pair; None where there is nothing to choose.
        noise_controller: chooses the deviation; in conditional mode a list, one controller for each factor.
        travel: episodes after which the factors move by the best of them, on a log scale; None: they stay.

    Raises:
        TypeError: the controllers do not fit the axes.
        ValueError: the mode is unknown, a list of controllers has the wrong length, or the factors cannot travel.
    """

    def __init__(
        self,
        lrs: Sequence[float],
        noises: Sequence[float],
        mode: str,
        lr_controller: BaseController | None,
        noise_controller: NoiseControllers,
        travel: int | None = None,
    ) -> None:
        if mode not in CONTROL_MODES:
            raise ValueError(
                "structured_control_mode must be 'independent' or 'conditional'. "
                f"Or 'joint', one controller over all pairs; got {mode!r}"
            )
        _check_fit(mode, len(lrs), len(noises), lr_controller, noise_controller)
        self.lrs, self.noises, self.mode = list(lrs), list(noises), mode
        self._lr = lr_controller
        self._noise = noise_controller
        self.travel = travel
        self.base = 1.0  # what the travelling factors are relative to
        self._stayed = 0  # episodes since the base moved
        if travel is not None:
            _check_travel(travel, mode, self.lrs, lr_controller)

    def factor(self, lr_index: int) -> float:
        """Returns a factor on the learning rate, the travelled base included."""
        return self.base * self.lrs[lr_index]

    @property
    def named(self) -> dict[str, BaseController]:
        """The controllers by name (``"lr"`` and ``"noise"``, ``"noise given lr 0"`` and so on, or ``"joint"``)."""
        named: dict[str, BaseController] = {}
        if self._lr is not None:
            named["joint" if self.mode == "joint" else "lr"] = self._lr
        if isinstance(self._noise, list):
            named.update({f"noise given lr {i}": part for i, part in enumerate(self._noise)})
        elif self._noise is not None:
            named["noise"] = self._noise
        return named

    def select(self, bucket: str | None) -> tuple[int, int]:
        """Returns the indices of the next factor and deviation; ``bucket`` is the context, if there is one."""
        if self.mode == "joint":
            pair = _ask(self._lr, "lr_controller", len(self.lrs) * len(self.noises), bucket)
            return divmod(pair, len(self.noises))
        lr_index = _ask(self._lr, "lr_controller", len(self.lrs), bucket)
        return lr_index, _ask(self._noise_given(lr_index), "noise_controller", len(self.noises), bucket)

    def update(self, lr_index: int, noise_index: int, reward: float) -> None:
        """Hands the reward of a pair to the controllers that chose it."""
        if self._lr is not None:
            pair = lr_index * len(self.noises) + noise_index
            self._lr.update(pair if self.mode == "joint" else lr_index, reward)
        noise = self._noise_given(lr_index)
        if noise is not None:
            noise.update(noise_index, reward)
        self._stayed += 1
        if self.travel is not None and self._stayed >= self.travel and isinstance(self._lr, DiscountedUCBController):
            places = self._lr.best_arm() - self.lrs.index(1.0)
            self._lr.shift(places)
            self.base *= self.lrs[self.lrs.index(1.0) + places]  # (27)
            self._stayed = 0

    def arm_names(self, controller: str) -> list[str]:
        """Returns the arms of one of `named`: ``"lr0.5"``, ``"n0.01"``, or both for a pair."""
        lrs, noises = [f"lr{value:g}" for value in self.lrs], [f"n{value:g}" for value in self.noises]
        if controller == "joint":
            return [f"{lr}_{noise}" for lr in lrs for noise in noises]
        return lrs if controller == "lr" else noises

    def estimates(self) -> str:
        """Returns each controller's estimate of each of its arms: ``lr: lr0.5=+0.12 lr1=-0.03``."""
        lines: list[str] = []
        for name, controller in self.named.items():
            state: dict[str, Any] = dict(controller.get_state())
            state = state.get("global_prior_state", state)
            arms = self.arm_names(name)
            means, plays = state.get("mean_rewards"), state.get("warmup_counts")
            if means is not None and plays is not None:
                known = zip(arms, means, plays, strict=True)
                arms = [f"{arm}={mean:+.3f}" if n else f"{arm}=?" for arm, mean, n in known]
            lines.append(f"{name}: " + " ".join(arms))
        return "; ".join(lines) if lines else "nothing to choose"

    def state_dict(self) -> dict[str, Any]:
        """Returns each controller's state.

        Raises:
            TypeError: a controller cannot be saved.
        """
        states: dict[str, Any] = {name: stateful(part).state_dict() for name, part in self.named.items()}
        return states if self.travel is None else {**states, "travel": [self.base, self._stayed]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resumes every controller."""
        if self.travel is not None:
            self.base, self._stayed = state_dict["travel"]
        for name, part in self.named.items():
            stateful(part).load_state_dict(state_dict[name])

    def _noise_given(self, lr_index: int) -> BaseController | None:
        return self._noise[lr_index] if isinstance(self._noise, list) else self._noise


def build_controllers(
    lr_arms: int,
    noise_arms: int,
    *,
    mode: str,
    context: str,
    random: bool,
    seed: int,
    exploration_coef: float,
    discount: float,
) -> tuple[BaseController | None, NoiseControllers]:
    """Returns the controllers of a structured manager, as its constructor takes them."""
    DiscountedUCBController(1, exploration_coef, discount)  # checks its arguments in any case

    def build(arms: int, seed: int) -> BaseController:
        if random:
            return RandomController(arms, random_seed=seed)
        if BUCKETS[context]:
            return BucketedContextualController(arms, BUCKETS[context], exploration_coef, discount, random_seed=seed)
        return DiscountedUCBController(arms, exploration_coef, discount, random_seed=seed)

    if mode == "joint":
        pairs = lr_arms * noise_arms
        return build(pairs, seed) if pairs > 1 else None, None
    lr = build(lr_arms, seed) if lr_arms > 1 else None
    if noise_arms == 1:
        return lr, None
    if mode == "independent" or lr_arms == 1:
        return lr, build(noise_arms, seed + _NOISE_SEED)
    return lr, [build(noise_arms, seed + _NOISE_SEED + i) for i in range(lr_arms)]


def _check_travel(travel: int, mode: str, lrs: list[float], controller: object) -> None:
    """Rejects factors that cannot travel: they must be equally spaced on a log scale."""
    check_integer("travel", travel, "[1, inf)")
    if mode != "independent" or not isinstance(controller, DiscountedUCBController):
        raise ValueError(
            "travel must be None unless one discounted UCB controller chooses the factors; use "
            "structured_control_mode='independent', context_mode='none', control_mode='adaptive' and several factors"
        )
    steps = [math.log(high / low) for low, high in itertools.pairwise(lrs)]
    if 1.0 not in lrs or min(steps) <= 0.0 or max(steps) - min(steps) > 1e-6 * max(steps):
        raise ValueError(f"lr_candidates must rise by one ratio and hold 1.0 to travel, got {lrs}")


def checked_arm(arm: object, arms: int, controller: str, what: str = "arm") -> int:
    """Returns the arm that a controller chose.

    Raises:
        TypeError: it is not an integer.
        ValueError: the arm does not exist.
    """
    if isinstance(arm, bool) or not isinstance(arm, int):
        raise TypeError(f"{controller}.select_mode() must return an integer {what} id.")
    if not 0 <= arm < arms:
        raise ValueError(f"{controller}.select_mode() returned {what} id {arm}, but valid ids are in [0, {arms}).")
    return arm


def _ask(controller: BaseController | None, name: str, arms: int, bucket: str | None) -> int:
    """Returns the arm that a controller plays next; 0 where there is nothing to choose."""
    if controller is None:
        return 0
    set_context = getattr(controller, "set_context", None)
    if bucket is not None and callable(set_context):
        set_context(bucket)
    return checked_arm(controller.select_mode(), arms, name)


def _check_fit(mode: str, lr_arms: int, noise_arms: int, lr: object, noise: object) -> None:
    """Rejects controllers that do not fit the axes: none where there is one candidate, one for every choice."""
    if mode == "joint":
        if noise is not None:
            raise TypeError("joint mode expects its one controller as lr_controller, and no noise controller.")
        if (lr is None) != (lr_arms * noise_arms == 1):
            raise TypeError("joint mode expects one controller over all pairs, and none where there is one pair.")
        return
    if lr_arms == 1 and lr is not None:
        raise TypeError("Single-candidate LR axes must not create a controller.")
    if lr_arms > 1 and lr is None:
        raise TypeError("Adaptive LR axes require a controller.")
    if noise_arms == 1:
        if noise is not None:
            raise TypeError("Single-candidate noise axes must not create a controller.")
    elif mode == "conditional" and lr_arms > 1:
        if not isinstance(noise, list):
            raise TypeError("conditional mode expects one noise controller per LR candidate.")
        if len(noise) != lr_arms:  # pyright: ignore[reportUnknownArgumentType]
            raise ValueError("conditional mode requires exactly one noise controller per LR candidate.")
    elif noise is None or isinstance(noise, list):
        where = "independent mode" if mode == "independent" else "conditional mode with one LR candidate"
        raise TypeError(f"{where} expects one noise controller.")
