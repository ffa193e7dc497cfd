"""wide-mnist: a network of 256 and 256 units trained through its accuracy, by evolution alone.

Wide enough that a member's dense noise costs more than its forward pass; low-rank noise is never formed here.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.records.models import Family
from bench.tensors import number, outputs, seeded, tensor_of
from bench.workloads.base import Budget, PopulationTask, Task, Workload, batches, evaluating
from bench.workloads.data import mnist5k

WIDTH, LAYERS = 256, ("0", "2", "4")


def network() -> nn.Module:
    """Returns 784-256-256-10, 269 k parameters."""
    return nn.Sequential(nn.Linear(784, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10))


def population_logits(x: Tensor, members: Mapping[str, Tensor]) -> Tensor:
    """Returns logits (members, batch, 10) of a stacked population."""
    hidden = x
    for layer in LAYERS:
        hidden = hidden @ members[f"{layer}.weight"].mT + members[f"{layer}.bias"][:, None]
        hidden = hidden if layer == LAYERS[-1] else functional.relu(hidden)
    return hidden


def mistakes(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the share of wrong answers, which has no gradient."""
    return (logits.argmax(-1) != labels).to(torch.float32).mean(-1)


def build(family: Family, budget: Budget, seed: int, device: str) -> Task:
    """Returns the task of one seed."""
    images, labels, split = mnist5k.load()
    x, y = tensor_of(images).flatten(1).to(device), tensor_of(labels).to(device)
    order = tensor_of(batches(split.train, budget.steps, budget.batch, seed)).to(device)
    with seeded(seed):
        model = network().to(device)

    def accuracy(rows: Tensor) -> float:
        with evaluating(model):
            return 1 - number(mistakes(outputs(model, x[rows]), y[rows]))

    def fitness(members: Mapping[str, Tensor], generation: int) -> Tensor:
        rows = order[generation]
        return -mistakes(population_logits(x[rows], members), y[rows])

    def batch(generation: int) -> tuple[Tensor, Callable[[Tensor, Tensor], Tensor], Tensor]:
        rows = order[generation]
        return x[rows], mistakes, y[rows]

    validate, test = (partial(accuracy, tensor_of(part).to(device)) for part in (split.validation, split.test))
    return PopulationTask(model, fitness, validate, test, budget.batch, batch=batch)


WORKLOAD = Workload(
    id="wide-mnist",
    title="Digits without a gradient, 256 wide",
    question="Is low-rank noise as good as dense noise, at a fraction of the time, once matrices are large?",
    metric="accuracy",
    better="higher",
    budgets={
        "smoke": {"es": Budget(4, 128, 2)},
        "quick": {"es": Budget(60, 128, 10)},
        "full": {"es": Budget(200, 128, 20)},
        "paper": {"es": Budget(1000, 256, 40)},
    },
    build=build,
    sources=(mnist5k.SOURCE,),
    margin=0.01,
)
