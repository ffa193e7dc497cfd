"""The noise of a chunk of pairs on CUDA: all parameters in one launch."""

# Triton has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from typing import Any

import torch
from torch import Tensor

from .._ops import triton_launch
from .distributions import quantiles
from .layout import BLOCK, Layout, table


def fits(out: Tensor) -> bool:
    """Returns whether the kernel writes this tensor."""
    return triton_launch.usable(out)


def constants(row: Layout, distribution: str, device: torch.device) -> list[Tensor]:
    """Returns the tables that ``fill`` reads."""
    return [table(row.parts, BLOCK, device), *([quantiles(device)] if distribution == "gaussian" else [])]


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
    from . import fused_cuda_kernel as kernels

    fill_kernel: Any = kernels.fill_kernel
    parts, *others = constants(row, distribution, out.device)
    table_of_quantiles = others[0] if others else starts  # any address: it is not read
    triton_launch.launch(
        fill_kernel, len(pairs) * len(parts), out, out, out.stride(0), starts, pairs, parts, len(parts), scales,
        weights, table_of_quantiles,
        MIRRORED=mirrored, DISTRIBUTION=distribution, WIDE=out.dtype == torch.float64,
    )  # fmt: skip
