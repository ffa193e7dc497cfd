"""Perturbed ops on CUDA, in one or two launches each, in the dtype of the weights with float32 sums.

    y = x Wᵀ + t Aᵀ + b + σe,  t = x B      (1)

The large product includes the low-rank part where the GPU has tensor descriptors and no tile holds rows of two members;
elsewhere the library computes it, and one more kernel adds the rest.
"""

# Triton has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from typing import Any, overload

import torch
from torch import Tensor
from torch.nn import functional

from . import triton_launch
from .layer import Layer

_STEP = 16  # the shortest sum that a tensor core takes
_TILE = (128, 256, 64)  # rows, columns and depth of a tile of the large product
_GROUP = 8
_LONGEST_RANK = 64
_FEW = 4  # rows of a member, for which its factors need not be in memory
_DRAWN_RANK = 4  # the largest whose factors kernels draw
_DRAWN_DTYPES = (torch.float32, torch.bfloat16)
_LONGEST_ROW = 1 << 14  # numbers of a row that one program normalises


def fits(*tensors: Tensor | None) -> bool:
    """Returns whether the kernels take these tensors: on CUDA, with Triton, all of one dtype of at most 32 bits."""
    given = [t for t in tensors if t is not None]
    dtype = given[0].dtype
    return dtype in triton_launch.REAL and all(t.dtype == dtype and triton_launch.usable(t) for t in given)


def fits_rank(left: Tensor | None) -> bool:
    """Returns whether a thin product of this rank is worth a kernel."""
    return left is None or left.shape[1] <= _LONGEST_RANK


def _ranks(rank: int) -> int:
    """Rounds a rank up: to 16 times a power of two."""
    return max(_STEP, _power_of_two(rank))


def _precision(dtype: torch.dtype) -> str:
    """Names how float32 operands are multiplied: as torch does, unless it may round them."""
    return "tf32" if dtype != torch.float32 or torch.backends.cuda.matmul.allow_tf32 else "ieee"


def thin(x: Tensor, shared: bool, right: Tensor) -> Tensor:
    """Multiplies each member's rows by its B.

    Args:
        x: ``(members · rows, n)``, or ``(rows, n)`` when ``shared``.
        shared: whether all members see one ``x``.
        right: ``(members, r, n)``.

    Returns:
        ``(members · rows, R)`` with zeros behind the first r columns.
    """
    from . import fused_cuda_kernel as kernels

    kernel: Any = kernels.thin_kernel
    x, right = x.contiguous(), _lined(right)
    members, rank, n = right.shape
    rows = x.shape[0] if shared else x.shape[0] // members
    ranks, height = _ranks(rank), 64 if rows > _STEP else _STEP
    t = x.new_empty(members * rows, ranks)
    blocks = -(-rows // height)
    triton_launch.launch(
        kernel, members * blocks, x, x, right, t, rows, n, rank, right.stride(0), right.stride(1),
        0 if shared else rows * n, blocks,
        RANKS=ranks, BM=height, BK=128 if ranks == _STEP else 64, PRECISE=_precision(x.dtype),
    )  # fmt: skip
    return t


def add(
    base: Tensor,
    shared: bool,
    members: int,
    t: Tensor | None,
    left: Tensor | None,
    shift: Tensor | None,
    bias: Tensor | None,
) -> Tensor:
    """Adds what differs between members to a base product: (1) without ``x Wᵀ``.

    Args:
        base: ``(members · rows, m)``, which is written to, or ``(rows, m)`` when ``shared``, which is not.
        shared: whether all members have one base product.
        members: how many.
        t: of `thin`, or None.
        left: ``(members, r, m)``, or None.
        shift: ``(members, m)``, or None.
        bias: ``(m,)``, or None.

    Returns:
        ``(members · rows, m)``.
    """
    from . import fused_cuda_kernel as kernels

    kernel: Any = kernels.add_kernel
    rows, m = base.shape[0] if shared else base.shape[0] // members, base.shape[1]
    out = base.new_empty(members * rows, m) if shared else base
    left, shift = _lined(left), _lined(shift)
    height, width = 64 if rows > _STEP else _STEP, 128
    down, across = -(-rows // height), -(-m // width)
    rank, *strides = (0, 0, 0) if left is None else (left.shape[1], left.stride(0), left.stride(1))
    triton_launch.launch(
        kernel, members * down * across, base, base, out, t, left, shift, bias, rows, m, rank, *strides,
        0 if shift is None else shift.stride(0), 0 if shared else rows * m, down, across,
        RANKS=_STEP if t is None else t.shape[1], BM=height, BN=width, PRECISE=_precision(base.dtype),
    )  # fmt: skip
    return out


def product(
    x: Tensor,
    weight: Tensor,
    members: int,
    t: Tensor | None,
    left: Tensor | None,
    shift: Tensor | None,
    bias: Tensor | None,
) -> Tensor:
    """Evaluates a linear layer whose members have separate rows: (1) in one kernel, or the library's and one more.

    Args:
        x: ``(members · rows, n)``.
        weight: ``(m, n)``.
        members: how many.
        t: of `thin`, or None.
        left: ``(members, r, m)``, or None.
        shift: ``(members, m)``, or None.
        bias: ``(m,)``, or None.

    Returns:
        ``(members · rows, m)``.
    """
    if not _tiled(x, weight, members):
        return add(functional.linear(x, weight), False, members, t, left, shift, bias)
    from . import fused_cuda_kernel as kernels

    kernel: Any = kernels.product_kernel
    x, weight = x.contiguous(), weight.contiguous()
    left, shift = _lined(left), _lined(shift)
    height, (m, n) = x.shape[0], weight.shape
    rows = height // members
    out = x.new_empty(height, m)
    _, across, deep = _TILE
    down = _tile_height(rows)
    rank, *strides = (0, 0, 0) if left is None else (left.shape[1], left.stride(0), left.stride(1))
    tiles = height // down * -(-m // across)
    programs = min(triton_launch.processors(x.device), tiles)
    triton_launch.launch(
        kernel, programs, x, (x, [down, deep]), (weight, [across, deep]), (out, [down, across]), t, left, shift, bias,
        height, m, n, rows, rank, *strides, 0 if shift is None else shift.stride(0), programs,
        RANKS=_STEP if t is None else t.shape[1], BM=down, BN=across, BK=deep, GROUP=_GROUP,
        num_warps=8, num_stages=3,
    )  # fmt: skip
    return out


def _tile_height(rows: int) -> int:
    """Returns the height of a tile that holds rows of one member only, or 0."""
    return next((height for height in (_TILE[0], 64) if rows % height == 0), 0)


def _tiled(x: Tensor, weight: Tensor, members: int) -> bool:
    """Returns whether the large product has the low-rank part inside."""
    low = x.dtype in (torch.bfloat16, torch.float16)
    lines = all(size * x.element_size() % 16 == 0 for size in weight.shape)
    return low and lines and _tile_height(x.shape[0] // members) > 0 and triton_launch.has_descriptors(x.device)


def draws_shape(m: int, n: int, rank: int, dtype: torch.dtype) -> bool:
    """Returns whether a kernel could draw the factors of this matrix: every column of A and B begins a random word."""
    return dtype in _DRAWN_DTYPES and rank <= _DRAWN_RANK and (rank == 1 or (m % _STEP == 0 and n % _STEP == 0))


def draws(layer: Layer, x: Tensor, members: int) -> bool:
    """Returns whether kernels are to draw the factors themselves: where a member has few rows, and reads each but once.

    Args:
        layer: without factors.
        x: of all members.
        members: how many.
    """
    rows = x.numel() // max(members * x.shape[-1], 1)
    given = (x, layer.weight, layer.bias, layer.bias_delta)
    return 0 < rows <= _FEW and fits(*given) and not torch.is_autocast_enabled(x.device.type)


def product_drawn(x: Tensor, layer: Layer) -> Tensor:
    """Evaluates (1) for members of few rows: the library's product, and two kernels that draw B and A as they go.

    One program draws the numbers of a pair for both of its members; t is float32, so that rounding differs from that of
    factors in memory.

    Args:
        x: ``(members · rows, n)``.
        layer: with what the factors are drawn from; members 2k and 2k + 1 are a pair.

    Returns:
        ``(members · rows, m)``.
    """
    from . import fused_cuda_kernel as kernels

    thin_drawn_kernel: Any = kernels.thin_drawn_kernel
    add_drawn_kernel: Any = kernels.add_drawn_kernel
    weight, bias, shift, source = layer.weight, layer.bias, _lined(layer.bias_delta), layer.source
    assert source is not None
    x, (m, n) = x.contiguous(), weight.shape
    y, rows = functional.linear(x, weight), len(x) // source.members
    t = x.new_empty(len(x), source.rank, dtype=torch.float32)
    stream = source.start, source.pairs, source.quantiles
    how = {"RANK": source.rank, "ROWS": _power_of_two(rows), "DISTRIBUTION": source.distribution}
    triton_launch.launch(
        thin_drawn_kernel, len(source.pairs), x, x, t, *stream, rows, n, source.right, BLOCK=_block(n), **how
    )  # fmt: skip
    blocks = -(-m // _block(m))
    triton_launch.launch(
        add_drawn_kernel, len(source.pairs) * blocks, y, y, t, bias, shift, *stream, source.scale, rows, m,
        0 if shift is None else shift.stride(0), blocks, BLOCK=_block(m), **how,
    )  # fmt: skip
    return y


def _power_of_two(count: int) -> int:
    """Rounds up to a power of two."""
    return 1 << (count - 1).bit_length()


def _block(count: int) -> int:
    """Returns how many numbers a program takes at once of ``count``."""
    return min(max(_power_of_two(count), 64), 1024)


def normalized(
    x: Tensor,
    shared: bool,
    members: int,
    weight: Tensor | None,
    bias: Tensor | None,
    weight_delta: Tensor | None,
    bias_delta: Tensor | None,
    eps: float,
    centered: bool,
) -> Tensor:
    """Evaluates layer norm, or RMS norm unless ``centered``, over the last dimension: one pass for all members.

    Args:
        x: ``(members · rows, n)``, or ``(rows, n)`` when ``shared``.
        shared: whether all members see one ``x``.
        members: how many.
        weight: ``(n,)``, or None.
        bias: ``(n,)``, or None.
        weight_delta: ``(members, n)``, or None.
        bias_delta: ``(members, n)``, or None.
        eps: added to the variance.
        centered: whether the mean is taken off.

    Returns:
        ``(members · rows, n)``.
    """
    from . import fused_cuda_kernel as kernels

    kernel: Any = kernels.norm_kernel
    x, weight_delta, bias_delta = x.contiguous(), _lined(weight_delta), _lined(bias_delta)
    rows, n = x.shape[0] if shared else x.shape[0] // members, x.shape[1]
    out = x.new_empty(members * rows, n)
    block = _power_of_two(n)
    triton_launch.launch(
        kernel, members * rows, x, x, out, weight, bias, weight_delta, bias_delta, rows, n, 0 if shared else rows * n,
        0 if weight_delta is None else weight_delta.stride(0), 0 if bias_delta is None else bias_delta.stride(0), eps,
        CENTERED=centered, BLOCK=block, num_warps=4 if block <= 2048 else 8,
    )  # fmt: skip
    return out


def fits_row(n: int) -> bool:
    """Returns whether one program normalises a row of ``n`` numbers."""
    return 0 < n <= _LONGEST_ROW


def embedded(token: Tensor, shared: bool, weight: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Looks tokens up in every member's own table.

    Args:
        token: ``(members, rows)``, or ``(rows,)`` when ``shared``, int64 or int32.
        shared: whether all members see the same tokens.
        weight: ``(vocabulary, n)``.
        left: ``(members, r, vocabulary)``.
        right: ``(members, r, n)``.

    Returns:
        ``(members · rows, n)``.
    """
    from . import fused_cuda_kernel as kernels

    kernel: Any = kernels.embedding_kernel
    token, weight, left, right = token.contiguous(), weight.contiguous(), _lined(left), _lined(right)
    members, rank, n = right.shape
    rows = token.shape[-1]
    out = weight.new_empty(members * rows, n)
    block = min(max(_power_of_two(n), 2), 1024)
    blocks = -(-n // block)
    triton_launch.launch(
        kernel, members * rows * blocks, weight, token, weight, left, right, out, rows, n, rank,
        0 if shared else rows, left.stride(0), left.stride(1), right.stride(0), right.stride(1), blocks, BLOCK=block,
    )  # fmt: skip
    return out


@overload
def _lined(tensor: Tensor) -> Tensor: ...
@overload
def _lined(tensor: None) -> None: ...
@overload
def _lined(tensor: Tensor | None) -> Tensor | None: ...
def _lined(tensor: Tensor | None) -> Tensor | None:
    """Returns the tensor with the numbers of a row side by side."""
    if tensor is None or tensor.stride(-1) == 1 or tensor.shape[-1] == 1:
        return tensor
    return tensor.contiguous()
