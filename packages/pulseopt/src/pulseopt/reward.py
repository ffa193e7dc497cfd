"""Rewards: one number for a closed episode, higher is better."""

import math
import warnings
from collections import deque
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from pulseopt._checks import check
from pulseopt._maths.improvement import clipped, instability, log_improvement, relative_improvement, standardised
from pulseopt._maths.rate_search import alignment_reward
from pulseopt.types import EpisodeSummary

__all__ = ["BaseReward", "NormalizedLossImprovementReward", "RelativeImprovementReward", "RewardDetails"]


class BaseReward(Protocol):
    """Anything that scores a closed episode; `AEES` takes one as ``reward``.

    >>> import torch
    >>> from pulseopt import AEES
    >>> class LastLoss:
    ...     def compute(self, summary):
    ...         return -summary.loss_end
    ...
    ...     def get_last_details(self):
    ...         return None
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    >>> aees = AEES(optimizer, lr_candidates=[0.5, 1.0], reward=LastLoss(), seed=0)
    """

    def compute(self, summary: EpisodeSummary) -> float:
        """Returns the reward of an episode.

        Args:
            summary: the closed episode; its losses are finite.

        Returns:
            A finite number; higher is better.
        """
        ...

    def get_last_details(self) -> dict[str, float] | None:
        """Returns the parts of the last reward computed, or None."""
        ...


@dataclass(frozen=True)
class RewardDetails:
    """The parts of a reward: b and v of equation (7), the penalty λ v, and the result before and after clipping."""

    reward_base: float
    reward_instability: float
    reward_penalty: float
    reward_final_unclipped: float
    reward_final_clipped: float


class _LossReward:
    """Improvement minus λ times instability, clipped; subclasses define the first two.

    Args:
        reward_epsilon: ε, added to what is divided by or whose logarithm is taken; above 0.
        reward_instability_lambda: λ, weight of the instability; at least 0.
        reward_clip_min: the lowest reward.
        reward_clip_max: the highest reward, at least ``reward_clip_min``.

    Raises:
        ValueError: an argument lies outside its range.
    """

    def __init__(
        self,
        reward_epsilon: float = 1e-8,
        reward_instability_lambda: float = 0.1,
        reward_clip_min: float = -1.0,
        reward_clip_max: float = 1.0,
    ) -> None:
        if reward_epsilon <= 0.0:
            raise ValueError("reward_epsilon must be positive.")
        if reward_instability_lambda < 0.0:
            raise ValueError("reward_instability_lambda must be non-negative.")
        if reward_clip_min > reward_clip_max:
            raise ValueError("reward_clip_min must be <= reward_clip_max.")
        check("reward_epsilon", reward_epsilon, "(0, inf)")
        check("reward_instability_lambda", reward_instability_lambda, "[0, inf)")
        check("reward_clip_min", reward_clip_min, "(-inf, inf)")
        check("reward_clip_max", reward_clip_max, "(-inf, inf)")
        self.reward_epsilon = reward_epsilon
        self.reward_instability_lambda = reward_instability_lambda
        self.reward_clip_min = reward_clip_min
        self.reward_clip_max = reward_clip_max
        self._last_details: RewardDetails | None = None

    def compute(self, summary: EpisodeSummary) -> float:
        """Returns the reward of a closed episode.

        Args:
            summary: the closed episode.

        Returns:
            The clipped reward; higher is better.

        Raises:
            ValueError: the summary holds no finite losses, or the reward is not defined for their averages.
        """
        _check_summary(summary)
        return self.score(summary).reward_final_clipped

    def score(self, summary: EpisodeSummary) -> RewardDetails:
        """Returns the reward, in parts, of a summary whose losses are known to be finite."""
        base, v = self._parts(summary, summary.ema_loss_start or 0.0, summary.ema_loss_end or 0.0)
        low, high = self.reward_clip_min, self.reward_clip_max
        self._last_details = RewardDetails(base, v, *clipped(base, v, self.reward_instability_lambda, low, high))
        return self._last_details

    def get_last_details(self) -> dict[str, float] | None:
        """Returns the parts of the reward computed last, or None before the first."""
        return None if self._last_details is None else asdict(self._last_details)

    def state_dict(self) -> dict[str, Any]:
        """Returns the parts of the last reward; the settings belong to the constructor."""
        return {"last_details": self.get_last_details()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        details = state_dict["last_details"]
        self._last_details = None if details is None else RewardDetails(**details)

    def _parts(self, summary: EpisodeSummary, start: float, end: float) -> tuple[float, float]:
        """Returns the improvement and the instability, given the averages at the episode's start and end."""
        raise NotImplementedError


class NormalizedLossImprovementReward(_LossReward):
    """The logarithm of the improvement, for losses above zero: equations (5) to (7).

    Args:
        reward_epsilon: ε, added to denominators and inside logarithms; above 0.
        reward_instability_lambda: λ, weight of the instability; at least 0.
        reward_clip_min: the lowest reward.
        reward_clip_max: the highest reward, at least ``reward_clip_min``.

    Raises:
        ValueError: an argument lies outside its range; from `compute`, an average is not above ``-reward_epsilon``.

    >>> from pulseopt import EpisodeSummary, NormalizedLossImprovementReward
    >>> losses = {"ema_loss_start": 2.0, "ema_loss_end": 1.0, "step_losses": (2.0, 1.0)}
    >>> summary = EpisodeSummary(0, 0, "base", 0, 1, 2, loss_start=2.0, loss_end=1.0, ema_abs_loss_delta=1.0, **losses)
    >>> round(NormalizedLossImprovementReward(reward_instability_lambda=0.0).compute(summary), 3)
    0.693
    """

    def _parts(self, summary: EpisodeSummary, start: float, end: float) -> tuple[float, float]:
        for name, value in (("ema_loss_start", start), ("ema_loss_end", end)):
            if value + self.reward_epsilon <= 0.0:
                raise ValueError(f"{name} + reward_epsilon must be positive for log reward.")
        base = log_improvement(start, end, self.reward_epsilon)
        return base, instability(summary.step_losses, self.reward_epsilon)


class RelativeImprovementReward(_LossReward):
    """The improvement in units of the loss itself, for any finite losses: equations (7) to (10).

    Multiplying all losses by a constant leaves the rewards unchanged.

    Args:
        reward_epsilon: has no effect here; above 0.
        reward_instability_lambda: λ, weight of the instability; at least 0.
        reward_clip_min: the lowest reward.
        reward_clip_max: the highest reward, at least ``reward_clip_min``.

    Raises:
        ValueError: an argument lies outside its range.

    >>> from pulseopt import EpisodeSummary, RelativeImprovementReward
    >>> losses = {"ema_loss_start": 2.0, "ema_loss_end": 1.0, "step_losses": (2.0, 1.0)}
    >>> summary = EpisodeSummary(0, 0, "base", 0, 1, 2, loss_start=2.0, loss_end=1.0, ema_abs_loss_delta=1.0, **losses)
    >>> RelativeImprovementReward(reward_instability_lambda=0.0).compute(summary)
    0.5
    """

    def _parts(self, summary: EpisodeSummary, start: float, end: float) -> tuple[float, float]:
        return relative_improvement(start, end, summary.step_losses)


class LogOrRelativeReward(NormalizedLossImprovementReward):
    """The logarithm of the improvement where it is defined, the relative improvement elsewhere.

    It warns once, at the first episode whose averages are not above zero. Arguments are those of the base class.
    """

    _warned = False

    def _parts(self, summary: EpisodeSummary, start: float, end: float) -> tuple[float, float]:
        if min(start, end) + self.reward_epsilon > 0.0:
            return super()._parts(summary, start, end)
        if not self._warned:
            self._warned = True
            warnings.warn(
                "reward='log' needs losses above zero, and an episode's average was not; such episodes are scored "
                "by their relative improvement. Pass reward='relative' to score every episode that way",
                stacklevel=2,
            )
        return relative_improvement(start, end, summary.step_losses)


class StandardisedImprovementReward(_LossReward):
    """The relative improvement, standardised by those of the newest episodes: equation (26).

    Neither the scale of the loss nor its usual slope matters. Arguments are those of the base class;
    ``reward_epsilon`` and ``reward_instability_lambda`` have no effect.
    """

    window = 20

    def __init__(
        self,
        reward_epsilon: float = 1e-8,
        reward_instability_lambda: float = 0.1,
        reward_clip_min: float = -1.0,
        reward_clip_max: float = 1.0,
    ) -> None:
        super().__init__(reward_epsilon, reward_instability_lambda, reward_clip_min, reward_clip_max)
        self._recent: deque[float] = deque(maxlen=self.window)

    def score(self, summary: EpisodeSummary) -> RewardDetails:
        """Returns the reward, in parts, of a summary whose losses are known to be finite."""
        base, v = relative_improvement(summary.ema_loss_start or 0.0, summary.ema_loss_end or 0.0, summary.step_losses)
        self._recent.append(base)
        z, reward = standardised(base, self._recent, self.reward_clip_min, self.reward_clip_max)
        self._last_details = RewardDetails(base, v, 0.0, z, reward)
        return self._last_details

    def state_dict(self) -> dict[str, Any]:
        """Returns the parts of the last reward and the newest improvements."""
        return {**super().state_dict(), "recent": list(self._recent)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        super().load_state_dict(state_dict)
        self._recent = deque(state_dict["recent"], maxlen=self.window)


class AlignmentReward(_LossReward):
    """Minus the distance of the mean alignment from its target, equation (25).

    Arguments are those of the base class, of which only the clips matter.
    """

    def score(self, summary: EpisodeSummary) -> RewardDetails:
        """Returns the reward, in parts; the base is the mean alignment.

        Raises:
            ValueError: no step of the episode had an alignment.
        """
        q = summary.mean_alignment
        if q is None:
            raise ValueError(
                "reward='alignment' needs an episode in which one step follows another with the same parameters; "
                "use an episode_length of at least 2"
            )
        reward = min(alignment_reward(q, self.reward_clip_min), self.reward_clip_max)
        self._last_details = RewardDetails(q, 0.0, 0.0, reward, reward)
        return self._last_details


REWARDS: dict[str, type[_LossReward]] = {
    "log": LogOrRelativeReward,
    "relative": RelativeImprovementReward,
    "standardised": StandardisedImprovementReward,
    "alignment": AlignmentReward,
}


def build_reward(
    reward: str | BaseReward, epsilon: float, instability_lambda: float, clip_min: float, clip_max: float
) -> BaseReward:
    """Returns the reward of this name, or the one that was passed.

    Raises:
        TypeError: it is neither a name nor an object with ``compute``.
        ValueError: the name is unknown, or an argument lies outside its range.
    """
    name = reward if isinstance(reward, str) else "log"
    if name not in REWARDS:
        raise ValueError(f"reward must be one of {sorted(REWARDS)} or a BaseReward, got {reward!r}")
    built = REWARDS[name](epsilon, instability_lambda, clip_min, clip_max)  # checks its arguments in any case
    if isinstance(reward, str):
        return built
    if not callable(getattr(reward, "compute", None)):
        raise TypeError(f"reward must be one of {sorted(REWARDS)} or have compute(summary), got {reward!r}")
    return reward


def scored(reward: BaseReward, summary: EpisodeSummary) -> EpisodeSummary:
    """Returns the summary with its reward and, where available, the parts of the reward.

    Raises:
        ValueError: the reward is not finite.
    """
    if isinstance(reward, _LossReward) and type(reward).compute is _LossReward.compute:
        details = reward.score(summary)  # the losses were checked as they came in
        return replace(summary, reward=details.reward_final_clipped, **asdict(details))
    value = reward.compute(summary)
    if not math.isfinite(value):
        raise ValueError(f"reward_fn.compute() must return a finite number, got {value}; the episode is dropped")
    told = reward.get_last_details() if hasattr(reward, "get_last_details") else None
    parts: dict[str, Any] = {
        name: part for name, part in (told or {}).items() if name in RewardDetails.__dataclass_fields__
    }
    return replace(summary, reward=value, **parts)


def _check_summary(summary: EpisodeSummary) -> None:
    """Rejects a summary that lacks what a reward needs."""
    for name, value in (("ema_loss_start", summary.ema_loss_start), ("ema_loss_end", summary.ema_loss_end)):
        if value is None:
            raise ValueError(f"{name} must be populated.")
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite.")
    if summary.steps <= 0:
        raise ValueError("Episode summary must contain at least one completed step.")
    if not summary.step_losses:
        raise ValueError("Episode summary must contain raw step losses.")
    if not all(math.isfinite(loss) for loss in summary.step_losses):
        raise ValueError("step_losses must contain only finite values.")
