"""The Triton kernels of the perturbed ops: they read and write the weights' dtype and sum in float32.

Factors are ``left`` (members, r, m), with σ and sign, and ``right`` (members, r, n); a thin product ``t`` has its rank
filled up to a multiple of 16 with zeros, so that it is one more step of a matrix product.
"""

# Triton has no types, and its constants are upper case.
# mypy: ignore-errors
# pyright: basic, reportAssignmentType=false, reportArgumentType=false, reportGeneralTypeIssues=false
# ruff: noqa: N803

import triton
import triton.language as tl

from ..noise.fused_cuda_kernel import mix, numbers


@triton.jit
def thin_kernel(
    x, right, t, rows, n, rank, right_member, right_rank, x_member, blocks,
    RANKS: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr, PRECISE: tl.constexpr,
):  # fmt: skip
    """Writes ``t = x B`` of some rows of one member."""
    member = (tl.program_id(0) // blocks).to(tl.int64)
    row = (tl.program_id(0) % blocks) * BM + tl.arange(0, BM)
    k = tl.arange(0, RANKS)
    inside = row < rows
    x_at = x + member * x_member + row[:, None].to(tl.int64) * n
    b_at = right + member * right_member + k[None, :] * right_rank
    total = tl.zeros((BM, RANKS), tl.float32)
    start = rows * 0
    while start < n:
        c = start + tl.arange(0, BK)
        own = tl.load(x_at + c[None, :], mask=inside[:, None] & (c < n)[None, :], other=0.0)
        b = tl.load(b_at + c[:, None], mask=(c < n)[:, None] & (k < rank)[None, :], other=0.0)
        total = tl.dot(own, b, total, input_precision=PRECISE)
        start += BK
    t_at = t + (member * rows + row[:, None]) * RANKS + k[None, :]
    tl.store(t_at, total.to(t.dtype.element_ty), mask=inside[:, None])


@triton.jit
def add_kernel(
    base, out, t, left, shift, bias, rows, m, rank, left_member, left_rank, shift_member, base_member, row_blocks,
    column_blocks, RANKS: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, PRECISE: tl.constexpr,
):  # fmt: skip
    """Writes ``out = base + t Aᵀ + b + σe`` for a tile of one member; any of the last three may be missing."""
    tile = tl.program_id(0) % (row_blocks * column_blocks)
    member = (tl.program_id(0) // (row_blocks * column_blocks)).to(tl.int64)
    row = (tile // column_blocks) * BM + tl.arange(0, BM)
    c = (tile % column_blocks) * BN + tl.arange(0, BN)
    inside = (row < rows)[:, None] & (c < m)[None, :]
    own = row[:, None].to(tl.int64) * m + c[None, :]
    total = tl.load(base + member * base_member + own, mask=inside, other=0.0).to(tl.float32)
    if t is not None:
        k = tl.arange(0, RANKS)
        t_at = t + (member * rows + row[:, None]) * RANKS + k[None, :]
        a_at = left + member * left_member + k[:, None] * left_rank + c[None, :]
        thin = tl.load(t_at, mask=(row < rows)[:, None], other=0.0)
        a = tl.load(a_at, mask=(k < rank)[:, None] & (c < m)[None, :], other=0.0)
        total = tl.dot(thin, a, total, input_precision=PRECISE)
    if bias is not None:
        total += tl.load(bias + c, mask=c < m, other=0.0).to(tl.float32)[None, :]
    if shift is not None:
        total += tl.load(shift + member * shift_member + c, mask=c < m, other=0.0).to(tl.float32)[None, :]
    tl.store(out + member * rows * m + own, total.to(out.dtype.element_ty), mask=inside)


@triton.jit
def product_kernel(
    x, weight, out, t, left, shift, bias, height, m, n, rows, rank, left_member, left_rank, shift_member, step,
    RANKS: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """Writes ``out = t Aᵀ + x Wᵀ + b + σe``, tile after tile; no tile holds rows of two members.

    ``x``, ``weight`` and ``out`` are descriptors. The thin product is the first step of the sum, of which the operands
    are loaded before the others; programs take tiles in groups of ``GROUP`` rows, which share the weight in the cache.
    """
    across = tl.cdiv(m, BN)
    down = height // BM
    k = tl.arange(0, RANKS)
    for tile in tl.range(tl.program_id(0), down * across, step, flatten=False):
        first = tile // (GROUP * across) * GROUP
        size = tl.minimum(down - first, GROUP)
        top = (first + (tile % (GROUP * across)) % size) * BM
        side = (tile % (GROUP * across)) // size * BN
        row = (top + tl.arange(0, BM)).to(tl.int64)
        c = side + tl.arange(0, BN)
        member = (top // rows).to(tl.int64)
        total = tl.zeros((BM, BN), tl.float32)
        if t is not None:
            thin = tl.load(t + row[:, None] * RANKS + k[None, :])
            a_at = left + member * left_member + k[:, None] * left_rank + c[None, :]
            a = tl.load(a_at, mask=(k < rank)[:, None] & (c < m)[None, :], other=0.0)
            total = tl.dot(thin, a, total)
        for at in range(0, n, BK):
            total = tl.dot(x.load([top, at]), weight.load([side, at]).T, total)
        if bias is not None:
            total += tl.load(bias + c, mask=c < m, other=0.0).to(tl.float32)[None, :]
        if shift is not None:
            total += tl.load(shift + member * shift_member + c, mask=c < m, other=0.0).to(tl.float32)[None, :]
        out.store([top, side], total.to(out.dtype))


@triton.jit
def thin_drawn_kernel(
    x, t, start, pairs, quantiles, rows, n, first,
    RANK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, DISTRIBUTION: tl.constexpr,
):  # fmt: skip
    """Writes ``t = x B`` of both members of a pair; B begins at number ``first`` of its stream and is never stored."""
    pair = tl.program_id(0).to(tl.int64)
    key = mix(tl.load(pairs + pair) + tl.load(start))
    i = tl.arange(0, ROWS)
    kind = x.dtype.element_ty
    row = 2 * pair * rows + i
    for k in tl.static_range(RANK):
        plus = tl.zeros((ROWS, BLOCK), tl.float32)
        minus = tl.zeros((ROWS, BLOCK), tl.float32)
        for at in range(0, n, BLOCK):
            c = at + tl.arange(0, BLOCK)
            b = numbers(key, (first + k * n + at).to(tl.int64), quantiles, DISTRIBUTION, BLOCK).to(kind)
            inside = (i < rows)[:, None] & (c < n)[None, :]
            own = x + row[:, None] * n + c[None, :]
            plus += tl.load(own, mask=inside, other=0.0).to(tl.float32) * b.to(tl.float32)[None, :]
            minus += tl.load(own + rows * n, mask=inside, other=0.0).to(tl.float32) * b.to(tl.float32)[None, :]
        tl.store(t + row * RANK + k, tl.sum(plus, 1), mask=i < rows)
        tl.store(t + (row + rows) * RANK + k, tl.sum(minus, 1), mask=i < rows)


@triton.jit
def add_drawn_kernel(
    y, t, bias, shift, start, pairs, quantiles, scale, rows, m, shift_member, blocks,
    RANK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, DISTRIBUTION: tl.constexpr,
):  # fmt: skip
    """Adds ``± t Aᵀ + b + σe`` to a tile of both members of a pair; A is never stored."""
    pair = (tl.program_id(0) // blocks).to(tl.int64)
    at = (tl.program_id(0) % blocks) * BLOCK
    c = at + tl.arange(0, BLOCK)
    i = tl.arange(0, ROWS)
    key = mix(tl.load(pairs + pair) + tl.load(start))
    kind = y.dtype.element_ty
    row = 2 * pair * rows + i
    inside = (i < rows)[:, None] & (c < m)[None, :]
    own = y + row[:, None] * m + c[None, :]
    first = tl.load(own, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(own + rows * m, mask=inside, other=0.0).to(tl.float32)
    factor = tl.load(scale).to(tl.float32)
    for k in tl.static_range(RANK):
        z = numbers(key, (k * m + at).to(tl.int64), quantiles, DISTRIBUTION, BLOCK)
        a = (z * factor).to(kind).to(tl.float32)[None, :]
        first += tl.load(t + row * RANK + k, mask=i < rows, other=0.0)[:, None] * a
        second -= tl.load(t + (row + rows) * RANK + k, mask=i < rows, other=0.0)[:, None] * a
    if bias is not None:
        b = tl.load(bias + c, mask=c < m, other=0.0).to(tl.float32)[None, :]
        first += b
        second += b
    if shift is not None:
        e = shift + 2 * pair * shift_member + c
        first += tl.load(e, mask=c < m, other=0.0).to(tl.float32)[None, :]
        second += tl.load(e + shift_member, mask=c < m, other=0.0).to(tl.float32)[None, :]
    tl.store(own, first.to(kind), mask=inside)
    tl.store(own + rows * m, second.to(kind), mask=inside)


@triton.jit
def norm_kernel(
    x, out, weight, bias, weight_delta, bias_delta, rows, n, x_member, weight_member, bias_member, eps,
    CENTERED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Normalises one row and applies its member's scale and shift."""
    program = tl.program_id(0)
    member = (program // rows).to(tl.int64)
    row = (program % rows).to(tl.int64)
    c = tl.arange(0, BLOCK)
    inside = c < n
    y = tl.load(x + member * x_member + row * n + c, mask=inside, other=0.0).to(tl.float32)
    if CENTERED:
        y = tl.where(inside, y - tl.sum(y) / n, 0.0)
    y = y / tl.sqrt(tl.sum(y * y) / n + eps)
    if weight is not None:
        scale = tl.load(weight + c, mask=inside, other=0.0).to(tl.float32)
        if weight_delta is not None:
            scale += tl.load(weight_delta + member * weight_member + c, mask=inside, other=0.0).to(tl.float32)
        y = y * scale
    if bias is not None:
        shift = tl.load(bias + c, mask=inside, other=0.0).to(tl.float32)
        if bias_delta is not None:
            shift += tl.load(bias_delta + member * bias_member + c, mask=inside, other=0.0).to(tl.float32)
        y = y + shift
    tl.store(out + (member * rows + row) * n + c, y.to(out.dtype.element_ty), mask=inside)


@triton.jit
def embedding_kernel(
    token, weight, left, right, out, rows, n, rank, token_member, left_member, left_rank, right_member, right_rank,
    blocks, BLOCK: tl.constexpr,
):  # fmt: skip
    """Writes a tile of one row: the token's entry of the table and its member's low-rank part."""
    program = tl.program_id(0) // blocks
    member = (program // rows).to(tl.int64)
    row = (program % rows).to(tl.int64)
    c = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = c < n
    entry = tl.load(token + member * token_member + row)
    total = tl.load(weight + entry * n + c, mask=inside, other=0.0).to(tl.float32)
    k = rank * 0
    while k < rank:
        a = tl.load(left + member * left_member + k * left_rank + entry).to(tl.float32)
        b = tl.load(right + member * right_member + k * right_rank + c, mask=inside, other=0.0)
        total += a * b.to(tl.float32)
        k += 1
    tl.store(out + (member * rows + row) * n + c, total.to(out.dtype.element_ty), mask=inside)
