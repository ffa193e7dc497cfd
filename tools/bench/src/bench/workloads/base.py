"""The definition of a workload: a question, a budget per profile, and a task built from a seed.

A seed fixes the initial weights, the order of batches and the label noise for every method: runs are pairs.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from bench.records.models import Family
from bench.workloads.data.source import Source
from bench.workloads.data.splits import Ints


@dataclass(frozen=True)
class Budget:
    """How long a run is: optimizer steps (ES: generations), rows per step, evaluations along the way."""

    steps: int
    batch: int
    evals: int
    rows: int = 0  # of validation; 0 is what the workload takes by itself

    def short(self, share: int) -> "Budget":
        """Returns the budget of a run of a ``share``-th of the length."""
        return replace(self, steps=max(1, self.steps // share), evals=max(1, self.evals // share))


@dataclass
class GradientTask:
    """A model, and the training loss of batch number i."""

    model: nn.Module
    loss: Callable[[int], Tensor]
    validate: Callable[[], float]
    test: Callable[[], float]
    samples_per_step: int
    reward: Callable[[], float | None] = lambda: None  # mean return of the episodes the last loss saw end
    env_steps: Callable[[], int] = lambda: 0


@dataclass
class PopulationTask:
    """A model, and the fitness (higher is better) of a whole population, stacked parameter by parameter."""

    model: nn.Module
    fitness: Callable[[Mapping[str, Tensor], int], Tensor]  # generation number last; returns one number per member
    validate: Callable[[], float]
    test: Callable[[], float]
    samples_per_member: int
    env_steps: Callable[[], int] = lambda: 0
    # where all members see one batch: its inputs, the loss of one member's outputs, its targets
    batch: Callable[[int], tuple[Tensor, Callable[[Tensor, Tensor], Tensor], Tensor]] | None = None


Task = GradientTask | PopulationTask


@dataclass(frozen=True)
class Workload:
    """One task of the benchmark."""

    id: str
    title: str
    question: str  # what it can decide, in a sentence for the report
    metric: str
    better: Literal["higher", "lower"]
    budgets: Mapping[str, Mapping[Family, Budget]]  # profile, then family
    build: Callable[[Family, Budget, int, str], Task]  # family, budget, seed, device
    sources: tuple[Source, ...] = ()
    rewards: bool = False  # reward-driven: only methods that read a reward, and the reference, take part
    only: Mapping[Family, tuple[str, ...]] = field(default_factory=dict[Family, tuple[str, ...]])
    lr_factor: float = 1.0  # on the learning rates that every method is tuned over
    extra: str = ""  # the optional dependency it needs
    margin: float = 0.01  # the smallest difference of the metric that matters, fixed before the runs
    version: int = 2  # raised when the same budget would no longer mean the same task
    short: int = 4  # stage 1 of the search runs this share of the length: 4 is a quarter, 1 all of it
    robustness: bool = False  # whether full runs every method over the rate axis here

    def fingerprints(self) -> dict[str, str]:
        """Checksums that enter the run's key."""
        return {source.id: source.fingerprint() for source in self.sources}


def batches(rows: Ints, steps: int, batch: int, seed: int) -> Ints:
    """Row numbers (steps, batch): passes over ``rows`` in an order that the seed alone decides."""
    generator = np.random.Generator(np.random.PCG64([seed, 3]))
    passes = -(-steps * batch // len(rows))
    order = np.concatenate([generator.permutation(rows) for _ in range(passes)])
    return order[: steps * batch].reshape(steps, batch)


@contextmanager
def evaluating(model: nn.Module) -> Generator[None]:
    """Evaluation mode without gradients, and the mode back as it was."""
    was = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was)
