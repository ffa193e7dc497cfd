"""The factors that rules move on a rate: each within its clamp, and where a knob has several, their product."""

from collections.abc import Iterable, Mapping

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
        """Lets the rule move the factor; what is no number leaves it where it is."""
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
    clamps = {"scaling": (0.1, 2.0), "variance": (0.1, 1.0)}
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
