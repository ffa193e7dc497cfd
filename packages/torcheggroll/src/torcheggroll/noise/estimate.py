"""The direction of ascent, one product per parameter.

    ΔW = (c/N) Σᵢ fᵢ Eᵢ = (c/(N√r)) [A₁ … A_N] diag(f) [B₁ … B_N]ᵀ             (1)  no Eᵢ is ever formed
    members of a pair share E with opposite signs: Σᵢ fᵢ Eᵢ = Σₖ (f₂ₖ - f₂ₖ₊₁) Eₖ  (2)
    c = σ√N "hyperscale",  c = 1 "paper",  c = 1/σ "unbiased"                   (3)

The pairs are taken in blocks whose size depends on the parameter's shape alone, in order, in float32 or wider: the same
weights to the bit however the population was evaluated, and wherever.

Source: Sarkar et al. 2025 (EGGROLL), equation 6 and section 4.2, https://arxiv.org/abs/2511.16652
"""

import torch
from torch import Tensor

from .perturbation import Noise, Shape

_BLOCK = 1 << 17  # numbers of factors at a time


def scale_of(mode: str, sigma: float, count: int) -> float:
    """Returns c for ``count`` members."""
    inverse = 1 / sigma if sigma else 0.0
    by_mode: dict[str, float] = {"hyperscale": sigma * count**0.5, "paper": 1.0, "unbiased": inverse}  # (3)
    return by_mode[mode]


def pair_weights(fitness: Tensor, antithetic: bool) -> Tensor:
    """Folds the members' weights into one per pair: ``(N,)`` to ``(K,)``."""
    return fitness[0::2] - fitness[1::2] if antithetic else fitness  # (2)


def estimate(
    noise: Noise, epoch: int, parameter: int, shape: Shape, weights: Tensor, factor: float, dtype: torch.dtype
) -> Tensor:
    """Sums the perturbations of one parameter, weighted.

    Args:
        noise: where the factors come from.
        epoch: number of the draw.
        parameter: its position.
        shape: how it is perturbed.
        weights: ``(K,)``, one per pair, on the device of the result.
        factor: c/N.
        dtype: float32, or float64 for float64 parameters.

    Returns:
        ΔW in the parameter's shape.
    """
    count = max(_BLOCK // max(shape.numbers, 1), 1)
    total = torch.zeros(shape.size, dtype=dtype, device=weights.device)
    w = weights.to(dtype) * (factor / shape.rank**0.5 if shape.rank else factor)
    matrix = total.view(shape.rows, shape.columns) if shape.rank else total.view(-1)
    for first in range(0, len(w), count):
        pairs = torch.arange(first, min(first + count, len(w)), device=weights.device)
        A, B = noise.factors(epoch, parameter, pairs, shape, dtype)
        f = w[first : first + count]
        if B is None:
            matrix += f @ A.reshape(len(f), -1)  # (1)
        else:
            left = (A * f.view(-1, 1, 1)).view(-1, shape.rows)
            matrix.addmm_(left.t(), B.reshape(-1, shape.columns))  # (1)
    return total
