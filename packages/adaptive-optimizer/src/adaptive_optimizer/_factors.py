"""The factors that rules move: each within its clamp, and where a knob has several, their product."""

from collections.abc import Iterable, Sequence
from math import inf

from adaptive_optimizer._horizon import Limits, limited, reachable
from adaptive_optimizer._settings import Settings
from adaptive_optimizer.rules import Rule, Signal

CLOCKED = ("cosine", "cosine_restart")


class Factor:
    """One number that one rule moves, always inside ``[low, high]``."""

    __slots__ = ("high", "low", "name", "rule", "value")

    def __init__(self, name: str, rule: Rule | None, low: float, high: float) -> None:
        self.name = name
        self.rule = rule
        self.low = low
        self.high = high
        self.value = 1.0

    def update(self, signal: Signal) -> None:
        """Let the rule move the factor; what is no number leaves it where it is."""
        if self.rule is not None:
            self.put(self.rule(self.value, signal))

    def put(self, value: float) -> None:
        """Set the factor, clamped."""
        if value == value:  # NaN is not
            self.value = self.low if value < self.low else self.high if value > self.high else value


class Horizon:
    """A factor on 1/(1-μ) that moves at most 2 % a step, and the limits of its coefficient."""

    def __init__(self, name: str, rule: Rule, limits: Limits, *, rewarded: bool) -> None:
        self.limits = limits
        self.moved = Factor(name, rule, 0.0, inf)
        # A rule that sets its factor anew with every loss keeps what the rewards add in a factor of its own.
        own = rewarded and name != "relative"
        self.rewarded = Factor("reward", None, 0.0, inf) if own else self.moved if rewarded else None
        self.used = self.before = 1.0
        self._bases: Sequence[float | None] = ()

    def update(self, signal: Signal, bases: Sequence[float | None]) -> None:
        """Follow a loss."""
        self._bound(bases)
        self.moved.update(signal)
        self._follow()

    def reward(self, rate: float, bases: Sequence[float | None]) -> None:
        """Follow a reward: ``rate`` multiplies the horizon."""
        if self.rewarded is not None:
            self._bound(bases)
            self.rewarded.put(self.rewarded.value * rate)
            self._follow()

    def settle(self) -> None:
        """A step has been made: from here the next 2 % count."""
        self.before = self.used

    def _bound(self, bases: Sequence[float | None]) -> None:
        if bases != self._bases:
            self._bases = bases
            low, high = reachable(bases, self.limits)
            for factor in (self.moved, self.rewarded):
                if factor is not None:
                    factor.low, factor.high = low, high

    def _follow(self) -> None:
        q = self.moved.value
        if self.rewarded is not None and self.rewarded is not self.moved:
            q = min(max(q * self.rewarded.value, self.moved.low), self.moved.high)
        self.used = limited(q, self.before)


def lr_factors(rules: dict[str, Rule], settings: Settings) -> list[Factor]:
    """M, which backs off from losses that are not finite also where no rule moves it, and the others."""
    low, high = settings.lr_factor_bounds
    clamps = {
        "variance": (min(0.1, 1.0), 1.0),
        "cosine": (settings.cycle_floor, 1.0),
        "cosine_restart": (settings.cycle_floor, 1.0),
    }
    others = [Factor(name, rule, *clamps.get(name, (low, high))) for name, rule in rules.items() if name != "trend"]
    return [Factor("trend", rules.get("trend"), low, high), *others]


def reward_factors(rules: dict[str, Rule]) -> list[Factor]:
    """R, one factor for each part of the reward rule."""
    clamps = {"scaling": (0.1, 2.0), "variance": (0.1, 1.0)}
    return [Factor(name, rule, *clamps.get(name, (0.1, 10.0))) for name, rule in rules.items()]


def product(factors: Iterable[Factor]) -> float:
    """The factors multiplied; 1 where there are none."""
    result = 1.0
    for factor in factors:
        result *= factor.value
    return result
