"""The noise of a model's evolved parameters: the perturbations of any members, and their weighted sum.

The evaluation draws the perturbations of a chunk of members, all parameters in one call; the update draws ΔW of every
parameter in order. Nothing is kept, except inside ``cached``.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from .._ops.graphs import Repeated
from .._ops.triton_launch import send
from ..filters import NamedParameter
from .estimate import ascents, numbers_of, rows_of, scale_of, scales_of
from .layout import Shape, perturbed_shape
from .perturbation import Delta, Members, Noise
from .undrawn import InKernels

_CAPTURED = 1 << 24  # factors and estimates of an update that is worth a graph: larger ones keep a GPU busy


class Draw(NamedTuple):
    """The arguments of a population's noise, beside parameter and member."""

    seed: int
    number: int  # generations that reuse their noise share it
    sigma: float
    rank: int
    distribution: str
    antithetic: bool
    shares: tuple[float, ...] | None = None  # of σ, one per parameter; None for all of it
    small_dense: bool = False  # whether matrices as small as their factors are dense
    stacks: bool = False  # whether each matrix of a stack has factors of its own


class ModelNoise:
    """Draws the perturbations of the evolved parameters of one model.

    Args:
        parameters: the evolved ones; noise lives on their device.
    """

    def __init__(self, parameters: Sequence[NamedParameter]) -> None:
        self._parameters: list[NamedParameter] = list(parameters)
        self._shapes: dict[tuple[int, bool, bool], list[Shape]] = {}  # of the last rank
        self._cache: dict[tuple[int, ...], list[Delta]] | None = None
        self._cached: Draw | None = None
        self._in_kernels = InKernels()
        self.repeated = Repeated()

    def shapes(self, draw: Draw) -> list[Shape]:
        """Says how each parameter is perturbed."""
        how = draw.rank, draw.small_dense, draw.stacks
        if how not in self._shapes:
            self._shapes = {
                how: [
                    perturbed_shape(tuple(p.value.shape), draw.rank, draw.small_dense, draw.stacks and p.stacked)
                    for p in self._parameters
                ]
            }
        return self._shapes[how]

    def sigmas(self, draw: Draw) -> list[float]:
        """Returns σ of each parameter."""
        return [draw.sigma * share for share in draw.shares or [1.0] * len(self._parameters)]

    def deltas(self, draw: Draw, members: Sequence[int]) -> list[Delta]:
        """Draws the perturbations of some members, one ``Delta`` per parameter."""
        if self._cache is None:
            return self._deltas(draw, list(members))
        if draw != self._cached:
            self._cache.clear()
            self._cached = draw
        chunk = tuple(members)
        if chunk not in self._cache:
            self._cache[chunk] = self._deltas(draw, list(members))
        return self._cache[chunk]

    def _deltas(self, draw: Draw, members: list[int]) -> list[Delta]:
        dtypes = [factor_dtype(p.value.dtype) for p in self._parameters]
        chosen = Members(members, draw.antithetic, self._parameters[0].value.device)
        noise = Noise(draw.seed, draw.distribution)
        kept = self._cache is not None  # what is kept is drawn
        in_kernels = None if kept else self._in_kernels
        return noise.deltas(draw.number, chosen, self.shapes(draw), self.sigmas(draw), dtypes, in_kernels)

    def ascent(self, draw: Draw, weights: Tensor, scale: str, members: int) -> Iterator[Tensor]:
        """Yields ΔW of each parameter in order, computed on demand, a few at a time; small ones by a graph on CUDA.

        Args:
            draw: of the population.
            weights: ``(K,)``, one per pair, on the CPU.
            scale: decides c, by each parameter's own σ.
            members: N, how many count.
        """
        noise, shapes = Noise(draw.seed, draw.distribution), self.shapes(draw)
        dtypes = [precise_dtype(p.value.dtype) for p in self._parameters]
        factors = [scale_of(scale, sigma, members) / members for sigma in self.sigmas(draw)]
        device = self._parameters[0].value.device
        starts, scales = noise.tables(draw.number, scales_of(shapes, factors), device)
        inputs = starts, scales, send(weights, device)
        estimate = partial(ascents, noise, shapes, dtypes)
        if numbers_of(shapes, len(weights)) > _CAPTURED:
            return estimate(*inputs)

        def constants() -> list[Tensor]:
            rows = rows_of(noise, shapes, dtypes, len(weights), device)
            return [t for group, row in rows for t in noise.constants(row, dtypes[group[0]], device)]

        kind = tuple(shapes), tuple(dtypes), draw.distribution, len(weights), device
        return iter(self.repeated(kind, estimate, inputs, constants))

    @contextmanager
    def cached(self) -> Generator[None, None, None]:
        """Keeps what is drawn inside the ``with``; the noise of another population replaces it."""
        before = self._cache, self._cached
        self._cache, self._cached = {}, None
        try:
            yield
        finally:
            self._cache, self._cached = before


def factor_dtype(dtype: torch.dtype) -> torch.dtype:
    """Returns the dtype of factors: the parameter's own, but float32 for float16, which would lose small numbers."""
    return torch.float32 if dtype == torch.float16 else dtype


def precise_dtype(dtype: torch.dtype) -> torch.dtype:
    """Returns the dtype of estimates: float32, or float64 for float64 parameters."""
    return torch.float64 if dtype in (torch.float64, torch.complex128) else torch.float32
