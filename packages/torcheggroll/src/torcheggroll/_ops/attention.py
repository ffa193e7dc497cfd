"""Attention for many members at once: they are more sequences, and torch's fused kernel takes them all.

softmax(q kᵀ/√d + mask) v      (1)  nothing here depends on a parameter
"""

from typing import Any

from torch import Tensor
from torch.nn import functional


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    causal: bool,
    scale: float | None,
    grouped: bool,
) -> Tensor:
    """Evaluate all members.

    Args:
        query: ``(members, ..., heads, queries, d)``.
        key: ``(members, ..., heads, keys, d)``.
        value: ``(members, ..., heads, keys, d)``.
        mask: broadcastable to ``(members, ..., heads, queries, keys)``, or None.
        causal: hide later keys.
        scale: instead of 1/√d.
        grouped: fewer key heads than query heads, each used by several.

    Returns:
        ``(members, ..., heads, queries, d)``.
    """
    lead = query.shape[:-3]
    q, k, v = (t.reshape(-1, *t.shape[-3:]) for t in (query, key, value))
    if mask is not None and mask.dim() > 3:
        mask = mask.expand(*lead, *mask.shape[-3:]).reshape(-1, *mask.shape[-3:])
    grouping: dict[str, Any] = {"enable_gqa": True} if grouped else {}
    out = functional.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=causal, scale=scale, **grouping
    )  # (1)
    return out.view(*lead, *out.shape[1:])
