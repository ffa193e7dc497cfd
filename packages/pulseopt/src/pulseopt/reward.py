"""What an episode is worth: higher is better."""

import math
import warnings
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from pulseopt._checks import check
from pulseopt._maths.improvement import clipped, instability, log_improvement, relative_improvement
from pulseopt.types import EpisodeSummary


class BaseReward(Protocol):
    """Anything that scores a closed episode."""

    def compute(self, summary: EpisodeSummary) -> float:
        """Return the episode's reward, a finite number; higher is better."""
        ...

    def get_last_details(self) -> dict[str, float] | None:
        """Return the parts of the reward computed last, or None before the first."""
        ...


@dataclass(frozen=True)
class RewardDetails:
    """A reward in parts."""

    reward_base: float
    reward_instability: float
    reward_penalty: float
    reward_final_unclipped: float
    reward_final_clipped: float


class _LossReward:
    """Improvement minus λ times instability, clipped; subclasses say what the first two are.

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

    def get_last_details(self) -> dict[str, float] | None:
        """Return the parts of the reward computed last, or None before the first."""
        return None if self._last_details is None else asdict(self._last_details)

    def state_dict(self) -> dict[str, Any]:
        """Return the parts of the last reward; the settings belong to the constructor."""
        return {"last_details": self.get_last_details()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        details = state_dict["last_details"]
        self._last_details = None if details is None else RewardDetails(**details)

    def _clip(self, base: float, v: float) -> float:
        penalty, unclipped, reward = clipped(
            base, v, self.reward_instability_lambda, self.reward_clip_min, self.reward_clip_max
        )
        self._last_details = RewardDetails(base, v, penalty, unclipped, reward)
        return reward


class NormalizedLossImprovementReward(_LossReward):
    """The logarithm of the improvement, for losses above zero.

    Equations (5) to (7) of `pulseopt._maths.improvement`; arguments and errors as in the base class.
    """

    def compute(self, summary: EpisodeSummary) -> float:
        """Return the reward of a closed episode.

        Raises:
            ValueError: the summary holds no finite losses, or an average that is not above ``-reward_epsilon``.
        """
        start, end = _checked_ends(summary)
        if start + self.reward_epsilon <= 0.0:
            raise ValueError("ema_loss_start + reward_epsilon must be positive for log reward.")
        if end + self.reward_epsilon <= 0.0:
            raise ValueError("ema_loss_end + reward_epsilon must be positive for log reward.")
        base = log_improvement(start, end, self.reward_epsilon)
        return self._clip(base, instability(summary.step_losses, self.reward_epsilon))


class RelativeImprovementReward(_LossReward):
    """The improvement in units of the loss itself, for any finite losses.

    Equations (7) to (10) of `pulseopt._maths.improvement`. A loss multiplied by a constant earns the same rewards, so
    ``reward_epsilon`` has nothing to do; arguments and errors as in the base class.
    """

    def compute(self, summary: EpisodeSummary) -> float:
        """Return the reward of a closed episode.

        Raises:
            ValueError: the summary holds no finite losses.
        """
        start, end = _checked_ends(summary)
        return self._clip(*relative_improvement(start, end, summary.step_losses))


class LogOrRelativeReward(_LossReward):
    """The logarithm of the improvement where it exists, the relative improvement elsewhere.

    Warns once, at the first episode whose averages are not above zero. Arguments and errors as in the base class.
    """

    _warned = False

    def compute(self, summary: EpisodeSummary) -> float:
        """Return the reward of a closed episode.

        Raises:
            ValueError: the summary holds no finite losses.
        """
        start, end = _checked_ends(summary)
        if min(start, end) + self.reward_epsilon > 0.0:
            base = log_improvement(start, end, self.reward_epsilon)
            return self._clip(base, instability(summary.step_losses, self.reward_epsilon))
        if not self._warned:
            self._warned = True
            warnings.warn(
                "reward='log' needs losses above zero, and an episode's average was not; such episodes are scored "
                "by their relative improvement. Pass reward='relative' to score every episode that way",
                stacklevel=2,
            )
        return self._clip(*relative_improvement(start, end, summary.step_losses))


def _checked_ends(summary: EpisodeSummary) -> tuple[float, float]:
    """Return the two averages of a summary that holds what a reward needs."""
    ends: list[float] = []
    for name, value in (("ema_loss_start", summary.ema_loss_start), ("ema_loss_end", summary.ema_loss_end)):
        if value is None:
            raise ValueError(f"{name} must be populated.")
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite.")
        ends.append(value)
    if summary.steps <= 0:
        raise ValueError("Episode summary must contain at least one completed step.")
    if not summary.step_losses:
        raise ValueError("Episode summary must contain raw step losses.")
    if not all(math.isfinite(loss) for loss in summary.step_losses):
        raise ValueError("step_losses must contain only finite values.")
    return ends[0], ends[1]
