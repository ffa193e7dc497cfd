"""The optimizer: settings, state, checkpoints, closures and slow weights."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer, RAdam
from torch.optim.optimizer import ParamsT, _use_grad_for_differentiable  # pyright: ignore[reportPrivateUsage]

from ._batch import Batch, as_real_local
from ._lookahead import swapped_in
from ._paths.choose import Stepper, is_fused
from ._settings import GradScaling, check_group

# What a group holds beyond torch's RAdam; checkpoints of RAdam and of older releases lack some of it.
LATER_SETTINGS: dict[str, Any] = {
    "lookahead_steps": 6,
    "lookahead_alpha": 0.5,
    "lookahead_momentum": "keep",
    "decoupled_weight_decay": True,
    "differentiable": False,
    "fused": None,
}

FUSED_WANTS = (
    "`fused=True` requires all the params to be floating point Tensors on the CPU or CUDA, got {} on {}; use fused=None"
)


class RangerLite(RAdam):
    """RAdam and Lookahead in one torch optimizer.

    Every parameter takes RAdam's step. At every k-th of its steps, k = ``lookahead_steps``, its slow weights φ move to
    φ + α (θ - φ), α = ``lookahead_alpha``, and the parameter continues from there. φ starts as the parameter before its
    first step. A parameter without a gradient is skipped.

    Evaluate and save inside `slow_weights`: the fast weights depend on where in the cycle of k steps training stopped.

    Args:
        params: tensors, (name, tensor) pairs, or dictionaries that define parameter groups.
        lr: the learning rate η, in [0, inf); a number, or a tensor of one element on any device.
        betas: β1 and β2, the decay rates of the two moments, in [0, 1).
        eps: ε, added to the root of the second moment, in [0, inf).
        weight_decay: λ, in [0, inf).
        lookahead_steps: k, an integer in [1, inf).
        lookahead_alpha: α, in [0, 1]; 0 returns to φ, 1 keeps the parameter.
        foreach: True applies each operation to all tensors at once, False to one tensor after the other. None takes
            the fastest path that needs no compiler: the Triton kernel on CUDA, chunks that fit the cache on the CPU.
        maximize: maximize the objective instead of minimizing it.
        capturable: keep step counts and decisions on the device, for CUDA graphs.
        fused: True takes one kernel for all tensors (C++ on the CPU, built on first use; Triton on CUDA); False never
            does.
        differentiable: let autograd differentiate through the step.
        decoupled_weight_decay: decay the parameter, as AdamW does; False adds λ θ to the gradient.
        lookahead_momentum: what the pullback does to the first moment: "keep" it, "reset" it to zero, or "pullback":
            interpolate it like the parameter, at the cost of one more tensor of state.

    Raises:
        TypeError: a hyper-parameter is of the wrong type.
        ValueError: a hyper-parameter lies outside its interval, in the defaults or in a group.
        RuntimeError: two settings exclude each other.

    Source: Liu et al. 2019, https://arxiv.org/abs/1908.03265, and Zhang et al. 2019, https://arxiv.org/abs/1907.08610

    >>> x = torch.tensor(2.0, requires_grad=True)
    >>> optimizer = RangerLite([x], lr=0.2, lookahead_steps=4)
    >>> for _ in range(4):
    ...     optimizer.zero_grad()
    ...     (x**2).backward()
    ...     optimizer.step()
    >>> round(x.item(), 4)  # halfway between the start and the fourth of RAdam's steps
    0.8524
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.95, 0.999),
        eps: float = 1e-5,
        weight_decay: float = 0.0,
        lookahead_steps: int = 6,
        lookahead_alpha: float = 0.5,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        fused: bool | None = None,
        differentiable: bool = False,
        decoupled_weight_decay: bool = True,
        lookahead_momentum: str = "keep",
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "lookahead_steps": lookahead_steps,
            "lookahead_alpha": lookahead_alpha,
            "foreach": foreach,
            "maximize": maximize,
            "capturable": capturable,
            "fused": fused,
            "differentiable": differentiable,
            "decoupled_weight_decay": decoupled_weight_decay,
            "lookahead_momentum": lookahead_momentum,
        }
        check_group(defaults)
        self._stepper = Stepper()
        self._swapped = 0
        Optimizer.__init__(self, params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a parameter group; its settings are checked like the defaults.

        Args:
            param_group: ``"params"``, and the settings that differ from the defaults.

        Raises:
            TypeError: a hyper-parameter is of the wrong type.
            ValueError: a hyper-parameter lies outside its interval; no group has been added.
        """
        check_group({**self.defaults, **param_group})
        super().add_param_group(param_group)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores the state of a pickle or a checkpoint; settings that an older one lacks get their defaults."""
        for group in state["param_groups"]:
            for name, value in LATER_SETTINGS.items():
                group.setdefault(name, value)
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._stepper = Stepper()
        self._swapped = 0

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads a checkpoint; settings that it does not contain keep their values.

        Args:
            state_dict: of RangerLite, 1.0.x included, or of torch's RAdam, after which slow weights start from the
                current weights.

        Raises:
            RuntimeError: called inside ``slow_weights()``.
            ValueError: the groups do not match, or a hyper-parameter lies outside its interval.
        """
        self._refuse_while_swapped("load_state_dict()")
        groups = state_dict["param_groups"]
        if len(groups) == len(self.param_groups):
            kept = [{n: own[n] for n in LATER_SETTINGS} for own in self.param_groups]
            groups = [{**old, **new} for old, new in zip(kept, groups, strict=True)]
            for group in groups:
                check_group({**self.defaults, **group})
        super().load_state_dict({**state_dict, "param_groups": groups})

    @_use_grad_for_differentiable
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes one step.

        Args:
            closure: recomputes the loss and its gradients; called once, with gradients enabled.

        Returns:
            The result of ``closure``, or None.

        Raises:
            RuntimeError: called inside ``slow_weights()``, or a gradient is sparse.
        """
        self._refuse_while_swapped("step()")
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._refuse_gradients()
        scaling = GradScaling(getattr(self, "grad_scale", None), getattr(self, "found_inf", None))
        for group in self.param_groups:
            batch = Batch.empty()
            has_complex = self._init_group(group, *batch)
            if batch.theta:
                self._stepper.step(as_real_local(batch, has_complex), group, scaling)
        return loss

    @contextmanager
    def slow_weights(self) -> Generator[None]:
        """Puts the slow weights φ into the parameters, for evaluation, and then restores the fast ones to the bit.

        Inside the block ``model.state_dict()`` returns the slow weights, and this optimizer's ``state_dict()`` the same
        as outside. A parameter that has not been stepped has no φ and keeps its value. Values written inside the block
        to parameters with φ are lost at its end. Blocks can be nested; the outermost one restores.

        Returns:
            A context manager, for ``with``.

        Raises:
            RuntimeError: from ``step()`` or ``load_state_dict()`` inside the block.

        >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = RangerLite([weight], lr=0.1, lookahead_steps=5)
        >>> for _ in range(3):
        ...     weight.grad = torch.tensor([1.0])
        ...     optimizer.step()
        >>> with optimizer.slow_weights():
        ...     weight.item()
        1.0
        >>> round(weight.item(), 3)
        0.7
        """
        params = [p for group in self.param_groups for p in group["params"] if "cached_params" in self.state.get(p, {})]
        if self._swapped:
            params = []
        with swapped_in(params, [self.state[p]["cached_params"] for p in params]):
            self._swapped += 1
            try:
                yield
            finally:
                self._swapped -= 1

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Returns whether a GradScaler leaves unscaling and overflows to ``step``."""
        return all(group["fused"] for group in self.param_groups)

    def _refuse_while_swapped(self, what: str) -> None:
        if self._swapped:
            raise RuntimeError(f"{what} must not be called inside slow_weights(), leave the block first")

    def _refuse_gradients(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                if p.grad.is_sparse:
                    raise RuntimeError("RangerLite does not support sparse gradients, use torch.optim.SparseAdam")
                if group["fused"] and p.device.type not in ("cpu", "cuda"):
                    raise RuntimeError(FUSED_WANTS.format(p.dtype, p.device))

    def _init_group(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, group: dict[str, Any], *columns: list[Tensor]
    ) -> bool:
        """Fills a batch's lists with the tensors of parameters that have a gradient, and makes the state they lack."""
        batch = Batch(*columns)
        has_complex = super()._init_group(  # type: ignore[no-untyped-call]
            group, batch.theta, batch.grad, batch.m, batch.v, batch.step
        )
        for i, p in enumerate(batch.theta):
            state = self.state[p]
            if "cached_params" not in state:
                source = p if group["differentiable"] else p.detach()
                state["cached_params"] = source.clone(memory_format=torch.preserve_format)
            if p.is_cuda and state["step"].is_cpu and is_fused(group, p.device, p.dtype.to_real()):
                state["step"] = batch.step[i] = state["step"].to(p.device)
            batch.phi.append(state["cached_params"])
            if group["lookahead_momentum"] == "pullback":
                if "cached_exp_avg" not in state:
                    state["cached_exp_avg"] = state["exp_avg"].detach().clone(memory_format=torch.preserve_format)
                batch.mu.append(state["cached_exp_avg"])
        return bool(has_complex)
