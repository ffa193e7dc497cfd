"""Matrix products whose rows do not depend on how many rows there are.

A chunk of the population is a taller matrix, and its size must not change a member's bits. Libraries choose another
kernel for very few rows or columns, so those are padded.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_FEW_ROWS = 8
_FEW_COLUMNS = 16


def affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Give ``x weightᵀ + bias`` for ``x`` of shape ``(rows, n)``."""
    rows = x.shape[0]
    if rows < _FEW_ROWS:
        return F.linear(F.pad(x, (0, 0, 0, _FEW_ROWS - rows)), weight, bias)[:rows]
    return F.linear(x, weight, bias)


def thin_shared(x: Tensor, right: Tensor) -> Tensor:
    """Give ``x B`` of every member for one ``x`` ``(rows, n)``: ``(members, rows, r)``, from one product."""
    members, columns, rank = right.shape
    rows, wide = x.shape[0], right.permute(1, 0, 2).reshape(columns, members * rank)
    if wide.shape[1] < _FEW_COLUMNS:
        wide = F.pad(wide, (0, _FEW_COLUMNS - wide.shape[1]))
    if rows < _FEW_ROWS:
        x = F.pad(x, (0, 0, 0, _FEW_ROWS - rows))
    return (x @ wide)[:rows, : members * rank].view(rows, members, rank).permute(1, 0, 2)


def full(size: torch.Size | tuple[int, ...], left: Tensor | None, right: Tensor | None, dense: Tensor | None) -> Tensor:
    """Give the perturbations themselves, ``(members, *size)``."""
    if left is None or right is None:
        assert dense is not None
        return dense
    return torch.bmm(left, right.transpose(1, 2)).view(len(left), *size)
