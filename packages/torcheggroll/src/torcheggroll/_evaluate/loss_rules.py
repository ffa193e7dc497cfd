"""Losses that torch evaluates slowly for many members at once, and how they are evaluated instead.

Along a last dimension of few classes torch takes exponentials one by one. With the classes in front it takes a vector
of samples at a time: the same function, and what follows it stays torch's own.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_FEW = 16  # numbers of the widest vector: fewer classes do not fill one
_DTYPES = (torch.float32, torch.float64)


def cross_entropy_rule(
    _: object,
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """``functional.cross_entropy``, with the logarithms of few classes taken over many samples at once."""
    classes = target.dim() == 1 and not target.is_floating_point()
    if input.dim() != 2 or input.shape[1] >= _FEW or input.dtype not in _DTYPES or label_smoothing or not classes:
        return functional.cross_entropy(
            input, target, weight, size_average, ignore_index, reduce, reduction, label_smoothing
        )
    logarithms = torch.log_softmax(input.t().contiguous(), 0).t()
    return functional.nll_loss(logarithms, target, weight, size_average, ignore_index, reduce, reduction)


LOSS_RULES: dict[Any, Callable[..., Any]] = {functional.cross_entropy: cross_entropy_rule}
