"""``AdaptiveOptimizer``: any optimizer, its knobs steered by losses and rewards."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict
from inspect import currentframe
from math import inf
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from adaptive_optimizer._checks import check_integer
from adaptive_optimizer._controller import VERSION, Controller, read_into
from adaptive_optimizer._delegate import Delegate
from adaptive_optimizer._groups import Actuator, places
from adaptive_optimizer._intake import Intake
from adaptive_optimizer._logs import Logs, Record, Writer
from adaptive_optimizer._settings import Settings
from adaptive_optimizer._signals import read
from adaptive_optimizer._values import Values
from adaptive_optimizer.rules import Choice, Rule

RuleOrName = str | Rule | None
SCHEDULERS = "torch.optim.lr_scheduler"


class AdaptiveOptimizer(Values, Delegate):
    """Steer another optimizer's knobs by losses and rewards, outside autograd.

    Parameter groups hold adapted values from ``step_loss`` until ``step`` has run; then their base values, which are
    the user's and the scheduler's, return. So after ``step``, ``param_groups[0]["lr"]`` is the base and ``lr`` is the
    value last used. With no rule it is the wrapped optimizer, to the bit.

    Args:
        optimizer: the optimizer to steer; of torch, bitsandbytes, torchao, Transformers or anyone else.
        lr_rule: "trend", "variance", "cosine", "cosine_restart", several joined by "+", or a callable (see ``rules``).
        momentum_rule: "relative", "inverse" or "normalized".
        betas_rule: a pair, the first "relative", the second "variance".
        alpha_rule: "stable", for RMSprop's smoothing constant.
        wd_rule: "trend".
        reward_rule: "scaling", "trend", "variance", or several joined by "+"; steers the lr, "trend" the momentum too.
        cycle_length: steps of the first cosine cycle.
        cycle_mult: how many times longer each cycle is than the one before.
        cycle_floor: the factor that a cosine ends with.
        loss_beta: b of equation (1), for losses and rewards.
        min_rel_improve: δ of equation (4).
        noise_weight: λ, how much cv² counts.
        lr_factor_bounds: interval of the factor on the base lr; it contains 1.
        min_lr: lower bound of the lr itself.
        max_lr: upper bound of the lr itself.
        reward_center: c of ``scaling``; None follows the rewards.
        reward_span: s of ``scaling``; None follows the rewards.
        beta_warmup: steps before betas move.
        compensate_lr: keep the size of heavy-ball steps (SGD, RMSprop) while momentum moves.
        accumulate: losses to average before one counts, as with gradient accumulation.
        on_nonfinite: what a loss that is not finite does: "backoff" halves the lr factor, "ignore" counts it, "raise".
        average_ranks: take losses and rewards as the mean over ranks where ``torch.distributed`` is initialized.
        strict: refuse a rule for a knob that the optimizer lacks; False leaves such a rule without effect.
        log_limit: steps that ``get_logs`` remembers.
        writer: a ``torch.utils.tensorboard.SummaryWriter`` to write each step to.

    Raises:
        TypeError: ``optimizer`` is no optimizer, or an argument has the wrong kind.
        ValueError: a rule is unknown or twice there, a number is outside its interval, or the optimizer lacks a knob.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        lr_rule: RuleOrName = None,
        momentum_rule: RuleOrName = None,
        betas_rule: tuple[RuleOrName, RuleOrName] | None = (None, None),
        alpha_rule: RuleOrName = None,
        wd_rule: RuleOrName = None,
        reward_rule: RuleOrName = None,
        cycle_length: int = 500,
        cycle_mult: float = 2,
        cycle_floor: float = 0.1,
        loss_beta: float = 0.9,
        min_rel_improve: float = 1e-4,
        noise_weight: float = 1.0,
        lr_factor_bounds: tuple[float, float] = (0.1, 10.0),
        min_lr: float = 0.0,
        max_lr: float = inf,
        reward_center: float | None = None,
        reward_span: float | None = None,
        beta_warmup: int = 100,
        compensate_lr: bool = True,
        accumulate: int = 1,
        on_nonfinite: str = "backoff",
        average_ranks: bool = True,
        strict: bool = True,
        log_limit: int = 10_000,
        writer: Writer | None = None,
    ) -> None:
        super().__init__(optimizer)
        check_integer("log_limit", log_limit, "[0, inf)")
        self._asked = {
            "lr_rule": lr_rule,
            "momentum_rule": momentum_rule,
            "betas_rule": betas_rule,
            "alpha_rule": alpha_rule,
            "wd_rule": wd_rule,
            "reward_rule": reward_rule,
        }
        self._settings = Settings(
            cycle_length,
            cycle_mult,
            cycle_floor,
            loss_beta,
            min_rel_improve,
            noise_weight,
            lr_factor_bounds,
            min_lr,
            max_lr,
            reward_center,
            reward_span,
            beta_warmup,
            compensate_lr,
            accumulate,
            on_nonfinite,
            average_ranks,
        )
        knobs = places(optimizer)
        asked = Choice.of(lr_rule, momentum_rule, betas_rule, alpha_rule, wd_rule, reward_rule)
        self._choice = asked.of_present(set(knobs), type(optimizer).__name__, strict=strict)
        self._controller = Controller(self._choice.rules, self._settings)
        self._actuator = Actuator(optimizer, self._controller, knobs, self._choice.knobs)
        self._actuator.warn()
        self._strict = strict
        self._adapts = bool(self._actuator.moved)
        self._logs = Logs(log_limit, writer)
        self._intake = Intake(self._controller, self._actuator)
        self._reward: float | None = None

    def step_loss(self, loss: float | Tensor) -> None:
        """Adapt to a loss; call it once a step, before ``step``.

        A loss whose gradients ``zero_grad`` has dropped before a step was made (GradScaler skips steps) is forgotten as
        soon as the next one comes.

        Args:
            loss: one number, of shape () or (1,); unscaled, from this rank. Its graph is left alone.

        Raises:
            TypeError: ``loss`` is no real number.
            ValueError: it has another shape; or it is not finite and ``on_nonfinite="raise"``.
        """
        self._intake.take(loss)

    def step_reward(self, reward: float | Tensor) -> None:
        """Adapt to a reward, larger being better; call it whenever there is one.

        Args:
            reward: one number, of shape () or (1,), from this rank.

        Raises:
            TypeError: ``reward`` is no real number.
            ValueError: it has another shape; or it is not finite and ``on_nonfinite="raise"``.
        """
        value = read("reward", reward, average_ranks=self._settings.average_ranks)
        self._actuator.restore()
        self._controller.feed_reward(value, self._actuator.bases())
        self._reward = value
        self._actuator.apply()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Let the wrapped optimizer make its step with adapted values, then restore the base values.

        Without a new loss the factors hold, and cosines go on. Where no ``step_loss`` came since the last step, the
        loss that ``closure`` returned counts as one, for the next step.

        Returns:
            What the wrapped optimizer's ``step`` returned.
        """
        self._intake.kept()
        self._intake.flush()
        self._actuator.ensure()
        try:
            loss = self._base.step() if closure is None else self._base.step(closure)
        finally:
            self._actuator.restore()
        fed = self._intake.fed
        self._stepped()
        if closure is not None and loss is not None and self._adapts and not fed:
            self._intake.take(loss)
            self._actuator.restore()
            self._intake.stepped()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Reset the gradients, as the wrapped optimizer does it."""
        self._intake.dropped()
        super().zero_grad(set_to_none=set_to_none)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the wrapped optimizer; what its rules move is checked first."""
        self._actuator.check([{**self.defaults, **param_group}])
        with self._base_values():
            super().add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """The wrapped optimizer's state with its base values, and under "adaptive" the controller's.

        Without a rule it is the wrapped optimizer's state_dict, key for key.
        """
        with self._base_values():
            state = self._base.state_dict()
        if not self._adapts:
            return state
        adaptive = {
            "version": VERSION,
            "rules": self._choice.names,
            "controller": self._controller.state_dict(),
            "intake": self._intake.state_dict(),
            "used": deepcopy(self._actuator.used),
        }
        return {**state, "adaptive": adaptive}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from ``state_dict``; from a bare one of the wrapped optimizer's class with a fresh controller.

        Rules and settings stay those of this object.

        Raises:
            ValueError: the state of the controller is not one that this release reads; nothing has changed.
        """
        adaptive = state_dict.get("adaptive", {})
        controller = Controller(self._choice.rules, self._settings)
        if adaptive:
            read_into(controller, adaptive, self._choice.names)
        self._actuator.restore()
        self._base.load_state_dict({key: value for key, value in state_dict.items() if key != "adaptive"})
        self._controller.restore(controller.snapshot())
        self._actuator.used = deepcopy(adaptive.get("used", []))
        same_rules = adaptive.get("rules") == self._choice.names
        self._intake.load_state_dict(adaptive["intake"] if same_rules else {})

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The wrapped optimizer's own groups.

        A scheduler computes from base values. Where it runs after a step that GradScaler skipped, adapted values still
        stand in the groups: for torch's schedulers they make way first, and ``step`` writes them again.
        """
        if self._actuator.applied:
            frame = currentframe()
            if frame and frame.f_back and frame.f_back.f_globals.get("__name__") == SCHEDULERS:
                self._actuator.restore()
        return self._base.param_groups

    @param_groups.setter
    def param_groups(self, groups: list[dict[str, Any]]) -> None:
        self._base.param_groups = groups

    def get_logs(self) -> list[Record]:
        """The last ``log_limit`` steps: step, loss, reward, lr, lr_factor and the factors that rules move."""
        return self._logs.records()

    def save_logs(self, path: str | Path) -> None:
        """Write ``get_logs()`` to ``path`` as JSON lines; ``python -m adaptive_optimizer.plot`` draws them."""
        self._logs.save(path)

    def __repr__(self) -> str:
        """Every setting, and the wrapped optimizer."""
        settings = {**self._asked, **asdict(self._settings), "strict": self._strict, "log_limit": self._logs.limit}
        shown = ", ".join(f"{name}={value!r}" for name, value in settings.items())
        return f"{type(self).__name__}({shown}) around {self._base!r}"

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and deepcopy, with base values in the groups; ``step`` writes the adapted ones again."""
        self._actuator.restore()
        patched = ("step", "_opt_called")  # by a learning-rate scheduler, which is not copied along
        return {name: value for name, value in self.__dict__.items() if name not in patched}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take everything over; hooks are the wrapped optimizer's."""
        self.__dict__.update(state)

    def _stepped(self) -> None:
        self._controller.made_step()
        if self._logs.wanted:
            self._logs.add(self._controller.record(self._intake.latest, self._reward, self._actuator.logged_lr()))
        self._intake.stepped()
        self._reward = None

    @contextmanager
    def _base_values(self) -> Generator[None]:
        applied = self._actuator.applied
        self._actuator.restore()
        yield
        if applied:
            self._actuator.apply()
