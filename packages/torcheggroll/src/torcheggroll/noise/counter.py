"""Random bits as a pure function of integers: any member, in any order, on any device.

    mix(z): z ← (z ⊕ z≫30)·M₁;  z ← (z ⊕ z≫27)·M₂;  z ⊕ z≫31      (1)  modulo 2⁶⁴, shifts filled with zeros
    key   = mix(mix(mix(mix(seed + γ) + epoch + γ) + parameter + γ) + pair + γ)   (2)
    wⱼ    = mix(key + (j + 1) γ)                                    (3)  word j of the stream of that key

All arithmetic is on 64-bit integers, which wrap around in the same way everywhere; the global stream is not used.

Source: Steele, Lea & Flood 2014 (SplitMix), with the constants of Stafford's variant 13; γ = 2⁶⁴/golden ratio.
"""

import torch
from torch import Tensor

_GAMMA = 0x9E3779B97F4A7C15
_M1 = 0xBF58476D1CE4E5B9
_M2 = 0x94D049BB133111EB
_MASK = (1 << 64) - 1


def _signed(z: int) -> int:
    """Returns the 64 bits of ``z`` as the signed integer that torch stores."""
    z &= _MASK
    return z - (1 << 64) if z >> 63 else z


def mix_integer(z: int) -> int:
    """Mixes one 64-bit integer, in Python."""
    z &= _MASK
    z = (z ^ (z >> 30)) * _M1 & _MASK  # (1)
    z = (z ^ (z >> 27)) * _M2 & _MASK  # (1)
    return z ^ (z >> 31)  # (1)


def mix_(z: Tensor, scratch: Tensor) -> Tensor:
    """Mixes every element of an int64 tensor, in place; ``scratch`` has its shape."""
    for shift, factor in ((30, _M1), (27, _M2), (31, None)):
        torch.bitwise_right_shift(z, shift, out=scratch)
        scratch &= (1 << (64 - shift)) - 1
        z ^= scratch  # (1)
        if factor is not None:
            z *= _signed(factor)  # (1)
    return z


def start(seed: int, epoch: int, parameter: int) -> int:
    """Returns what a pair is added to, to make its key, as torch stores it."""
    z = mix_integer(seed + _GAMMA)
    z = mix_integer(z + epoch + _GAMMA)
    return _signed(mix_integer(z + parameter + _GAMMA) + _GAMMA)


def starts_of(seed: int, epoch: int, count: int) -> Tensor:
    """Returns ``start`` of the parameters 0 to ``count - 1``, on the CPU."""
    z = torch.arange(count, dtype=torch.int64) + _signed(mix_integer(mix_integer(seed + _GAMMA) + epoch + _GAMMA))
    z += _signed(_GAMMA)
    return mix_(z, torch.empty_like(z)) + _signed(_GAMMA)


def keys(starts: Tensor, pairs: Tensor) -> Tensor:
    """Returns the key of each pair for each parameter.

    Args:
        starts: ``(P,)`` int64, ``start`` of each parameter.
        pairs: ``(K,)`` int64 on the same device.

    Returns:
        ``(K, P)`` int64.
    """
    z = pairs.unsqueeze(1) + starts
    return mix_(z, torch.empty_like(z))  # (2)


def steps(first: int, count: int, device: torch.device) -> Tensor:
    """Returns what is added to a key for words ``first`` to ``first + count - 1``."""
    j = torch.arange(first + 1, first + count + 1, device=device, dtype=torch.int64)
    return j.mul_(_signed(_GAMMA))


def words(key: Tensor, step: Tensor) -> Tensor:
    """Returns the words of each stream: ``(K, 1)`` or ``(K, W)`` keys and ``(W,)`` steps give ``(K, W)`` int64."""
    z = key + step
    return mix_(z, torch.empty_like(z))  # (3)
