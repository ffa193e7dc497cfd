"""A convolution whose filters and bias differ from member to member.

    x ∗ (W + σE) = x ∗ W + (σ/√r) A (x ∗ B)      (1)  B: r filters; A: a 1×1 convolution

W counts as the matrix (out, in·k…). With groups, each group of outputs sees its own inputs through the same B.

Source: Sarkar et al. 2025 (EGGROLL), section 4.2, https://arxiv.org/abs/2511.16652
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_Convolution = Callable[..., Tensor]


def convolution(
    x: Tensor,
    shared: bool,
    weight: Tensor,
    bias: Tensor | None,
    left: Tensor | None,
    right: Tensor | None,
    bias_delta: Tensor | None,
    base: _Convolution,
    groups: int,
    settings: dict[str, Any],
) -> Tensor:
    """Evaluates all members.

    Args:
        x: ``(members, batch, in, ...)``, or without the first dimension when ``shared``.
        shared: whether all members see one ``x``.
        weight: ``(out, in/groups, *kernel)``.
        bias: ``(out,)``.
        left: ``(members, r, out)``, with σ and sign.
        right: ``(members, r, in/groups · kernel)``.
        bias_delta: ``(members, out)``, with σ and sign.
        base: the convolution of torch: ``conv1d``, ``conv2d`` or ``conv3d``.
        groups: of the convolution.
        settings: stride, padding, dilation.

    Returns:
        ``(members, batch, out, ...)``.
    """
    given = left if left is not None else bias_delta
    assert given is not None
    members, out_channels = len(given), weight.shape[0]
    flat = x if shared else x.flatten(0, 1)
    y = base(flat, weight, bias, groups=groups, **settings).to(given.dtype)
    space = y.shape[2:]
    y = y.unsqueeze(0).expand(members, *y.shape) if shared else y.view(members, -1, *y.shape[1:])
    batch = y.shape[1]
    if left is not None and right is not None:
        rank = left.shape[1]
        h = _filtered(
            x.to(given.dtype), shared, right.reshape(members, rank, *weight.shape[1:]), base, groups, settings
        )
        h = h.reshape(members, batch * groups, rank, -1)
        A = left.transpose(1, 2).reshape(members, 1, groups, out_channels // groups, rank).expand(-1, batch, -1, -1, -1)
        delta = torch.matmul(A.reshape(members, batch * groups, -1, rank), h)  # (1)
        y = y + delta.view(y.shape)
    if bias_delta is not None:
        y = y + bias_delta.view(members, 1, out_channels, *[1] * len(space))
    return y.to(x.dtype)


def _filtered(
    x: Tensor, shared: bool, filters: Tensor, base: _Convolution, groups: int, settings: dict[str, Any]
) -> Tensor:
    """Convolves with every member's filters in one call: ``(members, batch, groups · r, ...)``.

    Members that share x are more filters of each group; members with an x of their own are more groups.
    """
    members, rank, *size = filters.shape
    if shared:
        each = filters.flatten(0, 1).repeat(groups, *[1] * len(size))
        h = base(x, each, None, groups=groups, **settings)
        h = h.view(len(h), groups, members, rank, *h.shape[2:])
        return h.permute(2, 0, 1, *range(3, h.dim())).flatten(2, 3)
    each = filters.unsqueeze(1).expand(-1, groups, rank, *size).flatten(0, 2)
    h = base(x.transpose(0, 1).flatten(1, 2), each, None, groups=members * groups, **settings)
    return h.view(len(h), members, groups * rank, *h.shape[2:]).transpose(0, 1)
