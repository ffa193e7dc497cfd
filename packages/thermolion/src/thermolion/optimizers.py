"""The optimizer: groups, state and closures around the equations."""

from collections.abc import Callable
from typing import Any, Literal, cast, overload

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from thermolion._paths import refuse_fused, take_path
from thermolion._seeds import settle_seeds
from thermolion._settings import ADDED, check_settings
from thermolion._state import begin, restore
from thermolion._work import Work, advance, is_warm

__all__ = ["ThermoLion"]


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
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; what it overrides is checked like the defaults, before anything is written."""
        check_settings({**self.defaults, **param_group})
        super().add_param_group(param_group)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take up a pickled optimizer or a loaded state; groups of 0.1.0 get what they lack."""
        super().__setstate__(state)
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

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _apply(self) -> None:
        """Step all work; a compiler leaves this as it is, and so the noise keeps its bits."""
        self._refuse()
        found_inf: Tensor | None = getattr(self, "found_inf", None)
        if found_inf is not None and bool(found_inf):  # set by a scaler that leaves its overflow check to the step
            return
        for work in self._collect():
            take_path(work)

    def _collect(self) -> list[Work]:
        """Sort what has a gradient by what can go together."""
        works: dict[Any, Work] = {}
        scale: Tensor | None = getattr(self, "grad_scale", None)
        first = 0
        for place, group in enumerate(self.param_groups):
            for index, param in enumerate(group["params"], first):
                grad = param.grad
                if grad is not None:
                    self._enter(works, place, group, index, param, grad if scale is None else grad / scale)
            first += len(group["params"])
        if any(work.warm or work.group["stochastic_rounding"] for work in works.values()):
            settle_seeds(self.param_groups)
        return list(works.values())

    def _enter(
        self, works: dict[Any, Work], place: int, group: dict[str, Any], index: int, param: Tensor, grad: Tensor
    ) -> None:
        state = cast("dict[str, Any]", self.state[param])
        if not state:
            state.update(begin(param, group))
        advance(state, group["temp_decay"])
        warm = is_warm(state["temp"])
        in_turn = index if warm and group["noise"] == "global" else None  # the global stream is read in order
        key = (place, param.dtype, param.device, warm, state["m"].dtype, in_turn)
        work = works.get(key)
        if work is None:
            work = works[key] = Work(group, warm)
        work.add(param, grad, state, index)

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
