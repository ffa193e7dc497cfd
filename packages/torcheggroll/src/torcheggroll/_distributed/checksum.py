"""A checksum that shows whether two ranks hold the same tensors.

    c  = Σᵢ (2i + 1) bᵢ          (1)  modulo 2⁶⁴; bᵢ: the bits of entry i as an integer
    c* ← mix(c* + c + 1)         (2)  over the tensors, in order

An odd factor has an inverse, so a change of one entry always shows; any other change goes undetected with probability
2⁻³² at most. The sum is over integers, so its order does not matter and every device gets the same result.
"""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

from ..noise.counter import mix_integer

_BLOCK = 1 << 18  # entries at a time: the integers and their factors stay in a core's cache
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def checksum(tensors: Iterable[Tensor]) -> int:
    """Reduces dense tensors of any dtype to 64 bits."""
    total = 0
    for tensor in tensors:
        total = mix_integer(total + int(_sum(tensor.detach())) + 1)  # (2)
    return total


def digest(text: str) -> int:
    """Reduces a text to 64 bits, alike in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _sum(tensor: Tensor) -> Tensor:
    values = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    bits = values.contiguous().view(-1).view(_BITS[values.element_size()])
    total = torch.zeros((), dtype=torch.int64, device=tensor.device)
    factors = torch.arange(1, 2 * min(len(bits), _BLOCK) + 1, 2, device=tensor.device)
    for first in range(0, len(bits), _BLOCK):
        block = bits[first : first + _BLOCK]
        total += ((factors[: len(block)] + 2 * first) * block).sum()  # (1)
    return total
