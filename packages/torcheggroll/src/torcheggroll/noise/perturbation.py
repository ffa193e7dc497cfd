"""The perturbation of each parameter and member, as factors, drawn on demand and never stored.

    E = A Bᵀ/√r,  A (m×r), B (n×r), entries with mean 0 and variance 1       (1)
    e = z                                                                    (2)  parameters that are no matrix
    member 2k uses +E of pair k, member 2k + 1 uses -E                       (3)  antithetic; else member i uses +Eᵢ

A parameter (E, m, n) that holds matrices, as experts do, has a pair (A, B) for each of them. Any other with more than
two dimensions counts as the matrix (first, all others). r never exceeds the smaller side.

Source: Sarkar et al. 2025 (EGGROLL), section 4.1, https://arxiv.org/abs/2511.16652
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from .._ops.triton_launch import send
from . import fused_cpu, fused_cuda, reference
from .counter import starts_of
from .distributions import DISTRIBUTIONS
from .layout import Layout, Shape, layout
from .undrawn import InKernels, Undrawn, fits, source


class Delta:
    """The perturbations of one parameter, one per member, σ and sign included: ``leftᵀ @ right``, or ``dense``.

    Args:
        left: ``(members, r, m)``, or ``(members, E, r, m)`` of a stack: Aᵀ times ±σ/√r.
        right: ``(members, r, n)``, or ``(members, E, r, n)``: Bᵀ.
        dense: ``(members, *size)``: ±σ z.
        undrawn: factors that are drawn when they are read, in the place of all others.
    """

    __slots__ = ("_left", "_right", "dense", "undrawn")

    def __init__(
        self, left: Tensor | None, right: Tensor | None, dense: Tensor | None, *, undrawn: Undrawn | None = None
    ) -> None:
        self._left = left
        self._right = right
        self.dense: Tensor | None = dense
        self.undrawn: Undrawn | None = undrawn

    @property
    def left(self) -> Tensor | None:
        """``Aᵀ`` of every member, where there are factors."""
        return self._left if self.undrawn is None else self.undrawn.read()[0]

    @property
    def right(self) -> Tensor | None:
        """``Bᵀ`` of every member, where there are factors."""
        return self._right if self.undrawn is None else self.undrawn.read()[1]

    def __iter__(self) -> Iterator[Tensor | None]:
        """Gives left, right and dense."""
        return iter((self.left, self.right, self.dense))

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors that are there."""
        return [t for t in self if t is not None]

    @property
    def size(self) -> int:
        """Bytes that a member's perturbation takes, or would take if it were drawn."""
        if self.undrawn is not None:
            return self.undrawn.size
        return sum(t.numel() * t.element_size() for t in self.tensors) // self.members

    @property
    def members(self) -> int:
        """The number of members."""
        return len(self.tensors[0]) if self.undrawn is None else self.undrawn.members


class Tables(NamedTuple):
    """What a draw depends on beside its shape, on the device."""

    starts: Tensor  # ``(P,)`` int64, of every parameter's keys in one generation
    scales: Tensor  # ``(P,)`` float64, of every parameter


class Noise:
    """The noise of a whole run: a function of epoch, parameter and pair.

    Args:
        seed: of the run.
        distribution: ``"gaussian"``, ``"rademacher"`` or ``"uniform"``.
    """

    def __init__(self, seed: int, distribution: str) -> None:
        self.seed = seed
        self.distribution = distribution
        self._per_word = DISTRIBUTIONS[distribution].per_word

    def numbers(self, epoch: int, parameters: Sequence[int], counts: Sequence[int], pairs: Tensor) -> Tensor:
        """Draws numbers for several parameters in one row.

        Args:
            epoch: number of the draw.
            parameters: their positions.
            counts: how many numbers each takes.
            pairs: ``(K,)`` int64.

        Returns:
            ``(K, W)`` float32 on the device of ``pairs``; parameter j begins where ``columns_of`` says.
        """
        row = self._row_of(counts, parameters)
        return self.draw(epoch, row, pairs, [1.0] * (max(parameters) + 1), torch.float32)

    def columns_of(self, counts: Sequence[int]) -> list[slice]:
        """Says where each parameter's numbers are among those of ``numbers``."""
        return [slice(*columns) for columns in self._row_of(counts, range(len(counts))).columns]

    def _row_of(self, counts: Sequence[int], parameters: Sequence[int]) -> Layout:
        return layout(tuple(Shape((count,), 0) for count in counts), tuple(parameters), self._per_word)

    def row(self, shapes: Sequence[Shape], parameters: Sequence[int], dense: bool = True) -> Layout:
        """Returns the layout of some parameters in a row; ``dense`` says whether dense numbers are scaled."""
        return layout(tuple(shapes), tuple(parameters), self._per_word, dense)

    def draw(
        self,
        epoch: int,
        row: Layout,
        pairs: Tensor,
        scales: Sequence[float],
        dtype: torch.dtype,
        weights: Tensor | None = None,
        mirrored: bool = False,
    ) -> Tensor:
        """Draws the rows of some pairs in one call of the device's kernel, with equal bits on every path.

        Args:
            epoch: number of the draw.
            row: what a row holds.
            pairs: ``(K,)`` int64.
            scales: of every parameter up to the last in ``row``.
            dtype: of the result; numbers are scaled in float32 or wider and rounded once.
            weights: ``(K,)``, by which the scaled parts of each pair are multiplied as well, or None.
            mirrored: whether a pair's mirror image follows it.

        Returns:
            ``(K, W)``, or ``(2K, W)`` when ``mirrored``.
        """
        return self.draw_from(self.tables(epoch, scales, pairs.device), row, pairs, dtype, weights, mirrored)

    def draw_from(
        self,
        tables: Tables,
        row: Layout,
        pairs: Tensor,
        dtype: torch.dtype,
        weights: Tensor | None = None,
        mirrored: bool = False,
    ) -> Tensor:
        """Draws as ``draw`` does, from what is on the device already: ``tables``, the result of ``tables``."""
        out = torch.empty(len(pairs) * (2 if mirrored else 1), row.width, dtype=dtype, device=pairs.device)
        _path(out).fill(out, row, tables.starts, pairs, tables.scales, weights, mirrored, self.distribution)
        return out

    def tables(self, epoch: int, scales: Sequence[float], device: torch.device) -> Tables:
        """Sends what a draw depends on beside its shape to the device.

        Args:
            epoch: number of the draw.
            scales: of every parameter.
            device: where the noise lives.
        """
        starts = _starts(self.seed, epoch, 1 << max(len(scales) - 1, 7).bit_length(), device)
        return Tables(starts, _sent(tuple(scales), device))

    def constants(self, row: Layout, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
        """Returns whatever else a draw reads, which is the same for every epoch and scale."""
        path = _path(torch.empty(0, dtype=dtype, device=device))
        return [] if path is fused_cpu else path.constants(row, self.distribution, device)

    def deltas(
        self,
        epoch: int,
        members: "Members",
        shapes: Sequence[Shape],
        sigma: float | Sequence[float],
        dtypes: Sequence[torch.dtype],
        in_kernels: InKernels | None = None,
    ) -> list[Delta]:
        """Draws the perturbations of every parameter for some members: all that have one dtype in one call.

        Args:
            epoch: number of the draw.
            members: which.
            shapes: how each parameter is perturbed.
            sigma: σ, of all parameters or of each.
            dtypes: of each parameter's numbers.
            in_kernels: the parameters whose factors are not drawn before they are read, and that learns which; None
                draws all.
        """
        sigmas = [sigma] * len(shapes) if isinstance(sigma, int | float) else sigma
        scales = [sigma / shape.rank**0.5 if shape.rank else sigma for sigma, shape in zip(sigmas, shapes, strict=True)]
        out: dict[int, Delta] = {}
        for dtype in dict.fromkeys(dtypes):
            group = [j for j, own in enumerate(dtypes) if own == dtype and (in_kernels is None or j not in in_kernels)]
            out |= zip(group, self._drawn(epoch, members, shapes, scales, dtype, group), strict=True)

        def factors(j: int) -> tuple[Tensor, Tensor]:
            return _both(self._drawn(epoch, members, shapes, scales, dtypes[j], [j])[0])

        if in_kernels is not None:
            starts, sent = self.tables(epoch, scales, members.pairs.device)
            for j, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=True)):
                if fits(shape, dtype, members.pairs, members.mirrored):
                    made = partial(
                        source, starts, sent, members.pairs, members.signs, members.mirrored, shape, j,
                        self.distribution,
                    )  # fmt: skip
                    drawn = None if j in in_kernels else _both(out[j])
                    size = shape.rank * (shape.rows + shape.columns) * dtype.itemsize
                    undrawn = Undrawn(j, members.count, size, partial(factors, j), made, drawn, in_kernels)
                    out[j] = Delta(None, None, None, undrawn=undrawn)
        return [out[j] for j in range(len(shapes))]

    def _drawn(
        self,
        epoch: int,
        members: "Members",
        shapes: Sequence[Shape],
        scales: Sequence[float],
        dtype: torch.dtype,
        group: Sequence[int],
    ) -> list[Delta]:
        """Draws the perturbations of some parameters of one dtype in one call."""
        if not group:
            return []
        row = self.row([shapes[j] for j in group], group)
        z = self.draw(epoch, row, members.pairs, scales, dtype, members.signs, members.mirrored)  # (3)
        return [_delta(shapes[j], z[:, first:last]) for j, (first, last) in zip(group, row.columns, strict=True)]


def _path(out: Tensor) -> ModuleType:
    """Returns the kernel that writes a tensor."""
    return next((path for path in (fused_cpu, fused_cuda) if path.fits(out)), reference)


def _both(delta: Delta) -> tuple[Tensor, Tensor]:
    assert delta.left is not None
    assert delta.right is not None
    return delta.left, delta.right


def _delta(shape: Shape, z: Tensor) -> Delta:
    if shape.rank:
        return Delta(*shape.split(z), None)  # (1)
    if shape.matrix:
        return _with_identity(z.reshape(len(z), *shape.stack, shape.rows, shape.columns))
    return Delta(None, None, z.reshape(len(z), *shape.size))  # (2)


def _with_identity(z: Tensor) -> Delta:
    """Writes dense perturbations ``(K, …, m, n)`` as factors, of which the smaller is the identity: I z or z I."""
    *lead, m, n = z.shape
    unit = torch.eye(min(m, n), dtype=z.dtype, device=z.device).expand(*lead, -1, -1)
    return Delta(unit, z, None) if m <= n else Delta(z.mT.contiguous(), unit, None)


@lru_cache(maxsize=8)
def _starts(seed: int, epoch: int, count: int, device: torch.device) -> Tensor:
    """Sends what makes the keys of a generation to the device, once."""
    return send(starts_of(seed, epoch, count), device)


@lru_cache(maxsize=8)
def _sent(scales: tuple[float, ...], device: torch.device) -> Tensor:
    return send(torch.tensor(scales, dtype=torch.float64), device)


class Members:
    """Some members of a population, with the pair and the sign of each.

    Args:
        indices: the members, in the order of evaluation.
        antithetic: members 2k and 2k + 1 share pair k.
        device: where noise is drawn.
    """

    def __init__(self, indices: list[int], antithetic: bool, device: torch.device) -> None:
        self.count: int = len(indices)
        self.mirrored: bool = antithetic and _whole_pairs(indices)
        drawn = indices[::2] if self.mirrored else indices
        self.pairs: Tensor = _numbers([i // 2 if antithetic else i for i in drawn], device)
        self.signs: Tensor | None = None
        if antithetic and not self.mirrored:
            self.signs = send(torch.tensor([-1.0 if i % 2 else 1.0 for i in indices]), device)


def _numbers(pairs: list[int], device: torch.device) -> Tensor:
    """Returns the numbers of pairs on the device; those in a row need not be sent."""
    if pairs and pairs == list(range(pairs[0], pairs[0] + len(pairs))):
        return torch.arange(pairs[0], pairs[0] + len(pairs), device=device)
    return send(torch.tensor(pairs, dtype=torch.int64), device)


def _whole_pairs(indices: list[int]) -> bool:
    plus, minus = indices[::2], indices[1::2]
    return len(plus) == len(minus) and [i | 1 for i in plus] == minus and not any(i & 1 for i in plus)
