"""The manager, its controllers and its reward, as AEES's arguments ask for them."""

from collections.abc import Callable
from functools import partial
from typing import Any

from pulseopt.controller import (
    TREND_CONTEXT_BUCKETS,
    TREND_PHASE_CONTEXT_BUCKETS,
    BaseController,
    BucketedContextualController,
    DiscountedUCBController,
    RandomController,
)
from pulseopt.episode import StructuredEpisodeManager
from pulseopt.reward import BaseReward, LogOrRelativeReward, RelativeImprovementReward

_BUCKETS: dict[str, list[str]] = {
    "none": [],
    "trend": TREND_CONTEXT_BUCKETS,
    "trend_phase": TREND_PHASE_CONTEXT_BUCKETS,
}
_REWARDS: dict[str, type[LogOrRelativeReward] | type[RelativeImprovementReward]] = {
    "log": LogOrRelativeReward,
    "relative": RelativeImprovementReward,
}
_NOISE_SEED = 101  # added to the seed for the noise axis


def build_manager(
    lrs: list[float],
    noises: list[float],
    control_mode: str,
    structured_mode: str,
    context_mode: str,
    seed: int,
    learning: tuple[float, float],
    reward_fn: BaseReward,
    **settings: Any,
) -> StructuredEpisodeManager:
    """Return a manager with its controllers; ``learning`` is their c and γ, ``settings`` go to its constructor."""
    build = partial(build_controller, control_mode=control_mode, context_mode=context_mode, learning=learning)
    controllers = build_controllers(len(lrs), len(noises), structured_mode, seed, build)
    modes = {"structured_control_mode": structured_mode, "context_mode": context_mode}
    settings = {**modes, **settings}
    return StructuredEpisodeManager(lrs, noises, controllers[0], controllers[1], reward_fn, **settings)


def build_controller(
    arms: int, seed: int, control_mode: str, context_mode: str, learning: tuple[float, float]
) -> BaseController | None:
    """Return a controller over so many arms; None where there is nothing to choose."""
    DiscountedUCBController(1, *learning)  # checks its arguments in any case
    if arms == 1:
        return None
    if control_mode == "random":
        return RandomController(arms, random_seed=seed)
    buckets = _BUCKETS[context_mode]
    if buckets:
        return BucketedContextualController(arms, buckets, *learning, random_seed=seed)
    return DiscountedUCBController(arms, *learning, random_seed=seed)


def build_controllers(
    lr_arms: int, noise_arms: int, structured_mode: str, seed: int, build: Callable[[int, int], BaseController | None]
) -> tuple[BaseController | None, BaseController | list[BaseController] | None]:
    """Return the controllers of a structured manager, as its constructor takes them."""
    if structured_mode == "joint":
        return build(lr_arms * noise_arms, seed), None
    lr = build(lr_arms, seed)
    if structured_mode == "independent" or lr_arms == 1 or noise_arms == 1:
        return lr, build(noise_arms, seed + _NOISE_SEED)
    banks = [build(noise_arms, seed + _NOISE_SEED + i) for i in range(lr_arms)]
    return lr, [bank for bank in banks if bank is not None]


def build_reward(
    reward: str | BaseReward, epsilon: float, instability_lambda: float, clip_min: float, clip_max: float
) -> BaseReward:
    """Return the reward of this name, or the one that was passed.

    Raises:
        TypeError: it is neither a name nor an object with ``compute``.
        ValueError: there is no reward of this name, or an argument lies outside its range.
    """
    name = reward if isinstance(reward, str) else "log"
    if name not in _REWARDS:
        raise ValueError(f"reward must be one of {sorted(_REWARDS)} or a BaseReward, got {reward!r}")
    built = _REWARDS[name](epsilon, instability_lambda, clip_min, clip_max)  # checks its arguments in any case
    if isinstance(reward, str):
        return built
    if not callable(getattr(reward, "compute", None)):
        raise TypeError(f"reward must be one of {sorted(_REWARDS)} or have compute(summary), got {reward!r}")
    return reward
