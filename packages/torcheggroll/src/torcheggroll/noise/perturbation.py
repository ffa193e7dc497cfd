"""The perturbation of each parameter and member, in factors, drawn when asked for and never kept.

    E = A Bᵀ/√r,  A (m×r), B (n×r), entries with mean 0 and variance 1       (1)
    e = z                                                                    (2)  parameters that are no matrix
    member 2k uses +E of pair k, member 2k + 1 uses -E                       (3)  antithetic; else member i uses +Eᵢ

A parameter with more than two dimensions counts as the matrix (first, all others); r never exceeds the smaller side.

Source: Sarkar et al. 2025 (EGGROLL), section 4.1, https://arxiv.org/abs/2511.16652
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from .counter import keys, start, steps, words
from .distributions import DISTRIBUTIONS

_BLOCK = 1 << 15  # words at a time: they and their copies stay in a core's cache
_LINE = 16  # numbers; every factor begins a cache line, whoever draws it, so that no product sees another address


class Shape(NamedTuple):
    """How one parameter is perturbed."""

    size: tuple[int, ...]
    rank: int  # 0: dense

    @property
    def rows(self) -> int:
        """The number of rows, m, of the matrix that this parameter counts as."""
        return self.size[0]

    @property
    def columns(self) -> int:
        """The number of columns, n, of the matrix that this parameter counts as."""
        return prod(self.size[1:])

    @property
    def numbers(self) -> int:
        """How many random numbers one pair takes."""
        return _lines(self.rank * self.rows) + self.rank * self.columns if self.rank else prod(self.size)

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Reads Aᵀ ``(K, r, m)`` and Bᵀ ``(K, r, n)`` from the numbers of each pair."""
        left, right = z[:, : self.rank * self.rows], z[:, _lines(self.rank * self.rows) : self.numbers]
        return left.reshape(len(z), self.rank, self.rows), right.reshape(len(z), self.rank, self.columns)


class Delta(NamedTuple):
    """The perturbations of one parameter, one per member, σ and sign included: ``leftᵀ @ right``, or ``dense``."""

    left: Tensor | None  # (members, r, m): Aᵀ times ±σ/√r
    right: Tensor | None  # (members, r, n): Bᵀ
    dense: Tensor | None  # (members, *size): ±σ z

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors that are there."""
        return [t for t in self if t is not None]

    @property
    def members(self) -> int:
        """The number of members."""
        return len(self.tensors[0])


def _lines(count: int, per_word: int = 1) -> int:
    """Rounds up to whole cache lines and whole words, either of which is a multiple of the other."""
    whole = max(per_word, _LINE)
    return -(-count // whole) * whole


def perturbed_shape(size: tuple[int, ...], rank: int) -> Shape:
    """Decides the rank of a parameter: matrices are factored, everything else is dense."""
    if len(size) < 2 or (len(size) > 2 and size[0] == 1) or 0 in size:
        return Shape(size, 0)
    return Shape(size, min(rank, size[0], prod(size[1:])))


class Noise:
    """The noise of a whole run: a function of epoch, parameter and pair.

    Args:
        seed: of the run.
        distribution: ``"gaussian"``, ``"rademacher"`` or ``"uniform"``.
    """

    def __init__(self, seed: int, distribution: str) -> None:
        self.seed = seed
        self.distribution = distribution

    def numbers(self, epoch: int, parameters: Sequence[int], counts: Sequence[int], pairs: Tensor) -> Tensor:
        """Draws numbers for several parameters side by side.

        Args:
            epoch: number of the draw.
            parameters: their positions.
            counts: how many numbers each takes.
            pairs: ``(K,)`` int64.

        Returns:
            ``(K, W)`` float32 on the device of ``pairs``; parameter j begins where ``columns_of`` says.
        """
        z = torch.empty(len(pairs), self._width(counts), device=pairs.device)
        for rows, columns, block in self._blocks(epoch, parameters, counts, pairs):
            z[rows, columns] = block
        return z

    def _width(self, counts: Sequence[int]) -> int:
        per_word = DISTRIBUTIONS[self.distribution].per_word
        return sum(_lines(count, per_word) for count in counts)

    def _blocks(
        self, epoch: int, parameters: Sequence[int], counts: Sequence[int], pairs: Tensor
    ) -> Iterator[tuple[slice, slice, Tensor]]:
        """Draws what ``numbers`` gives piece by piece: whoever asks may use each while it is in the cache."""
        per_word, read = DISTRIBUTIONS[self.distribution]
        device = pairs.device
        wide = [_lines(count, per_word) // per_word for count in counts]
        starts = torch.tensor([start(self.seed, epoch, j) for j in parameters], dtype=torch.int64).to(device)
        key = keys(starts, pairs)
        step, owner = _layout(tuple(wide), device)
        across = min(len(step), _BLOCK)
        high = max(_BLOCK // max(across, 1), 1)
        for top in range(0, len(pairs), high):
            for left in range(0, len(step), max(across, 1)):
                part = key[top : top + high]
                if len(wide) > 1:
                    part = part.index_select(1, owner[left : left + across])
                block = read(words(part, step[left : left + across]))
                at = left * per_word
                yield slice(top, top + len(block)), slice(at, at + block.shape[1]), block

    def columns_of(self, counts: Sequence[int]) -> list[slice]:
        """Says where each parameter's numbers are among those of ``numbers``."""
        per_word = DISTRIBUTIONS[self.distribution].per_word
        slices: list[slice] = []
        left = 0
        for count in counts:
            slices.append(slice(left, left + count))
            left += _lines(count, per_word)
        return slices

    def factors(
        self, epoch: int, parameter: int, pairs: Tensor, shape: Shape, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor | None]:
        """Draws Aᵀ ``(K, r, m)`` and Bᵀ ``(K, r, n)``, or z ``(K, *size)`` and None, with unit variance."""
        z = self.numbers(epoch, [parameter], [shape.numbers], pairs)[:, : shape.numbers].to(dtype)
        if not shape.rank:
            return z.reshape(len(pairs), *shape.size), None  # (2)
        return shape.split(z)  # (1)

    def deltas(
        self,
        epoch: int,
        members: "Members",
        shapes: Sequence[Shape],
        sigma: float,
        dtypes: Sequence[torch.dtype],
    ) -> list[Delta]:
        """Draws the perturbations of every parameter for some members, all in one go."""
        counts = [shape.numbers for shape in shapes]
        wide = torch.float64 if torch.float64 in dtypes else torch.float32
        per_word = DISTRIBUTIONS[self.distribution].per_word
        device = members.pairs.device
        plus, minus = _signed_scales(tuple(shapes), per_word, sigma, wide, device)
        z = torch.empty(members.count, self._width(counts), dtype=wide, device=device)
        for rows, columns, block in self._blocks(epoch, range(len(shapes)), counts, members.pairs):
            members.spread(block, rows, plus[columns], minus[columns], z[:, columns])  # (3)
        out: list[Delta] = []
        for shape, columns, dtype in zip(shapes, self.columns_of(counts), dtypes, strict=True):
            own = z[:, columns].to(dtype)
            if shape.rank:
                out.append(Delta(*shape.split(own), None))
            else:
                out.append(Delta(None, None, own.reshape(len(own), *shape.size)))
        return out


@lru_cache(maxsize=16)
def _layout(wide: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns the step and the parameter of each word, for parameters side by side."""
    step = torch.cat([steps(0, count, device) for count in wide])
    owner = torch.repeat_interleave(torch.arange(len(wide), device=device), torch.tensor(wide, device=device))
    return step, owner


@lru_cache(maxsize=4)
def _signed_scales(
    shapes: tuple[Shape, ...], per_word: int, sigma: float, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Returns what each number is multiplied by: σ/√r in A, σ where dense, 1 in B; then that of the mirror image."""
    plus: list[Tensor] = []
    for shape in shapes:
        own = torch.ones(_lines(shape.numbers, per_word), dtype=dtype, device=device)
        own[: shape.rows * shape.rank if shape.rank else None] = sigma / shape.rank**0.5 if shape.rank else sigma
        plus.append(own)
    minus = [own.clone() for own in plus]
    for own, shape in zip(minus, shapes, strict=True):
        own[: shape.rows * shape.rank if shape.rank else None] *= -1
    return torch.cat(plus), torch.cat(minus)


class Members:
    """Some members of a population, with the pair and the sign of each.

    Args:
        indices: the members, in the order of evaluation.
        antithetic: members 2k and 2k + 1 share pair k.
        device: where noise is drawn.
    """

    def __init__(self, indices: list[int], antithetic: bool, device: torch.device) -> None:
        self._mirrored = antithetic and _whole_pairs(indices)
        drawn = indices[::2] if self._mirrored else indices
        numbers = [i // 2 if antithetic else i for i in drawn]
        self.pairs: Tensor = torch.tensor(numbers, dtype=torch.int64, device=device)
        self.count: int = len(indices)
        if not self._mirrored:
            self._negative = torch.tensor([[antithetic and i % 2 == 1] for i in indices], device=device)

    def spread(self, block: Tensor, rows: slice, plus: Tensor, minus: Tensor, out: Tensor) -> None:
        """Writes into ``out`` what the pairs ``rows`` drew, times ``plus`` or, for the mirror image, ``minus``."""
        if self._mirrored:
            both = out.view(-1, 2, out.shape[1])[rows]
            torch.mul(block, plus, out=both[:, 0])
            torch.mul(block, minus, out=both[:, 1])
        else:
            torch.mul(block, torch.where(self._negative[rows], minus, plus), out=out[rows])


def _whole_pairs(indices: list[int]) -> bool:
    plus, minus = indices[::2], indices[1::2]
    return len(plus) == len(minus) and [i | 1 for i in plus] == minus and not any(i & 1 for i in plus)
