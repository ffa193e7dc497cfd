"""A linear layer whose weight and bias differ from member to member.

    x (W + σE)ᵀ + b + σe = x Wᵀ + b + (σ/√r) (x B) Aᵀ + σe          (1)
                         = x Wᵀ + b + [x B, 1] [(σ/√r) A, σe]ᵀ      (2)  one thin product for both
                         = [x B, 1] [(σ/√r) A, b + σe]ᵀ + x Wᵀ      (3)  the base product on top: fewer passes

The base product is the population's where the members share x, and may be given; otherwise it is added onto the thin
product.

Source: Sarkar et al. 2025 (EGGROLL), section 4.2, https://arxiv.org/abs/2511.16652
"""

import torch
from torch import Tensor

from .products import add_thin, add_thin_, affine, affine_onto_thin, aligned, padded, thin_each, thin_shared


def linear(
    x: Tensor,
    shared: bool,
    weight: Tensor,
    bias: Tensor | None,
    left: Tensor | None,
    right: Tensor | None,
    bias_delta: Tensor | None,
    base: Tensor | None = None,
) -> Tensor:
    """Evaluates all members.

    Args:
        x: ``(members, ..., n)``, or ``(..., n)`` when ``shared``.
        shared: whether all members see one ``x``.
        weight: ``(m, n)``.
        bias: ``(m,)``.
        left: ``(members, r, m)``, with σ and sign.
        right: ``(members, r, n)``.
        bias_delta: ``(members, m)``, with σ and sign.
        base: `base_product` of ``x``, where it is known.

    Returns:
        ``(members, ..., m)``, in the dtype of ``x``.
    """
    given = left if left is not None else bias_delta
    assert given is not None
    members, m, n = len(given), weight.shape[0], x.shape[-1]
    lead = x.shape[:-1] if shared else x.shape[1:-1]
    flat = aligned(x.reshape(-1, n))
    if not shared and left is not None and right is not None and x.dtype == weight.dtype == given.dtype:
        h = thin_each(flat.view(members, -1, flat.shape[1]), aligned(right))
        if bias is not None or bias_delta is not None:
            h, left = _with_bias(h, left, bias, bias_delta)
        return affine_onto_thin(flat, padded(weight), h, left).view(members, *lead, m)  # (3)
    base = affine(flat, padded(weight), bias) if base is None else base
    precise = base if base.dtype == given.dtype else base.to(given.dtype)
    precise = precise.unsqueeze(0).expand(members, -1, -1) if shared else precise.view(members, -1, m)
    if left is None or right is None:
        assert bias_delta is not None
        return (precise + bias_delta.unsqueeze(1)).to(x.dtype).view(members, *lead, m)
    thin, right = flat.to(given.dtype), aligned(right)
    h = thin_shared(thin, right) if shared else thin_each(thin.view(members, -1, thin.shape[1]), right)
    if bias_delta is not None:
        h, left = _with_bias(h, left, None, bias_delta)
    out = add_thin(precise, h, left) if shared else add_thin_(precise, h, left)  # (2)
    return out.to(x.dtype).view(members, *lead, m)


def base_product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Returns ``x weightᵀ + bias`` as rows ``(rows, m)``, for an ``x`` ``(..., n)`` that all members see."""
    return affine(aligned(x.reshape(-1, x.shape[-1])), padded(weight), bias)


def _with_bias(h: Tensor, left: Tensor, bias: Tensor | None, bias_delta: Tensor | None) -> tuple[Tensor, Tensor]:
    """Returns ``[x B, 1]`` and ``[(σ/√r) A, b + σe]ᵀ``, either part of the bias where there is one."""
    if bias is None or bias_delta is None:
        whole = bias_delta if bias is None else bias.expand(len(left), -1)
        assert whole is not None
    else:
        whole = bias + bias_delta
    return torch.cat([h, h.new_ones(1, 1, 1).expand(*h.shape[:2], 1)], 2), torch.cat([left, whole.unsqueeze(1)], 1)
