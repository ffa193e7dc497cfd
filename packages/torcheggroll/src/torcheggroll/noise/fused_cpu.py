"""The noise of a chunk of pairs on the CPU: all parameters in one call of a C++ kernel."""

import ctypes
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._ops.native import library
from .distributions import quantiles
from .layout import Layout, table

SOURCE = Path(__file__).with_name("fused_cpu.cpp")
CODES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2}
DISTRIBUTIONS = {"gaussian": 0, "uniform": 1, "rademacher": 2}


@lru_cache(maxsize=1)
def kernel() -> Any:
    """Returns the compiled kernel, or None where there is no compiler."""
    made = library(SOURCE)
    if made is None:
        return None
    function = made.torcheggroll_fill
    address, count, code = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    function.argtypes = (
        address, code, count, address, address, count, address, count, address, address, code, code, address, code
    )  # fmt: skip
    function.restype = None
    return function


def fits(out: Tensor) -> bool:
    """Returns whether the kernel writes this tensor."""
    return out.device.type == "cpu" and out.dtype in CODES and kernel() is not None


def fill(
    out: Tensor,
    row: Layout,
    starts: Tensor,
    pairs: Tensor,
    scales: Tensor,
    weights: Tensor | None,
    mirrored: bool,
    distribution: str,
) -> None:
    """Draws the numbers of every parameter and pair; the arguments are those of `perturbation.fill`."""
    if weights is not None:
        weights = weights.to(torch.float64 if out.dtype == torch.float64 else torch.float32).contiguous()
    parts = table(row.parts, None, out.device)
    kernel()(
        out.data_ptr(), CODES[out.dtype], out.stride(0), starts.data_ptr(), pairs.data_ptr(), len(pairs),
        parts.data_ptr(), len(parts), scales.data_ptr(), None if weights is None else weights.data_ptr(), mirrored,
        DISTRIBUTIONS[distribution], quantiles(out.device).data_ptr(), torch.get_num_threads(),
    )  # fmt: skip
