"""Thin products on the CPU, one pass each, by C++ kernels: a row has the same bits whatever rows are beside it."""

import ctypes
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .native import library

SOURCE = Path(__file__).with_name("fused_cpu.cpp")
DTYPES = (torch.float32, torch.float64)


@lru_cache(maxsize=1)
def kernels() -> tuple[Any, Any] | None:
    """Returns the compiled kernels, or None where there is no compiler."""
    made = library(SOURCE)
    if made is None:
        return None
    address, count, code = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    strided = (code, address, count, count, address, count, count, address, count, count, count, count, code)
    thin, add = made.torcheggroll_thin, made.torcheggroll_add
    thin.argtypes = strided
    add.argtypes = (
        code, address, count, address, address, address, count, count, address, count, count, count, count, count, code
    )  # fmt: skip
    thin.restype = add.restype = None
    return thin, add


def fits(x: Tensor, left: Tensor | None, right: Tensor | None, *others: Tensor | None) -> bool:
    """Says whether the kernels take these: with factors, on the CPU, all of one dtype that no autocast changes.

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


def _lined(tensor: Tensor) -> Tensor:
    """Returns the tensor with the numbers of a row side by side."""
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()
