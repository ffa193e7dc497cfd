"""The perturbation of each parameter and member, in factors, drawn when asked for and never kept.

    E = A Bᵀ/√r,  A (m×r), B (n×r), entries with mean 0 and variance 1       (1)
    e = z                                                                    (2)  parameters that are no matrix
    member 2k uses +E of pair k, member 2k + 1 uses -E                       (3)  antithetic; else member i uses +Eᵢ

A parameter with more than two dimensions counts as the matrix (first, all others); r never exceeds the smaller side.

Source: Sarkar et al. 2025 (EGGROLL), section 4.1, https://arxiv.org/abs/2511.16652
"""

from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from ._counter import keys, words
from ._distributions import DISTRIBUTIONS

_BLOCK = 1 << 14  # words at a time: they and their copies stay in a core's cache


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
        return self.rank * (self.rows + self.columns) if self.rank else prod(self.size)


class Delta(NamedTuple):
    """The perturbations of one parameter, one per member, σ and sign included: ``left @ rightᵀ``, or ``dense``."""

    left: Tensor | None  # (members, m, r): A times ±σ/√r
    right: Tensor | None  # (members, n, r): B
    dense: Tensor | None  # (members, *size): ±σ z


def perturbed_shape(size: tuple[int, ...], rank: int) -> Shape:
    """Decide the rank of a parameter: matrices are factored, everything else is dense."""
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

    def numbers(self, epoch: int, parameter: int, pairs: Tensor, count: int) -> Tensor:
        """Draw ``count`` float32 numbers for each pair: ``(K, count)`` on the device of ``pairs``."""
        per_word, read = DISTRIBUTIONS[self.distribution]
        key = keys(self.seed, epoch, parameter, pairs)
        wide = -(-count // per_word)
        if len(pairs) * wide <= _BLOCK:
            return read(words(key, 0, wide))[:, :count]
        z = torch.empty(len(pairs), wide * per_word, device=pairs.device)
        high, across = max(_BLOCK // wide, 1), min(wide, _BLOCK)
        for top in range(0, len(pairs), high):
            for first in range(0, wide, across):
                block = read(words(key[top : top + high], first, min(across, wide - first)))
                z[top : top + high, first * per_word : first * per_word + block.shape[1]] = block
        return z[:, :count]

    def factors(
        self, epoch: int, parameter: int, pairs: Tensor, shape: Shape, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor | None]:
        """Draw A ``(K, m, r)`` and B ``(K, n, r)``, or z ``(K, *size)`` and None, with unit variance."""
        z = self.numbers(epoch, parameter, pairs, shape.numbers).to(dtype)
        if not shape.rank:
            return z.reshape(len(pairs), *shape.size), None  # (2)
        z = z.reshape(len(pairs), shape.rows + shape.columns, shape.rank)
        return z[:, : shape.rows], z[:, shape.rows :]  # (1)

    def delta(
        self,
        epoch: int,
        parameter: int,
        members: "Members",
        shape: Shape,
        sigma: float,
        dtype: torch.dtype,
    ) -> Delta:
        """Draw the perturbations of one parameter for some members."""
        A, B = self.factors(epoch, parameter, members.pairs, shape, dtype)
        scale = sigma / shape.rank**0.5 if shape.rank else sigma
        signed = members.spread(A, scale)  # (3)
        if B is None:
            return Delta(None, None, signed)
        return Delta(signed, members.spread(B, None), None)


class Members:
    """Some members of a population, with the pair and the sign of each.

    Args:
        indices: the members, in the order of evaluation.
        antithetic: members 2k and 2k + 1 share pair k.
        device: where noise is drawn.
    """

    def __init__(self, indices: list[int], antithetic: bool, device: torch.device) -> None:
        self.indices = indices
        self.antithetic = antithetic
        self._mirrored = antithetic and _whole_pairs(indices)
        if self._mirrored:
            numbers = [i // 2 for i in indices[::2]]
        else:
            numbers = [i // 2 if antithetic else i for i in indices]
        self.pairs = torch.tensor(numbers, dtype=torch.int64, device=device)
        signs = [-1.0 if antithetic and i % 2 else 1.0 for i in indices]
        self._signs = torch.tensor(signs, dtype=torch.float64, device=device)

    def __len__(self) -> int:
        """Count the members."""
        return len(self.indices)

    def spread(self, z: Tensor, scale: float | None) -> Tensor:
        """Give each member what its pair drew: times ``scale`` and its sign, or as it is without a scale."""
        if scale is None:
            return z.repeat_interleave(2, 0) if self._mirrored else z
        if self._mirrored:
            half = z * scale
            return torch.stack([half, -half], 1).flatten(0, 1)
        return z * (self._signs * scale).to(z.dtype).view(-1, *[1] * (z.dim() - 1))


def _whole_pairs(indices: list[int]) -> bool:
    return len(indices) % 2 == 0 and all(
        i % 2 == 0 and j == i + 1 for i, j in zip(indices[::2], indices[1::2], strict=True)
    )
