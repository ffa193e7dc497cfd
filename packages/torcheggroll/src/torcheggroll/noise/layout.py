"""The layout of the row of a pair, in which all parameters are drawn by one call.

A row holds the parameters side by side; A, B and every dense perturbation begin a cache line. A part is a stretch of
one parameter's stream that is scaled alike: A and dense numbers by σ (σ/√r), B not at all.
"""

from functools import lru_cache
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from .._ops.triton_launch import send

LINE = 16  # numbers of a cache line: products see factors at the same alignment, whoever drew them
BLOCK = 1024  # numbers of one program on CUDA


class Shape(NamedTuple):
    """How one parameter is perturbed."""

    size: tuple[int, ...]
    rank: int  # 0: dense
    matrix: bool = False  # dense, but used as the product of a factor and the identity
    stacked: bool = False  # a stack of matrices, of which each has factors of its own

    @property
    def stack(self) -> tuple[int, ...]:
        """The dimensions in front of the matrices, ``(E,)``, or none where the parameter counts as one matrix."""
        return self.size[:1] if self.stacked else ()

    @property
    def rows(self) -> int:
        """The number of rows, m, of the matrix that this parameter counts as, or of each."""
        return self.size[1 if self.stacked else 0]

    @property
    def columns(self) -> int:
        """The number of columns, n, of the matrix that this parameter counts as, or of each."""
        return prod(self.size[2 if self.stacked else 1 :])

    @property
    def numbers_left(self) -> int:
        """How many random numbers A takes, of every matrix."""
        return prod(self.stack) * self.rank * self.rows

    @property
    def numbers(self) -> int:
        """How many random numbers one pair takes."""
        right = prod(self.stack) * self.rank * self.columns
        return lines(self.numbers_left) + right if self.rank else prod(self.size)

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Reads Aᵀ ``(K, r, m)`` and Bᵀ ``(K, r, n)`` from the numbers of each pair; ``(K, E, r, …)`` of a stack."""
        left, right = z[:, : self.numbers_left], z[:, lines(self.numbers_left) : self.numbers]
        lead = len(z), *self.stack, self.rank
        return left.reshape(*lead, self.rows), right.reshape(*lead, self.columns)


def perturbed_shape(size: tuple[int, ...], rank: int, small_dense: bool = False, stacked: bool = False) -> Shape:
    """Decides the rank of a parameter: matrices are factored, everything else is dense.

    Args:
        size: of the parameter.
        rank: r, clipped to the smaller side.
        small_dense: leave matrices dense whose factors would take as many numbers, r (m + n) ≥ m n: they would tell
            less of the gradient for no fewer numbers.
        stacked: a parameter ``(E, m, n)`` is E matrices; else it counts as one, first dimension by all others.
    """
    if len(size) < 2 or (len(size) > 2 and size[0] == 1) or 0 in size:
        return Shape(size, 0)
    one = Shape(size, 0, stacked=stacked)
    m, n = one.rows, one.columns
    rank = min(rank, m, n)
    return one._replace(matrix=True) if small_dense and rank * (m + n) >= m * n else one._replace(rank=rank)


def lines(count: int, per_word: int = 1) -> int:
    """Rounds up to whole cache lines and whole words, either of which is a multiple of the other."""
    whole = max(per_word, LINE)
    return -(-count // whole) * whole


class Part(NamedTuple):
    """A stretch of one parameter's numbers; ``first`` and ``length`` are whole lines."""

    parameter: int
    first: int  # in the stream of the parameter
    column: int  # in the row of a pair
    length: int
    scaled: bool


class Layout(NamedTuple):
    """The row of a pair."""

    width: int  # numbers
    columns: tuple[tuple[int, int], ...]  # first and last + 1, of each parameter
    parts: tuple[Part, ...]


@lru_cache(maxsize=64)
def layout(shapes: tuple[Shape, ...], parameters: tuple[int, ...], per_word: int, dense: bool = True) -> Layout:
    """Returns the layout of some parameters in a row.

    Args:
        shapes: of these parameters.
        parameters: their positions among all.
        per_word: numbers that a random word gives.
        dense: whether dense numbers are scaled; A always is.
    """
    columns: list[tuple[int, int]] = []
    parts: list[Part] = []
    left = 0
    for shape, j in zip(shapes, parameters, strict=True):
        columns.append((left, left + shape.numbers))
        width = lines(shape.numbers)
        if shape.rank:
            first = lines(shape.numbers_left)
            parts += [Part(j, 0, left, first, True), Part(j, first, left + first, width - first, False)]
        elif width:
            parts.append(Part(j, 0, left, width, dense))
        left += lines(shape.numbers, per_word)
    return Layout(left, tuple(columns), tuple(parts))


@lru_cache(maxsize=64)
def table(parts: tuple[Part, ...], longest: int | None, device: torch.device) -> Tensor:
    """Returns the parts on the device of the noise, ``(S, 5)`` int64, cut into pieces of at most ``longest``."""
    rows: list[Part] = []
    for part in parts:
        step = longest or max(part.length, 1)
        for at in range(0, part.length, step):
            length = min(step, part.length - at)
            rows.append(part._replace(first=part.first + at, column=part.column + at, length=length))
    return send(torch.tensor(rows, dtype=torch.int64).view(-1, 5), device)
