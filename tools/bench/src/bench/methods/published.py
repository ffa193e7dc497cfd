"""The baselines, each from the package that publishes it."""

import importlib
from typing import Any

import torch
from torch import Tensor, nn

from bench.methods.driver import Driver
from bench.methods.method import Method, Params, Setting
from bench.tensors import advance, number


def adamw(model: nn.Module, params: Params, setting: Setting) -> Driver:
    """Torch's AdamW; ``weight_decay`` is its knob."""
    return Driver(base_adamw(model, params))


def base_adamw(model: nn.Module, params: Params) -> torch.optim.AdamW:
    """The base that every wrapper wraps, tuned alike."""
    return torch.optim.AdamW(model.parameters(), lr=float(params["lr"]), weight_decay=float(params.get("wd", 0.01)))


def sgd(model: nn.Module, params: Params, setting: Setting) -> Driver:
    """SGD with Nesterov momentum 0.9."""
    optimizer = torch.optim.SGD(
        model.parameters(), lr=float(params["lr"]), momentum=0.9, nesterov=True, weight_decay=float(params["wd"])
    )
    return Driver(optimizer)


def lion(model: nn.Module, params: Params, setting: Setting) -> Driver:
    """lion-pytorch's Lion."""
    lion_class: Any = importlib.import_module("lion_pytorch").Lion
    return Driver(lion_class(model.parameters(), lr=float(params["lr"]), weight_decay=float(params["wd"])))


def radam(model: nn.Module, params: Params, setting: Setting) -> Driver:
    """Torch's RAdam."""
    return Driver(torch.optim.RAdam(model.parameters(), lr=float(params["lr"]), weight_decay=float(params["wd"])))


class LookaheadDriver(Driver):
    """pytorch-optimizer's Lookahead: the schedule and the state are those of the optimizer inside."""

    def __init__(self, inner: torch.optim.Optimizer, outer: Any) -> None:
        super().__init__(outer)
        self._inner = inner

    @property
    def base(self) -> torch.optim.Optimizer:
        """The optimizer inside."""
        return self._inner

    def state_bytes(self) -> int:
        """Moments of the inner one and the slow weights of the outer one."""
        held: list[Tensor] = [p for group in self._inner.param_groups for p in group["params"]]
        return super().state_bytes() + sum(p.numel() * p.element_size() for p in held)


def lookahead(model: nn.Module, params: Params, setting: Setting) -> Driver:
    """Lookahead around torch's RAdam."""
    lookahead_class: Any = importlib.import_module("pytorch_optimizer.optimizer.lookahead").Lookahead
    inner = torch.optim.RAdam(model.parameters(), lr=float(params["lr"]))
    return LookaheadDriver(inner, lookahead_class(inner, k=int(params["k"]), alpha=0.5))


class ScheduleFreeDriver(Driver):
    """Schedule-free methods must be told when they are evaluated."""

    def evaluating(self, on: bool) -> None:
        """Swap the averaged weights in, or back out."""
        if on:
            self.optimizer.eval()
        else:
            self.optimizer.train()


def schedule_free(model: nn.Module, params: Params, setting: Setting) -> Driver:
    """Schedulefree's AdamW; its warm-up is a tenth of the run, as the common schedule's is."""
    schedule_free_class: Any = importlib.import_module("schedulefree").AdamWScheduleFree
    optimizer = schedule_free_class(
        model.parameters(),
        lr=float(params["lr"]),
        weight_decay=float(params["wd"]),
        warmup_steps=max(1, setting.steps // 10),
    )
    optimizer.train()
    return ScheduleFreeDriver(optimizer)


def prodigy(model: nn.Module, params: Params, setting: Setting) -> Driver:
    """Prodigyopt's Prodigy; lr multiplies its own estimate."""
    prodigy_class: Any = importlib.import_module("prodigyopt").Prodigy
    return Driver(prodigy_class(model.parameters(), lr=float(params["lr"]), d_coef=float(params["d_coef"])))


class PlateauDriver(Driver):
    """AdamW under torch's ReduceLROnPlateau, which reads the mean training loss forty times a run."""

    def __init__(self, optimizer: torch.optim.Optimizer, patience: int, every: int) -> None:
        super().__init__(optimizer)
        self._plateau: Any = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=patience)
        self._every, self._losses = every, list[Tensor]()
        self._arms = {"hold": 0, "cut": 0}

    def step(self, loss: Tensor) -> None:
        """Step; at the end of each stretch, let the schedule decide."""
        advance(self.base)
        self._losses.append(loss.detach())
        if len(self._losses) == self._every:
            before = self.base.param_groups[0]["lr"]
            self._plateau.step(number(torch.stack(self._losses).mean()))
            self._arms["cut" if self.base.param_groups[0]["lr"] < before else "hold"] += 1
            self._losses.clear()

    def knobs(self) -> dict[str, float]:
        """The learning rate."""
        return {"lr": float(self.base.param_groups[0]["lr"])}

    def decisions(self) -> int:
        """How often it was asked."""
        return sum(self._arms.values())

    def arms(self) -> dict[str, int]:
        """Held or cut."""
        return dict(self._arms)


def plateau(model: nn.Module, params: Params, setting: Setting) -> Driver:
    """AdamW + ReduceLROnPlateau."""
    return PlateauDriver(base_adamw(model, params), int(params["patience"]), max(1, setting.steps // 40))


SMALL, MIDDLE = (3e-4, 1e-3, 3e-3, 1e-2), (1e-3, 3e-3, 1e-2, 3e-2)

PUBLISHED = [
    Method("adamw", "AdamW", "torch", "gradient", adamw, SMALL, ("wd", 0.01, 0.1), {"lr": 1e-3}),
    Method("sgd", "SGD + Nesterov", "torch", "gradient", sgd, (0.01, 0.03, 0.1, 0.3), ("wd", 0.0, 5e-4), {"lr": 1e-3}),
    Method(
        "lion",
        "Lion",
        "lion-pytorch",
        "gradient",
        lion,
        (1e-4, 3e-4, 1e-3, 3e-3),
        ("wd", 0.0, 0.1),
        {"lr": 1e-4},
    ),
    Method("radam", "RAdam", "torch", "gradient", radam, MIDDLE, ("wd", 0.0, 1e-4), {"lr": 1e-3}),
    Method(
        "lookahead-radam",
        "Lookahead(RAdam)",
        "pytorch_optimizer",
        "gradient",
        lookahead,
        MIDDLE,
        ("k", 5, 10),
        {"lr": 1e-3},
    ),
    Method(
        "schedulefree",
        "Schedule-free AdamW",
        "schedulefree",
        "gradient",
        schedule_free,
        MIDDLE,
        ("wd", 0.0, 0.1),
        {"lr": 2.5e-3},
        cosine=False,
    ),
    Method(
        "prodigy",
        "Prodigy",
        "prodigyopt",
        "gradient",
        prodigy,
        (0.3, 1.0, 3.0, 10.0),
        ("d_coef", 1.0, 2.0),
        {"lr": 1.0},
    ),
    Method(
        "adamw-plateau",
        "AdamW + ReduceLROnPlateau",
        "torch",
        "gradient",
        plateau,
        SMALL,
        ("patience", 3, 1),
        {"lr": 1e-3, "patience": 10},
        cosine=False,
        controls=True,
    ),
]
