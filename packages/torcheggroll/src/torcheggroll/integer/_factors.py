"""Integer noise, drawn on demand from the same counters as float noise."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..noise.layout import Shape
from ..noise.perturbation import Noise

LARGEST = {"rademacher": 1, "gaussian": 4}  # of one number; Gaussian quantiles end at 4.3 deviations


class Drawn(NamedTuple):
    """One parameter's noise: factors Aᵀ ``(K, r, m)`` and Bᵀ ``(K, r, n)``, or dense ``(K, *size)`` and None; int8."""

    left: Tensor
    right: Tensor | None

    def mirrored(self) -> "Drawn":
        """Returns both members of each pair: ``(2K, ...)``, the second with the opposite sign."""
        left = torch.stack([self.left, -self.left], 1).flatten(0, 1)
        return Drawn(left, None if self.right is None else self.right.repeat_interleave(2, 0))


class IntegerNoise:
    """The noise of a whole run in integers: a function of epoch, parameter and pair.

    Args:
        seed: of the run.
        distribution: ``"rademacher"``, or ``"gaussian"``, rounded to the nearest integer.
    """

    def __init__(self, seed: int, distribution: str) -> None:
        self._noise = Noise(seed, distribution)
        self.largest = LARGEST[distribution]
        self._variance = 1.0 if distribution == "rademacher" else 1 + 1 / 12  # rounding adds a twelfth

    def variance(self, shape: Shape) -> float:
        """Returns the variance of an entry of E."""
        return shape.rank * self._variance**2 if shape.rank else self._variance

    def draw(self, epoch: int, numbers: Sequence[int], shapes: Sequence[Shape], pairs: Tensor) -> list[Drawn]:
        """Draws several parameters' noise.

        Args:
            epoch: number of the draw.
            numbers: the parameters' positions.
            shapes: how each is perturbed.
            pairs: ``(K,)`` int64.

        Returns:
            One per parameter, on the device of ``pairs``.
        """
        counts = [shape.numbers for shape in shapes]
        z = self._noise.numbers(epoch, numbers, counts, pairs).round_().to(torch.int8)
        out: list[Drawn] = []
        for shape, columns in zip(shapes, self._noise.columns_of(counts), strict=True):
            own = z[:, columns]
            if shape.rank:
                out.append(Drawn(*shape.split(own)))
            else:
                out.append(Drawn(own.reshape(len(own), *shape.size), None))
        return out
