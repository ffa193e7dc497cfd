"""The optimizer: groups, state and closures around the equations."""

from collections.abc import Callable, Iterable
from typing import Any, Literal, ParamSpec, TypeVar, cast, overload

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from thermolion._batch import Batch, is_warm
from thermolion._clock import Clock, advance_on_device
from thermolion._paths.choose import refuse_fused, take_path
from thermolion._seeds import settle_seeds
from thermolion._settings import ADDED, check_settings
from thermolion._state import begin, begin_on_device, complete, restore

__all__ = ["ThermoLion"]

P = ParamSpec("P")
R = TypeVar("R")
Standing = tuple[int, dict[str, Any], Any, Any]  # place in the group, state, step, temperature


def uncompiled(function: Callable[P, R]) -> Callable[P, R]:
    """Keep a compiler of `torch.compile` out of ``function``."""
    compiler: Any = torch.compiler
    return cast("Callable[P, R]", compiler.disable(function))


class ThermoLion(Optimizer):
    """Blend Lion's sign step with a variance-normalised step, by the signal-to-noise ratio, under noise that cools.

    Args:
        params: tensors, named tensors or groups, as in `torch.optim`.
        lr: η, at least 0; a number or a tensor of one element.
        betas: β1 and β2, decay of the moments, in [0, 1).
        temp_decay: τ, by which the temperature is multiplied at every step, in (0, 1].
        weight_decay: λ, decoupled, at least 0.
        eps: ε, above 0.
        seed: of the noise, in [0, 2⁶⁴). None takes `torch.initial_seed` when the first noise is drawn (or a checkpoint
            saved), without advancing the global stream; in a process group all take rank 0's, broadcast once.
        noise: "counter": a function of seed, step, parameter and element, the same on every replica and after every
            resume. "global": `torch.randn_like` of each parameter in turn from the global stream, as 0.1.0 drew it.
        state_dtype: of the two moments; None is the parameter's.
        maximize: climb instead of descending.
        foreach: True takes the path on lists; False excludes it.
        fused: True takes one C++ kernel over all tensors on the CPU, compiled on first use; other devices are refused.
            With neither flag given, see "Paths" in the documentation.
        capturable: keep step and temperature on the device, for CUDA graphs and `torch.compile`.
        stochastic_rounding: write bfloat16 parameters rounded up or down at random, without bias.

    Raises:
        ValueError: a setting lies outside its interval, in the defaults or in a group.
        TypeError: a setting is of the wrong kind.

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
        }
        check_settings(defaults)
        self._clocks: dict[int, Clock] = {}
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; what it overrides is checked like the defaults, before anything is written."""
        check_settings({**self.defaults, **param_group})
        super().add_param_group(param_group)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take up a pickled optimizer or a loaded state; groups and states of 0.1.0 get what they lack."""
        super().__setstate__(state)
        self._clocks = {}
        for param, kept in cast("dict[Tensor, dict[str, Any]]", self.state).items():
            if kept and "v_mean" not in kept:
                complete(kept, kept, param)
        for name, value in ADDED.items():
            self.defaults.setdefault(name, value)
            for group in self.param_groups:
                group.setdefault(name, self.defaults[name])

    def state_dict(self) -> dict[str, Any]:
        """Return the state as in `torch.optim`; a seed not yet taken is taken now, so that the run can be continued."""
        settle_seeds(self.param_groups, alone=True)
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a checkpoint of this release or of 0.1.0, and continue it exactly.

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
        """Take one step on every parameter that has a gradient.

        Args:
            closure: evaluates the model again and returns the loss; called once, with gradients enabled.

        Returns:
            The closure's loss, or None.

        Raises:
            RuntimeError: a gradient is sparse, or a path was asked for that cannot run here.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._apply()
        return loss

    @uncompiled
    def _apply(self) -> None:
        """Step all work; a compiler leaves this as it is, and so the noise keeps its bits."""
        self._refuse()
        found_inf: Tensor | None = getattr(self, "found_inf", None)
        if found_inf is not None and bool(found_inf):  # set by a scaler that leaves its overflow check to the step
            return
        for work in self._collect():
            take_path(work)

    def _collect(self) -> list[Batch]:
        """Sort what has a gradient by what can go together."""
        works: dict[Any, Batch] = {}
        scale: Tensor | None = getattr(self, "grad_scale", None)
        first = 0
        for place, group in enumerate(self.param_groups):
            params: list[Tensor] = group["params"]
            due = [i for i, param in enumerate(params) if param.grad is not None]
            for i, state, step, temperature in self._advance(place, group, due) if due else ():
                param, grad = params[i], cast("Tensor", params[i].grad)
                work = _fitting(works, place, group, param, state, temperature, first + i)
                work.add(param, grad if scale is None else grad / scale, state, (step, temperature), first + i)
            first += len(params)
        if any(work.warm or work.group["stochastic_rounding"] for work in works.values()):
            settle_seeds(self.param_groups)
        return list(works.values())

    def _advance(self, place: int, group: dict[str, Any], due: list[int]) -> Iterable[Standing]:
        """Count a step of what is due, begun where it is new; return where each of it stands."""
        params: list[Tensor] = group["params"]
        state_of = cast("dict[Tensor, dict[str, Any]]", self.state)
        states = [state_of.get(param, {}) for param in params]
        new = [i for i in due if not states[i]]
        for i in new:
            states[i] = state_of[params[i]]
        if group["capturable"]:
            for i in new:
                states[i].update(begin_on_device(params[i], group))
            advance_on_device([states[i] for i in due], group["temp_decay"])
            return [(i, states[i], states[i]["step"], states[i]["temp"]) for i in due]
        clock = self._clocks.get(place)
        if clock is None or not clock.fits(states):
            clock = self._clocks[place] = Clock(states)
        for i in new:
            states[i].update(begin(params[i], group, *clock.begin(i)))
        clock.advance(due, group["temp_decay"])
        return [(i, states[i], clock.steps[i], clock.temperatures[i]) for i in due]

    def _refuse(self) -> None:
        """Refuse what cannot be stepped, before anything is written."""
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                if param.grad.layout is not torch.strided:
                    raise RuntimeError(
                        "ThermoLion does not support sparse gradients; pass sparse=False to the layer that makes them"
                    )
                if group["fused"]:
                    refuse_fused(param)


def _fitting(
    works: dict[Any, Batch],
    place: int,
    group: dict[str, Any],
    param: Tensor,
    state: dict[str, Any],
    temperature: float | Tensor,
    index: int,
) -> Batch:
    """Return the work that the parameter can go with, a new one where there is none."""
    warm = is_warm(temperature)
    in_turn = index if warm and group["noise"] == "global" else None  # the global stream is read in order
    key = (place, param.dtype, param.device, warm, state["m"].dtype, in_turn)
    work = works.get(key)
    if work is None:
        work = works[key] = Batch(group, warm)
    return work
