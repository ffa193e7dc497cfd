"""The search of a method's box: one scrambled Sobol sequence for all methods, the recommended setting as point 0.

Sobol 1967, USSR Computational Mathematics 7; scrambling by Owen 1998, both as scipy implements them.
"""

import importlib
import math
from dataclasses import dataclass
from typing import Any

from bench.methods.method import Box, Method
from bench.records.models import Trial, Value

Setting = dict[str, Value]
SEED = 20260801  # of the scrambling, the same for every method and workload
OUTER = 0.1  # share of the lr range, at either end, in which a best point widens the box
DECADE = 10.0
_qmc: Any = importlib.import_module("scipy.stats.qmc")  # not annotated


def sequence(count: int, dimensions: int) -> list[list[float]]:
    """Returns the first ``count`` points of the sequence, in the unit cube."""
    power = max(1, math.ceil(math.log2(max(2, count))))
    points: list[list[float]] = _qmc.Sobol(dimensions, scramble=True, rng=SEED).random_base2(power).tolist()
    return points[:count]


@dataclass(frozen=True)
class Space:
    """What is searched for one method on one workload; ``factor`` scales every method's rates alike."""

    box: Box
    factor: float = 1.0

    @property
    def rates(self) -> tuple[float, float]:
        """Ends of the learning-rate axis."""
        low, high = self.box.lr
        return low * self.factor, high * self.factor

    def recommended(self) -> Setting:
        """Returns point 0: what the method's documentation recommends."""
        setting = {**self.box.fixed, **self.box.recommended}
        return {**setting, "lr": _rounded(float(setting["lr"]) * self.factor)}

    def points(self, count: int) -> list[Setting]:
        """Returns the recommendation and ``count`` - 1 points of the sequence."""
        rest = [self._at(point, *self.rates) for point in sequence(count - 1, 2 + self.box.most_knobs)]
        return [self.recommended(), *rest]

    def beyond(self, best: Setting, count: int, tried: int) -> list[Setting]:
        """Returns ``count`` points in the decade beyond the end at which ``best`` lies."""
        low, high = self.rates
        ends = (high, high * DECADE) if self.position(best) > 0.5 else (low / DECADE, low)
        points = sequence(tried - 1 + count, 2 + self.box.most_knobs)[tried - 1 :]
        return [self._at(point, *ends) for point in points]

    def position(self, setting: Setting) -> float:
        """Returns where a rate lies between the ends of its axis, 0 to 1 on the log scale."""
        low, high = self.rates
        return math.log(float(setting["lr"]) / low) / math.log(high / low)

    def is_outer(self, setting: Setting) -> bool:
        """Returns whether a rate lies in the outer tenth of its axis, or beyond it."""
        return not OUTER <= self.position(setting) <= 1 - OUTER

    def is_edge(self, setting: Setting, widened: bool) -> bool:
        """Returns whether a rate lies at an end of the axis, the decade by which it was widened taken in."""
        if not widened:
            return self.is_outer(setting)
        low, high = self.rates
        reach = OUTER * math.log(high * DECADE / low)
        lr = float(setting["lr"])
        return lr > high * DECADE / math.exp(reach) or lr < low / DECADE * math.exp(reach)

    def _at(self, point: list[float], low: float, high: float) -> Setting:
        rate, schedule, *knobs = point
        setting: Setting = {**self.box.fixed, "lr": _rounded(low * (high / low) ** rate)}
        setting["schedule"] = _pick(self.box.schedules, schedule)
        for (name, options), place in zip(self.box.knobs.items(), knobs, strict=False):
            setting[name] = _pick(options, place)
        return setting


def space_of(method: Method, rewards: bool, factor: float) -> Space:
    """Returns the search space of a method: where a task pays a reward, that of its reward-driven form."""
    return Space(method.reward_box if rewards and method.reward_box is not None else method.box, factor)


def score(trial: Trial, better: str) -> float:
    """Returns the mean validation over the tuning seeds, higher is better; a divergence on any seed is the worst."""
    if any(value is None for value in trial.values):
        return -math.inf
    mean = sum(value for value in trial.values if value is not None) / len(trial.values)
    return mean if better == "higher" else -mean


def ranked(trials: list[Trial], better: str) -> list[Trial]:
    """Returns the trials best first: those of the last stage before the others; of equals, the one tried first."""
    return sorted(trials, key=lambda trial: (-(trial.stage or 0), -score(trial, better)))


def _pick(options: tuple[Any, ...], place: float) -> Any:
    return options[min(int(place * len(options)), len(options) - 1)]


def _rounded(lr: float) -> float:
    return float(f"{lr:.3g}")


def at_rate(chosen: Setting, factor: float) -> Setting:
    """Returns a setting at a multiple of its rate."""
    return {**chosen, "lr": rate_times(chosen, factor)}


def rate_times(chosen: Setting, factor: float) -> float:
    """Returns a multiple of a setting's rate; the rate itself unrounded."""
    return float(chosen["lr"]) if factor == 1 else float(f"{float(chosen['lr']) * factor:.3g}")
