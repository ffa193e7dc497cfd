"""The Triton kernel of the noise: (1)-(3) of `counter`, (1)-(4) of `distributions`, scaled and mirrored.

One program draws 1,024 numbers of one pair and writes them for both members.
"""

# Triton has no types, and its constants are upper case.
# mypy: ignore-errors
# pyright: basic, reportAssignmentType=false, reportArgumentType=false
# ruff: noqa: N803

import triton
import triton.language as tl

NUMBERS = tl.constexpr(1024)  # of one program
GAMMA = tl.constexpr(0x9E3779B97F4A7C15 - (1 << 64))
M1 = tl.constexpr(0xBF58476D1CE4E5B9 - (1 << 64))
M2 = tl.constexpr(0x94D049BB133111EB - (1 << 64))
UNIT = tl.constexpr((12 / (2**32 - 1)) ** 0.5)


@triton.jit
def mix(z):
    """Mixes 64-bit integers: (1) of `counter`."""
    z = (z ^ ((z >> 30) & 0x3FFFFFFFF)) * M1
    z = (z ^ ((z >> 27) & 0x1FFFFFFFFF)) * M2
    return z ^ ((z >> 31) & 0x1FFFFFFFF)


@triton.jit
def _number(bits, quantiles, DISTRIBUTION: tl.constexpr):
    """Reads one number from 16 bits: (1) or (3) of `distributions`."""
    if DISTRIBUTION == "gaussian":
        z = tl.load(quantiles + bits).to(tl.float32)
    else:
        z = (((bits ^ 0x8000) - 0x8000).to(tl.float32) + 0.5) * UNIT
    return z


@triton.jit
def numbers(key, first, quantiles, DISTRIBUTION: tl.constexpr, COUNT: tl.constexpr):
    """Draws the numbers ``first`` to ``first + COUNT - 1`` of the stream of a key; ``first`` is a multiple of 16."""
    if DISTRIBUTION == "rademacher":
        i = first + tl.arange(0, COUNT)
        word = mix(key + (i // 64 + 1) * GAMMA)
        z = (((word >> (i % 64)) & 1) * 2 - 1).to(tl.float32)
    else:
        word = mix(key + (first // 4 + tl.arange(0, COUNT // 4) + 1) * GAMMA)
        low = word.to(tl.int32)
        high = (word >> 32).to(tl.int32)
        z0 = _number(low & 0xFFFF, quantiles, DISTRIBUTION)
        z1 = _number((low >> 16) & 0xFFFF, quantiles, DISTRIBUTION)
        z2 = _number(high & 0xFFFF, quantiles, DISTRIBUTION)
        z3 = _number((high >> 16) & 0xFFFF, quantiles, DISTRIBUTION)
        z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    return z


@triton.jit
def fill_kernel(
    out, stride, starts, pairs, parts, part_count, scales, weights, quantiles,
    MIRRORED: tl.constexpr, DISTRIBUTION: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Writes 1,024 numbers of one pair; ``parts`` names their parameter, place in the stream, column and count."""
    program = tl.program_id(0)
    k = (program // part_count).to(tl.int64)
    part = parts + 5 * (program % part_count)
    parameter = tl.load(part)
    scaled = tl.load(part + 4) != 0
    column = tl.arange(0, NUMBERS)
    inside = column < tl.load(part + 3)
    real: tl.constexpr = tl.float64 if WIDE else tl.float32
    key = mix(tl.load(pairs + k) + tl.load(starts + parameter))
    z = numbers(key, tl.load(part + 1), quantiles, DISTRIBUTION, NUMBERS).to(real)
    scale = tl.load(scales + parameter).to(real)
    if weights is not None:
        scale = scale * tl.load(weights + k).to(real)
    scale = tl.where(scaled, scale, 1.0)
    column += tl.load(part + 2)
    kind = out.dtype.element_ty
    if MIRRORED:
        row = out + 2 * k * stride
        tl.store(row + stride + column, (z * tl.where(scaled, -scale, scale)).to(kind), mask=inside)
    else:
        row = out + k * stride
    tl.store(row + column, (z * scale).to(kind), mask=inside)
