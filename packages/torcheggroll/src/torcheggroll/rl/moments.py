"""Mean and variance of streams, which are merged in a fixed order.

    n ← n + 1,  δ = x - μ,  μ ← μ + δ/n,  M ← M + δ (x - μ)                                     (1)  one more x
    n = n_a + n_b,  δ = μ_b - μ_a,  μ = μ_a + δ n_b/n,  M = M_a + M_b + δ² n_a n_b/n               (2)  two streams
    streams 0 and 1, 2 and 3, … merge, and so do the results, until one is left                  (3)
    x̂ = clip((x - μ)/√(M/n + ε), -c, c)                                                          (4)

The tree of (3) depends only on the number of streams, so one stream per member gives the same bits on any ranks.
Products and sums are separate operations, because a fused one would round differently by position in memory.

Source: Welford 1962, https://doi.org/10.1080/00401706.1962.10490022; Chan, Golub & LeVeque 1983,
https://doi.org/10.1080/00031305.1983.10483115
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Moments(NamedTuple):
    """Several streams, one per row."""

    n: Tensor  # (streams,) float64: observations
    mean: Tensor  # (streams, *shape) float64: μ
    squares: Tensor  # (streams, *shape) float64: M, the sum of squared deviations


def empty(streams: int, shape: tuple[int, ...]) -> Moments:
    """Begins streams that have seen nothing."""
    zero = torch.zeros(streams, *shape, dtype=torch.float64)
    return Moments(torch.zeros(streams, dtype=torch.float64), zero, zero.clone())


def observe_(streams: Moments, x: Tensor, counted: Tensor) -> None:
    """Takes one observation per stream in, in place.

    Args:
        streams: S of them.
        x: ``(S, *shape)`` float64.
        counted: ``(S,)`` bool; the others stay as they are.
    """
    n, mean, squares = streams
    wide = _wide(counted, x)
    n += counted  # (1)
    delta = torch.where(wide, x - mean, 0.0)  # (1)
    mean += delta / _wide(n.clamp(min=1), x)  # (1)
    squares += delta * torch.where(wide, x - mean, 0.0)  # (1)


def merge(a: Moments, b: Moments) -> Moments:
    """Puts streams together, row by row."""
    n = a.n + b.n  # (2)
    share = _wide(b.n / n.clamp(min=1), a.mean)
    delta = b.mean - a.mean  # (2)
    mean = a.mean + delta * share  # (2)
    between = delta * delta
    between *= _wide(a.n, a.mean) * share
    return Moments(n, mean, a.squares + b.squares + between)  # (2)


def merge_all(streams: Moments) -> Moments:
    """Puts all rows together; one row is left."""
    while len(streams.n) > 1:
        whole = len(streams.n) // 2 * 2
        merged = merge(Moments(*(t[0:whole:2] for t in streams)), Moments(*(t[1:whole:2] for t in streams)))
        rest = [t[whole:] for t in streams]
        streams = Moments(*(torch.cat([m, r]) for m, r in zip(merged, rest, strict=True)))  # (3)
    return streams


def normalized(x: Tensor, stream: Moments, epsilon: float, clip: float) -> Tensor:
    """Returns ``(..., *shape)`` zero mean and unit variance, by a single stream; nothing seen, nothing changed."""
    if not float(stream.n[0]):
        return x
    variance = stream.squares[0] / stream.n[0]
    mean, deviation = stream.mean[0].to(x), (variance + epsilon).sqrt().to(x)
    return ((x - mean) / deviation).clamp(-clip, clip)  # (4)


def _wide(per_stream: Tensor, like: Tensor) -> Tensor:
    return per_stream.view(-1, *[1] * (like.dim() - 1))
