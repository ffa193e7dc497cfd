"""Factors drawn on first use, so that a kernel can draw them itself.

A matrix of few rows per member is read once: its factors would be written to memory only to be read again. Which
parameters that concerns is learnt from one chunk for the next: a kernel that would have drawn them says so, and whoever
reads factors, or uses them twice, has them drawn beforehand from then on. The numbers are the same either way.
"""

import ctypes
from collections.abc import Callable

import torch
from torch import Tensor

from .._ops.fused_cpu import DRAWN, DTYPES, Source
from .distributions import quantiles
from .fused_cpu import DISTRIBUTIONS
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

    def read(self) -> Factors:
        """Returns the factors."""
        if self._drawn is None:
            (self._chosen.refuse if self._used else self._chosen.drop)(self._parameter)
            self._drawn = self._draw()
        return self._drawn

    def take(self) -> Source | None:
        """Returns what a kernel draws the factors from; None where they are drawn, or were before."""
        if self._drawn is not None:
            self._chosen.choose(self._parameter)
        elif not self._used:
            self._used = True
            return self._source()
        return None


def fits(shape: Shape, dtype: torch.dtype) -> bool:
    """Returns whether a kernel of the CPU might draw the factors of a parameter."""
    return dtype in DTYPES and 0 < shape.rank <= DRAWN and not shape.stack


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
    """Returns what the C++ kernel draws a parameter's factors from.

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
    table = quantiles(pairs.device)
    at = starts.element_size() * parameter
    values = (
        starts.data_ptr() + at, pairs.data_ptr(), 0 if signs is None else signs.data_ptr(), table.data_ptr(),
        scales.data_ptr() + at, mirrored, DISTRIBUTIONS[distribution], lines(shape.numbers_left),
    )  # fmt: skip
    kept = starts, scales, pairs, table, *([] if signs is None else [signs])
    return Source(len(pairs) * (1 + mirrored), shape.rank, (ctypes.c_int64 * len(values))(*values), kept)
