"""`bench compare my_task.py`: the same protocol on a task of your own.

Your file defines one function::

    from bench.compare import UserTask


    def task(seed: int) -> UserTask:
        model = ...  # built after torch's seed was set to ``seed``: same seed, same weights
        return UserTask(model, train=(x, y), validation=(xv, yv), test=(xt, yt), loss=cross_entropy, metric=accuracy)

Everything else (batches, tuning, seeds, pairing, report) is the bench's. ``bench compare --new csv`` writes a file to
start from, with data to try it on; ``image-folder``, ``text`` and ``rl`` are there too.
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
        margin: the smallest difference of the metric that matters to you, in its own unit; smaller ones are equivalent.

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
    margin: float = 0.01


@dataclass
class OnlineTask:
    """A task of yours that gathers its data while it trains, as reinforcement learning does.

    Args:
        model: what is trained; ``loss`` and the two evaluations use it.
        loss: ``loss(step)`` gathers data with the model as it is and returns the scalar to minimise.
        validate: what tuning looks at, a number; called without gradients, the model in evaluation mode.
        test: looked at once per final run, on other seeds than ``validate``.
        reward: the mean return of the episodes that ended in the last ``loss``, None where none did; methods that are
            steered by rewards need it.
        better: whether a higher or a lower metric is better.
        metric_name: what the report calls it.
        margin: the smallest difference of the metric that matters to you, in its own unit; smaller ones are equivalent.

    >>> import torch
    >>> model = torch.nn.Linear(1, 1)
    >>> def loss(step):
    ...     x = torch.full((4, 1), float(step))
    ...     return (model(x) - 2 * x).square().mean()
    >>> def error():
    ...     return abs(model.weight.item() - 2)
    >>> OnlineTask(model, loss, validate=error, test=error, better="lower", metric_name="error").margin
    0.01
    """

    model: nn.Module
    loss: Callable[[int], Tensor]
    validate: Callable[[], float]
    test: Callable[[], float]
    reward: Callable[[], float | None] | None = None
    better: Literal["higher", "lower"] = "higher"
    metric_name: str = "mean return"
    margin: float = 0.01
