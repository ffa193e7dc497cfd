"""The four of our methods that follow a gradient."""

from collections import Counter
from typing import Any

from torch import Tensor, nn

from bench.methods.driver import Driver
from bench.methods.method import Method, Params, Setting
from bench.methods.published import MIDDLE, SMALL, base_adamw


def thermolion(model: nn.Module, params: Params, setting: Setting) -> Driver:
    """ThermoLion, its noise from the run's seed."""
    from thermolion import ThermoLion

    optimizer = ThermoLion(
        model.parameters(), lr=float(params["lr"]), temp_decay=float(params["temp_decay"]), seed=setting.seed
    )
    return Driver(optimizer)


def rangerlite(model: nn.Module, params: Params, setting: Setting) -> Driver:
    """RangerLite."""
    from rangerlite import RangerLite

    return Driver(RangerLite(model.parameters(), lr=float(params["lr"]), lookahead_steps=int(params["k"])))


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
        """Ask for the candidate of this step."""
        self._candidate = self.optimizer.step_start(step)

    def step(self, loss: Tensor) -> None:
        """Let it step the optimizer inside, and learn from the loss."""
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
    """AEES around AdamW, forty episodes a run."""
    from pulseopt import AEES

    noise = (0.0, 1e-3) if params["candidates"] == "lr and noise" else (0.0,)
    controller = AEES(
        base_adamw(model, params),
        lr_candidates=(0.5, 1.0, 2.0),
        noise_candidates=noise,
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
        """Tell it the reward."""
        if self._reads_reward:
            self.optimizer.step_reward(reward)

    def step(self, loss: Tensor) -> None:
        """Tell it the loss unless it goes by the reward, then step."""
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
    return AdaptiveDriver(AdaptiveOptimizer(base_adamw(model, params), lr_rule=rule), False)


OURS = [
    Method(
        "thermolion",
        "ThermoLion",
        "thermolion",
        "gradient",
        thermolion,
        SMALL,
        ("temp_decay", 0.99, 0.9),
        {"lr": 1e-3},
        ours=True,
    ),
    Method(
        "rangerlite", "RangerLite", "ranger-lite", "gradient", rangerlite, MIDDLE, ("k", 6, 10), {"lr": 1e-3}, ours=True
    ),
    Method(
        "aees-adamw",
        "AEES(AdamW)",
        "pulseopt",
        "gradient",
        aees,
        SMALL,
        ("candidates", "lr and noise", "lr"),
        {"lr": 1e-3},
        ours=True,
        controls=True,
    ),
    Method(
        "adaptive-adamw",
        "AdaptiveOptimizer(AdamW)",
        "adaptive-optimizer",
        "gradient",
        adaptive,
        SMALL,
        ("rule", "trend", "trend+variance"),
        reward_knob=("rule", "reward trend", "reward variance"),
        untuned={"lr": 1e-3},
        ours=True,
        controls=True,
    ),
]
