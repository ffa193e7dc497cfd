"""Our four methods that use gradients."""

from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from bench.methods.driver import Driver
from bench.methods.method import CONSTANT, COSINE, Box, Method, Params, Setting
from bench.methods.published import ADAM_RATES, base_adamw
from bench.records.models import Value


def thermolion(model: nn.Module, params: Params, setting: Setting) -> Driver:
    """ThermoLion, its noise from the run's seed."""
    from thermolion import ThermoLion

    optimizer = ThermoLion(
        model.parameters(),
        lr=float(params["lr"]),
        temp_decay=float(params["temp_decay"]),
        weight_decay=float(params.get("wd", 0.01)),
        seed=setting.seed,
    )
    return Driver(optimizer)


class RangerLiteDriver(Driver):
    """RangerLite evaluated inside ``slow_weights()``, as its README says."""

    def __init__(self, optimizer: Any) -> None:
        super().__init__(optimizer)
        self._inside = ExitStack()

    def evaluating(self, on: bool) -> None:
        """Enters ``slow_weights()``, or leaves it."""
        if on:
            self._inside.enter_context(self.optimizer.slow_weights())
        else:
            self._inside.close()


def rangerlite(model: nn.Module, params: Params, setting: Setting) -> Driver:
    """RangerLite, read at its slow weights."""
    from rangerlite import RangerLite

    optimizer = RangerLite(
        model.parameters(),
        lr=float(params["lr"]),
        betas=(float(params["beta1"]), 0.999),
        eps=float(params["eps"]),
        lookahead_steps=int(params["k"]),
    )
    return RangerLiteDriver(optimizer)


class AEESDriver(Driver):
    """AEES opens a step before the forward pass and closes it with the loss."""

    def __init__(self, aees: Any) -> None:
        super().__init__(aees)
        self._candidate: Any = None

    @property
    def base(self) -> Any:
        """The optimizer inside."""
        return self.optimizer.optimizer

    def before(self, step: int) -> None:
        """Asks for the candidate of this step."""
        self._candidate = self.optimizer.step_start(step)

    def step(self, loss: Tensor) -> None:
        """Lets it step the optimizer inside, and learn from the loss."""
        self.optimizer.step_end(loss.detach())

    def knobs(self) -> dict[str, float]:
        """The factor on the learning rate and the gradient noise in force."""
        return {"lr factor": self._candidate.lr_multiplier, "noise": self._candidate.noise_std}

    def decisions(self) -> int:
        """Episodes finished, each begun by a choice."""
        return len(self.optimizer.get_logs()["episode_rewards"])

    def arms(self) -> dict[str, int]:
        """How often each candidate was chosen."""
        return dict(Counter(str(name) for name in self.optimizer.get_logs()["selected_combined_names"]))


def aees(model: nn.Module, params: Params, setting: Setting) -> Driver:
    """AEES around AdamW, forty episodes a run; under control ``find`` a search for the rate."""
    from pulseopt import AEES

    if params.get("control") == "find":
        return AEESDriver(AEES.find_rate(base_adamw(model, params), setting.steps, seed=setting.seed))
    control = str(params.get("control", "bandit"))
    noise = (0.0, 1e-3) if params["candidates"] == "lr and noise" and control != "always 1.0" else (0.0,)
    controller = AEES(
        base_adamw(model, params),
        lr_candidates=(1.0,) if control == "always 1.0" else (0.5, 1.0, 2.0),
        noise_candidates=noise,
        control_mode="random" if control == "random" else "adaptive",
        exploration_coef=float(params.get("exploration", 1.0)),
        episode_length=max(2, setting.steps // 40),
        seed=setting.seed,
    )
    return AEESDriver(controller)


class AdaptiveDriver(Driver):
    """AdaptiveOptimizer is told the loss (and the reward, where there is one) before each step."""

    def __init__(self, optimizer: Any, reads_reward: bool) -> None:
        super().__init__(optimizer)
        self._reads_reward = reads_reward
        self._arms = {"raise": 0, "lower": 0, "hold": 0}
        self._last = float(optimizer.lr)

    @property
    def base(self) -> Any:
        """The optimizer inside."""
        return self.optimizer.optimizer

    def rewarded(self, reward: float) -> None:
        """Tells it the reward."""
        if self._reads_reward:
            self.optimizer.step_reward(reward)

    def step(self, loss: Tensor) -> None:
        """Tells it the loss unless it goes by the reward, then steps."""
        if not self._reads_reward:
            self.optimizer.step_loss(loss.detach())
        base = self.base.param_groups[0]["lr"] if not self._reads_reward else 1.0
        self.optimizer.step()
        now = float(self.optimizer.lr)
        moved = (
            "hold" if abs(now - self._last) <= 1e-12 * max(abs(base), now) else "raise" if now > self._last else "lower"
        )
        self._arms[moved] += 1
        self._last = now

    def knobs(self) -> dict[str, float]:
        """The learning rate in force."""
        return {"lr": self._last}

    def decisions(self) -> int:
        """Steps at which the rate was moved."""
        return self._arms["raise"] + self._arms["lower"]

    def arms(self) -> dict[str, int]:
        """Raised, lowered, held."""
        return dict(self._arms)


def adaptive(model: nn.Module, params: Params, setting: Setting) -> Driver:
    """AdaptiveOptimizer around AdamW, by the loss or (rule ``reward …``) by the reward."""
    from adaptive_optimizer import AdaptiveOptimizer

    rule = str(params["rule"])
    if rule.startswith("reward "):
        return AdaptiveDriver(
            AdaptiveOptimizer(base_adamw(model, params), reward_rule=rule.removeprefix("reward ")), True
        )
    guard = bool(params.get("guard", False))
    return AdaptiveDriver(AdaptiveOptimizer(base_adamw(model, params), lr_rule=rule, guard=guard), False)


AEES_BOX = Box(
    ADAM_RATES,
    {"lr": 1e-3, "candidates": "lr", "exploration": 0.1, "schedule": COSINE},
    {"candidates": ("lr and noise", "lr"), "exploration": (1.0, 0.1)},
)
ADAPTIVE_BOX = Box(
    ADAM_RATES,
    {"lr": 1e-3, "rule": "trend", "schedule": COSINE},
    {"rule": ("trend", "variance", "trend+variance")},
)
REWARD_BOX = Box(
    ADAM_RATES,
    {"lr": 1e-3, "rule": "reward trend", "schedule": COSINE},
    {"rule": ("reward trend", "reward variance", "reward scaling")},
)
THERMOLION_BOX = Box(
    (1e-5, 1e-2),
    {"lr": 1e-3, "temp_decay": 0.99, "wd": 0.01, "schedule": COSINE},
    {"temp_decay": (0.99, 0.9), "wd": (0.0, 0.01, 0.1)},
)

OURS = [
    Method("thermolion", "ThermoLion", "thermolion", "gradient", thermolion, THERMOLION_BOX, ours=True),
    Method(
        "rangerlite",
        "RangerLite",
        "ranger-lite",
        "gradient",
        rangerlite,
        Box(
            (1e-4, 1e-1),
            {"lr": 1e-3, "k": 5, "schedule": COSINE},
            {"k": (5, 10)},
            fixed={"weights": "slow", "beta1": 0.9, "eps": 1e-8},
        ),
        ours=True,
    ),
    Method("aees-adamw", "AEES(AdamW)", "pulseopt", "gradient", aees, AEES_BOX, ours=True, controls=True),
    Method(
        "adaptive-adamw",
        "AdaptiveOptimizer(AdamW)",
        "adaptive-optimizer",
        "gradient",
        adaptive,
        ADAPTIVE_BOX,
        reward_box=REWARD_BOX,
        ours=True,
        controls=True,
    ),
]


def _without(of: Method, id: str, title: str, at_rates: bool = False, follows: str = "", **instead: Value) -> Method:
    """Returns the ablation of a method: its chosen setting, or that of the one it follows, something in it changed."""
    return replace(
        of, id=id, title=title, ours=False, ablates=of.id, at_rates=at_rates, follows=follows, instead=instead
    )


THERMOLION, _, AEES_ADAMW, ADAPTIVE_ADAMW = OURS
ABLATIONS = [
    _without(THERMOLION, "thermolion-cold", "ThermoLion without noise", temp_decay=1e-9),
    _without(AEES_ADAMW, "aees-random", "AEES with random arms", control="random"),
    _without(AEES_ADAMW, "aees-find", "AEES(find, AdamW)", True, "adamw", control="find", schedule=CONSTANT),
    _without(AEES_ADAMW, "aees-neutral", "the same schedule without a bandit", control="always 1.0"),
    *(
        _without(
            ADAPTIVE_ADAMW,
            f"adaptive-{rule.replace('+', '-')}",
            f"AdaptiveOptimizer, rule {rule}",
            at_rates=rule == "trend",
            rule=rule,
        )
        for rule in ("trend", "variance", "trend+variance")
    ),
    _without(
        ADAPTIVE_ADAMW, "adaptive-guard", "AdaptiveOptimizer(trend, guard)", True, "adamw", rule="trend", guard=True
    ),
]
