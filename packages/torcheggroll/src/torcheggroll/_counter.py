"""Random bits as a pure function of integers: any member, in any order, on any device.

    mix(z): z ← (z ⊕ z≫30)·M₁;  z ← (z ⊕ z≫27)·M₂;  z ⊕ z≫31      (1)  modulo 2⁶⁴, shifts filled with zeros
    key   = mix(mix(mix(mix(seed + γ) + epoch + γ) + parameter + γ) + pair + γ)   (2)
    wⱼ    = mix(key + (j + 1) γ)                                    (3)  word j of the stream of that key

All arithmetic is on 64-bit integers, which wrap around alike everywhere; the global stream has no part in it.

Source: Steele, Lea & Flood 2014 (SplitMix), with the constants of Stafford's variant 13; γ = 2⁶⁴/golden ratio.
"""

import torch
from torch import Tensor

_GAMMA = 0x9E3779B97F4A7C15
_M1 = 0xBF58476D1CE4E5B9
_M2 = 0x94D049BB133111EB
_MASK = (1 << 64) - 1


def _signed(z: int) -> int:
    """Give the 64 bits of ``z`` as the signed integer that torch stores."""
    z &= _MASK
    return z - (1 << 64) if z >> 63 else z


def mix_integer(z: int) -> int:
    """Mix one 64-bit integer, in Python."""
    z &= _MASK
    z = (z ^ (z >> 30)) * _M1 & _MASK  # (1)
    z = (z ^ (z >> 27)) * _M2 & _MASK  # (1)
    return z ^ (z >> 31)  # (1)


def mix_(z: Tensor, scratch: Tensor) -> Tensor:
    """Mix every element of an int64 tensor, in place; ``scratch`` has its shape."""
    for shift, factor in ((30, _M1), (27, _M2), (31, None)):
        torch.bitwise_right_shift(z, shift, out=scratch)
        scratch &= (1 << (64 - shift)) - 1
        z ^= scratch  # (1)
        if factor is not None:
            z *= _signed(factor)  # (1)
    return z


def keys(seed: int, epoch: int, parameter: int, pairs: Tensor) -> Tensor:
    """Give the key of each pair.

    Args:
        seed: any integer; its lowest 64 bits count.
        epoch: number of the draw.
        parameter: position of the parameter.
        pairs: ``(K,)`` int64.

    Returns:
        ``(K,)`` int64, on the device of ``pairs``.
    """
    start = mix_integer(seed + _GAMMA)
    start = mix_integer(start + epoch + _GAMMA)
    start = mix_integer(start + parameter + _GAMMA)
    z = pairs + _signed(start + _GAMMA)
    return mix_(z, torch.empty_like(z))  # (2)


def words(key: Tensor, first: int, count: int) -> Tensor:
    """Give words ``first`` to ``first + count - 1`` of each key's stream: ``(K, count)`` int64."""
    j = torch.arange(first + 1, first + count + 1, device=key.device, dtype=torch.int64)
    j *= _signed(_GAMMA)
    z = key.unsqueeze(1) + j
    return mix_(z, torch.empty_like(z))  # (3)
