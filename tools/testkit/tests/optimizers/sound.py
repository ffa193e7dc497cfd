"""Optimizers that pass every check: one that checks its settings, one that wants the loss, one without gradients."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, AdamW, Optimizer

INTERVALS = {"lr": "[0, inf)", "betas[0]": "[0, 1)", "betas[1]": "[0, 1)", "every": "[1, inf)", "power": "(0, 1]"}


class Checked(Optimizer):
    """Momentum whose every setting is checked, in every group, before anything is written."""

    def __init__(self, params, lr=0.05, betas=(0.9, 0.5), every=1, power=1.0):
        super().__init__(params, {"lr": lr, "betas": betas, "every": every, "power": power})

    def add_param_group(self, param_group):
        settings = {**self.defaults, **param_group}
        for name, value in (("lr", settings["lr"]), *(("betas", beta) for beta in settings["betas"])):
            if not 0 <= value < (math.inf if name == "lr" else 1):
                raise ValueError(f"{name} must be finite and in its interval, got {value}")
        if not isinstance(settings["every"], int) or settings["every"] < 1:
            raise ValueError(f"every must be an integer of at least 1, got {settings['every']}")
        if not 0 < settings["power"] <= 1:
            raise ValueError(f"power must be in (0, 1], got {settings['power']}")
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        pairs = [(group, p) for group in self.param_groups for p in group["params"] if p.grad is not None]
        if any(p.grad.is_sparse for _, p in pairs):
            raise RuntimeError("Checked takes no sparse gradients")
        for group, p in pairs:
            state = self.state[p]
            fast, slow = (state.setdefault(name, torch.zeros_like(p)) for name in ("fast", "slow"))
            for average, beta in zip((fast, slow), group["betas"], strict=True):
                average.lerp_(p.grad, 1 - beta)
            p.sub_((fast + slow).mul_(group["lr"] * group["power"] / group["every"]))
        return loss


class NoisyFromTheGlobalStream(AdamW):
    """Adds noise that it draws from torch's global stream, as its documentation says."""

    @torch.no_grad()
    def step(self, closure=None):
        loss = super().step(closure)
        for p in [p for group in self.param_groups for p in group["params"] if p.grad is not None]:
            real = torch.view_as_real(p) if p.is_complex() else p
            real.add_(1e-3 * torch.randn(real.shape).to(real))
        return loss


class LossDriven(Optimizer):
    """A wrapper that makes the base's rate smaller, for one step, while losses are large."""

    def __init__(self, base: Optimizer, *, slope: float = 1.0) -> None:
        if not 0 <= slope < math.inf:
            raise ValueError(f"slope must be in [0, inf), got {slope}")
        self.base = base
        self.slope = slope
        self.factor = 1.0
        super().__init__(base.param_groups, base.defaults)
        self.param_groups, self.state = base.param_groups, base.state

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__.copy()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __repr__(self) -> str:
        return f"LossDriven(slope={self.slope}, base={self.base!r})"

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        if hasattr(self, "param_groups") and self.param_groups is self.base.param_groups:
            self.base.add_param_group(param_group)
        else:
            super().add_param_group(param_group)

    def feed(self, loss: Tensor) -> None:
        mean = loss.clone()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(mean)
        self.factor = 1 / (1 + self.slope * float(mean))

    def step(self, closure=None):
        rates = [group["lr"] for group in self.param_groups]
        try:
            for group, rate in zip(self.param_groups, rates, strict=True):
                group["lr"] = rate * self.factor
            return self.base.step(closure)
        finally:
            for group, rate in zip(self.param_groups, rates, strict=True):
                group["lr"] = rate

    def state_dict(self) -> dict[str, Any]:
        return {**self.base.state_dict(), "factor": self.factor}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.base.load_state_dict({key: value for key, value in state_dict.items() if key != "factor"})
        self.param_groups, self.state = self.base.param_groups, self.base.state
        self.factor = state_dict["factor"]


class RandomSearch:
    """A trial without gradients: keeps the better of where it is and a place nearby."""

    def __init__(self, seed: int = 5, width: float = 0.1) -> None:
        self.parameters = [torch.ones(3), torch.zeros(2, 2)]
        self.width = width
        self.generator = torch.Generator().manual_seed(seed)

    def step(self, t: int) -> None:
        places = [p + self.width * torch.randn(p.shape, generator=self.generator) for p in self.parameters]
        if self._height(places, t) < self._height(self.parameters, t):
            for parameter, place in zip(self.parameters, places, strict=True):
                parameter.copy_(place)

    def state_dict(self) -> dict[str, Any]:
        return {"width": self.width, "generator": self.generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.width = state_dict["width"]
        self.generator.set_state(state_dict["generator"])

    def _height(self, places: list[Tensor], t: int) -> float:
        return sum(float((place - math.cos(t)).square().sum()) for place in places)

    def __deepcopy__(self, memo: dict[int, Any]) -> "RandomSearch":
        twin = RandomSearch(width=self.width)
        twin.parameters = [parameter.clone() for parameter in self.parameters]
        twin.generator.set_state(self.generator.get_state())
        return twin


def driven(params: Any, **settings: Any) -> LossDriven:
    """Return the wrapper around SGD with momentum."""
    return LossDriven(SGD(params, lr=0.05, momentum=0.9), **settings)
