"""The interface between the training loop and a method: one object per run that hides the method's specifics."""

from typing import Any

import torch
from torch import Tensor

from bench.workloads.base import PopulationTask


class Driver:
    """Drives a plain optimizer; special methods override what they need."""

    def __init__(self, optimizer: Any) -> None:
        """``optimizer``: anything with ``step`` and ``zero_grad``."""
        self.optimizer = optimizer

    @property
    def base(self) -> torch.optim.Optimizer:
        """The optimizer that holds the state."""
        optimizer: torch.optim.Optimizer = self.optimizer
        return optimizer

    def scheduled(self) -> list[torch.optim.Optimizer]:
        """Returns the optimizers whose rates a schedule sets."""
        return [self.base]

    def before(self, step: int) -> None:
        """Called before the forward pass."""

    def step(self, loss: Tensor) -> None:
        """Called after the backward pass."""
        self.optimizer.step()

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        self.base.zero_grad()

    def rewarded(self, reward: float) -> None:
        """Called before ``step`` where the task pays a reward."""

    def evaluating(self, on: bool) -> None:
        """Called around each evaluation."""

    def knobs(self) -> dict[str, float]:
        """What the method has set by itself, traced at each evaluation."""
        return {}

    def decisions(self) -> int | None:
        """How often a controller has decided; None for a method that decides nothing."""
        return None

    def arms(self) -> dict[str, int]:
        """What it decided, and how often."""
        return {}

    def state_bytes(self) -> int:
        """Bytes of the tensors it keeps beside the model."""
        return sum(map(_bytes, self.base.state.values()))


def _opened(value: object) -> Any:
    return value


def _bytes(value: object) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    opened = _opened(value)
    if isinstance(value, dict):
        return sum(_bytes(inner) for inner in opened.values())
    if isinstance(value, list | tuple):
        return sum(_bytes(inner) for inner in opened)
    return 0


class EvolutionDriver:
    """Drives an evolution strategy: one call per generation."""

    population = 64

    def generation(self, task: PopulationTask, number: int) -> float:
        """Evaluates a population, updates the model, returns the mean fitness."""
        raise TypeError(f"{type(self).__name__} must define generation")

    def knobs(self) -> dict[str, float]:
        """As `Driver.knobs`."""
        return {}

    def state_bytes(self) -> int:
        """Bytes of the tensors it keeps beside the model."""
        return 0
