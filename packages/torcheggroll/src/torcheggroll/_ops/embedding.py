"""An embedding whose table differs from member to member.

    (W + σE)[t] = W[t] + (σ/√r) A[t] Bᵀ      (1)  a linear layer on one-hot rows

Source: Sarkar et al. 2025 (EGGROLL), section 4.2, https://arxiv.org/abs/2511.16652
"""

import torch
from torch import Tensor
from torch.nn import functional

from . import fused_cuda


def embedding(token: Tensor, shared: bool, weight: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Evaluates all members.

    Args:
        token: ``(members, ...)``, or ``(...)`` when ``shared``, integers.
        shared: whether all members see the same tokens.
        weight: ``(vocabulary, n)``.
        left: ``(members, r, vocabulary)``, with σ and sign.
        right: ``(members, r, n)``.

    Returns:
        ``(members, ..., n)``.
    """
    members, rank, vocabulary = left.shape
    lead = token.shape if shared else token.shape[1:]
    if fused_cuda.fits(weight, left, right):
        tokens = token.reshape(-1) if shared else token.reshape(members, -1)
        return fused_cuda.embedded(tokens, shared, weight, left, right).view(members, *lead, weight.shape[1])
    base = functional.embedding(token.reshape(-1), weight).to(left.dtype)
    if shared:
        thin = left[:, :, token.reshape(-1)].transpose(1, 2)
        base = base.unsqueeze(0).expand(members, -1, -1)
    else:
        offset = torch.arange(members, device=token.device).view(-1, 1) * vocabulary
        rows = (token.reshape(members, -1) + offset).view(-1)
        thin = left.transpose(1, 2).reshape(-1, rank).index_select(0, rows).view(members, -1, rank)
        base = base.view(members, -1, weight.shape[1])
    out = torch.baddbmm(base, thin, right)  # (1)
    return out.to(weight.dtype).view(members, *lead, weight.shape[1])
