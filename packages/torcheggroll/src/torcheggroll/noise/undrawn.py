"""Factors drawn on first use, so that a kernel can draw them itself.

A matrix of few rows per member is read once: its factors would be written to memory only to be read again. Which
parameters that concerns is learnt from one chunk for the next: a kernel that would have drawn them says so, and whoever
reads factors, or uses them twice, has them drawn beforehand from then on. The numbers are the same either way. The
kernels of CUDA that draw sum in another order than those that read factors, so there a layer of few rows always takes
them, whatever was learnt.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .._ops.fused_cpu import DRAWN, DTYPES
from .._ops.fused_cuda import draws_shape
from .._ops.layer import Source
from . import fused_cuda
from .distributions import quantiles
from .layout import Shape, lines

Factors = tuple[Tensor, Tensor]


class InKernels:
    """The parameters whose factors kernels draw."""

    def __init__(self) -> None:
        self._chosen: set[int] = set()
        self._refused: set[int] = set()

    def __contains__(self, parameter: int) -> bool:
        """Returns whether to leave a parameter's factors undrawn."""
        return parameter in self._chosen

    def choose(self, parameter: int) -> None:
        """Leaves the factors to kernels from the next chunk on, unless they were used twice in one."""
        if parameter not in self._refused:
            self._chosen.add(parameter)

    def drop(self, parameter: int) -> None:
        """Draws the factors beforehand from the next chunk on."""
        self._chosen.discard(parameter)

    def refuse(self, parameter: int) -> None:
        """Draws the factors beforehand from now on."""
        self._refused.add(parameter)
        self._chosen.discard(parameter)


class Undrawn:
    """One parameter's factors for some members: drawn when they are read, or by the first kernel that can.

    Args:
        parameter: its position.
        members: how many.
        size: bytes of a member's factors.
        draw: draws the factors.
        source: gives what a kernel draws them from.
        drawn: the factors, where they are drawn already.
        chosen: records how the factors are used.
    """

    def __init__(
        self,
        parameter: int,
        members: int,
        size: int,
        draw: Callable[[], Factors],
        source: Callable[[], Source],
        drawn: Factors | None,
        chosen: InKernels,
    ) -> None:
        self.members = members
        self.size = size
        self._parameter = parameter
        self._draw = draw
        self._source = source
        self._drawn = drawn
        self._chosen = chosen
        self._used = False
        self._read = False

    def read(self) -> Factors:
        """Returns the factors."""
        self._read = True
        if self._drawn is None:
            (self._chosen.refuse if self._used else self._chosen.drop)(self._parameter)
            self._drawn = self._draw()
        return self._drawn

    def take(self, again: bool) -> Source | None:
        """Returns what a kernel draws the factors from, or None.

        Args:
            again: also where the factors are drawn, or were before: where the kernel rounds in another order, who draws
                must not depend on what came before.
        """
        if again:
            (self._chosen.refuse if self._read else self._chosen.choose)(self._parameter)
            return self._source()
        if self._drawn is not None:
            self._chosen.choose(self._parameter)
        elif not self._used:
            self._used = True
            return self._source()
        return None


def fits(shape: Shape, dtype: torch.dtype, pairs: Tensor, mirrored: bool) -> bool:
    """Returns whether a kernel might draw the factors of a parameter.

    Args:
        shape: how it is perturbed.
        dtype: of its factors.
        pairs: on the device of the noise.
        mirrored: whether a pair's mirror image follows it.
    """
    if not shape.rank or shape.stack:
        return False
    if fused_cuda.fits(pairs):
        return mirrored and draws_shape(shape.rows, shape.columns, shape.rank, dtype)
    return pairs.device.type == "cpu" and dtype in DTYPES and shape.rank <= DRAWN


def source(
    starts: Tensor,
    scales: Tensor,
    pairs: Tensor,
    signs: Tensor | None,
    mirrored: bool,
    shape: Shape,
    parameter: int,
    distribution: str,
) -> Source:
    """Returns what a kernel draws a parameter's factors from.

    Args:
        starts: of every parameter's keys, ``(P,)`` int64.
        scales: of every parameter, ``(P,)`` float64.
        pairs: ``(K,)`` int64.
        signs: ``(K,)`` float32, or None.
        mirrored: whether a pair's mirror image follows it.
        shape: how the parameter is perturbed.
        parameter: its position.
        distribution: one of ``DISTRIBUTIONS``.
    """
    return Source(
        len(pairs) * (1 + mirrored), shape.rank, starts[parameter], pairs, signs, scales[parameter],
        quantiles(pairs.device), mirrored, distribution, lines(shape.numbers_left),
    )  # fmt: skip
