"""The rules: each maps a factor and statistics of the losses or rewards to the next factor.

A factor multiplies a rate (lr, weight decay) or a horizon 1/(1-μ) (momentum, betas, alpha). With verdict, E and cv²
from equations (1) to (5), λ = ``noise_weight``, k completed steps, T = ``cycle_length``, r = ``cycle_floor``:

    M ← 1.02 M up, 0.96 M down, 0.999 M flat                       (6)  lr ``trend``
    V = 1/(1 + λ cv²)                                              (7)  lr, reward ``variance``
    C = r + (1-r) (1 + cos(π min(k,T)/T))/2                        (8)  lr ``cosine``
    C as in (8), k from the last restart, T ← cycle_mult T         (9)  lr ``cosine_restart``
    H ← 1.02 H up, 0.96 H down                                     (10) momentum, betas[0] ``relative``
    H = E_ref/E, held where either is not positive                 (11) momentum ``inverse``
    H = 1/(2s), s = |L|/(|L| + A), A the average of earlier |L|    (12) momentum ``normalized``
    H = 1 + λ cv²                                                  (13) betas[1] ``variance``, alpha ``stable``
    N ← 0.98 N up, 1.02 N down                                     (14) wd ``trend``
    R ← 1.02 R up, 0.96 R down                                     (15) reward ``trend``
    R = 1 + (R̄ - c)/s                                              (16) reward ``scaling``
    c = average of rewards with b = 0.99, s = max(4 avg |R - c|, 1e-12)  (17)  where c, s are not given
    R ← 1.02 R where (R̄ - c)/s > 0.15, R/1.02 where it is < -0.15  (27) reward ``progress``

In (6) a step down is twice a step up, because balanced factors would drive the rate to the edge of stability and keep
it there.

Source: the names of the rules are those of the AdaptiveOptimizer README (theoryjames1-glitch), the equations those of
this package.
"""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from math import cos, floor, inf, log, pi
from typing import Any, NamedTuple, cast

from adaptive_optimizer._settings import Settings

__all__ = [
    "RULES",
    "Rule",
    "Signal",
    "cosine",
    "cosine_restart",
    "inverse",
    "normalized",
    "opposite_trend",
    "progress",
    "register_rule",
    "relative",
    "reward_trend",
    "scaling",
    "stable",
    "trend",
    "variance",
]

UP, DOWN, FLAT = 1.02, 0.96, 0.999
CLEAR = 0.15  # of four mean deviations: twice the noise of an average with b = 0.9


class Signal(NamedTuple):
    """Statistics of the losses, or of the rewards for a reward rule; the argument of every rule.

    Attributes:
        verdict: 1 improving, -1 worsening, 0 neither.
        cv2: cv², the variance over the scale squared, without unit, in [0, 100].
        latest: L, the newest value.
        average: E, the average of the values.
        first: the first average.
        mean_abs: A, the moving average of the earlier |L|.
        center: c of (16); 0 for losses.
        span: s of (16); 1 for losses.
        step: k, the number of completed steps.
        settings: the settings of the optimizer.

    >>> from adaptive_optimizer import Signal
    >>> from adaptive_optimizer.rules import RULES
    >>> def quieter(value: float, signal: Signal) -> float:
    ...     return 0.5 if signal.cv2 > 0.01 else RULES["lr"]["trend"](value, signal)
    """

    verdict: int
    cv2: float
    latest: float
    average: float
    first: float
    mean_abs: float
    center: float
    span: float
    step: int
    settings: Settings

    @property
    def typical(self) -> float:
        """The name that ``mean_abs`` had in 0.1.0."""
        return self.mean_abs


Rule = Callable[[float, Signal], float]


def trend(value: float, signal: Signal) -> float:
    """Grows the rate by 2 % after an improvement, shrinks it by 4 % after a deterioration."""
    return value * (UP if signal.verdict > 0 else DOWN if signal.verdict < 0 else FLAT)  # (6)


def variance(value: float, signal: Signal) -> float:
    """Shrinks the rate while the values are noisy; does not accumulate."""
    return 1 / (1 + signal.settings.noise_weight * signal.cv2)  # (7)


def cosine(value: float, signal: Signal) -> float:
    """Anneals once over ``cycle_length`` steps, then holds the floor."""
    return _anneal(min(signal.step, signal.settings.cycle_length), signal.settings.cycle_length, signal.settings)  # (8)


def cosine_restart(value: float, signal: Signal) -> float:
    """Anneals in cycles, each ``cycle_mult`` times as long as the previous one."""
    start, length = _cycle(signal.step, signal.settings.cycle_length, signal.settings.cycle_mult)
    return _anneal(signal.step - start, length, signal.settings)  # (9)


def relative(value: float, signal: Signal) -> float:
    """Lengthens the horizon by 2 % after an improvement, shortens it by 4 % after a deterioration."""
    return value * (UP if signal.verdict > 0 else DOWN if signal.verdict < 0 else 1.0)  # (10)


def inverse(value: float, signal: Signal) -> float:
    """Lengthens the horizon as the loss falls: halving the loss doubles the horizon."""
    if signal.average <= 0 or signal.first <= 0:
        return value
    return signal.first / signal.average  # (11)


def normalized(value: float, signal: Signal) -> float:
    """Shortens the horizon where a loss is larger than the earlier ones."""
    size = abs(signal.latest)
    if size == 0:
        return 1.0 if signal.mean_abs == 0 else inf
    return (1 + signal.mean_abs / size) / 2  # (12)


def stable(value: float, signal: Signal) -> float:
    """Lengthens the horizon while the values are noisy; never below its base."""
    return 1 + signal.settings.noise_weight * signal.cv2  # (13)


def opposite_trend(value: float, signal: Signal) -> float:
    """Decays less after an improvement, more after a deterioration."""
    return value * (0.98 if signal.verdict > 0 else 1.02 if signal.verdict < 0 else 1.0)  # (14)


def reward_trend(value: float, signal: Signal) -> float:
    """Grows by 2 % when the reward rises, shrinks by 4 % when it falls."""
    return value * (UP if signal.verdict > 0 else DOWN if signal.verdict < 0 else 1.0)  # (15)


def scaling(value: float, signal: Signal) -> float:
    """Follows the distance of the reward from its centre, in units of its span."""
    return 1 + (signal.average - signal.center) / signal.span  # (16)


def progress(value: float, signal: Signal) -> float:
    """Grows while the reward is above its centre by more than its noise, shrinks while it is below; holds between."""
    distance = (signal.average - signal.center) / signal.span
    return value * UP if distance > CLEAR else value / UP if distance < -CLEAR else value  # (27)


def _anneal(step: float, length: float, settings: Settings) -> float:
    r = settings.cycle_floor
    return r + (1 - r) * (1 + cos(pi * step / length)) / 2  # (8)


def _cycle(step: int, length: float, mult: float) -> tuple[float, float]:
    """Returns start and length of the cycle that ``step`` lies in."""
    if mult == 1:
        return step - step % length, length
    index = max(0, floor(log(1 + step * (mult - 1) / length, mult)) - 1)
    while True:
        start, this = length * (mult**index - 1) / (mult - 1), length * mult**index
        if step < start + this:
            return start, this
        index += 1


RULES: dict[str, dict[str, Rule]] = {
    "lr": {"trend": trend, "variance": variance, "cosine": cosine, "cosine_restart": cosine_restart},
    "momentum": {"relative": relative, "inverse": inverse, "normalized": normalized},
    "beta1": {"relative": relative},
    "beta2": {"variance": stable},
    "alpha": {"stable": stable},
    "wd": {"trend": opposite_trend},
    "reward": {"scaling": scaling, "trend": reward_trend, "variance": variance, "progress": progress},
}
"""The rules of each knob by name; `register_rule` adds to it."""


def register_rule(name: str, function: Rule, *, knob: str | None = None) -> None:
    """Registers ``function`` as ``name``, for ``lr_rule="name"`` or ``"trend+name"``.

    >>> import torch
    >>> from adaptive_optimizer import AdaptiveOptimizer, register_rule
    >>> register_rule("calm", lambda value, signal: 0.5 if signal.cv2 > 0.01 else 1.0, knob="lr")
    >>> weight = torch.nn.Parameter(torch.ones(3))
    >>> opt = AdaptiveOptimizer(torch.optim.SGD([weight], lr=0.1), lr_rule="calm")
    >>> for loss in (1.0, 1.0, 3.0):
    ...     opt.step_loss(loss)
    ...     opt.step()
    >>> opt.lr
    0.05

    Args:
        name: letters, digits and underscores; not the name of another rule of the knob.
        function: receives the factor of the last loss (1 at first) and a ``Signal``, and returns the next factor, which
            is clamped like those of built-in rules. It should be pure: its only state is the factor, which checkpoints
            hold.
        knob: a key of ``RULES``; None registers the rule for every knob.

    Raises:
        TypeError: ``function`` cannot be called.
        ValueError: the name is taken or not an identifier, or the knob is unknown.
    """
    if not callable(function):
        raise TypeError(f"function must be callable as function(value, signal), got {function!r}")
    if not name.isidentifier() or name == "none":
        raise ValueError(f"name must be made of letters, digits and underscores and not be 'none', got {name!r}")
    if knob is not None and knob not in RULES:
        raise ValueError(f"knob must be one of {', '.join(RULES)}, got {knob!r}")
    knobs = list(RULES) if knob is None else [knob]
    taken = [each for each in knobs if name in RULES[each]]
    if taken:
        raise ValueError(f"name must be new, but {', '.join(taken)} has a rule {name!r} already; choose another name")
    for each in knobs:
        RULES[each][name] = function


def chosen(knob: str, rule: object, *, argument: str, combine: bool = False) -> dict[str, Rule]:
    """Returns the rules that ``rule`` names, ``"a+b"`` if ``combine``, in the order of ``RULES``.

    Raises:
        TypeError: ``rule`` is neither a name, a callable nor None.
        ValueError: a part is unknown, named twice or empty.
    """
    if rule is None or rule == "none":
        return {}
    if callable(rule):
        return {getattr(rule, "__name__", type(rule).__name__): cast(Rule, rule)}
    if not isinstance(rule, str):
        raise TypeError(f"{argument} must be a name, a callable or None, got {rule!r} of type {type(rule).__name__}")
    parts = [part.strip() for part in rule.split("+")]
    allowed = ", ".join(repr(name) for name in RULES[knob])
    if (len(parts) > 1 and not combine) or len(set(parts)) < len(parts) or not set(parts) <= RULES[knob].keys():
        how = "one or more of" if combine else "one of"
        joined = ", joined by '+' and each at most once" if combine else ""
        raise ValueError(f"{argument} must be None, a callable, or {how} {allowed}{joined}; got {rule!r}")
    return {name: function for name, function in RULES[knob].items() if name in parts}


ARGUMENTS = {
    "lr": "lr_rule",
    "momentum": "momentum_rule",
    "beta1": "betas_rule[0]",
    "beta2": "betas_rule[1]",
    "alpha": "alpha_rule",
    "wd": "wd_rule",
    "reward": "reward_rule",
}
KEYS = {**dict.fromkeys(("beta1", "beta2"), "betas"), "wd": "weight decay"}  # what users call a knob, if not as we do


@dataclass(frozen=True)
class RuleSet:
    """The rules of every knob, by name; a knob without rules has an empty dictionary."""

    rules: dict[str, dict[str, Rule]]

    @classmethod
    def parse(
        cls, lr_rule: Any, momentum_rule: Any, betas_rule: Any, alpha_rule: Any, wd_rule: Any, reward_rule: Any
    ) -> "RuleSet":
        """Looks up the rules that the arguments of ``AdaptiveOptimizer`` name.

        Raises:
            TypeError: a rule is not a name, a callable or None, or ``betas_rule`` is not a pair.
            ValueError: a rule is unknown, named twice or empty.
        """
        pair: Sequence[Any] = (None, None) if betas_rule is None else betas_rule
        if not isinstance(betas_rule, tuple | list | None) or len(pair) != 2:
            raise TypeError(f"betas_rule must be a pair of rules, such as ('relative', 'variance'), got {betas_rule!r}")
        asked = (lr_rule, momentum_rule, *pair, alpha_rule, wd_rule, reward_rule)
        return cls(
            {
                knob: chosen(knob, rule, argument=argument, combine=knob in ("lr", "reward"))
                for (knob, argument), rule in zip(ARGUMENTS.items(), asked, strict=True)
            }
        )

    @property
    def knobs(self) -> set[str]:
        """The knobs that the rules move; rewards move the lr."""
        return {"lr" if knob == "reward" else knob for knob, rules in self.rules.items() if rules}

    @property
    def names(self) -> dict[str, str]:
        """The name of the rule of each argument that has one, with parts joined by "+"."""
        return {ARGUMENTS[knob]: "+".join(rules) for knob, rules in self.rules.items() if rules}

    def for_groups(self, present: Sequence[Set[str]], optimizer: str, *, strict: bool) -> "RuleSet":
        """Returns the rules that at least one parameter group can follow.

        Args:
            present: the knobs of each group.
            optimizer: its name, for the message.
            strict: refuse the other rules instead of leaving them out.

        Raises:
            ValueError: naming the rule, the optimizer and what each group has.
        """
        kept: dict[str, dict[str, Rule]] = {}
        for knob, rules in self.rules.items():
            needed = "lr" if knob == "reward" else knob
            kept[knob] = rules if any(needed in knobs for knobs in present) else {}
            if strict and rules and not kept[knob]:
                raise ValueError(
                    f"{ARGUMENTS[knob]} must be None because {optimizer} has no {KEYS.get(needed, needed)}, got "
                    f"{'+'.join(rules)!r} ({_listed(present)}); drop the rule, or pass strict=False to ignore it"
                )
        return RuleSet(kept)


def _listed(present: Sequence[Set[str]]) -> str:
    groups = [", ".join(sorted({KEYS.get(knob, knob) for knob in knobs})) or "no knob of a rule" for knobs in present]
    return "; ".join(f"group {index} has: {knobs}" for index, knobs in enumerate(groups))
