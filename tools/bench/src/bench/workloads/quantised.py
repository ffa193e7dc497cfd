"""int4-mnist: weights rounded to 15 levels, with accuracy as fitness, whose gradient is zero almost everywhere."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.records.models import Family
from bench.tensors import number, outputs, seeded, tensor_of
from bench.workloads.base import Budget, GradientTask, PopulationTask, Task, Workload, batches, evaluating
from bench.workloads.data import mnist5k

LEVELS = 7  # -7 … 7


def quantise(weight: Tensor) -> Tensor:
    """Rounds each matrix of (…, rows, columns) to 15 levels of its own scale."""
    scale = weight.abs().amax(dim=(-2, -1), keepdim=True) / LEVELS
    return (weight / scale.clamp_min(1e-12)).round().clamp(-LEVELS, LEVELS) * scale


class StraightThrough(torch.autograd.Function):
    """Quantises forwards, passes the gradient on unchanged backwards."""

    @staticmethod
    def forward(ctx: object, weight: Tensor) -> Tensor:
        """The rounded matrix."""
        return quantise(weight)

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        """The gradient as it came."""
        return gradients[0]


class Int4Net(nn.Module):
    """196-32-10 with weights of 4 bits."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(196, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of (batch, 196) images."""
        rounded = [StraightThrough.apply(layer.weight) for layer in (self.first, self.second)]
        hidden = functional.relu(functional.linear(x, rounded[0], self.first.bias))
        return functional.linear(hidden, rounded[1], self.second.bias)


def population_logits(x: Tensor, members: Mapping[str, Tensor]) -> Tensor:
    """Logits (members, batch, 10) of a stacked population."""
    hidden = x @ quantise(members["first.weight"]).mT + members["first.bias"][:, None]
    return functional.relu(hidden) @ quantise(members["second.weight"]).mT + members["second.bias"][:, None]


def build(family: Family, budget: Budget, seed: int, device: str) -> Task:
    """The task of one seed, for an evolution strategy or for the straight-through reference."""
    images, labels, split = mnist5k.load()
    x = functional.avg_pool2d(tensor_of(images), 2).flatten(1).to(device)
    y = tensor_of(labels).to(device)
    order = tensor_of(batches(split.train, budget.steps, budget.batch, seed)).to(device)
    with seeded(seed):
        model = Int4Net().to(device)

    def accuracy(rows: Tensor) -> float:
        with evaluating(model):
            return number((outputs(model, x[rows]).argmax(1) == y[rows]).float().mean())

    def loss(step: int) -> Tensor:
        return functional.cross_entropy(model(x[order[step]]), y[order[step]])

    def fitness(members: Mapping[str, Tensor], generation: int) -> Tensor:
        rows = order[generation]
        return (population_logits(x[rows], members).argmax(-1) == y[rows]).float().mean(-1)

    parts = [tensor_of(part).to(device) for part in (split.validation, split.test)]
    validate, test = (partial(accuracy, part) for part in parts)
    if family == "gradient":
        return GradientTask(model, loss, validate, test, budget.batch)
    return PopulationTask(model, fitness, validate, test, budget.batch)


WORKLOAD = Workload(
    id="int4-mnist",
    title="4-bit digits",
    question="Can it train a network through its accuracy alone, where there is no gradient?",
    metric="accuracy",
    better="higher",
    budgets={
        "smoke": {"es": Budget(12, 128, 3), "gradient": Budget(30, 128, 3)},
        "quick": {"es": Budget(150, 128, 10), "gradient": Budget(150, 128, 10)},
        "full": {"es": Budget(300, 128, 20), "gradient": Budget(300, 128, 20)},
        "paper": {"es": Budget(2000, 256, 40), "gradient": Budget(2000, 256, 40)},
    },
    build=build,
    sources=(mnist5k.SOURCE,),
    only={"gradient": ("adamw",)},
)
