"""Attention for many members at once: members are additional sequences for torch's fused kernel.

softmax(q kᵀ/√d + mask) v      (1)  nothing here depends on a parameter
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .products import padded


def grouping(grouped: bool) -> dict[str, Any]:
    """Names the argument that lets several query heads use one key head; torch knows it from 2.5 on."""
    return {"enable_gqa": True} if grouped else {}


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    mask_shared: bool,
    causal: bool,
    scale: float | None,
    grouped: bool,
) -> Tensor:
    """Evaluates all members; what the dimensions between members and heads lack is broadcast.

    Args:
        query: ``(members, ..., heads, queries, d)``.
        key: ``(members, ..., heads, keys, d)``.
        value: ``(members, ..., heads, keys, d)``.
        mask: ``(members, ..., queries, keys)``, or without the first dimension when ``mask_shared``, or None.
        mask_shared: whether all members see one mask.
        causal: hide later keys.
        scale: instead of 1/√d.
        grouped: fewer key heads than query heads, each used by several.

    Returns:
        ``(members, ..., heads, queries, d)``.
    """
    width, last = query.shape[-1], value.shape[-1]
    query, key, value = (padded(t) for t in (query, key, value))  # or the kernel's sums depend on a member's address
    dims = max(t.dim() for t in (query, key, value))
    q, k, v = (_aligned(t, dims) for t in (query, key, value))
    lead = _common([t.shape[:-3] for t in (q, k, v)])
    q, k, v = (t.expand(*lead, *t.shape[-3:]).reshape(-1, *t.shape[-3:]) for t in (q, k, v))
    if mask is not None:
        mask = mask if mask_shared else _aligned(mask, dims)
        if mask.dim() > 3 or (mask.dim() == 3 and dims > 3):
            mask = mask.view(*[1] * (dims - mask.dim()), *mask.shape)
            mask = mask.expand(*lead, *mask.shape[-3:]).reshape(-1, *mask.shape[-3:])
    out = functional.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=causal, scale=width**-0.5 if scale is None else scale, **grouping(grouped)
    )  # (1)
    return out.view(*lead, *out.shape[1:])[..., :last]


def _common(leads: Sequence[torch.Size]) -> list[int]:
    """Returns the sizes that dimensions of the same number broadcast to."""
    return [max(sizes) for sizes in zip(*leads, strict=True)]


def _aligned(tensor: Tensor, dims: int) -> Tensor:
    """Inserts the dimensions that are missing behind the members."""
    return tensor.view(tensor.shape[0], *[1] * (dims - tensor.dim()), *tensor.shape[1:])
