"""The baselines, each from the package that publishes it."""

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bench.methods.driver import Driver
from bench.methods.method import CONSTANT, COSINE, Box, Method, Params, Setting
from bench.tensors import advance


def plain(path: str, **fixed: object) -> Callable[[nn.Module, Params, Setting], Driver]:
    """Returns what makes the optimizer of a dotted path, its knobs the learning rate and weight decay ``wd``."""
    module, name = path.rsplit(".", 1)

    def make(model: nn.Module, params: Params, setting: Setting) -> Driver:
        optimizer: Any = getattr(importlib.import_module(module), name)
        return Driver(optimizer(model.parameters(), lr=float(params["lr"]), weight_decay=float(params["wd"]), **fixed))

    return make


def adamw(model: nn.Module, params: Params, setting: Setting) -> Driver:
    """Torch's AdamW; ``weight_decay`` is its knob."""
    return Driver(base_adamw(model, params))


def base_adamw(model: nn.Module, params: Params) -> torch.optim.AdamW:
    """The base that every wrapper wraps, tuned alike."""
    return torch.optim.AdamW(
        model.parameters(),
        lr=float(params["lr"]),
        betas=(0.9, float(params.get("beta2", 0.999))),
        weight_decay=float(params.get("wd", 0.01)),
    )


class LookaheadDriver(Driver):
    """pytorch-optimizer's Lookahead: the schedule and the state are those of the optimizer inside."""

    def __init__(self, inner: torch.optim.Optimizer, outer: Any) -> None:
        super().__init__(outer)
        self._inner = inner

    @property
    def base(self) -> torch.optim.Optimizer:
        """The optimizer inside."""
        return self._inner

    def evaluating(self, on: bool) -> None:
        """Swaps the slow weights in, or back out."""
        if on:
            self.optimizer.backup_and_load_cache()
        else:
            self.optimizer.clear_and_load_backup()

    def state_bytes(self) -> int:
        """Moments of the inner one and the slow weights of the outer one."""
        held: list[Tensor] = [p for group in self._inner.param_groups for p in group["params"]]
        return super().state_bytes() + sum(p.numel() * p.element_size() for p in held)


def lookahead(model: nn.Module, params: Params, setting: Setting) -> Driver:
    """Lookahead around torch's RAdam, read at its slow weights."""
    lookahead_class: Any = importlib.import_module("pytorch_optimizer.optimizer.lookahead").Lookahead
    inner = torch.optim.RAdam(model.parameters(), lr=float(params["lr"]))
    outer = lookahead_class(inner, k=int(params["k"]), alpha=0.5)
    return LookaheadDriver(inner, outer)


class ScheduleFreeDriver(Driver):
    """Schedule-free methods must be told when they are evaluated."""

    def evaluating(self, on: bool) -> None:
        """Swaps the averaged weights in, or back out."""
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


def muon(model: nn.Module, params: Params, setting: Setting) -> Driver:
    """Torch's Muon on the hidden matrices, AdamW on everything else, one rate for both."""
    hidden = hidden_matrices(model)
    chosen = {id(p) for p in hidden}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    lr, wd = float(params["lr"]), float(params["wd"])
    parts: list[torch.optim.Optimizer] = [torch.optim.AdamW(rest, lr=lr, weight_decay=wd)]
    if hidden:
        muon_class: Any = torch.optim.Muon
        parts.append(muon_class(hidden, lr=lr, weight_decay=wd, adjust_lr_fn="match_rms_adamw"))
    return SeveralDriver(parts)


def hidden_matrices(model: nn.Module) -> list[Tensor]:
    """Returns the weights of the linear layers but the last: what Muon is meant for."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    return [layer.weight for layer in layers[:-1]]


class SeveralDriver(Driver):
    """Several optimizers, each with its own parameters, that step together."""

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        super().__init__(parts[0])
        self._parts = parts

    def scheduled(self) -> list[torch.optim.Optimizer]:
        """Returns all of them."""
        return self._parts

    def step(self, loss: Tensor) -> None:
        """Steps each of them."""
        for part in self._parts:
            advance(part)

    def zero_grad(self) -> None:
        """Forgets the gradients of all."""
        for part in self._parts:
            part.zero_grad()

    def state_bytes(self) -> int:
        """Returns the bytes of all."""
        return sum(Driver(part).state_bytes() for part in self._parts)


def ademamix(model: nn.Module, params: Params, setting: Setting) -> Driver:
    """AdEMAMix of pytorch-optimizer, its slow average warmed up over the run as its authors advise."""
    ademamix_class: Any = importlib.import_module("pytorch_optimizer").AdEMAMix
    optimizer = ademamix_class(
        model.parameters(),
        lr=float(params["lr"]),
        betas=(0.9, 0.999, float(params["beta3"])),
        alpha=float(params["alpha"]),
        t_alpha_beta3=setting.steps,
        weight_decay=0.01,
        weight_decouple=True,
    )
    return Driver(optimizer)


ADAM_RATES = (3e-5, 3e-2)
ADAMW_BOX = Box(
    ADAM_RATES, {"lr": 1e-3, "wd": 0.01, "schedule": COSINE}, {"wd": (0.0, 0.01, 0.1), "beta2": (0.999, 0.95)}
)

PUBLISHED = [
    Method("adamw", "AdamW", "torch", "gradient", adamw, ADAMW_BOX),
    Method(
        "sgd",
        "SGD + Nesterov",
        "torch",
        "gradient",
        plain("torch.optim.SGD", momentum=0.9, nesterov=True),
        Box((1e-3, 1.0), {"lr": 0.1, "wd": 0.0, "schedule": COSINE}, {"wd": (0.0, 1e-4, 5e-4)}),
    ),
    Method(
        "lion",
        "Lion",
        "lion-pytorch",
        "gradient",
        plain("lion_pytorch.Lion"),
        Box((1e-5, 1e-2), {"lr": 1e-4, "wd": 0.0, "schedule": COSINE}, {"wd": (0.0, 0.1, 1.0)}),
    ),
    Method(
        "radam",
        "RAdam",
        "torch",
        "gradient",
        plain("torch.optim.RAdam"),
        Box((1e-4, 1e-1), {"lr": 1e-3, "wd": 0.0, "schedule": COSINE}, {"wd": (0.0, 1e-4, 1e-2)}),
    ),
    Method(
        "lookahead-radam",
        "Lookahead(RAdam)",
        "pytorch_optimizer",
        "gradient",
        lookahead,
        Box(
            (1e-4, 1e-1),
            {"lr": 1e-3, "k": 5, "schedule": COSINE},
            {"k": (5, 10)},
            fixed={"weights": "slow"},
        ),
    ),
    Method(
        "schedulefree",
        "Schedule-free AdamW",
        "schedulefree",
        "gradient",
        schedule_free,
        Box((1e-4, 1e-1), {"lr": 2.5e-3, "wd": 0.0, "schedule": CONSTANT}, {"wd": (0.0, 0.01, 0.1)}, (CONSTANT,)),
    ),
    Method(
        "prodigy",
        "Prodigy",
        "prodigyopt",
        "gradient",
        prodigy,
        Box((0.03, 30.0), {"lr": 1.0, "d_coef": 1.0, "schedule": COSINE}, {"d_coef": (0.5, 1.0, 2.0)}),
    ),
    Method(
        "muon",
        "Muon, AdamW beside it",
        "torch",
        "gradient",
        muon,
        Box((1e-4, 1e-1), {"lr": 1e-3, "wd": 0.1, "schedule": COSINE}, {"wd": (0.0, 0.01, 0.1)}),
    ),
    Method(
        "soap",
        "SOAP",
        "pytorch_optimizer",
        "gradient",
        plain("pytorch_optimizer.SOAP", max_precondition_dim=1024),
        Box((1e-4, 1e-1), {"lr": 3e-3, "wd": 0.01, "schedule": COSINE}, {"wd": (0.0, 0.01, 0.1)}),
    ),
    Method(
        "ademamix",
        "AdEMAMix",
        "pytorch_optimizer",
        "gradient",
        ademamix,
        Box(
            ADAM_RATES,
            {"lr": 1e-3, "alpha": 5.0, "beta3": 0.9999, "schedule": COSINE},
            {"alpha": (2.0, 5.0, 8.0), "beta3": (0.99, 0.999, 0.9999)},
        ),
    ),
]
