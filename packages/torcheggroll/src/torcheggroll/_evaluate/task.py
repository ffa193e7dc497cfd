"""What is asked of each member, and of which parameters; evaluation leaves the modes of the model as they were."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn


class Evolved(NamedTuple):
    """One evolved parameter."""

    name: str
    value: nn.Parameter


class Task(NamedTuple):
    """What is asked of each member: ``finish(forward(data), data)``, either of which may be missing."""

    forward: Callable[[list[Any]], Any] | None  # the member's own data to the model's outputs
    finish: Callable[[Any, list[Any]], Any] | None  # outputs and own data to the result
    data: list[Any]  # tensors with the population in front; the member gets its slice of each

    def call(self, data: list[Any]) -> Any:
        """Do it for one member, on the perturbed model."""
        outputs = None if self.forward is None else self.forward(data)
        return outputs if self.finish is None else self.finish(outputs, data)


@contextmanager
def evaluation_mode(model: nn.Module) -> Generator[None, None, None]:
    """Evaluate without gradients and in eval mode; every module gets its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it would hide the parameters from us
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
        for module, training in modes:
            module.training = training
