"""Learning-rate schedules, a knob like any other: f is the factor on the rate at step t of T.

    constant:  f = 1                                                                 (1)
    cosine:    f = (t + 1) / w for t < w = T/10, then ½ (1 + cos π (t - w)/(T - w))  (2)
    linear:    f = 1 - t/T                                                           (3)

Loshchilov and Hutter 2017 for the cosine, https://arxiv.org/abs/1608.03983
"""

import math
from collections.abc import Callable

import torch

from bench.methods.method import CONSTANT, COSINE, LINEAR, SCHEDULES


def factor(name: str, steps: int) -> Callable[[int], float]:
    """Returns f as a function of the step.

    Raises:
        ValueError: there is no schedule of that name.
    """
    warmup = max(1, steps // 10)

    def cosine(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))  # (2)

    def linear(step: int) -> float:
        return max(0.0, 1 - step / steps)  # (3)

    def constant(step: int) -> float:
        return 1.0  # (1)

    if name not in SCHEDULES:
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {name!r}")
    return {COSINE: cosine, LINEAR: linear, CONSTANT: constant}[name]


def schedule(name: str, optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LambdaLR | None:
    """Returns the schedule on an optimizer; None for a constant rate."""
    if name == CONSTANT:
        return None
    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor(name, steps))
