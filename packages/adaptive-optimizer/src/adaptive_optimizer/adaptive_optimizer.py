"""``AdaptiveOptimizer``: adapts the settings of any optimizer to losses and rewards."""

# Type checkers distinguish a delegated attribute from the one it replaces; nothing else does.
# pyright: reportIncompatibleVariableOverride=false

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict
from math import inf, isfinite
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from adaptive_optimizer._checks import check_integer
from adaptive_optimizer._controller import VERSION, Controller, read_into
from adaptive_optimizer._delegate import Delegated, checked_optimizer
from adaptive_optimizer._groups import GroupWriter, knobs_of
from adaptive_optimizer._logs import Logs, Record, Writer, as_html
from adaptive_optimizer._settings import Settings
from adaptive_optimizer._signals import LossBuffer, read
from adaptive_optimizer.rules import Rule, RuleSet

RuleOrName = str | Rule | None


class AdaptiveOptimizer(Optimizer):
    """Adapts the learning rate and other knobs of an optimizer to losses and rewards.

    Parameter groups hold adapted values only while ``step`` runs. Outside it they hold the base values, set by the user
    or a scheduler. ``lr``, ``wd`` and so on return the adapted values of the next step once a loss or a reward was
    passed for it, and those of the last step otherwise. Without a rule it equals the wrapped optimizer, to the bit.

    ``param_groups``, ``state``, ``defaults`` and hooks are those of the wrapped optimizer. Hooks receive that optimizer
    and see adapted values.

    >>> import torch
    >>> from adaptive_optimizer import AdaptiveOptimizer
    >>> weight = torch.nn.Parameter(torch.ones(3))
    >>> opt = AdaptiveOptimizer(torch.optim.SGD([weight], lr=0.1), lr_rule="trend")
    >>> for _ in range(3):
    ...     opt.zero_grad()
    ...     loss = weight.square().sum()
    ...     loss.backward()
    ...     opt.step_loss(loss)
    ...     opt.step()
    >>> round(opt.lr, 6), opt.param_groups[0]["lr"]
    (0.103936, 0.1)

    Args:
        optimizer: the optimizer to wrap; from torch, bitsandbytes, torchao, Transformers or elsewhere.
        lr_rule: "trend", "variance", "cosine", "cosine_restart", several joined by "+", or a callable (see ``rules``).
        momentum_rule: "relative", "inverse" or "normalized".
        betas_rule: a pair, the first "relative", the second "variance".
        alpha_rule: "stable", for RMSprop's smoothing constant.
        wd_rule: "trend".
        reward_rule: "scaling", "trend", "variance", "progress", or several joined by "+"; moves the lr, and "trend" the
            momentum too.
        cycle_length: steps of the first cosine cycle.
        cycle_mult: ratio of the lengths of consecutive cycles.
        cycle_floor: the final factor of a cosine.
        loss_beta: b of equation (1), for losses and rewards.
        min_rel_improve: δ of equation (4).
        noise_weight: λ, the weight of cv².
        lr_factor_bounds: interval of the factor on the base lr; it contains 1.
        min_lr: lower bound of the lr itself.
        max_lr: upper bound of the lr itself.
        reward_center: c of ``scaling``; None estimates it from the rewards.
        reward_span: s of ``scaling``; None estimates it from the rewards.
        beta_warmup: steps before betas move.
        compensate_lr: keep the size of heavy-ball steps (SGD, RMSprop) while momentum moves.
        accumulate: number of losses averaged into one, as with gradient accumulation.
        on_nonfinite: effect of a non-finite loss: "backoff" halves the lr factor, "ignore" only counts it, "raise".
        average_ranks: average losses and rewards over the ranks where ``torch.distributed`` is initialised.
        guard: return the factor on the lr to half of its last good value when losses or rewards get worse by more than
            their noise, equations (23) to (26); works with any rule, and without one.
        loss_delay: 1 lets each loss count one step later, so that reading it does not wait for the device; saving a
            checkpoint waits.
        strict: refuse a rule for a knob that the optimizer lacks; False ignores such a rule.
        log_limit: number of steps kept for ``get_logs``.
        writer: a ``torch.utils.tensorboard.SummaryWriter`` that receives each step.

    Raises:
        TypeError: ``optimizer`` is not an optimizer, or an argument is of the wrong type.
        ValueError: a rule is unknown or named twice, a number is outside its interval, or no group has a rule's knob.

    Source: the rules' names are those of https://github.com/theoryjames1-glitch/AdaptiveOptimizer, the equations this
        package's.
    """

    _step_supports_amp_scaling = False  # GradScaler unscales and decides; also around a fused optimizer

    param_groups: Delegated[list[dict[str, Any]]] = Delegated()
    state: Delegated[defaultdict[Any, Any]] = Delegated()
    defaults: Delegated[dict[str, Any]] = Delegated()
    _optimizer_step_pre_hooks: Delegated[OrderedDict[int, Any]] = Delegated()
    _optimizer_step_post_hooks: Delegated[OrderedDict[int, Any]] = Delegated()
    _optimizer_state_dict_pre_hooks: Delegated[OrderedDict[int, Any]] = Delegated()
    _optimizer_state_dict_post_hooks: Delegated[OrderedDict[int, Any]] = Delegated()
    _optimizer_load_state_dict_pre_hooks: Delegated[OrderedDict[int, Any]] = Delegated()
    _optimizer_load_state_dict_post_hooks: Delegated[OrderedDict[int, Any]] = Delegated()

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
        guard: bool = False,
        loss_delay: int = 0,
        strict: bool = True,
        log_limit: int = 10_000,
        writer: Writer | None = None,
    ) -> None:
        # Optimizer.__init__ is not called: it would make groups and hooks of its own and run global step hooks twice.
        self._base = checked_optimizer(optimizer)
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
            guard,
            loss_delay,
        )
        present = [knobs_of(optimizer, group).keys() for group in optimizer.param_groups]
        asked = RuleSet.parse(**self._asked)
        self._rules = asked.for_groups(present, type(optimizer).__name__, strict=strict)
        self._strict = strict
        self._controller = Controller(self._rules, self._settings)
        guarded = [knob for knobs in present for knob in knobs if guard and knob == "lr"]
        moved = self._rules.knobs.union(guarded)
        self._groups = GroupWriter(optimizer, self._controller, moved)
        self._groups.warn()
        self._losses = LossBuffer(accumulate, loss_delay, average_ranks=average_ranks)
        self._reward: float | None = None
        self._logs = Logs(("step", "loss", "reward", "lr", *self._controller.columns), log_limit, writer)

    @property
    def optimizer(self) -> Optimizer:
        """The wrapped optimizer."""
        return self._base

    def step_loss(self, loss: float | Tensor) -> None:
        """Adapts to a loss; call it once a step, before ``step``.

        A loss whose gradients were reset by ``zero_grad`` before a step was made (GradScaler skips steps) is withdrawn
        at the next call.

        Args:
            loss: one number, of shape () or (1,), unscaled, of this rank. Its graph is not changed.

        Raises:
            TypeError: ``loss`` is not a real number.
            ValueError: it has another shape, or is not finite while ``on_nonfinite="raise"``.
        """
        value = self._losses.read(loss)
        if self._losses.gradients_reset:
            before = self._losses.withdraw()
            if before is not None:
                self._controller.restore(before)
        self._feed_loss(self._losses.add(value))

    def step_reward(self, reward: float | Tensor) -> None:
        """Adapts to a reward; call it whenever there is one.

        Args:
            reward: one number, of shape () or (1,), of this rank; higher is better.

        Raises:
            TypeError: ``reward`` is not a real number.
            ValueError: it has another shape, or is not finite while ``on_nonfinite="raise"``.
        """
        value = read("reward", reward, average_ranks=self._settings.average_ranks)
        self._feed("reward", value)
        self._reward = value

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Steps the wrapped optimizer with adapted values.

        Without a new loss the factors stay, and cosines proceed. A step whose base lr is 0 in every group, such as
        ``torch.distributed.checkpoint`` makes to initialise state, adapts nothing and is not counted.

        Args:
            closure: evaluates the model again and returns the loss. It runs with base values in the groups; a loss
                that it passes to ``step_loss`` acts on this step. If ``step_loss`` was not called since the last step,
                the loss it returns counts for the next one.

        Returns:
            The result of the wrapped optimizer's ``step``.
        """
        if self._groups.no_rate():
            return self._base.step() if closure is None else self._base.step(closure)
        self._losses.gradients_reset = False
        self._feed_loss(self._losses.take())
        if not self._losses.fed:
            self._controller.follow_clock()
        self._groups.write()
        try:
            loss = self._base.step() if closure is None else self._base.step(self._at_base_values(closure))
        finally:
            self._groups.restore()
        came = self._losses.came
        self._count_step()
        if closure is not None and loss is not None and self._groups.moved and not came:
            self.step_loss(loss)
            self._losses.clear()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Resets the gradients through the wrapped optimizer.

        Args:
            set_to_none: set them to None instead of zero.
        """
        self._losses.reset_gradients()
        self._base.zero_grad(set_to_none=set_to_none)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group to the wrapped optimizer; the values that rules move are checked first.

        Args:
            param_group: ``"params"``, and the settings that differ from the defaults.

        Raises:
            TypeError: a rule moves a value that the group holds as a tensor.
            ValueError: the wrapped optimizer refuses the group.
        """
        self._groups.check({**self.defaults, **param_group})
        self._base.add_param_group(param_group)

    def train(self) -> None:
        """Switches a schedule-free optimizer to training; has no effect on others."""
        getattr(self._base, "train", lambda: None)()

    def eval(self) -> None:
        """Switches a schedule-free optimizer to evaluation; has no effect on others."""
        getattr(self._base, "eval", lambda: None)()

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the wrapped optimizer, and under "adaptive" that of the controller.

        Without a rule it is the wrapped optimizer's state_dict, key for key.
        """
        state = self._base.state_dict()
        if not self._groups.moved:
            return state
        adaptive = {
            "version": VERSION,
            "rules": self._rules.names,
            "controller": self._controller.state_dict(),
            "intake": self._losses.state_dict(),
            "used": self._groups.used,
        }
        return {**state, "adaptive": deepcopy(adaptive)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues from a checkpoint; rules and settings stay those of this object.

        Args:
            state_dict: of an ``AdaptiveOptimizer``; or of the wrapped optimizer alone, which starts a fresh controller.

        Raises:
            ValueError: this release cannot read the state of the controller; nothing has changed.
        """
        adaptive: dict[str, Any] = deepcopy(state_dict.get("adaptive", {}))
        fresh = Controller(self._rules, self._settings)
        if adaptive:
            read_into(fresh, adaptive, self._rules.names)
        self._base.load_state_dict({key: value for key, value in state_dict.items() if key != "adaptive"})
        self._controller.load_state_dict(fresh.state_dict())
        self._groups.used = adaptive.get("used", [])
        same_rules = adaptive.get("rules") == self._rules.names
        self._losses.load_state_dict(adaptive["intake"] if same_rules else {})

    @property
    def lr(self) -> float:
        """Learning rate of group 0; a tensor is read from its device."""
        return self.lrs[0]

    @property
    def wd(self) -> float:
        """Weight decay of group 0; None where it has none."""
        return self.wds[0]

    @property
    def momentum(self) -> float | None:
        """Momentum of group 0, wherever the optimizer keeps it."""
        return self.momentums[0]

    @property
    def betas(self) -> tuple[float, ...] | None:
        """Betas of group 0; None where the optimizer has none."""
        return self.all_betas[0]

    @property
    def alpha(self) -> float | None:
        """RMSprop's smoothing constant of group 0."""
        return self.alphas[0]

    @property
    def lrs(self) -> list[float]:
        """Learning rate of each group."""
        return self._groups.effective("lr")

    @property
    def wds(self) -> list[float]:
        """Weight decay of each group."""
        return self._groups.effective("wd")

    @property
    def momentums(self) -> list[float | None]:
        """Momentum of each group."""
        return self._groups.effective("momentum")

    @property
    def all_betas(self) -> list[tuple[float, ...] | None]:
        """Betas of each group."""
        return self._groups.effective("betas")

    @property
    def alphas(self) -> list[float | None]:
        """RMSprop's smoothing constant of each group."""
        return self._groups.effective("alpha")

    @property
    def base_lrs(self) -> list[float]:
        """Learning rate of each group without any factor, as set by the user or a scheduler."""
        return self._groups.base_lrs()

    @property
    def factors(self) -> dict[str, float]:
        """The factors in use, 1 where no rule moves them.

        M is trend, V variance, C the cosines, R rewards, N weight decay; H, H_beta1, H_beta2 and H_alpha scale the
        horizons 1/(1-μ); ``lr`` multiplies every base lr. A custom rule appears under its own name.
        """
        return self._controller.factors()

    @property
    def nonfinite_losses(self) -> int:
        """Number of non-finite losses."""
        return self._controller.nonfinite["loss"]

    @property
    def nonfinite_rewards(self) -> int:
        """Number of non-finite rewards."""
        return self._controller.nonfinite["reward"]

    def get_logs(self) -> list[Record]:
        """Returns the last ``log_limit`` steps: step, loss, reward, lr, lr_factor and the factors that rules move."""
        return self._logs.records()

    def save_logs(self, path: str | Path) -> None:
        """Writes ``get_logs()`` as JSON lines; ``python -m adaptive_optimizer.plot`` plots them.

        Args:
            path: the file to write.
        """
        self._logs.save(path)

    def __repr__(self) -> str:
        """Returns every setting, and the wrapped optimizer."""
        settings = {**self._asked, **asdict(self._settings), "strict": self._strict, "log_limit": self._logs.limit}
        shown = ", ".join(f"{name}={value!r}" for name, value in settings.items())
        return f"{type(self).__name__}({shown}) around {self._base!r}"

    def _repr_html_(self) -> str:
        """Returns what a notebook shows: the present values, and the logs as a picture."""
        logs, last = self.get_logs(), (self.get_logs() or [{}])[-1]
        values = {"step": last.get("step", 0), "loss": last.get("loss"), "reward": last.get("reward"), "lr": self.lr}
        moved = {f"factor on {name}": factor for name, factor in self.factors.items() if factor != 1.0}
        known = {name: value for name, value in {**values, **moved}.items() if value is not None}
        return as_html(f"{type(self).__name__} around {type(self._base).__name__}", known, logs)

    def __getstate__(self) -> dict[str, Any]:
        """Returns what pickle and deepcopy copy."""
        patched = ("step", "_opt_called")  # by a learning-rate scheduler, which is not copied
        return {name: value for name, value in self.__dict__.items() if name not in patched}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores the attributes; hooks are the wrapped optimizer's."""
        self.__dict__.update(state)

    def _feed_loss(self, value: float | None) -> None:
        if value is None:
            return
        before = self._controller.snapshot()
        if self._losses.fed and isfinite(value):
            self._controller.hold_horizons()  # a second loss without a step between counts as a step for (19)
        self._feed("loss", value)
        self._losses.fed_to(before, value)

    def _feed(self, stream: str, value: float) -> None:
        bases = self._groups.bases() if self._controller.moves_averages(stream) else {}
        self._controller.feed(stream, value, bases)
        self._groups.used = []

    def _at_base_values(self, closure: Callable[[], Any]) -> Callable[[], Any]:
        def evaluate() -> Any:
            self._groups.restore()
            loss = closure()
            self._groups.write()
            return loss

        return evaluate

    def _count_step(self) -> None:
        controller = self._controller
        controller.count_step()
        if self._logs.wanted:
            lr = self._groups.logged_lr()
            self._logs.add(controller.step, self._losses.latest, self._reward, lr, *controller.record())
        self._losses.clear()
        self._reward = None
