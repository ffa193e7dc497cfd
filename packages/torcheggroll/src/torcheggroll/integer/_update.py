"""The integer update: from the fitness of pairs to steps of one.

    f_k = sign(fitness of member 2k - fitness of member 2k + 1)       (1)
    V = Σₖ fₖ Eₖ = [A₁ … A_K] diag(f) [B₁ … B_K]ᵀ                     (2)  E = A Bᵀ, or dense
    τ = ⌈Φ⁻¹(1 - α/2) √(v K')⌉                                       (3)  v: variance of E's entries; K' pairs, f ≠ 0
    W ← clip(W + [V ≥ τ] - [V ≤ -τ], ±limit)                          (4)
    α_t = α/(1 + t·decay)                                             (5)

If fitness were pure noise, a share α of the weights would move. As α decays the threshold rises, and steps, which
cannot shrink, become less frequent.

Source: Sarkar et al. 2025 (EGGROLL), appendix H, https://arxiv.org/abs/2511.16652
"""

from math import ceil, sqrt
from statistics import NormalDist

import torch
from torch import Tensor

from ._factors import Drawn


def pair_signs(fitness: Tensor) -> Tensor:
    """Asks of each pair which member is better, ``(N,)`` to ``(K,)`` int8; NaN and infinity silence a pair."""
    plus, minus = fitness[0::2], fitness[1::2]
    signs = (plus > minus).to(torch.int8) - (plus < minus).to(torch.int8)  # (1)
    if fitness.is_floating_point():
        signs *= torch.isfinite(plus) & torch.isfinite(minus)
    return signs


def share(alpha: float, decay: float, epoch: int) -> float:
    """Returns α of an epoch."""
    return alpha / (1 + epoch * decay)  # (5)


def threshold(alpha: float, variance: float, pairs: int) -> int:
    """Returns how many votes it takes to move a weight: one at least."""
    return max(ceil(NormalDist().inv_cdf(1 - alpha / 2) * sqrt(variance * pairs)), 1)  # (3)


def votes(signs: Tensor, drawn: Drawn) -> Tensor:
    """Sums the noise of some pairs, each for or against.

    Args:
        signs: ``(K,)`` int8.
        drawn: of one parameter and these pairs, without the members' signs.

    Returns:
        The parameter's shape, int32.
    """
    left, right = drawn
    if right is None:
        return (left * signs.view(-1, *[1] * (left.dim() - 1))).sum(0, dtype=torch.int32)  # (2)
    A = (left * signs.view(-1, 1, 1)).float().flatten(0, 1)
    return (A.t() @ right.float().flatten(0, 1)).to(torch.int32)  # (2) exact: a block's sums stay below 2²⁴


def move(weight: Tensor, vote: Tensor, tau: int, limit: int) -> None:
    """Moves each weight by one where enough pairs agree, and keeps it in its range."""
    step = (vote >= tau).to(torch.int16) - (vote <= -tau).to(torch.int16)
    weight.copy_((weight.to(torch.int16) + step).clamp_(-limit, limit))  # (4)
