"""Small problems whose loss and gradient depend on the parameters and the step alone, never on a random stream."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

MIXED_SHAPES: tuple[tuple[int, ...], ...] = ((), (3,), (4, 5), (2, 3, 2))


class Problem(ABC):
    """Parameters and, at each step, a loss of them."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = list(parameters)

    @abstractmethod
    def loss(self, t: int) -> Tensor:
        """Returns the loss at step ``t``, a scalar that can go backward."""

    def backward(self, t: int) -> Tensor:
        """Replaces every gradient by that of step ``t``, and returns the loss, detached."""
        for parameter in self.parameters:
            parameter.grad = None
        loss = self.loss(t)
        torch.autograd.backward(loss)
        return loss.detach()


class MovingQuadratic(Problem):
    """Σᵢ ½ aᵢ |θᵢ - cᵢ(t)|², whose centres wander with the step, so that no two gradients are alike."""

    def loss(self, t: int) -> Tensor:
        """Returns the loss at step ``t``."""
        terms: list[Tensor] = []
        for index, parameter in enumerate(self.parameters):
            theta = torch.view_as_real(parameter) if parameter.is_complex() else parameter
            places = torch.arange(theta.numel(), dtype=torch.float64).reshape(theta.shape)
            centre = 1.5 * torch.cos(0.7 * places + 0.9 * t + index)
            distance = theta - centre.to(theta)
            terms.append((0.5 + 0.25 * index) * (distance * distance).sum().double())
        return torch.stack(terms).sum()


class Rosenbrock(Problem):
    """(1 - x)² + 100 (y - x²)², minimal at (1, 1): a curved valley. The same at every step."""

    def loss(self, t: int) -> Tensor:
        """Returns the loss; ``t`` plays no part."""
        x, y = self.parameters[0].unbind()
        return (1 - x).square() + 100 * (y - x * x).square()


class LeastSquares(Problem):
    """½ |X_t θ - y_t|² / rows over batches drawn once: a problem with gradient noise."""

    def __init__(
        self, rows: int = 8, columns: int = 5, *, batches: int = 4, dtype: torch.dtype = torch.float32
    ) -> None:
        generator = torch.Generator().manual_seed(rows * columns)
        solution = torch.randn(columns, 1, generator=generator, dtype=torch.float64)
        inputs = torch.randn(batches, rows, columns, generator=generator, dtype=torch.float64)
        noise = 0.1 * torch.randn(batches, rows, 1, generator=generator, dtype=torch.float64)
        self.inputs, self.targets = inputs.to(dtype), (inputs @ solution + noise).to(dtype)
        super().__init__([Parameter(torch.zeros(columns, 1, dtype=dtype))])

    def loss(self, t: int) -> Tensor:
        """Returns half the mean squared error on batch ``t``, counted round and round."""
        batch = t % len(self.inputs)
        return 0.5 * (self.inputs[batch] @ self.parameters[0] - self.targets[batch]).square().mean()


def initial(shape: Sequence[int], index: int = 0, **kind: Any) -> Parameter:
    """Returns parameter number ``index`` with fixed, irregular entries between -1 and 1.

    Args:
        shape: of the parameter; ``()`` is a scalar.
        index: makes parameters of equal shape differ.
        kind: ``dtype`` and ``device``, float32 on the CPU unless given.
    """
    numel = int(torch.Size(shape).numel())
    places = torch.arange(numel, dtype=torch.float64)
    values = torch.sin(1.3 * places + 2.1 * index + 0.5).reshape(tuple(shape))
    dtype = kind.pop("dtype", torch.float32)
    if dtype.is_complex:
        values = torch.complex(values, torch.cos(2.3 * places + index).reshape(tuple(shape)))
    return Parameter(values.to(dtype=dtype, **kind))


def quadratic(shapes: Sequence[Sequence[int]] = MIXED_SHAPES, **kind: Any) -> MovingQuadratic:
    """Returns a moving quadratic in parameters of these shapes; ``kind`` is ``dtype`` and ``device``."""
    return MovingQuadratic([initial(shape, index, **kind) for index, shape in enumerate(shapes)])


def rosenbrock(**kind: Any) -> Rosenbrock:
    """Returns Rosenbrock's valley, started at (-1.2, 1); ``kind`` is ``dtype`` and ``device``."""
    return Rosenbrock([Parameter(torch.tensor([-1.2, 1.0], **kind))])
