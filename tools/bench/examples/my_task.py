"""A task of your own: tell edible from poisonous by a rule that the network must find. Run `bench compare my_task.py`.

Replace the data by yours; nothing else is needed.
"""

import torch
from bench.compare import UserTask
from torch import nn


def data(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points in ten dimensions; the class is the sign of a product of two of them."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 10, generator=generator)
    return x, (x[:, 0] * x[:, 3] > 0).long()


def accuracy(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """Share of right answers."""
    return (outputs.argmax(1) == targets).float().mean().item()


def task(seed: int) -> UserTask:
    """Torch's seed is set to ``seed`` before this is called, so a model built here differs from seed to seed."""
    return UserTask(
        model=nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 2)),
        train=data(4000, seed=1),
        validation=data(1000, seed=2),
        test=data(2000, seed=3),
        loss=nn.functional.cross_entropy,
        metric=accuracy,
        better="higher",
        metric_name="accuracy",
    )
