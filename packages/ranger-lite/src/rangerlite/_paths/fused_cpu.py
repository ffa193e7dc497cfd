"""Hands a batch to the C++ kernel: one call, one pass over memory."""

from typing import Any

import torch
from torch import Tensor

from .._batch import Batch
from .._lookahead import MOMENTA, LookaheadConfig
from .._radam import RAdamConfig
from .._settings import GradScaling
from .build import load_kernel


def step_on_cpu(batch: Batch, radam: RAdamConfig, lookahead: LookaheadConfig, scaling: GradScaling) -> list[int]:
    """Steps every parameter that the kernel can take, and returns the indices of the others, left untouched.

    Args:
        batch: tensors on the CPU; ``phi`` is needed at every step.
        radam: RAdam's settings.
        lookahead: Lookahead's settings.
        scaling: the scale is taken out of the gradients; a non-finite one makes the call change nothing.

    Raises:
        RuntimeError: the kernel cannot be built here.
    """
    load_kernel()
    kernel: Any = torch.ops.rangerlite.step_
    lr, rate = (radam.eta, 0.0) if isinstance(radam.eta, Tensor) else (None, float(radam.eta))
    numbers = [rate, radam.beta1, radam.beta2, radam.epsilon, radam.weight_decay, lookahead.alpha]
    flags = [lookahead.k, MOMENTA.index(lookahead.momentum), int(radam.decoupled), int(radam.maximize)]
    left: list[int] = kernel(*batch, lr, *scaling, [float(x) for x in numbers], flags)
    return left
