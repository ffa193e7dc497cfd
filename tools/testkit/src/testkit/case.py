"""A case: one way to set up an optimizer, or anything else that trains, under a label."""

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer

from testkit import streams
from testkit.contract import PLAIN, Contract
from testkit.problems import Problem, quadratic
from testkit.trial import OptimizerTrial, Trial


class Case:
    """An optimizer with settings, for ``CHECKS`` and ``TRIAL_CHECKS``; ``str(case)`` is the label.

    Args:
        label: says what is special about these settings.
        make: called with parameters, or groups of them, and settings; returns the optimizer.
        contract: what the optimizer documents, where it differs from a plain one.
        settings: passed to ``make`` by name.
    """

    def __init__(
        self, label: str, make: Callable[..., Optimizer], /, *, contract: Contract = PLAIN, **settings: Any
    ) -> None:
        self.label = label
        self.factory = make
        self.contract = contract
        self.settings = settings

    def __str__(self) -> str:
        return self.label

    def make(self, params: Any, **overrides: Any) -> Optimizer:
        """Returns an optimizer of ``params``, with the case's settings where ``overrides`` does not replace them."""
        if self.contract.draws_from_global_stream:
            streams.seed(11)  # so that two runs, one after the other, draw alike
        return self.factory(params, **{**self.settings, **overrides})

    def start(self, problem: Problem | None = None, **overrides: Any) -> OptimizerTrial:
        """Returns an optimizer at work on ``problem``, by default a quadratic in parameters of mixed shapes."""
        problem = quadratic() if problem is None else problem
        return OptimizerTrial(problem, self.make(problem.parameters, **overrides), self.contract)


class TrialCase:
    """Anything that trains and is no optimizer, for ``TRIAL_CHECKS``; ``str(case)`` is the label.

    Args:
        label: says what is special about these settings.
        start: called with the settings; returns a fresh ``Trial``, equal parameters each time under equal seeds.
        contract: only ``draws_from_global_stream`` matters here.
        settings: passed to ``start`` by name.
    """

    def __init__(
        self, label: str, start: Callable[..., Trial], /, *, contract: Contract = PLAIN, **settings: Any
    ) -> None:
        self.label = label
        self.factory = start
        self.contract = contract
        self.settings = settings

    def __str__(self) -> str:
        return self.label

    def start(self) -> Trial:
        """Returns a fresh trial."""
        return self.factory(**self.settings)
