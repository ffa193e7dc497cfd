"""The controller: from losses and rewards to factors, independent of any optimizer.

    lr = base · clamp(M V C R)     (21)  clamp to ``lr_factor_bounds`` and the guard's bound, then to [min_lr, max_lr]
    wd = base · N                  (22)

It receives each loss and each reward, counts the steps, and keeps one set of factors for all parameter groups, so that
the ratios between groups do not change. Betas stay constant for the first ``beta_warmup`` steps.

Source: this package; (1) to (5) are in ``_statistics``, (6) to (17) in ``rules``, (18) to (20) in ``_horizon``, (23)
to (26) in ``_factors``.
"""

import warnings
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from adaptive_optimizer._factors import CLOCKED, Factor, Guard, lr_factors, product, reward_factors, wd_factors
from adaptive_optimizer._horizon import LIMITS, Horizon
from adaptive_optimizer._settings import Settings
from adaptive_optimizer._statistics import RewardStatistics, Statistics
from adaptive_optimizer.rules import RuleSet, Signal

VERSION = 1
COUNTERS = ("step", "nonfinite_losses", "nonfinite_rewards", "warned")

Bases = Mapping[str, Sequence[float | None]]
"""For each of momentum, beta1, beta2 and alpha that a rule moves: its base value in each parameter group."""

Snapshot = tuple[
    dict[str, float],
    dict[str, float],
    list[float],
    list[tuple[float, float]],
    tuple[int, ...],
    dict[str, Any],
]
"""Statistics of losses and of rewards, factors, horizons, counters, guards."""


class Controller:
    """Statistics, factors and counters."""

    def __init__(self, rule_set: RuleSet, settings: Settings) -> None:
        rules = rule_set.rules
        b, delta = settings.loss_beta, settings.min_rel_improve
        self.settings = settings
        self.losses = Statistics(b, delta, larger_is_better=False)
        self.rewards = RewardStatistics(b, delta)
        self.lr = lr_factors(rules["lr"], settings)
        self.reward = reward_factors(rules["reward"])
        self.wd = wd_factors(rules["wd"])
        steers_momentum = "trend" in rules["reward"]
        self.horizons = {
            knob: Horizon(name, rule, limits, rewarded=knob == "momentum" and steers_momentum)
            for knob, limits in LIMITS.items()
            for name, rule in rules[knob].items()
        }
        self.guard = Guard(*settings.lr_factor_bounds) if settings.guard else None
        self._moved = {"loss": [*self.lr, *self.wd], "reward": self.reward}
        self._horizons_of = {
            stream: [
                (knob, horizon, settings.beta_warmup if knob in ("beta1", "beta2") else 0)
                for knob, horizon in self.horizons.items()
                if stream in horizon.targets
            ]
            for stream in ("loss", "reward")
        }
        self._clocked = [factor for factor in self.lr if factor.name in CLOCKED]
        self._named = self._name_factors()
        self.step = 0
        self.nonfinite = {"loss": 0, "reward": 0}
        self._warned = False

    @property
    def lr_factor(self) -> float:
        """The factor on every base lr."""
        low, high = self.settings.lr_factor_bounds
        if self.guard is not None:
            low, high = max(low, self.guard.floor), self.guard.bound
        return min(max(product(self.lr) * product(self.reward), low), high)  # (21)

    @property
    def wd_factor(self) -> float:
        """The factor on every base weight decay."""
        return product(self.wd)  # (22)

    def feed(self, stream: str, value: float, bases: Bases) -> None:
        """Records one loss or reward; a loss that is not finite backs off, counts, or raises.

        Args:
            stream: "loss", smaller being better, or "reward", larger being better.
            value: its newest value.
            bases: base values of the averages that rules move; unused unless the stream `moves_averages`.

        Raises:
            ValueError: the value is not finite and ``on_nonfinite="raise"``; nothing has changed.
        """
        if not isfinite(value):
            self._take_nonfinite(stream, value)
            return
        statistics = self.losses if stream == "loss" else self.rewards
        statistics.update(value)
        signal = self._signal(statistics)
        for factor in self._moved[stream]:
            factor.update(signal)
        for knob, horizon, first_step in self._horizons_of[stream]:
            if self.step >= first_step:
                horizon.update(stream, signal, bases[knob])
        if self.guard is not None:
            self.guard.update(stream, statistics.latest, self.lr_factor)
            self._follow_guard(self.guard)
        if stream == "loss":
            self._warn_once()

    def moves_averages(self, stream: str) -> bool:
        """Returns whether losses, or rewards, move a horizon."""
        return bool(self._horizons_of[stream])

    def follow_clock(self) -> None:
        """Updates the factors that depend on the number of steps alone, for the step about to be made."""
        for factor in self._clocked:
            factor.update(self._signal(self.losses))

    def count_step(self) -> None:
        """Counts a step that was made with the factors as they are."""
        self.step += 1
        self.hold_horizons()

    def hold_horizons(self) -> None:
        """Starts the next step's limit of 2 %, equation (19), at the present horizons."""
        for horizon in self.horizons.values():
            horizon.hold()

    def factors(self) -> dict[str, float]:
        """Returns the factors by their symbols, and ``lr``, what multiplies every base lr."""
        named = {"M": self.lr[0].value, "V": 1.0, "C": 1.0, "R": product(self.reward), "N": self.wd_factor}
        for factor in self.lr[1:]:
            symbol = "V" if factor.name == "variance" else "C" if factor in self._clocked else factor.name
            named[symbol] = named.get(symbol, 1.0) * factor.value
        symbols = {"momentum": "H", "beta1": "H_beta1", "beta2": "H_beta2", "alpha": "H_alpha"}
        horizons = {symbol: self.horizons[k].factor if k in self.horizons else 1.0 for k, symbol in symbols.items()}
        return {**named, **horizons, "lr": self.lr_factor}

    @property
    def columns(self) -> list[str]:
        """The names in the logs of what `record` returns."""
        return ["lr_factor", *self._named, *self.horizons, *([] if self.guard is None else ["bound", "floor"])]

    def record(self) -> list[float]:
        """Returns the factor on the lr, and the factors that rules move."""
        factors = [factor.value for factor in self._named.values()]
        horizons = [horizon.factor for horizon in self.horizons.values()]
        interval = [] if self.guard is None else [self.guard.bound, self.guard.floor]
        return [self.lr_factor, *factors, *horizons, *interval]

    def state_dict(self) -> dict[str, Any]:
        """Returns all that changes, in plain numbers and dictionaries."""
        return {
            "losses": self.losses.state_dict(),
            "rewards": self.rewards.state_dict(),
            "factors": {key: factor.value for key, factor in self._named.items()},
            "horizons": {knob: [h.factor, h.previous_factor] for knob, h in self.horizons.items()},
            "counters": dict(zip(COUNTERS, (self.step, *self.nonfinite.values(), self._warned), strict=True)),
            **self._guard_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from ``state``; a factor that it does not hold keeps its value."""
        self.losses.load_state_dict(state["losses"])
        self.rewards.load_state_dict(state["rewards"])
        for key, factor in self._named.items():
            factor.put(state["factors"].get(key, factor.value))
        for knob, horizon in self.horizons.items():
            now = [horizon.factor, horizon.previous_factor]
            horizon.factor, horizon.previous_factor = state["horizons"].get(knob, now)
        self.step, losses, rewards, self._warned = (state["counters"][name] for name in COUNTERS)
        self.nonfinite = {"loss": losses, "reward": rewards}
        if self.guard is not None and "guard" in state:
            self.guard.load_state_dict(state["guard"])
            self._follow_guard(self.guard)

    def snapshot(self) -> Snapshot:
        """Returns what ``state_dict`` does, by position instead of by name, which is faster."""
        return (
            self.losses.state_dict(),
            self.rewards.state_dict(),
            [factor.value for factor in self._named.values()],
            [(horizon.factor, horizon.previous_factor) for horizon in self.horizons.values()],
            (self.step, *self.nonfinite.values(), self._warned),
            self._guard_state(),
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Goes back to what ``snapshot`` returned."""
        losses, rewards, values, horizons, counters, *guard = snapshot  # 0.1.0 saved none
        factors, moved = dict(zip(self._named, values, strict=True)), dict(zip(self.horizons, horizons, strict=True))
        named = {"factors": factors, "horizons": moved, "counters": dict(zip(COUNTERS, counters, strict=True))}
        self.load_state_dict({"losses": losses, "rewards": rewards, **named, **(guard[0] if guard else {})})

    def _guard_state(self) -> dict[str, Any]:
        return {} if self.guard is None else {"guard": self.guard.state_dict()}

    def _name_factors(self) -> dict[str, Factor]:
        channels = {"lr": self.lr, "reward": self.reward, "wd": self.wd}
        named = {f"{channel}.{factor.name}": factor for channel, some in channels.items() for factor in some}
        for knob, horizon in self.horizons.items():
            named.update({f"{knob}.{factor.name}": factor for factor in horizon.targets.values()})
        return named

    def _signal(self, statistics: Statistics) -> Signal:
        return Signal(
            statistics.verdict,
            statistics.cv2,
            statistics.latest,
            statistics.average,
            statistics.first,
            statistics.mean_abs,
            *statistics.reference(self.settings.reward_center, self.settings.reward_span),
            self.step,
            self.settings,
        )

    def _take_nonfinite(self, stream: str, value: float) -> None:
        policy = self.settings.on_nonfinite
        if policy == "raise":
            raise ValueError(
                f"{stream} must be finite, got {value!r}; skip the step, or pass on_nonfinite='backoff' or 'ignore'"
            )
        self.nonfinite[stream] += 1
        if policy == "backoff" and stream == "loss":
            if self.guard is not None:
                self.guard.back_off(self.lr_factor)
                self._follow_guard(self.guard)
            self.lr[0].put(0.5 * self.lr[0].value)

    def _follow_guard(self, guard: Guard) -> None:
        """Clamps accumulating factors to the guard's interval, so that they can reverse at once."""
        climbing = [each for each in (*self.lr, *self.reward) if each.rule is not None and each.clamp[1] > 1]
        floor = guard.floor if len(climbing) == 1 else min(guard.floor, 1.0)  # several multiply
        for factor in climbing:
            low, high = factor.clamp
            factor.low, factor.high = max(low, floor), min(high, max(guard.bound, 1.0))
            factor.put(factor.value)

    def _warn_once(self) -> None:
        horizon = self.horizons.get("momentum")
        if horizon is None or self._warned or horizon.targets["loss"].name != "inverse":
            return
        if self.losses.average <= 0 or self.losses.first <= 0:
            self._warned = True
            warnings.warn(
                "momentum_rule='inverse' needs positive losses and holds the momentum while their average, or the "
                "first one, is not; use 'relative' or 'normalized' for losses of any sign",
                UserWarning,
                stacklevel=5,
            )


def read_into(controller: Controller, adaptive: Mapping[str, Any], rules: Mapping[str, str]) -> None:
    """Loads a checkpoint's ``adaptive`` into a fresh ``controller``; warns where it was made with other rules.

    Raises:
        ValueError: it was saved by another release, or a part is missing.
    """
    if adaptive.get("version") != VERSION:
        raise ValueError(
            f"state_dict['adaptive']['version'] must be {VERSION}, got {adaptive.get('version')!r}; "
            f"it was saved by another release: load it there"
        )
    missing = {"controller", "intake", "rules", "used"} - adaptive.keys()
    try:
        controller.load_state_dict(adaptive["controller"])
    except KeyError as error:
        missing.add(str(error.args[0]))
    if missing:
        raise ValueError(f"state_dict['adaptive'] must be complete, but {', '.join(sorted(missing))} is missing")
    if adaptive["rules"] != rules:
        warnings.warn(
            f"the checkpoint was made with {adaptive['rules']}, this optimizer has {rules}: "
            f"rules that both have go on, others start anew",
            UserWarning,
            stacklevel=3,
        )
