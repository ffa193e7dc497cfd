"""Trajectories: the parameters after each step of a run."""

from collections.abc import Iterable, Sequence

from torch import Tensor
from torch.optim import Optimizer

from testkit.contract import PLAIN
from testkit.problems import Problem
from testkit.sameness import difference
from testkit.trial import OptimizerTrial, Trial

Trajectory = list[list[Tensor]]
"""One entry per step, each with a copy of every parameter."""


def copies(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Returns a copy of each tensor, free of its graph."""
    return [tensor.detach().clone() for tensor in tensors]


def run(trial: Trial, steps: Iterable[int]) -> Trajectory:
    """Takes these steps, and returns the parameters after each."""
    trajectory: Trajectory = []
    for t in steps:
        trial.step(t)
        trajectory.append(copies(trial.parameters))
    return trajectory


def follow(optimizer: Optimizer, problem: Problem, steps: int) -> Trajectory:
    """Runs a plain optimizer on a problem for ``steps`` steps, and returns the parameters after each."""
    return run(OptimizerTrial(problem, optimizer, PLAIN), range(steps))


def parting(came: Sequence[Sequence[Tensor]], expected: Sequence[Sequence[Tensor]], first: int = 0) -> str:
    """Says at which step, counted from ``first``, two trajectories first part; ``""`` where they never do."""
    for t, (here, there) in enumerate(zip(came, expected, strict=True), start=first):
        if where := difference(list(here), list(there), "parameter"):
            return f"at step {t}, {where}"
    return ""
