"""`bench compare my_task.py`: the same protocol on a task of your own.

Your file defines one function::

    from bench.compare import UserTask


    def task(seed: int) -> UserTask:
        model = ...  # built after torch's seed was set to ``seed``: same seed, same weights
        return UserTask(model, train=(x, y), validation=(xv, yv), test=(xt, yt), loss=cross_entropy, metric=accuracy)

Everything else (batches, tuning, seeds, pairing, report) is the bench's. ``tools/bench/examples/my_task.py`` is a
complete one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

Pair = tuple[Tensor, Tensor]


@dataclass
class UserTask:
    """Your task.

    Args:
        model: called as ``model(inputs)``.
        train: inputs and targets, first dimension the sample.
        validation: what tuning looks at.
        test: looked at once per final run.
        loss: ``loss(outputs, targets)``, a scalar to minimise.
        metric: ``metric(outputs, targets)``, a number to judge by; None takes the loss.
        better: whether a higher or a lower metric is better.
        metric_name: what the report calls it.

    >>> import torch
    >>> from torch.nn import Linear
    >>> from torch.nn.functional import mse_loss
    >>> def part(count, seed):
    ...     x = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
    ...     return x, x.sum(1, keepdim=True)
    >>> def task(seed):
    ...     return UserTask(Linear(3, 1), train=part(64, 1), validation=part(16, 2), test=part(16, 3), loss=mse_loss)
    >>> task(0).better
    'lower'
    """

    model: nn.Module
    train: Pair
    validation: Pair
    test: Pair
    loss: Callable[[Tensor, Tensor], Tensor]
    metric: Callable[[Tensor, Tensor], float] | None = None
    better: Literal["higher", "lower"] = "lower"
    metric_name: str = "loss"
