"""Perturbed products on the CPU by C++ kernels, where the bits of a row do not depend on the other rows.

The large product includes the low-rank part: x is read once for both, and y written once. It packs W at each call,
which pays where members have several rows or W is small; elsewhere the library computes it, and thin passes add the
rest.
"""

import ctypes
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..noise.fused_cpu import DISTRIBUTIONS
from .layer import Layer, Source
from .native import library

SOURCE = Path(__file__).with_name("fused_cpu.cpp")
DTYPES = (torch.float32, torch.float64)
_PANEL = 32  # columns of Wᵀ, to which its panels are rounded up
_DEEP, _WIDE = 1024, 512  # numbers of a block of Wᵀ, as in the kernel
_SMALL = 1 << 20  # numbers of a W that is packed for any rows: fewer than a millisecond's
_ROWS = 16  # of a member, for which any W is packed
_FEW = 4  # rows of a member, for which its factors need not be in memory
_SPILL = 1 << 20  # bytes of factors, which leave a core's cache before they are read
DRAWN = 4  # the largest rank whose factors the kernel draws


@lru_cache(maxsize=1)
def kernels() -> tuple[Any, Any, Any] | None:
    """Returns the compiled kernels, or None where there is no compiler."""
    made = library(SOURCE)
    if made is None:
        return None
    address, count, code = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    strided = (code, address, count, count, address, count, count, address, count, count, count, count, code)
    thin, add, product = made.torcheggroll_thin, made.torcheggroll_add, made.torcheggroll_product
    thin.argtypes = strided
    add.argtypes = (
        code, address, count, address, address, address, count, count, address, count, count, count, count, count, code
    )  # fmt: skip
    product.argtypes = (code, address, code)
    thin.restype = add.restype = product.restype = None
    return thin, add, product


def fits(x: Tensor, left: Tensor | None, right: Tensor | None, *others: Tensor | None) -> bool:
    """Returns whether the kernels take these: with factors, on the CPU, all of one dtype that no autocast changes.

    The kernels read addresses: a product that autocast returns in another dtype would be read beyond its end.
    """
    return (
        left is not None
        and right is not None
        and x.dtype in DTYPES
        and all(t is None or (t.device.type == "cpu" and t.dtype == x.dtype) for t in (x, left, right, *others))
        and not torch.is_autocast_enabled("cpu")
        and kernels() is not None
    )


def fits_product(layer: Layer, rows: int) -> bool:
    """Returns whether the large product is worth a kernel, by what does not depend on the number of members."""
    return rows >= _ROWS or layer.weight.numel() <= _SMALL


def draws(layer: Layer, x: Tensor, members: int, size: int) -> bool:
    """Returns whether the large product is to draw the factors itself: of few rows, and too many to stay in a cache.

    Args:
        layer: without factors.
        x: of all members.
        members: how many.
        size: bytes of a member's factors.
    """
    rows = x.numel() // max(members * x.shape[-1], 1)
    given = (x, layer.weight, layer.bias, layer.bias_delta)
    return (
        rows <= _FEW
        and members * size >= _SPILL
        and x.dtype in DTYPES
        and all(t is None or (t.device.type == "cpu" and t.dtype == x.dtype) for t in given)
        and not torch.is_autocast_enabled("cpu")
        and kernels() is not None
        and fits_product(layer, rows)
    )


def product(x: Tensor, layer: Layer) -> Tensor:
    """Returns ``x Wᵀ + t Aᵀ + b + σe``, t = x B, of every member.

    Args:
        x: ``(members · rows, n)``.
        layer: with both factors, or what they are drawn from.

    Returns:
        ``(members · rows, m)``.
    """
    weight, bias, shift, source = layer.weight, layer.bias, layer.bias_delta, layer.source
    x, bias, shift = _lined(x), None if bias is None else bias.contiguous(), None if shift is None else _lined(shift)
    left, right = (None, None) if source else (_lined(factor) for factor in layer.factors)
    (rows, n), m, rank = x.shape, len(weight), source.rank if source else layer.factors[0].shape[1]
    wide, deep = min(-(-m // _PANEL) * _PANEL, _WIDE), min(n, _DEEP)
    t, packed, y = x.new_empty(rows, rank), x.new_empty(wide * deep), x.new_empty(rows, m)
    counters = _counters(source) if source else None
    values = (
        x.data_ptr(), weight.data_ptr(), x.stride(0), *weight.stride(), rows, rows // layer.members, n, m, rank,
        _address(left), _address(right), _address(bias), _address(shift), *_steps(left), *_steps(right),
        _steps(shift)[0], t.data_ptr(), packed.data_ptr(), y.data_ptr(),
        ctypes.addressof(counters) if counters else 0,
    )  # fmt: skip
    found = kernels()
    assert found is not None
    found[2](x.dtype == torch.float64, (ctypes.c_int64 * len(values))(*values), torch.get_num_threads())
    return y


def _counters(source: Source) -> Any:
    """Returns the kernel's struct of a source, which points into its tensors."""
    values = (
        source.start.data_ptr(), source.pairs.data_ptr(), _address(source.signs), source.quantiles.data_ptr(),
        source.scale.data_ptr(), source.mirrored, DISTRIBUTIONS[source.distribution], source.right,
    )  # fmt: skip
    return (ctypes.c_int64 * len(values))(*values)


def thin_each(x: Tensor, right: Tensor) -> Tensor:
    """Returns ``x B`` of every member for its own ``x`` ``(members, rows, n)``: ``(members, rows, r)``."""
    x, right = _lined(x), _lined(right)
    members, rank, n = right.shape
    t = x.new_empty(members, x.shape[1], rank)
    found = kernels()
    assert found is not None
    found[0](
        x.dtype == torch.float64, x.data_ptr(), x.stride(0), x.stride(1), right.data_ptr(), right.stride(0),
        right.stride(1), t.data_ptr(), members, x.shape[1], n, rank, torch.get_num_threads(),
    )  # fmt: skip
    return t


def add_thin(base: Tensor, shared: bool, t: Tensor, left: Tensor, shift: Tensor | None) -> Tensor:
    """Adds what differs between members to a base product, in one pass.

    Args:
        base: ``(members · rows, m)``, which is written to, or ``(rows, m)`` when ``shared``, which is not; contiguous.
        shared: whether all members have one base product.
        t: ``(members, rows, r)``.
        left: ``(members, r, m)``.
        shift: ``(members, m)``, or ``(1, m)`` for all members, or None.

    Returns:
        ``(members · rows, m)``.
    """
    left, t = _lined(left), t.contiguous()
    shift = None if shift is None else _lined(shift)
    members, rank, m = left.shape
    rows = t.shape[1]
    out = base.new_empty(members * rows, m) if shared else base
    found = kernels()
    assert found is not None
    found[1](
        out.dtype == torch.float64, base.data_ptr(), 0 if shared else rows * m, out.data_ptr(), t.data_ptr(),
        left.data_ptr(), left.stride(0), left.stride(1), None if shift is None else shift.data_ptr(),
        0 if shift is None or len(shift) == 1 else shift.stride(0), members, rows, m, rank, torch.get_num_threads(),
    )  # fmt: skip
    return out


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _steps(tensor: Tensor | None) -> tuple[int, int]:
    """Returns how far apart members are, and the rows of one."""
    return (0, 0) if tensor is None else (tensor.stride(0), tensor.stride(1))


def _lined(tensor: Tensor) -> Tensor:
    """Returns the tensor with the numbers of a row side by side."""
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()
