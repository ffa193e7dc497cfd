"""The optimizer: groups, state and closures around the equations."""

from collections.abc import Callable
from typing import Any, Literal, ParamSpec, TypeVar, cast, overload

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from thermolion._batch import Batch, Plan
from thermolion._equations import COLD
from thermolion._paths.choose import refuse_fused, step_batch
from thermolion._settings import ADDED, check_settings
from thermolion._state import Clock, begin, complete, resolve_seeds, restore

__all__ = ["ThermoLion"]

P = ParamSpec("P")
R = TypeVar("R")


def _uncompiled(function: Callable[P, R]) -> Callable[P, R]:
    """Keeps a compiler of `torch.compile` out of ``function``."""
    compiler: Any = torch.compiler
    return cast("Callable[P, R]", compiler.disable(function))


class ThermoLion(Optimizer):
    """Blends Lion's sign step with a variance-normalised step by the signal-to-noise ratio, with annealed noise.

    >>> import torch
    >>> from thermolion import ThermoLion
    >>> weight = torch.nn.Parameter(torch.ones(3))
    >>> optimizer = ThermoLion([weight], lr=0.1, seed=0)
    >>> for _ in range(20):
    ...     optimizer.zero_grad()
    ...     weight.square().sum().backward()
    ...     optimizer.step()
    >>> bool(weight.square().sum() < 0.1)
    True

    Args:
        params: tensors, named tensors or groups, as in `torch.optim`.
        lr: η, the learning rate, at least 0; a number or a tensor of one element.
        betas: β1 and β2, decay of the moments, in [0, 1).
        temp_decay: τ, by which the temperature is multiplied at every step, in (0, 1].
        weight_decay: λ, decoupled, at least 0.
        eps: ε, above 0.
        seed: seed of the noise, in [0, 2⁶⁴). None takes `torch.initial_seed` when the first noise is drawn (or a
            checkpoint saved), without advancing the global stream; a process group uses that of rank 0, broadcast once.
        noise: "counter" makes noise a function of seed, step, parameter and element, the same on every replica and
            after every resume. "global" draws `torch.randn_like` of each parameter in turn from the global stream, as
            in 0.1.0.
        state_dtype: dtype of the two moments; None takes that of the parameter.
        maximize: maximize the objective instead of minimizing it.
        foreach: True applies each operation to lists of tensors; False excludes this path.
        fused: True takes one kernel over all tensors: C++ on the CPU, compiled on first use, and Triton on CUDA. False
            excludes it. With neither flag given, see "Paths" in the documentation.
        capturable: keep step count and temperature on the device, for CUDA graphs.
        stochastic_rounding: round bfloat16 parameters up or down at random, without bias, when they are written.
        skip_zero_grad: leave parameter and moments of an element unchanged at a step where its gradient is zero, for
            padding rows of embeddings and masked rows. Without it, noise and weight decay move them too.

    Raises:
        ValueError: a setting lies outside its interval, in the defaults or in a group.
        TypeError: a setting is of the wrong type.

    Source: Ahmed Nebli, ThermoLion 0.1.0, https://github.com/ahmednebli/ThermoLion
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        temp_decay: float = 0.99,
        weight_decay: float = 0.01,
        eps: float = 1e-8,
        *,
        seed: int | None = None,
        noise: Literal["counter", "global"] = "counter",
        state_dtype: torch.dtype | None = None,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
        capturable: bool = False,
        stochastic_rounding: bool = False,
        skip_zero_grad: bool = False,
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "temp_decay": temp_decay,
            "weight_decay": weight_decay,
            "eps": eps,
            "seed": seed,
            "noise": noise,
            "state_dtype": state_dtype,
            "maximize": maximize,
            "foreach": foreach,
            "fused": fused,
            "capturable": capturable,
            "stochastic_rounding": stochastic_rounding,
            "skip_zero_grad": skip_zero_grad,
        }
        check_settings(defaults)
        self._clocks: dict[int, Clock] = {}
        self._plans: dict[int, Plan] = {}
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a parameter group; its settings are checked like the defaults, before anything is written.

        Args:
            param_group: ``"params"``, and the settings that differ from the defaults.

        Raises:
            ValueError: a setting lies outside its interval.
            TypeError: a setting is of the wrong type.
        """
        check_settings({**self.defaults, **param_group})
        super().add_param_group(param_group)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores a pickled optimizer or a loaded state; groups and states of 0.1.0 get what they lack."""
        super().__setstate__(state)
        self._clocks, self._plans = {}, {}
        for param, kept in cast("dict[Tensor, dict[str, Any]]", self.state).items():
            if kept and "v_mean" not in kept:
                complete(kept, kept, param)
        for name, value in ADDED.items():
            self.defaults.setdefault(name, value)
            for group in self.param_groups:
                group.setdefault(name, self.defaults[name])

    def state_dict(self) -> dict[str, Any]:
        """Returns the state as in `torch.optim`; a seed of None is resolved now, so that the run can continue."""
        resolve_seeds(self.param_groups, alone=True)
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads a checkpoint and continues it exactly.

        Args:
            state_dict: of this release or of 0.1.0.

        Raises:
            ValueError: the groups do not match, or hold a setting outside its interval.
        """
        for group in state_dict["param_groups"]:
            check_settings({**self.defaults, **group})
        passed: dict[str, Any] = dict(state_dict)

        def see(_: Optimizer, final: dict[str, Any]) -> None:
            passed.update(final)

        handle = self.register_load_state_dict_pre_hook(see)
        try:
            super().load_state_dict(state_dict)
        finally:
            handle.remove()
        numbers = (number for group in passed["param_groups"] for number in group["params"])
        owners = ((param, group) for group in self.param_groups for param in group["params"])
        for number, (param, group) in zip(numbers, owners, strict=True):
            if passed["state"].get(number):
                restore(passed["state"][number], self.state[param], param, group)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Takes one step on every parameter that has a gradient.

        Args:
            closure: evaluates the model again and returns the loss; called once, with gradients enabled.

        Returns:
            The closure's loss, or None.

        Raises:
            RuntimeError: a gradient is sparse, or the requested path cannot run here.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._step_batches()
        return loss

    @_uncompiled
    def _step_batches(self) -> None:
        """Steps every batch; a compiler leaves this as it is, and so the noise keeps its bits."""
        self._refuse()
        found_inf: Tensor | None = getattr(self, "found_inf", None)
        if found_inf is not None and bool(found_inf):  # set by a scaler that leaves its overflow check to the step
            return
        batches = self._batches()
        try:
            for batch in batches:
                step_batch(batch)
        finally:
            for batch in batches:
                batch.release()

    def _batches(self) -> list[Batch]:
        """Counts a step of every parameter that has a gradient, and sorts them into batches."""
        batches: list[Batch] = []
        scale: Tensor | None = getattr(self, "grad_scale", None)
        first = 0
        for number, group in enumerate(self.param_groups):
            params: list[Tensor] = group["params"]
            with_grad = [i for i, param in enumerate(params) if param.grad is not None]
            if with_grad:
                states, steps, temperatures = self._advance(number, group, with_grad)
                stepped = [params[i] for i in with_grad]
                warm = [group["capturable"] or T > COLD for T in temperatures]  # on the device σ tells
                plan, sorting = self._plans.get(number), (stepped, states, [first + i for i in with_grad], warm)
                if plan is None or plan.group is not group or not plan.fits(*sorting):
                    plan = self._plans[number] = Plan(group, *sorting)
                grads = [cast("Tensor", param.grad) for param in stepped]
                grads = grads if scale is None else [grad / scale for grad in grads]
                batches += plan.batches(grads, steps, temperatures)
            first += len(params)
        if any(batch.warm or batch.group["stochastic_rounding"] for batch in batches):
            resolve_seeds(self.param_groups)
        return batches

    def _advance(self, number: int, group: dict[str, Any], with_grad: list[int]) -> tuple[list[Any], ...]:
        """Counts a step, begins new states; returns states, steps and temperatures of the parameters ``with_grad``."""
        params: list[Tensor] = group["params"]
        state_of = cast("dict[Tensor, dict[str, Any]]", self.state)
        states = [state_of.get(param, {}) for param in params]
        new = [i for i in with_grad if not states[i]]
        for i in new:
            states[i] = state_of[params[i]]
        if group["capturable"]:
            for i in new:
                step = torch.zeros((), dtype=torch.float32, device=params[i].device)
                temp = torch.ones((), dtype=torch.float64, device=params[i].device)
                states[i].update(begin(params[i], group, step, temp))
            states = [states[i] for i in with_grad]
            return states, [state["step"] for state in states], [state["temp"] for state in states]
        clock = self._clocks.get(number)
        if clock is None or not clock.fits(states):
            clock = self._clocks[number] = Clock(states)
        for i in new:
            states[i].update(begin(params[i], group, *clock.begin(i)))
        clock.advance(with_grad, group["temp_decay"])
        return tuple([values[i] for i in with_grad] for values in (states, clock.steps, clock.temperatures))

    def _refuse(self) -> None:
        """Refuses what cannot be stepped, before anything is written."""
        for group in self.param_groups:
            stepped = [(param, param.grad) for param in group["params"] if param.grad is not None]
            if any(grad.layout is not torch.strided for _, grad in stepped):
                raise RuntimeError(
                    "ThermoLion does not support sparse gradients; pass sparse=False to the layer that makes them"
                )
            if group["fused"]:
                for param in {(param.device, param.dtype): param for param, _ in stepped}.values():
                    refuse_fused(param)
