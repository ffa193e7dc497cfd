"""Matrix products whose rows do not depend on the number of rows.

A chunk of the population is a taller matrix, and its size must not change a member's bits. Libraries choose another
kernel for the rows that fill no block, and for matrices that begin within a cache line, so both are padded. They choose
another one for a single matrix too: the evaluator never runs a member alone.
"""

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

_ROWS = 8  # the kernels' block; rows in a partial block would be summed in another order
_COLUMNS = 16  # numbers in a cache line; rows that begin elsewhere would be read by other instructions
_LINE = 64  # bytes
_SLOW_RANK = 4
_LONG_RANK = 7  # longer sums are blocked, and where a block begins depends on the matrix's place in memory


def padded(matrix: Tensor) -> Tensor:
    """Returns ``matrix`` with zeros behind each row, up to the next cache line."""
    odd = matrix.shape[-1] % _COLUMNS
    return functional.pad(matrix, (0, _COLUMNS - odd)) if odd else matrix


def aligned(matrix: Tensor) -> Tensor:
    """Returns ``matrix`` padded, in memory where every row begins a cache line."""
    whole = padded(matrix)
    return (
        whole if whole is not matrix or _begins_lines(matrix) else matrix.clone(memory_format=torch.contiguous_format)
    )


def _begins_lines(matrix: Tensor) -> bool:
    """Returns whether every row begins a cache line."""
    size = matrix.element_size()
    steps = [step for count, step in zip(matrix.shape[:-1], matrix.stride()[:-1], strict=True) if count > 1]
    return all(at * size % _LINE == 0 for at in (matrix.storage_offset(), *steps))


def affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Returns ``x weightᵀ + bias`` for ``x`` of shape ``(rows, n)``."""
    rows = x.shape[0]
    if rows % _ROWS:
        return functional.linear(functional.pad(x, (0, 0, 0, -rows % _ROWS)), weight, bias)[:rows]
    return functional.linear(x, weight, bias)


def thin_shared(x: Tensor, right: Tensor) -> Tensor:
    """Returns ``x B`` of every member for one ``x`` ``(rows, n)``: ``(members, rows, r)``, from one product."""
    members, rank, columns = right.shape
    wide = affine(right.reshape(members * rank, columns), x, None)
    return wide.view(members, rank, len(x)).transpose(1, 2)


def thin_each(x: Tensor, right: Tensor) -> Tensor:
    """Returns ``x B`` of every member for its own ``x`` ``(members, rows, n)``: ``(members, rows, r)``."""
    rank = right.shape[1]
    if x.shape[1] == rank == 1 and x.device.type == "cpu":  # dot products: a library's batch of them is slower
        products = cast(Tensor, torch.linalg.vecdot(x, right))  # pyright: ignore[reportUnknownMemberType]
        return products.unsqueeze(2)
    if x.shape[1] == 1:
        return torch.bmm(right, x.transpose(1, 2)).transpose(1, 2)
    if rank < _SLOW_RANK:  # libraries treat so few columns as vectors, one by one
        return torch.bmm(x, functional.pad(right, (0, 0, 0, _SLOW_RANK - rank)).transpose(1, 2))[:, :, :rank]
    return torch.bmm(x, right.transpose(1, 2))


def _straddles(h: Tensor, left: Tensor) -> bool:
    """Returns whether a member's ``h Aᵀ`` begins within a cache line, where so long a sum takes other instructions."""
    return h.shape[2] >= _LONG_RANK and (left.shape[2] % _COLUMNS != 0 or not _begins_lines(left))


def _thin_apart(h: Tensor, left: Tensor) -> Tensor:
    """Returns ``h Aᵀ`` from matrices that all begin a cache line."""
    return torch.bmm(h, aligned(left))[:, :, : left.shape[2]]


def add_thin_(base: Tensor, h: Tensor, left: Tensor) -> Tensor:
    """Adds ``h Aᵀ`` to ``base`` ``(members, rows, m)``, in place."""
    if h.shape[1] == 1 and h.shape[2] == 1:
        return base.addcmul_(h, left)
    return base.add_(_thin_apart(h, left)) if _straddles(h, left) else base.baddbmm_(h, left)


def add_thin(base: Tensor, h: Tensor, left: Tensor) -> Tensor:
    """Returns ``base + h Aᵀ`` for a ``base`` that the members share."""
    return base + _thin_apart(h, left) if _straddles(h, left) else torch.baddbmm(base, h, left)


def affine_onto_thin(x: Tensor, weight: Tensor, h: Tensor, left: Tensor) -> Tensor:
    """Returns ``h Aᵀ + x weightᵀ`` as rows: the thin product is written first, the large one lands on it.

    Args:
        x: ``(members · rows, n)``.
        weight: ``(m, n)``.
        h: ``(members, rows, r)``.
        left: ``(members, r, m)``.

    Returns:
        ``(members · rows, m)``.
    """
    rows, m = x.shape[0], weight.shape[0]
    odd = -rows % _ROWS
    out = x.new_empty(rows + odd, m)
    thin = out[:rows].view(len(h), -1, m)
    if h.shape[1] == 1 and h.shape[2] == 1:
        torch.mul(h, left, out=thin)
    elif _straddles(h, left):
        thin.copy_(_thin_apart(h, left))
    else:
        torch.bmm(h, left, out=thin)
    if odd:
        out[rows:].zero_()
        x = functional.pad(x, (0, 0, 0, odd))
    return out.addmm_(x, weight.t())[:rows]


def full(size: torch.Size | tuple[int, ...], left: Tensor | None, right: Tensor | None, dense: Tensor | None) -> Tensor:
    """Returns the perturbations themselves, ``(members, *size)``, in float32 or wider where they are products."""
    if left is None or right is None:
        assert dense is not None
        return dense
    wide = torch.promote_types(left.dtype, torch.float32)
    return (left.mT.to(wide) @ right.to(wide)).view(len(left), *size)
