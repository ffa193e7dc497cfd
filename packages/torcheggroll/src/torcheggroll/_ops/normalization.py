"""Layer, RMS, group and batch norms whose scale and shift differ from member to member.

    y = (x - mean x)/√(var x + ε) · (w + σe) + b + σe′      (1)  RMS norm: no mean, no shift

Only the affine part depends on the member; if the members share x, it is normalised once.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from . import fused_cuda


def normalization(
    x: Tensor,
    shared: bool,
    weight: Tensor | None,
    bias: Tensor | None,
    weight_delta: Tensor | None,
    bias_delta: Tensor | None,
    normalize: Callable[[Tensor], Tensor],
    channel_first: bool,
    rowwise: tuple[float, bool] | None = None,
) -> Tensor:
    """Evaluates all members.

    Args:
        x: ``(members, batch, ...)``, or without the first dimension when ``shared``.
        shared: whether all members see one ``x``.
        weight: the scale, ``(channels,)`` or the normalised shape.
        bias: the shift, like ``weight``.
        weight_delta: ``(members, *weight.shape)``, with σ and sign.
        bias_delta: ``(members, *bias.shape)``, with σ and sign.
        normalize: the norm without its affine part.
        channel_first: whether the channels are dimension 1, as for group norm; otherwise the scale fits the last ones.
        rowwise: ε, and whether to subtract the mean, where rows of the last dimension are normalised separately.

    Returns:
        ``(members, batch, ...)``.
    """
    if rowwise is not None and fused_cuda.fits(x, weight, bias, weight_delta, bias_delta):
        return _on_cuda(x, shared, weight, bias, weight_delta, bias_delta, *rowwise)
    y = normalize(x) if shared else normalize(x.flatten(0, 1)).view(x.shape) if x.dim() > 1 else normalize(x)
    given = weight_delta if weight_delta is not None else bias_delta
    assert given is not None
    y = y.to(given.dtype)
    dims = y.dim() if shared else y.dim() - 1
    scale, shift = (
        _member_wise(value, delta, dims, channel_first) for value, delta in ((weight, weight_delta), (bias, bias_delta))
    )
    if scale is not None and shift is not None:
        y = torch.addcmul(shift, y, scale)  # (1)
    elif scale is not None:
        y = y * scale  # (1)
    elif shift is not None:
        y = y + shift  # (1)
    return y.to(x.dtype)


def _on_cuda(
    x: Tensor,
    shared: bool,
    weight: Tensor | None,
    bias: Tensor | None,
    weight_delta: Tensor | None,
    bias_delta: Tensor | None,
    eps: float,
    centered: bool,
) -> Tensor:
    """Evaluates all members in one pass."""
    given = weight_delta if weight_delta is not None else bias_delta
    assert given is not None
    rows = x.reshape(-1, x.shape[-1])
    out = fused_cuda.normalized(rows, shared, len(given), weight, bias, weight_delta, bias_delta, eps, centered)
    return out.view(len(given), *(x.shape if shared else x.shape[1:]))


def _member_wise(value: Tensor | None, delta: Tensor | None, dims: int, channel_first: bool) -> Tensor | None:
    if value is None:
        return None
    each = value.unsqueeze(0) if delta is None else value.to(delta.dtype) + delta
    if channel_first:
        return each.view(len(each), 1, -1, *[1] * (dims - 2))
    return each.view(len(each), *[1] * (dims - each.dim() + 1), *each.shape[1:])
