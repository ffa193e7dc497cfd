"""Counter-based noise: ξ is a function of (seed, step, parameter, element), the same on every path and device.

Two 64-bit words, and from them four 32-bit keys k0 … k3, belong to a parameter at a step:

    h = mix(mix(mix(seed + γ) ⊕ step) + γ (index + 1))                                (10)
    (k0, k1), (k2, k3) = halves of h, halves of mix(h + γ)

where mix is the finalizer of splitmix64. Elements are drawn in pairs: of every 2048 elements in logical order, number
1024 g + l of the first 1024 and its partner 1024 places on share counter c = 1024 g + l. In signed 32-bit arithmetic
that wraps, where >> keeps the sign:

    z = 2654435769 c + k0;  z = 569420461 (z ⊕ (z >> 16)) + k1
    z = z ⊕ (z >> 15);  x = 1935289751 z                                              (11)
    y = 3545902487 z + k2;  y = 2221713035 (y ⊕ (y >> 16)) + k3                       (12)
    r = ±√(-2 ln u),  u = |x| 2⁻³¹ + 2⁻³²,  with the sign of x                        (13)
    (A, B) = r (cos φ, sin φ),  φ = y π 2⁻³²                                          (14)

so that the angle is uniform over half the circle and r's sign makes it whole (Box & Muller 1958). A is the first
element's ξ, B its partner's. Sine and cosine are polynomials in single precision, one fused product and sum after the
other, so that paths differ in ln at most. ξ has single precision whatever the parameter's dtype.

Steele, Lea & Flood 2014 (mix), https://doi.org/10.1145/2660193.2660195; Box & Muller 1958 (13, 14)
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

HALF = 1024  # elements that a pair lies apart
GROUP = 2 * HALF
MASK = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15
FIRST, SECOND, TO_X, TO_Y = 0x21F0AAAD, 0x846CA68B, 0x735A2D97, 0xD35A2D97
VIEWING = {"cuda"}  # where an operation reads and writes several dtypes without a pass more
COSINE = (0.9999999532, -0.4999990506, 0.04166357893, -0.001385366693, 2.315317416e-05)
SINE = (0.9999999957, -0.1666665797, 0.008333050617, -0.0001980904636, 2.605166277e-06)


def signed(word: int, bits: int) -> int:
    """Returns the two's complement reading of an unsigned word."""
    return word - (1 << bits) if word >> (bits - 1) else word


def mix(word: int) -> int:
    """Returns the finalizer of splitmix64, of one unsigned word."""
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & MASK
    return word ^ (word >> 31)


def mix_all(words: Tensor) -> Tensor:
    """Returns `mix` of every word of an int64 tensor, whose arithmetic wraps as unsigned words do."""
    words = (words ^ (words >> 30 & (1 << 34) - 1)) * signed(0xBF58476D1CE4E5B9, 64)
    words = (words ^ (words >> 27 & (1 << 37) - 1)) * signed(0x94D049BB133111EB, 64)
    return words ^ (words >> 31 & (1 << 33) - 1)


def keys_of(seed: int, steps: Tensor, indices: Tensor) -> Tensor:
    """Returns the four keys of every parameter, int32 of shape ``(n, 4)``.

    Args:
        seed: in [0, 2⁶⁴).
        steps: the number of the step, from 1, of every parameter; int64 of shape ``(n,)`` or ``()``.
        indices: the place of every parameter among all of the optimizer; int64 of shape ``(n,)``, on the same device.
    """
    start = signed(mix((seed + GAMMA) & MASK), 64)
    words = mix_all(mix_all(steps ^ start) + (indices + 1) * signed(GAMMA, 64))  # (10)
    words = torch.stack((words, mix_all(words + signed(GAMMA, 64))), dim=-1)  # (10)
    return words.view(torch.int32)


class Constants(NamedTuple):
    """The equations' numbers as tensors of one element, which torch takes faster than numbers of Python's."""

    shift16: Tensor
    shift15: Tensor
    to_x: Tensor
    turn: Tensor
    half: Tensor
    minus_two: Tensor
    waves: tuple[Tensor, ...]  # (2, 1): the coefficients of cosine and sine


@lru_cache(maxsize=16)
def constants_on(device: torch.device) -> Constants:
    """Returns the constants on this device."""
    shift16, shift15, to_x = (
        torch.full((), signed(value, 32), dtype=torch.int32, device=device) for value in (16, 15, TO_X)
    )
    turn, half, minus_two = (torch.full((), value, device=device) for value in (math.pi * 2.0**-32, 2.0**-32, -2.0))
    waves = (torch.tensor([[cosine], [sine]]).to(device) for cosine, sine in zip(COSINE, SINE, strict=True))
    return Constants(shift16, shift15, to_x, turn, half, minus_two, tuple(waves))


class Scratch:
    """Buffers for pairs, so that a big tensor needs no more memory than a block; they serve for many blocks."""

    def __init__(self, z: Tensor, y: Tensor, spare: Tensor, radius: Tensor, waves: Tensor) -> None:
        """Takes the buffers, which may lie in memory of any other use.

        Args:
            z: as ``y`` and ``spare`` int32 of any one shape (…, pairs).
            y: see ``z``.
            spare: see ``z``.
            radius: float32, of the same shape.
            waves: float32, (…, 2, pairs).
        """
        self.z, self.y, self.spare = (_Words(words, words.view(torch.float32)) for words in (z, y, spare))
        self.radius, self.waves = radius, waves
        self.cosine, self.sine = waves.unbind(-2)
        self.constants = constants_on(z.device)
        self.viewing = z.device.type in VIEWING

    @classmethod
    def of(cls, pairs: int, device: torch.device) -> "Scratch":
        """Returns new buffers for so many pairs."""
        z, y, spare = (torch.empty(pairs, dtype=torch.int32, device=device) for _ in range(3))
        radius, waves = (torch.empty(shape, dtype=torch.float32, device=device) for shape in ((pairs,), (2, pairs)))
        return cls(z, y, spare, radius, waves)

    def fold(self, words: "_Words", shift: Tensor, spare: "_Words") -> tuple["_Words", "_Words"]:
        """Returns ``words ^ words >> shift``, and the buffer that does not hold it."""
        if self.viewing and shift is self.constants.shift16:
            high = words.bits.view(torch.int16)[..., 1::2]  # the shifted words, without an operation
            torch.bitwise_xor(words.bits, high, out=spare.bits)
            return spare, words
        torch.bitwise_right_shift(words.bits, shift, out=spare.bits)
        words.bits.bitwise_xor_(spare.bits)
        return words, spare

    def product(self, words: "_Words", factor: Tensor, out: Tensor) -> Tensor:
        """Returns ``words * factor`` in float32, rounded once from the words' arithmetic; overwrites the words."""
        if self.viewing:
            return torch.mul(words.bits, factor, out=out)
        return out.copy_(words.bits).mul_(factor) if factor.is_floating_point() else out.copy_(words.bits.mul_(factor))

    def begin_waves(self, square: Tensor) -> None:
        """Writes the last two terms of both polynomials, each product and its sum rounded together.

        Args:
            square: φ², (…, 1, pairs).
        """
        one = self.constants
        if self.viewing:
            torch.addcmul(one.waves[3], one.waves[4], square, out=self.waves)
            return
        for series, wave, start in zip((COSINE, SINE), (self.cosine, self.sine), one.waves[3], strict=True):
            torch.add(start, square.squeeze(-2), alpha=series[4], out=wave)  # in vectors, as the operation above is not


class _Words(NamedTuple):
    """Words in a buffer, and its memory as float32."""

    bits: Tensor
    numbers: Tensor


def pairs(
    counters: Tensor, keys: Sequence[Tensor], scratch: Scratch, scale: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Returns r, (…, pairs), and the cosine and sine of φ, (…, 2, pairs); r times each is a standard normal.

    Args:
        counters: 2654435769 c, wrapped; int32. With the keys it broadcasts to ``(…, pairs)``.
        keys: k0, k1, k2, k3.
        scratch: buffers, overwritten; what is returned lies in them.
        scale: -2 σ², to draw with deviation σ, up to rounding; None draws with 1.
    """
    one, radius, waves = scratch.constants, scratch.radius, scratch.waves
    z, spare = _mixed(counters, keys, scratch)  # (11)
    y = scratch.y
    torch.add(keys[2], z.bits, alpha=signed(TO_Y, 32), out=y.bits)  # (12)
    y, spare = scratch.fold(y, one.shift16, spare)
    torch.add(keys[3], y.bits, alpha=signed(SECOND, 32), out=y.bits)  # (12)
    x = scratch.product(z, one.to_x, spare.numbers)  # (11)
    torch.add(one.half, torch.abs(x, out=radius), alpha=2.0**-31, out=radius)
    if scratch.viewing and scale is not None:
        torch.xlogy(scale, radius, out=radius).sqrt_()  # (13)
    else:
        radius.log_().mul_(one.minus_two if scale is None else scale).sqrt_()  # (13)
    torch.copysign(radius, x, out=radius)  # (13)
    phi = scratch.product(y, one.turn, spare.numbers)
    square = torch.mul(phi, phi, out=z.numbers).unsqueeze(-2)
    scratch.begin_waves(square)  # (14)
    for coefficient in one.waves[2::-1]:
        torch.addcmul(coefficient, waves, square, out=waves)  # (14)
    scratch.sine.mul_(phi)  # (14)
    return radius, waves


def _mixed(counters: Tensor, keys: Sequence[Tensor], scratch: Scratch) -> tuple[_Words, _Words]:
    """Returns z of (11), and the buffer that does not hold it."""
    z, spare, one = scratch.z, scratch.spare, scratch.constants
    torch.add(counters, keys[0], out=z.bits)  # (11)
    z, spare = scratch.fold(z, one.shift16, spare)
    torch.add(keys[1], z.bits, alpha=signed(FIRST, 32), out=z.bits)  # (11)
    return scratch.fold(z, one.shift15, spare)


def keys_by_group(keys: Tensor, groups: tuple[int, ...], device: torch.device) -> list[Tensor]:
    """Returns the columns ``(all groups, 1)`` of the four keys; the first takes in each group's first counter.

    Args:
        keys: of n tensors, ``(n, 4)``.
        groups: of how many groups of 2048 elements each tensor consists.
        device: where the columns are needed.
    """
    owners, firsts = group_owners(groups, keys.device)
    keys = keys[owners]
    keys[:, 0] += firsts
    return list(keys.to(device, non_blocking=True).t().unsqueeze(-1).unbind())


@lru_cache(maxsize=16)
def group_owners(groups: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns, for each group of tensors in a row, the position of its tensor and its first counter for `pairs`."""
    with torch.inference_mode(False):
        counts = torch.tensor(groups)
        owners = torch.repeat_interleave(torch.arange(len(groups)), counts)
        firsts = (torch.arange(len(owners)) - (counts.cumsum(0) - counts)[owners]) * (HALF * 0x9E3779B9)
        return owners.to(device), firsts.to(torch.int32).to(device)


@lru_cache(maxsize=16)
def lanes_on(device: torch.device) -> Tensor:
    """Returns the counters of a tensor's first group."""
    with torch.inference_mode(False):
        return counters_from(0, HALF, device)


def counters_from(first: int, count: int, device: torch.device) -> Tensor:
    """Returns the counters c = first … first + count - 1 as `pairs` wants them."""
    return (torch.arange(first, first + count, device=device) * 0x9E3779B9).to(torch.int32)


def draw(start: int, count: int, keys: Sequence[Tensor]) -> Tensor:
    """Returns ξ of ``count`` elements in a row, from element ``start`` in logical order; float32."""
    if not count:
        return torch.empty(0, device=keys[0].device)
    first, last = start // GROUP, (start + count - 1) // GROUP + 1
    alone = start == 0 and count <= HALF  # no partner is needed
    numbers = counters_from(first * HALF, count if alone else (last - first) * HALF, keys[0].device)
    radius, waves = pairs(numbers, keys, Scratch.of(len(numbers), keys[0].device))
    if alone:
        return waves[0].mul_(radius)
    both = waves.mul_(radius).view(2, -1, HALF).transpose(0, 1).reshape(-1)
    return both[start - first * GROUP :][:count]


def draw_at(elements: Tensor, keys: Sequence[Tensor]) -> Tensor:
    """Returns ξ of the elements with these numbers in logical order, int64 of any shape; float32 of that shape."""
    counters = elements // GROUP * HALF + elements % HALF
    flat = (counters.reshape(-1) * 0x9E3779B9).to(torch.int32)
    radius, waves = pairs(flat, keys, Scratch.of(len(flat), elements.device))
    first = (elements % GROUP < HALF).view(-1)
    return torch.where(first, waves[0], waves[1]).mul_(radius).view(elements.shape)


def rounding_bits(start: int, count: int, keys: Sequence[Tensor]) -> Tensor:
    """Returns the top 16 bits of x of (11) for ``count`` elements in a row, their own numbers being the counters."""
    return _top_bits(counters_from(start, count, keys[0].device), keys)


def rounding_at(elements: Tensor, keys: Sequence[Tensor]) -> Tensor:
    """Returns `rounding_bits` of the elements with these numbers, int64 of any shape."""
    counters = (elements.reshape(-1) * 0x9E3779B9).to(torch.int32)
    return _top_bits(counters, keys).view(elements.shape)


def _top_bits(counters: Tensor, keys: Sequence[Tensor]) -> Tensor:
    scratch = Scratch.of(len(counters), counters.device)
    z, _ = _mixed(counters, keys, scratch)
    return z.bits.mul_(scratch.constants.to_x).bitwise_right_shift_(16).bitwise_and_(0xFFFF)
