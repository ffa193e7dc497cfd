"""Horizons: how a factor moves momentum, a beta or alpha, and what keeps that safe.

A moving average with coefficient μ covers about 1/(1-μ) steps. A factor q scales that horizon; base values are those of
the user and the scheduler.

    μ = 1 - (1-μ₀)/q, within [min(μ₀, low), max(μ₀, high)]     (18)
    0.98 ≤ q/q₋ ≤ 1.02, q₋ the q of the step before            (19)  the state needs time to follow its coefficient
    lr ← lr (1-μ)/(1-μ₀)                                       (20)  heavy ball: the steady step keeps its size

Why (19) and (20), measured with gradients of size 1: β₁ from 0.9 to 0.99 at step 10 makes AdamW's update 6.2 times
larger, since its bias correction no longer fits the state; SGD's μ from 0.9 to 0.99 multiplies the steady step by 9.9.

Source: this package.
"""

from collections.abc import Iterable, Sequence
from math import inf
from typing import NamedTuple, TypeGuard

from adaptive_optimizer._factors import Factor
from adaptive_optimizer.rules import Rule, Signal, relative

SLOWEST, FASTEST = 0.98, 1.02


class Limits(NamedTuple):
    """The interval of (18): ``[min(μ₀, low), max(μ₀, high)]``; low None stands for μ₀."""

    low: float | None
    high: float


LIMITS = {
    "momentum": Limits(0.5, 0.99),
    "beta1": Limits(0.5, 0.98),
    "beta2": Limits(None, 0.9999),
    "alpha": Limits(None, 0.9999),
}


def movable(mu0: float | None) -> TypeGuard[float]:
    """Returns whether ``mu0`` has a horizon that can move: 0 averages nothing, 1 never forgets."""
    return mu0 is not None and 0 < mu0 < 1


def coefficient(mu0: float, q: float, limits: Limits) -> float:
    """Returns μ for the base ``mu0`` and the horizon factor ``q``; q = 1 returns ``mu0`` to the bit."""
    if q == 1 or not movable(mu0):
        return mu0
    low = mu0 if limits.low is None or mu0 < limits.low else limits.low
    high = mu0 if mu0 > limits.high else limits.high
    mu = 1 - (1 - mu0) / q  # (18)
    return low if mu < low else high if mu > high else mu


def reachable(bases: Iterable[float | None], limits: Limits) -> tuple[float, float]:
    """Returns the interval of q beyond which no base moves any further; integrators stop there."""
    low = high = 1.0
    for mu0 in bases:
        if not movable(mu0):
            continue
        bottom = mu0 if limits.low is None else min(mu0, limits.low)
        low = min(low, (1 - mu0) / (1 - bottom))
        high = max(high, (1 - mu0) / (1 - max(mu0, limits.high)))
    return low, high


def limited(q: float, previous: float) -> float:
    """Returns ``q``, at most 2 % away from ``previous``."""
    low, high = SLOWEST * previous, FASTEST * previous  # (19)
    return low if q < low else high if q > high else q


def compensation(mu: float, mu0: float) -> float:
    """Returns the factor on the lr that keeps heavy-ball steps of the same size when μ₀ becomes ``mu``."""
    return (1 - mu) / (1 - mu0) if movable(mu0) else 1.0  # (20)


class Horizon:
    """The factor q on one knob's horizon 1/(1-μ), moved by losses and, where rewards count for it, by them too."""

    def __init__(self, name: str, rule: Rule, limits: Limits, *, rewarded: bool) -> None:
        self.limits = limits
        self.targets = {"loss": Factor(name, rule, 0.0, inf)}
        if rewarded:
            # A rule that sets its factor anew with every loss keeps what rewards add in a factor of its own.
            apart = Factor("reward", None, 0.0, inf)
            self.targets["reward"] = self.targets["loss"] if name == "relative" else apart
        self.factor = self.previous_factor = 1.0
        self._bases: Sequence[float | None] = ()

    def update(self, stream: str, signal: Signal, bases: Sequence[float | None]) -> None:
        """Follows a loss or a reward, as ``stream`` says, one of `targets`; ``bases`` are μ₀ of each group."""
        if stream == "reward" and signal.verdict == 0:
            return
        target = self.targets[stream]
        if bases != self._bases:
            self._bases = bases
            low, high = reachable(bases, self.limits)
            for each in self.targets.values():
                each.low, each.high = low, high
        target.put(relative(target.value, signal)) if stream == "reward" else target.update(signal)
        q = target.value
        for other in self.targets.values():
            if other is not target:
                q = min(max(q * other.value, target.low), target.high)
        self.factor = limited(q, self.previous_factor)

    def hold(self) -> None:
        """Starts the next step's limit of 2 %, equation (19), at the present factor."""
        self.previous_factor = self.factor
