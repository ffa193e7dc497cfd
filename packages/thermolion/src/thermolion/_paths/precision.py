"""Rounding of single-precision results to half-precision tensors."""

import torch
from torch import Tensor

LOW_HALF = 0xFFFF


def rounded(theta: Tensor, dtype: torch.dtype, bits: Tensor | None) -> Tensor:
    """Returns ``theta``, float32, in ``dtype``: to nearest, or up with the probability of the remainder.

    Args:
        theta: computed parameters.
        dtype: of the parameters.
        bits: int32 in [0, 2¹⁶), uniform, of theta's shape: they are added below bfloat16's last bit before the rest is
            cut off, so that the mean of the result is ``theta``. None rounds to nearest, ties to even.
    """
    if bits is None or dtype != torch.bfloat16:
        return theta.to(dtype)
    words = theta.contiguous().view(torch.int32) + bits
    cut = words.bitwise_and_(~LOW_HALF).view(torch.float32)
    return torch.where(theta.isfinite(), cut, theta).to(dtype)


def storable(v: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns ``v`` in ``dtype`` without losing that it is positive and finite: float16 ends at 6e-8 and 65504.

    A second moment that vanished would leave ε alone under the fraction of (4), and one that overflowed would stop the
    parameter for good. bfloat16 has float32's range and needs no such care.
    """
    if dtype != torch.float16:
        return v.to(dtype)
    held = v.clamp(2.0**-24, torch.finfo(dtype).max)
    return torch.where((v > 0) & v.isfinite(), held, v).to(dtype)
