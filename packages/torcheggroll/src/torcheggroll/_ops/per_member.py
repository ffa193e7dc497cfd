"""The op library under ``torch.func.vmap``: an op receives one member, its batching rule all members.

A rule receives every tensor with members as first dimension, knows which tensors are shared, and calls the one
implementation of the op.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .attention import attention, grouping


class Call(NamedTuple):
    """An op of the library and what it needs beside tensors."""

    op: Callable[..., Tensor]
    plain: int  # that many tensors after x are parameters, which no member owns; the rest are perturbations
    options: dict[str, Any]


class PerMember(torch.autograd.Function):
    """``call.op`` for one member; for all of them under vmap."""

    @staticmethod
    def forward(call: Call, x: Tensor, *tensors: Tensor | None) -> Tensor:
        """Evaluates one member."""
        parameters, deltas = tensors[: call.plain], tensors[call.plain :]
        each = [None if d is None else d.unsqueeze(0) for d in deltas]
        return call.op(x.unsqueeze(0), False, *parameters, *each, **call.options)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keeps nothing: evolution strategies need no gradient."""

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any, in_dims: tuple[int | None, ...], call: Call, x: Tensor, *tensors: Tensor | None
    ) -> tuple[Tensor, int]:
        """Evaluates all members at once."""
        dims = in_dims[2:]
        if any(d is not None for d in dims[: call.plain]):
            raise RuntimeError("a perturbed parameter must not be mapped over by a vmap of the model's own")
        shared = in_dims[1] is None
        if not shared:
            x = x.movedim(in_dims[1] or 0, 0)
        deltas: list[Tensor | None] = []
        for delta, dim in zip(tensors[call.plain :], dims[call.plain :], strict=True):
            if delta is not None and dim is None:
                delta = delta.unsqueeze(0).expand(info.batch_size, *delta.shape)
            deltas.append(delta if delta is None or not dim else delta.movedim(dim, 0))
        return call.op(x, shared, *tensors[: call.plain], *deltas, **call.options), 0


class Attention(torch.autograd.Function):
    """Scaled dot-product attention, which has no batching rule of its own on the CPU."""

    @staticmethod
    def forward(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        causal: bool,
        scale: float | None,
        grouped: bool,
    ) -> Tensor:
        """Evaluates one member."""
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=causal, scale=scale, **grouping(grouped)
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keeps nothing: evolution strategies need no gradient."""

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any,
        in_dims: tuple[int | None, ...],
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        causal: bool,
        scale: float | None,
        grouped: bool,
    ) -> tuple[Tensor, int]:
        """Evaluates all members at once."""
        q, k, v = (
            t.unsqueeze(0).expand(info.batch_size, *t.shape) if dim is None else t.movedim(dim, 0)
            for t, dim in zip((query, key, value), in_dims[:3], strict=True)
        )
        shared = mask is None or in_dims[3] is None
        if mask is not None and not shared:
            mask = mask.movedim(in_dims[3] or 0, 0)
        return attention(q, k, v, mask, shared, causal, scale, grouped), 0
