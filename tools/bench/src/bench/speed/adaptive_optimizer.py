"""AdaptiveOptimizer beside the optimizer it wraps: its Python overhead per step, with every rule on."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from adaptive_optimizer import AdaptiveOptimizer
from torch import nn
from torch.optim import AdamW

from bench.speed.measure import Bar, NumberCase, SpeedCase

REFERENCE = "torch AdamW"
ADAPTED = "AdaptiveOptimizer(AdamW), every rule"
SIGNALS = "loss and reward every step"


def _filled(count: int, size: int, device: str) -> list[nn.Parameter]:
    draw = torch.Generator(device).manual_seed(0)
    params = [nn.Parameter(torch.randn(size, device=device, generator=draw)) for _ in range(count)]
    for p in params:
        p.grad = torch.randn(p.shape, device=device, generator=draw)
    return params


def candidates(count: int, size: int, device: str) -> dict[str, Callable[[], None]]:
    """Returns one step of plain AdamW, and one of the same AdamW with a loss and a reward fed before."""
    bare: Any = AdamW(_filled(count, size, device), lr=1e-6)
    opt = AdaptiveOptimizer(
        AdamW(_filled(count, size, device), lr=1e-6),
        lr_rule="trend+variance+cosine_restart",
        betas_rule=("relative", "variance"),
        wd_rule="trend",
        reward_rule="trend+scaling+variance",
    )
    losses = torch.rand(997, device=device).unbind()
    calls = iter(range(1 << 62))

    def adapted() -> None:
        call = next(calls)
        opt.step_loss(losses[call % 997])
        opt.step_reward(0.5 + (call % 13) / 13)
        opt.step()

    return {REFERENCE: bare.step, ADAPTED: adapted}


CASES: list[SpeedCase | NumberCase] = [
    SpeedCase(
        name=f"overhead of the Python, one small tensor, {SIGNALS}",
        package="adaptive-optimizer",
        make=partial(candidates, 1, 10),
        against=REFERENCE,
        bars=(Bar(ADAPTED, 60.0, "microseconds"),),
        devices=("cpu", "cuda"),
    ),
    SpeedCase(
        name=f"200 tensors, 10 M parameters, {SIGNALS}",
        package="adaptive-optimizer",
        make=partial(candidates, 200, 50_000),
        against=REFERENCE,
        bars=(Bar(ADAPTED, 2.0, "overhead percent"),),
        devices=("cpu", "cuda"),
    ),
]
