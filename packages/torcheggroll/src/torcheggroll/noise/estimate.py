"""The direction of ascent, one product per parameter.

    ΔW = (c/N) Σᵢ fᵢ Eᵢ = (c/(N√r)) [A₁ … A_N] diag(f) [B₁ … B_N]ᵀ             (1)  no Eᵢ is ever formed
    members of a pair share E with opposite signs: Σᵢ fᵢ Eᵢ = Σₖ (f₂ₖ - f₂ₖ₊₁) Eₖ  (2)
    c = σ√N "hyperscale",  c = 1 "paper",  c = 1/σ "unbiased"                   (3)

The pairs are summed in order, in float32 or wider, in blocks whose size depends only on the shape of the parameter. So
the weights are equal to the bit, however and wherever the population was evaluated.

Source: Sarkar et al. 2025 (EGGROLL), equation 6 and section 4.2, https://arxiv.org/abs/2511.16652
"""

from collections.abc import Iterator, Sequence
from math import prod

import torch
from torch import Tensor

from .layout import Layout, Shape
from .perturbation import Noise, Tables

_BLOCK = 1 << 17  # numbers of factors at a time, which stay in a core's cache
_LARGE_BLOCK = 1 << 26  # on other devices


def scale_of(mode: str, sigma: float, count: int) -> float:
    """Returns c for ``count`` members."""
    inverse = 1 / sigma if sigma else 0.0
    by_mode: dict[str, float] = {"hyperscale": sigma * count**0.5, "paper": 1.0, "unbiased": inverse}  # (3)
    return by_mode[mode]


def pair_weights(fitness: Tensor, antithetic: bool) -> Tensor:
    """Folds the members' weights into one per pair: ``(N,)`` to ``(K,)``."""
    return fitness[0::2] - fitness[1::2] if antithetic else fitness  # (2)


def ascents(
    noise: Noise,
    shapes: Sequence[Shape],
    dtypes: Sequence[torch.dtype],
    starts: Tensor,
    scales: Tensor,
    weights: Tensor,
) -> Iterator[Tensor]:
    """Sums the perturbations of every parameter, weighted: yields ΔW of each in order.

    Parameters that follow one another and whose factors fit in a block together are drawn in one call.

    Args:
        noise: where the factors come from.
        shapes: how each parameter is perturbed.
        dtypes: float32, or float64 for float64 parameters.
        starts: ``(P,)`` int64, of every parameter's keys.
        scales: ``(P,)`` float64, the result of ``scales_of``.
        weights: ``(K,)``, one per pair; all three on the device of the result.
    """
    tables = Tables(starts, scales)
    block = _block(weights.device)
    for group, row in rows_of(noise, shapes, dtypes, len(weights), weights.device):
        count = len(weights) if len(group) > 1 else max(block // max(shapes[group[0]].numbers, 1), 1)
        w = weights.to(dtypes[group[0]])
        total: Tensor | None = None
        for first in range(0, len(w), count):
            f = w[first : first + count]
            pairs = torch.arange(first, first + len(f), device=w.device)
            z = noise.draw_from(tables, row, pairs, w.dtype, f)
            for j, columns in zip(group, row.columns, strict=True):
                total = _added(total, shapes[j], z[:, slice(*columns)], f, scales[j])
                if first + count >= len(w):  # of several parameters each is summed in one block, and yielded here
                    yield total
                    total = None  # the caller may have freed it


def rows_of(
    noise: Noise, shapes: Sequence[Shape], dtypes: Sequence[torch.dtype], pairs: int, device: torch.device
) -> Iterator[tuple[list[int], Layout]]:
    """Yields the parameters that are drawn in one call, and the layout of the row of a pair."""
    for group in _together(shapes, dtypes, _block(device) // max(pairs, 1)):
        yield group, noise.row([shapes[j] for j in group], group, dense=False)


def scales_of(shapes: Sequence[Shape], factors: Sequence[float]) -> list[float]:
    """Returns what multiplies the sum of each parameter: c/N, or c/(N√r) where it has factors (1)."""
    return [factor / shape.rank**0.5 if shape.rank else factor for factor, shape in zip(factors, shapes, strict=True)]


def numbers_of(shapes: Sequence[Shape], pairs: int) -> int:
    """Counts the numbers of all factors and estimates."""
    return sum(pairs * shape.numbers + prod(shape.size) for shape in shapes)


def _block(device: torch.device) -> int:
    return _BLOCK if device.type == "cpu" else _LARGE_BLOCK


def _together(shapes: Sequence[Shape], dtypes: Sequence[torch.dtype], room: int) -> Iterator[list[int]]:
    """Splits the parameters into groups of one dtype that take at most ``room`` numbers a pair, or one alone."""
    group: list[int] = []
    taken = 0
    for j, shape in enumerate(shapes):
        if group and (taken + shape.numbers > room or dtypes[j] != dtypes[group[0]]):
            yield group
            group, taken = [], 0
        group.append(j)
        taken += shape.numbers
    if group:
        yield group


def _added(total: Tensor | None, shape: Shape, z: Tensor, f: Tensor, scale: Tensor) -> Tensor:
    """Adds the pairs of a block, of which A is weighted already, to ΔW."""
    if not shape.rank:
        found = ((f * scale) @ z).view(shape.size)  # (1)
        return found if total is None else total.add_(found)
    A, B = shape.split(z)
    if total is None:
        total = torch.zeros(shape.size, dtype=z.dtype, device=z.device)
    if shape.stacked:
        left, right = (factor.transpose(0, 1).flatten(1, 2) for factor in (A, B))
        return total.baddbmm_(left.mT, right)  # (1)  of each matrix
    left, right = A.reshape(-1, shape.rows).t(), B.reshape(-1, shape.columns)
    total.view(shape.rows, shape.columns).addmm_(left, right)  # (1)
    return total
