"""The least a task needs: a model, three parts of the data and a loss."""

import torch
from bench.compare import UserTask
from torch import nn


def part(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of three numbers; the target is their sum."""
    x = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
    return x, x.sum(1, keepdim=True)


def task(seed: int) -> UserTask:
    """A linear model, another for each seed."""
    return UserTask(
        nn.Linear(3, 1), train=part(64, 1), validation=part(16, 2), test=part(16, 3), loss=nn.functional.mse_loss
    )
