"""A linear layer whose weight and bias differ from member to member.

    x (W + σE)ᵀ + b + σe = x Wᵀ + b + (σ/√r) (x B) Aᵀ + σe          (1)
                         = x Wᵀ + b + [x B, 1] [(σ/√r) A, σe]ᵀ      (2)  one thin product for both
                         = [x B, 1] [(σ/√r) A, b + σe]ᵀ + x Wᵀ      (3)  the base product on top: fewer passes

The base product is the population's where the members share x, and may be given; otherwise one kernel makes both
products, or it is added onto the thin one.

Source: Sarkar et al. 2025 (EGGROLL), section 4.2, https://arxiv.org/abs/2511.16652
"""

import torch
from torch import Tensor
from torch.nn import functional

from . import fused_cpu, fused_cuda, triton_launch
from .layer import Layer, Source
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
    source: Source | None = None,
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
        source: what a kernel draws the factors from, in the place of ``left`` and ``right``.

    Returns:
        ``(members, ..., m)``, in the dtype of ``x``.
    """
    layer = Layer(weight, bias, left, right, bias_delta, source)
    n, lead = x.shape[-1], x.shape[:-1] if shared else x.shape[1:-1]
    rows = x.reshape(-1, n)
    if source is not None:
        out = (fused_cuda.product_drawn if triton_launch.usable(x) else fused_cpu.product)(rows, layer)
    elif fused_cuda.fits(x, *layer[:5]) and fused_cuda.fits_rank(left):
        out = _on_cuda(rows, shared, layer, base)
    elif fused_cpu.fits(x, left, right, weight, bias, bias_delta, base):
        out = _on_cpu(rows, shared, layer, base)
    else:
        out = _in_torch(rows, shared, layer, base)
    return out.view(layer.members, *lead, len(weight))


def _on_cuda(rows: Tensor, shared: bool, layer: Layer, base: Tensor | None) -> Tensor:
    """Evaluates all members by the kernels of CUDA."""
    weight, bias, left, right, bias_delta, _ = layer
    members = len(layer.given)
    t = None if right is None else fused_cuda.thin(rows, shared, right)
    if not shared:
        return fused_cuda.product(rows, weight, members, t, left, bias_delta, bias)
    base = functional.linear(rows, weight, bias) if base is None else base
    return fused_cuda.add(base, True, members, t, left, bias_delta, None)


def _on_cpu(rows: Tensor, shared: bool, layer: Layer, base: Tensor | None) -> Tensor:
    """Evaluates all members by the C++ kernels: (1), or the library's large product and (2)."""
    weight, bias, _, _, bias_delta, _ = layer
    left, right = layer.factors
    if not shared and fused_cpu.fits_product(layer, len(rows) // len(left)):
        return fused_cpu.product(rows, layer)
    flat = aligned(rows)
    if shared:
        base = affine(flat, padded(weight), bias) if base is None else base
        return fused_cpu.add_thin(base, True, thin_shared(flat, aligned(right)), left, bias_delta)
    h = fused_cpu.thin_each(rows.view(len(left), -1, rows.shape[1]), right)
    shift = None if bias is None else bias.unsqueeze(0)
    if bias_delta is not None:
        shift = bias_delta if shift is None else shift + bias_delta
    return fused_cpu.add_thin(affine(flat, padded(weight), None), False, h, left, shift)


def _in_torch(rows: Tensor, shared: bool, layer: Layer, base: Tensor | None) -> Tensor:
    """Evaluates all members in torch ops: the reference, and the path of dtypes and devices without a kernel."""
    weight, bias, left, right, bias_delta, _ = layer
    given = layer.given
    members, m = len(given), len(weight)
    flat = aligned(rows)
    if not shared and left is not None and right is not None and rows.dtype == weight.dtype == given.dtype:
        h = thin_each(flat.view(members, -1, flat.shape[1]), aligned(right))
        if bias is not None or bias_delta is not None:
            h, left = _with_bias(h, left, bias, bias_delta)
        return affine_onto_thin(flat, padded(weight), h, left)  # (3)
    base = affine(flat, padded(weight), bias) if base is None else base
    precise = base if base.dtype == given.dtype else base.to(given.dtype)
    precise = precise.unsqueeze(0).expand(members, -1, -1) if shared else precise.view(members, -1, m)
    if left is None or right is None:
        return (precise + given.unsqueeze(1)).to(rows.dtype)
    thin, right = flat.to(given.dtype), aligned(right)
    h = thin_shared(thin, right) if shared else thin_each(thin.view(members, -1, thin.shape[1]), right)
    if bias_delta is not None:
        h, left = _with_bias(h, left, None, bias_delta)
    out = add_thin(precise, h, left) if shared else add_thin_(precise, h, left)  # (2)
    return out.to(rows.dtype)


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
