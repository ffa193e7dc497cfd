"""Counter-based noise: ξ is a function of (seed, step, parameter, element), the same on every path and device.

Two 64-bit words, and from them four 32-bit keys k0 … k3, belong to a parameter at a step:

    h = mix(mix(mix(seed + γ) ⊕ step) + γ (index + 1))                                (10)
    (k0, k1), (k2, k3) = halves of h, halves of mix(h + γ)

where mix is the finalizer of splitmix64. Elements are drawn in pairs: of every 2048 elements in logical order, number
1024 g + l of the first 1024 and its partner 1024 places on share counter c = 1024 g + l. In 32-bit arithmetic:

    x = 2654435769 c + k0;  x = 569420461 (x ⊕ (x >> 16)) + k1;  x = 1935289751 (x ⊕ (x >> 15))     (11)
    y = x + k2;  y = 2221713035 (y ⊕ (y >> 16)) + k3;  y = 3545902487 (y ⊕ (y >> 15))               (12)
    r = √(-2 ln u),  u = (x mod 2³¹) 2⁻³¹ + 2⁻³²                                                    (13)
    (A, B) = r (±cos φ, sin φ), swapped if the top bit of x is set;  φ = y π 2⁻³³                   (14)

with the sign of the cosine from bit 7 of x, so that the angle is uniform over the circle (Box & Muller 1958). A is the
first element's ξ, B its partner's. Sine and cosine are polynomials in single precision, of rounded products and sums
alone, so that paths differ in ln at most. ξ has single precision whatever the parameter's dtype.

Steele, Lea & Flood 2014 (mix), https://doi.org/10.1145/2660193.2660195; Box & Muller 1958 (13, 14)
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

HALF = 1024  # elements that a pair lies apart
GROUP = 2 * HALF
MASK = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15
COSINE = (1.0, -0.499999996, 0.0416666167, -0.00138866192, 2.43799294e-05)
SINE = (0.999999997, -0.166666507, 0.00833203688, -0.00019504022)


def signed(word: int, bits: int) -> int:
    """Return the two's complement reading of an unsigned word."""
    return word - (1 << bits) if word >> (bits - 1) else word


def mix(word: int) -> int:
    """Return the finalizer of splitmix64, of one unsigned word."""
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & MASK
    return word ^ (word >> 31)


def mix_all(words: Tensor) -> Tensor:
    """Return `mix` of every word of an int64 tensor, whose arithmetic wraps as unsigned words do."""
    words = (words ^ (words >> 30 & (1 << 34) - 1)) * signed(0xBF58476D1CE4E5B9, 64)
    words = (words ^ (words >> 27 & (1 << 37) - 1)) * signed(0x94D049BB133111EB, 64)
    return words ^ (words >> 31 & (1 << 33) - 1)


def keys_of(seed: int, steps: Tensor, indices: Tensor) -> Tensor:
    """Return the four keys of every parameter, int32 of shape ``(n, 4)``.

    Args:
        seed: in [0, 2⁶⁴).
        steps: the number of the step, from 1, of every parameter; int64 of shape ``(n,)`` or ``()``.
        indices: the place of every parameter among all of the optimizer; int64 of shape ``(n,)``, on the same device.
    """
    start = signed(mix((seed + GAMMA) & MASK), 64)
    words = mix_all(mix_all(steps ^ start) + (indices + 1) * signed(GAMMA, 64))  # (10)
    words = torch.stack((words, mix_all(words + signed(GAMMA, 64))), dim=-1)  # (10)
    return words.view(torch.int32)


class Scratch:
    """Six buffers for a block of pairs, so that a big tensor needs no more memory than a block."""

    def __init__(self, pairs: int, device: torch.device) -> None:
        self.words = [torch.empty(pairs, dtype=torch.int32, device=device) for _ in range(3)]
        self.reals = [torch.empty(pairs, dtype=torch.float32, device=device) for _ in range(3)]
        self.pairs = pairs

    def narrow(self, pairs: int) -> tuple[list[Tensor], list[Tensor]]:
        """Return the buffers' first ``pairs`` places."""
        if pairs == self.pairs:
            return self.words, self.reals
        return [word[:pairs] for word in self.words], [real[:pairs] for real in self.reals]


def _shifted_xor(word: Tensor, shift: int, spare: Tensor) -> None:
    torch.bitwise_right_shift(word, shift, out=spare)
    word.bitwise_xor_(spare.bitwise_and_((1 << (32 - shift)) - 1))


def _polynomial(square: Tensor, coefficients: Sequence[float], out: Tensor) -> Tensor:
    torch.mul(square, coefficients[-1], out=out)
    for coefficient in coefficients[-2:0:-1]:
        out.add_(coefficient).mul_(square)
    return out.add_(coefficients[0])


def pairs(counters: Tensor, keys: Sequence[Tensor], scratch: Scratch) -> tuple[Tensor, Tensor]:
    """Return the pairs of standard normals of these counters, in buffers of ``scratch``.

    Args:
        counters: 2654435769 c, wrapped; int32, one-dimensional.
        keys: k0, k1, k2, k3, each of shape ``()`` or that of ``counters``.
        scratch: at least as long as ``counters``.
    """
    (x, y, spare), (radius, cosine, sine) = scratch.narrow(len(counters))
    _first_word(counters, keys, x, spare)  # (11)
    torch.add(x, keys[2], out=y)  # (12)
    _shifted_xor(y, 16, spare)
    y.mul_(signed(0x846CA68B, 32)).add_(keys[3])
    _shifted_xor(y, 15, spare)
    y.mul_(signed(0xD35A2D97, 32))
    radius.copy_(torch.bitwise_and(x, 0x7FFFFFFF, out=spare))
    radius.mul_(2.0**-31).add_(2.0**-32).log_().mul_(-2).sqrt_()  # (13)
    phi = sine.copy_(y).mul_(math.pi * 2.0**-33)
    square = y.view(torch.float32)  # the word is used up
    torch.mul(phi, phi, out=square)
    sine.mul_(_polynomial(square, SINE, cosine))  # (14)
    _polynomial(square, COSINE, cosine)  # (14)
    _turn(x, cosine, sine, y, spare)
    return cosine.mul_(radius), sine.mul_(radius)


def _first_word(counters: Tensor, keys: Sequence[Tensor], x: Tensor, spare: Tensor) -> None:
    torch.add(counters, keys[0], out=x)  # (11)
    _shifted_xor(x, 16, spare)
    x.mul_(0x21F0AAAD).add_(keys[1])  # (11)
    _shifted_xor(x, 15, spare)
    x.mul_(0x735A2D97)  # (11)


def _turn(x: Tensor, cosine: Tensor, sine: Tensor, swap: Tensor, spare: Tensor) -> None:
    """Carry the quarter circle around φ = 0 to one of the four, by bits 7 and 31 of x."""
    a, b = cosine.view(torch.int32), sine.view(torch.int32)
    torch.bitwise_left_shift(x, 24, out=spare)
    a.bitwise_xor_(spare.bitwise_and_(-(1 << 31)))
    torch.bitwise_xor(a, b, out=swap)
    swap.bitwise_and_(x.bitwise_right_shift_(31))
    a.bitwise_xor_(swap)
    b.bitwise_xor_(swap)


def counters_from(first: int, count: int, device: torch.device) -> Tensor:
    """Return the counters c = first … first + count - 1 as `pairs` wants them."""
    return (torch.arange(first, first + count, device=device) * 0x9E3779B9).to(torch.int32)


def draw(start: int, count: int, keys: Sequence[Tensor]) -> Tensor:
    """Return ξ of ``count`` elements in a row, from element ``start`` in logical order; float32."""
    if not count:
        return torch.empty(0, device=keys[0].device)
    first, last = start // GROUP, (start + count - 1) // GROUP + 1
    alone = start == 0 and count <= HALF  # no partner is needed
    numbers = counters_from(first * HALF, count if alone else (last - first) * HALF, keys[0].device)
    a, b = pairs(numbers, keys, Scratch(len(numbers), keys[0].device))
    if alone:
        return a
    both = torch.stack((a.view(-1, HALF), b.view(-1, HALF)), dim=1).view(-1)
    return both[start - first * GROUP :][:count]


def draw_at(elements: Tensor, keys: Sequence[Tensor]) -> Tensor:
    """Return ξ of the elements with these numbers in logical order, int64 of any shape; float32 of that shape."""
    counters = elements // GROUP * HALF + elements % HALF
    flat = (counters.reshape(-1) * 0x9E3779B9).to(torch.int32)
    a, b = pairs(flat, keys, Scratch(len(flat), elements.device))
    return torch.where(elements % GROUP < HALF, a.view(elements.shape), b.view(elements.shape))


def rounding_bits(start: int, count: int, keys: Sequence[Tensor]) -> Tensor:
    """Return the top 16 bits of x of (11) for ``count`` elements in a row, their own numbers being the counters."""
    counters = counters_from(start, count, keys[0].device)
    x, spare = torch.empty_like(counters), torch.empty_like(counters)
    _first_word(counters, keys, x, spare)  # (11)
    return x.bitwise_right_shift_(16).bitwise_and_(0xFFFF)


def rounding_at(elements: Tensor, keys: Sequence[Tensor]) -> Tensor:
    """Return `rounding_bits` of the elements with these numbers, int64 of any shape."""
    counters = (elements.reshape(-1) * 0x9E3779B9).to(torch.int32)
    x, spare = torch.empty_like(counters), torch.empty_like(counters)
    _first_word(counters, keys, x, spare)  # (11)
    return x.bitwise_right_shift_(16).bitwise_and_(0xFFFF).view(elements.shape)
