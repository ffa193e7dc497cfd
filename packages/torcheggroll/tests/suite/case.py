"""One module of the suite: how it is made, what it is given, and how its outputs are scored."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


def first_tensor(outputs: Any) -> Tensor:
    """Finds the tensor that a module's outputs lead with."""
    if isinstance(outputs, Tensor):
        return outputs
    values = outputs.values() if isinstance(outputs, Mapping) else outputs
    return first_tensor(next(iter(values)))


def score(outputs: Any, targets: Tensor) -> Tensor:
    """Weighs every output differently, so that no error cancels."""
    out = first_tensor(outputs)
    wave = torch.cos(torch.arange(out.numel(), device=out.device, dtype=torch.float32) + 0.3).view(out.shape)
    return (out.float() * wave).mean() * 3 + (out.float() - targets).square().mean()


@dataclass(frozen=True)
class Case:
    """A module and one call of it.

    Args:
        name: of the case.
        make: builds the module, after `torch.manual_seed`.
        inputs: draws what the module is called with: a tensor, a tuple of arguments, a dictionary of named ones.
        loss: ``(outputs, targets) -> loss``.
        random: whether ``forward`` draws random numbers; the members are then compared with the loop's.
        needs: a library that the case imports.
        engine: that ``auto`` must find right.
        apart: σ from which members take different branches, and the loop.
        loose: how much of a value is rounding.
        least_sigma: σ below which the module's own rounding hides what a perturbation does.
    """

    name: str
    make: Callable[[], nn.Module]
    inputs: Callable[[], Any]
    loss: Callable[[Any, Any], Any] = score
    random: bool = False
    needs: str | None = None
    engine: str = "fold"
    apart: float = float("inf")
    loose: float = 4e-6
    least_sigma: float = 0.0

    def __str__(self) -> str:
        return self.name


class Run(nn.Module):
    """Submodules and parameters by name, and a function of them and the inputs as ``forward``."""

    def __init__(self, forward: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self._run = forward
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(self, *args, **kwargs)


def floats(*size: int) -> Callable[[], Tensor]:
    """Makes a draw of real numbers."""
    return lambda: torch.randn(*size)


def tokens(*size: int, high: int = 13) -> Callable[[], Tensor]:
    """Makes a draw of token numbers."""
    return lambda: torch.randint(0, high, size)


def weight(*size: int, scale: float = 0.5) -> nn.Parameter:
    """Draws a bare parameter."""
    return nn.Parameter(torch.randn(size) * scale)
