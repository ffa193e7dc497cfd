"""The factors that rules move on a rate, each within its clamp, and the guard that bounds their product.

With ``guard=True`` the losses, and the rewards with reversed sign, are cut into windows of W = 25 values each. F is the
factor on the lr at the end of a window, low and high are the ends of its clamp in (21), B is the upper end with which
the guard replaces high, and A the average of |m - m₋| over the windows so far, m₋ the mean of the previous window:

    m = mean of the window, v = its sample variance / W                      (23)
    m < m*: m*, v* ← m, v;  G ← F;  c ← max(c, F);  B ← min(1.1 B, high)     (24)  a good window
    m - m* > 3 max(√(v + v*), A): B ← max(min(F, G)/2, low);  c ← min(c, B);  m*, v* ← m, v   (25)  a bad one
    F ≥ min(low c², c/3, B), c = 1 at first                                  (26)

(25) detects values that got worse by more than their noise: a rate that rises too far falls back to half of the last
good one, and rises again with good windows. (26) holds a rate that noise alone drives down: the further it has risen
through good windows, the less it may fall below its base. Both sides of (25) have the values' unit: the guard does the
same whatever losses and rewards are measured in. A loss that is not finite counts as a bad window.

Source: this package.
"""

from collections.abc import Iterable, Mapping
from math import sqrt
from typing import Any

from adaptive_optimizer._settings import Settings
from adaptive_optimizer.rules import Rule, Signal

CLOCKED = ("cosine", "cosine_restart")


class Factor:
    """One number that one rule moves, always inside ``[low, high]``."""

    __slots__ = ("clamp", "high", "low", "name", "rule", "value")

    def __init__(self, name: str, rule: Rule | None, low: float, high: float) -> None:
        self.name = name
        self.rule = rule
        self.clamp = self.low, self.high = low, high
        self.value = 1.0

    def update(self, signal: Signal) -> None:
        """Lets the rule move the factor; a result that is not a number leaves it unchanged."""
        if self.rule is not None:
            self.put(self.rule(self.value, signal))

    def put(self, value: float) -> None:
        """Sets the factor, clamped."""
        if value == value:  # NaN is not
            self.value = self.low if value < self.low else self.high if value > self.high else value


def lr_factors(rules: Mapping[str, Rule], settings: Settings) -> list[Factor]:
    """Returns M, which backs off from losses that are not finite also where no rule moves it, and the others."""
    low, high = settings.lr_factor_bounds
    clamps = {"variance": (0.1, 1.0), **dict.fromkeys(CLOCKED, (settings.cycle_floor, 1.0))}
    others = [Factor(name, rule, *clamps.get(name, (low, high))) for name, rule in rules.items() if name != "trend"]
    return [Factor("trend", rules.get("trend"), low, high), *others]


def reward_factors(rules: Mapping[str, Rule]) -> list[Factor]:
    """Returns R, one factor for each part of the reward rule."""
    clamps = {"scaling": (0.1, 2.0), "progress": (0.1, 2.0), "variance": (0.1, 1.0)}
    return [Factor(name, rule, *clamps.get(name, (0.1, 10.0))) for name, rule in rules.items()]


def wd_factors(rules: Mapping[str, Rule]) -> list[Factor]:
    """Returns N, as a list of at most one factor."""
    return [Factor(name, rule, 0.1, 10.0) for name, rule in rules.items()]


def product(factors: Iterable[Factor]) -> float:
    """Returns the factors multiplied; 1 where there are none."""
    result = 1.0
    for factor in factors:
        result *= factor.value
    return result


class Guard:
    """The factors on the lr that were good so far, and the interval that they leave for the next ones."""

    def __init__(self, low: float, high: float) -> None:
        self._clamp = low, high
        self.good = self.climbed = 1.0
        self.bound = high
        self.windows = {"loss": Window(1.0), "reward": Window(-1.0)}

    @property
    def floor(self) -> float:
        """The lower bound of the factor."""
        return min(self._clamp[0] * self.climbed**2, self.climbed / 3, self.bound)  # (26)

    def update(self, stream: str, value: float, factor: float) -> None:
        """Records one finite loss or reward, and the factor on the lr after it."""
        found = self.windows[stream].update(value)
        if found > 0:
            self.good, self.climbed = factor, max(self.climbed, factor)  # (24)
            self.bound = min(1.1 * self.bound, self._clamp[1])
        elif found < 0:
            self.back_off(min(factor, self.good))

    def back_off(self, factor: float) -> None:
        """Halves ``factor``, and lets no factor be larger."""
        self.bound = max(factor / 2, self._clamp[0])  # (25)
        self.climbed = min(self.climbed, self.bound)

    def state_dict(self) -> dict[str, Any]:
        """Returns the running numbers."""
        windows = {stream: window.state_dict() for stream, window in self.windows.items()}
        return {"good": self.good, "climbed": self.climbed, "bound": self.bound, **windows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from ``state``, as ``state_dict`` returned it."""
        self.good, self.climbed, self.bound = state["good"], state["climbed"], state["bound"]
        for stream, window in self.windows.items():
            window.load_state_dict(state[stream])


class Window:
    """The last few values of one stream, against the best window before."""

    SIZE = 25
    NOISES = 3.0

    def __init__(self, sign: float) -> None:
        self._sign = sign  # -1 where larger values are better
        self.count = self.number = 0
        self.mean = self.squares = self.best = self.best_variance = self.previous = self.change = 0.0

    def update(self, value: float) -> int:
        """Records one finite value; returns 1 at the end of a good window, -1 of a bad one, else 0."""
        value = self._sign * value
        self.count += 1
        difference = value - self.mean
        self.mean += difference / self.count
        self.squares += difference * (value - self.mean)
        if self.count < self.SIZE:
            return 0
        mean, variance = self.mean, self.squares / (self.SIZE - 1) / self.SIZE  # (23)
        noise = max(sqrt(variance + self.best_variance), self.change)
        good = self.number == 0 or mean < self.best
        bad = not good and mean - self.best > self.NOISES * noise  # (25)
        if good or bad:
            self.best, self.best_variance = mean, variance
        if self.number:
            self.change += (abs(mean - self.previous) - self.change) / self.number
        self.previous = mean
        self.number += 1
        self.count, self.mean, self.squares = 0, 0.0, 0.0
        return good - bad

    def state_dict(self) -> dict[str, Any]:
        """Returns the running numbers."""
        return {name: value for name, value in vars(self).items() if name != "_sign"}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from ``state``, as ``state_dict`` returned it."""
        vars(self).update({name: state[name] for name in self.state_dict()})
