"""A trial: parameters under training, one step at a time, that can be saved and loaded."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor
from torch.optim import Optimizer

from testkit.contract import Contract
from testkit.problems import Problem


class Trial(Protocol):
    """The interface that ``TRIAL_CHECKS`` need: any trainer, with gradients or without."""

    @property
    def parameters(self) -> Sequence[Tensor]:
        """The tensors that ``step`` trains, always the same objects."""
        ...

    def step(self, t: int, /) -> object:
        """Takes step number ``t``; what comes in at a step may depend on ``t`` and on nothing random."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Returns everything but the parameters that the next steps depend on."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> object:
        """Restores what ``state_dict`` returned; the parameters have been copied before."""
        ...


class OptimizerTrial:
    """An optimizer at work on a problem."""

    def __init__(self, problem: Problem, optimizer: Optimizer, contract: Contract) -> None:
        self.problem = problem
        self.optimizer = optimizer
        self.contract = contract

    @property
    def parameters(self) -> list[Tensor]:
        """The problem's parameters."""
        return self.problem.parameters

    def step(self, t: int) -> None:
        """Computes the gradients of step ``t``, and steps."""
        if self.contract.closure == "needed":
            self.optimizer.step(lambda: float(self.problem.backward(t)))
        else:
            self.apply(self.problem.backward(t))

    def apply(self, loss: Tensor) -> None:
        """Steps on the gradients that are there, having fed the loss where the contract says so."""
        if self.contract.feed is not None:
            self.contract.feed(self.optimizer, loss)
        self.optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Returns the optimizer's."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads the optimizer's."""
        self.optimizer.load_state_dict(state_dict)
