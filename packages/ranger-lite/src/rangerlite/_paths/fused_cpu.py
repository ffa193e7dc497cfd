"""Hand a group's tensors to the C++ kernel: one call, one pass over memory."""

from typing import Any

import torch
from torch import Tensor

from .._batch import Columns
from .._lookahead import MOMENTA, Lookahead
from .._radam import Settings
from .build import load_kernel


def step_on_cpu(
    columns: Columns, s: Settings, look: Lookahead, scale: Tensor | None, found: Tensor | None
) -> list[int]:
    """Step every row the kernel can and return the places of the others, which it has not touched.

    Args:
        columns: θ, g, m, v, step, φ, and μ, empty where the momentum is not pulled back.
        s: RAdam's settings.
        look: Lookahead's settings.
        scale: what the gradients were multiplied by, one element, or None.
        found: one element, not 0 if some gradient is not finite, which makes the call do nothing; or None.

    Raises:
        RuntimeError: the kernel cannot be built here.
    """
    load_kernel()
    kernel: Any = torch.ops.rangerlite.step_
    lr, rate = (s.eta, 0.0) if isinstance(s.eta, Tensor) else (None, float(s.eta))
    numbers = [rate, s.beta1, s.beta2, s.epsilon, s.weight_decay, look.alpha]
    flags = [look.k, MOMENTA.index(look.momentum), int(s.decoupled), int(s.maximize)]
    left: list[int] = kernel(*columns, lr, scale, found, [float(x) for x in numbers], flags)
    return left
