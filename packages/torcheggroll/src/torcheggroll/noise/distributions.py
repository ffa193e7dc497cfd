"""Distributions: random words to numbers with mean 0 and variance 1, by exact operations or a table.

    gaussian    z = Q[u],  u = 16 bits of a word                        (1)
    quantiles   Qₖ = s·E[Z | Φ⁻¹(k/2¹⁶) < Z < Φ⁻¹((k+1)/2¹⁶)]            (2)  s makes the variance one
    uniform     z = (s + ½)·√(12/(2³² - 1)),  s = 16 bits, signed       (3)
    rademacher  z = 2b - 1,  b = one bit of a word                      (4)

The quantiles end at 4.3 standard deviations. All three are equal to the bit on every device, because nothing is rounded
twice.

Source: Sarkar et al. 2025 (EGGROLL), Assumption 1 asks for zero mean, unit variance, symmetry and a fourth moment,
https://arxiv.org/abs/2511.16652
"""

from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple, cast

import torch
from torch import Tensor


class Distribution(NamedTuple):
    """How many numbers a word gives, and how to read them."""

    per_word: int
    read: Callable[[Tensor], Tensor]  # (K, words) int64 to (K, words × per_word) float32


@lru_cache(maxsize=8)
def quantiles(device: torch.device) -> Tensor:
    """Returns Q of (1) on a device, float32."""
    edges = torch.arange(1, 1 << 15, dtype=torch.float64) / (1 << 16)
    z = cast(Tensor, torch.special.ndtri(edges))  # pyright: ignore[reportUnknownMemberType]
    density = torch.exp(-0.5 * z * z) / (2 * torch.pi) ** 0.5
    lower = torch.cat([torch.zeros(1, dtype=torch.float64), density])
    upper = torch.cat([density, torch.tensor([NormalDist().pdf(0.0)], dtype=torch.float64)])
    half = (lower - upper) * (1 << 16)  # (2) the mean within each of the lower 2¹⁵ classes
    half /= half.square().mean().sqrt()  # (2)
    return torch.cat([half, -half.flip(0)]).to(torch.float32).to(device)


@lru_cache(maxsize=8)
def signs(device: torch.device) -> Tensor:
    """Returns the eight signs of (4) that each byte gives, on a device, float32."""
    bits = (torch.arange(256).unsqueeze(1) >> torch.arange(8)) & 1
    return (2 * bits - 1).to(torch.float32).to(device)  # (4)


def gaussian(word: Tensor) -> Tensor:
    """Reads four Gaussian numbers from each word."""
    u = word.view(torch.uint16).to(torch.int32)
    return torch.index_select(quantiles(word.device), 0, u.view(-1)).view(u.shape)  # (1)


def uniform(word: Tensor) -> Tensor:
    """Reads four uniform numbers from each word."""
    z = word.view(torch.int16).to(torch.float32)
    z += 0.5
    z *= (12 / (2**32 - 1)) ** 0.5  # (3)
    return z


def rademacher(word: Tensor) -> Tensor:
    """Reads sixty-four signs from each word."""
    u = word.view(torch.uint8).to(torch.int32)
    return torch.index_select(signs(word.device), 0, u.view(-1)).view(len(word), -1)


DISTRIBUTIONS: dict[str, Distribution] = {
    "gaussian": Distribution(4, gaussian),
    "rademacher": Distribution(64, rademacher),
    "uniform": Distribution(4, uniform),
}
