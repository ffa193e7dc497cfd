"""From losses and rewards to factors: the controller, which has never heard of an optimizer.

    lr = base · clamp(M V C R)     (21)  clamp to ``lr_factor_bounds``, then to [min_lr, max_lr]
    wd = base · N                  (22)

It is told each loss, each reward and each step that was made, and keeps one set of factors for all parameter groups, so
that the ratios between groups stay the user's. Betas hold still for the first ``beta_warmup`` steps.

Source: this package; (1) to (5) are in ``_statistics``, (6) to (17) in ``rules``, (18) to (20) in ``_horizon``.
"""

import warnings
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from adaptive_optimizer._factors import CLOCKED, Factor, Horizon, lr_factors, product, reward_factors
from adaptive_optimizer._horizon import LIMITS
from adaptive_optimizer._settings import Settings
from adaptive_optimizer._statistics import RewardStatistics, Statistics
from adaptive_optimizer.rules import DOWN, UP, Rule, Signal

Bases = Mapping[str, Sequence[float | None]]
"""For each of momentum, beta1, beta2 and alpha: its base value in each parameter group."""

Snapshot = tuple[dict[str, Any], dict[str, Any], list[float], list[tuple[float, float]], tuple[int, int, int, bool]]
COUNTERS = ("step", "nonfinite_losses", "nonfinite_rewards", "warned")


class Controller:
    """Statistics, factors and counters."""

    def __init__(self, rules: Mapping[str, Mapping[str, Rule]], settings: Settings) -> None:
        self.settings = settings
        self.losses = Statistics(settings.loss_beta, settings.min_rel_improve, larger_is_better=False)
        self.rewards = RewardStatistics(settings.loss_beta, settings.min_rel_improve)
        self.lr = lr_factors(dict(rules["lr"]), settings)
        self.reward = reward_factors(dict(rules["reward"]))
        self.wd = [Factor(name, rule, 0.1, 10.0) for name, rule in rules["wd"].items()]
        steers_momentum = "trend" in rules["reward"]
        self.horizons = {
            knob: Horizon(name, rule, limits, rewarded=knob == "momentum" and steers_momentum)
            for knob, limits in LIMITS.items()
            for name, rule in rules[knob].items()
        }
        self.clocked = [factor for factor in self.lr if factor.name in CLOCKED]
        self._named = self._name_factors()
        self._factors = list(self._named.values())
        self.step = 0
        self.nonfinite_losses = 0
        self.nonfinite_rewards = 0
        self.warned = False

    @property
    def lr_factor(self) -> float:
        """What multiplies every base lr."""
        low, high = self.settings.lr_factor_bounds
        return min(max(product(self.lr) * product(self.reward), low), high)  # (21)

    @property
    def wd_factor(self) -> float:
        """What multiplies every base weight decay."""
        return product(self.wd)  # (22)

    def feed_loss(self, loss: float, bases: Bases) -> None:
        """Take in one loss; what is not finite backs off, counts, or raises.

        Raises:
            ValueError: the loss is not finite and ``on_nonfinite="raise"``; nothing has changed.
        """
        if not isfinite(loss):
            self._refuse("loss", loss)
            self.nonfinite_losses += 1
            if self.settings.on_nonfinite == "backoff":
                self.lr[0].put(0.5 * self.lr[0].value)
            return
        self.losses.update(loss)
        signal = self._signal(self.losses, 0.0, 1.0)
        for factor in self.lr:
            factor.update(signal)
        for factor in self.wd:
            factor.update(signal)
        for knob, horizon in self.horizons.items():
            if self.step >= self.settings.beta_warmup or knob not in ("beta1", "beta2"):
                horizon.update(signal, bases[knob])
        self._warn_once()

    def feed_reward(self, reward: float, bases: Bases) -> None:
        """Take in one reward; what is not finite only counts, or raises.

        Raises:
            ValueError: the reward is not finite and ``on_nonfinite="raise"``; nothing has changed.
        """
        if not isfinite(reward):
            self._refuse("reward", reward)
            self.nonfinite_rewards += 1
            return
        stats, settings = self.rewards, self.settings
        stats.update(reward)
        center = stats.center if settings.reward_center is None else settings.reward_center
        span = max(4 * stats.spread, 1e-12) if settings.reward_span is None else settings.reward_span  # (17)
        signal = self._signal(stats, center, span)
        for factor in self.reward:
            factor.update(signal)
        if "momentum" in self.horizons and stats.verdict:
            self.horizons["momentum"].reward(UP if stats.verdict > 0 else DOWN, bases["momentum"])

    def tick(self) -> None:
        """Bring the factors that follow the clock to the step about to be made."""
        if self.clocked:
            signal = self._signal(self.losses, 0.0, 1.0)
            for factor in self.clocked:
                factor.update(signal)

    def made_step(self) -> None:
        """A step was made with the factors as they are."""
        self.step += 1
        self.settle()

    def settle(self) -> None:
        """The 2 % a step that horizons may move count from here."""
        for horizon in self.horizons.values():
            horizon.settle()

    def factors(self) -> dict[str, float]:
        """The factors by their symbols, and ``lr``, what multiplies every base lr."""
        named = {"M": self.lr[0].value, "V": 1.0, "C": 1.0, "R": product(self.reward), "N": self.wd_factor}
        for factor in self.lr[1:]:
            symbol = "V" if factor.name == "variance" else "C" if factor in self.clocked else factor.name
            named[symbol] = named.get(symbol, 1.0) * factor.value
        symbols = {"momentum": "H", "beta1": "H_beta1", "beta2": "H_beta2", "alpha": "H_alpha"}
        horizons = {symbol: self.horizons[k].used if k in self.horizons else 1.0 for k, symbol in symbols.items()}
        return {**named, **horizons, "lr": self.lr_factor}

    def record(self, loss: float | None, reward: float | None, lr: float | None) -> dict[str, Any]:
        """What the step just made goes into the logs with."""
        record: dict[str, Any] = {"step": self.step, "loss": loss, "reward": reward, "lr": lr}
        record["lr_factor"] = self.lr_factor
        for key, factor in self._named.items():
            record[key] = factor.value
        for knob, horizon in self.horizons.items():
            record[knob] = horizon.used
        return record

    def snapshot(self) -> Snapshot:
        """All that changes, as it is now; made for speed."""
        values = [factor.value for factor in self._factors]
        horizons = [(horizon.used, horizon.before) for horizon in self.horizons.values()]
        counters = self.step, self.nonfinite_losses, self.nonfinite_rewards, self.warned
        return vars(self.losses).copy(), vars(self.rewards).copy(), values, horizons, counters

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to what ``snapshot`` returned."""
        losses, rewards, values, horizons, counters = snapshot
        vars(self.losses).update(losses)
        vars(self.rewards).update(rewards)
        for factor, value in zip(self._factors, values, strict=True):
            factor.value = value
        for horizon, (used, before) in zip(self.horizons.values(), horizons, strict=True):
            horizon.used, horizon.before = used, before
        self.step, self.nonfinite_losses, self.nonfinite_rewards, self.warned = counters

    def state_dict(self) -> dict[str, Any]:
        """All that changes, in plain numbers and dictionaries."""
        return {
            "losses": self.losses.state_dict(),
            "rewards": self.rewards.state_dict(),
            "factors": {key: factor.value for key, factor in self._named.items()},
            "horizons": {knob: [h.used, h.before] for knob, h in self.horizons.items()},
            "counters": {name: getattr(self, name) for name in COUNTERS},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state``; a factor that it does not hold keeps its value."""
        self.losses.load_state_dict(state["losses"])
        self.rewards.load_state_dict(state["rewards"])
        for key, factor in self._named.items():
            factor.put(state["factors"].get(key, factor.value))
        for knob, horizon in self.horizons.items():
            horizon.used, horizon.before = state["horizons"].get(knob, [horizon.used, horizon.before])
        for name in COUNTERS:
            setattr(self, name, state["counters"][name])

    def _name_factors(self) -> dict[str, Factor]:
        channels = {"lr": self.lr, "reward": self.reward, "wd": self.wd}
        named = {f"{channel}.{factor.name}": factor for channel, some in channels.items() for factor in some}
        for knob, horizon in self.horizons.items():
            named[f"{knob}.{horizon.moved.name}"] = horizon.moved
            if horizon.rewarded is not None and horizon.rewarded is not horizon.moved:
                named[f"{knob}.reward"] = horizon.rewarded
        return named

    def _signal(self, stats: Statistics, center: float, span: float) -> Signal:
        return Signal(
            stats.verdict,
            stats.cv2,
            stats.latest,
            stats.average,
            stats.first,
            stats.typical,
            center,
            span,
            self.step,
            self.settings,
        )

    def _refuse(self, what: str, value: float) -> None:
        if self.settings.on_nonfinite == "raise":
            raise ValueError(
                f"{what} must be finite, got {value!r}; skip the step, or pass on_nonfinite='backoff' or 'ignore'"
            )

    def _warn_once(self) -> None:
        horizon = self.horizons.get("momentum")
        if horizon is None or self.warned or horizon.moved.name != "inverse":
            return
        if self.losses.average <= 0 or self.losses.first <= 0:
            self.warned = True
            warnings.warn(
                "momentum_rule='inverse' needs positive losses and holds the momentum while their average, or the "
                "first one, is not; use 'relative' or 'normalized' for losses of any sign",
                UserWarning,
                stacklevel=5,
            )


VERSION = 1


def read_into(controller: Controller, adaptive: Mapping[str, Any], rules: Mapping[str, str]) -> None:
    """Load ``adaptive`` into a fresh ``controller``; warn where it was made with other rules.

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
