"""Rows sorted by expert, each through the matrix of its expert, which differs from member to member.

    y_s = x_s W_eᵀ + (x_s B_e) A_eᵀ,  e = #{k : o_k ≤ s}      (1)  o_k: where the rows of expert k end

The base product is made once per expert, for the rows of all members; the thin ones take each row's own factors.
"""

import torch
from torch import Tensor

from .products import affine, aligned, padded


def grouped(x: Tensor, shared: bool, weight: Tensor, left: Tensor, right: Tensor, offsets: Tensor) -> Tensor:
    """Evaluates all members.

    Args:
        x: ``(members, S, n)``, or ``(S, n)`` when ``shared``.
        shared: whether all members see one ``x``.
        weight: ``(E, m, n)``.
        left: ``(members, E, r, m)``, with σ and sign.
        right: ``(members, E, r, n)``.
        offsets: ``(members, E)`` or ``(E,)`` integers, where the rows of each expert end.

    Returns:
        ``(members, S, m)``; rows behind the last offset are zero.
    """
    members, rows = len(left), x.shape[-2]
    flat = (x.expand(members, *x.shape) if shared else x).reshape(members * rows, -1)
    ends = (offsets.expand(members, -1) if offsets.dim() == 1 else offsets).contiguous()
    places = torch.arange(rows, device=x.device, dtype=ends.dtype).expand(members, -1).contiguous()
    expert = torch.searchsorted(ends, places, right=True).flatten()
    member = torch.arange(members, device=x.device).repeat_interleave(rows)
    out = flat.new_zeros(members * rows, weight.shape[1])
    for e in range(len(weight)):
        at = (expert == e).nonzero()[:, 0]
        if len(at):
            own, mine = flat[at], member[at]
            thin = torch.einsum("sn,srn->sr", own.to(right.dtype), right[mine, e])
            base = affine(aligned(own), padded(weight[e]), None)
            out[at] = (base.to(left.dtype) + torch.einsum("sr,srm->sm", thin, left[mine, e])).to(out.dtype)  # (1)
    return out.view(members, rows, -1)
