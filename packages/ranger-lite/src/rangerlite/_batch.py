"""See tensors as the equations want them: real and local.

Every operation of the method is elementwise, so a complex number is two real ones, and a shard can be stepped alone.
"""

from typing import Any

import torch
from torch import Tensor

Columns = tuple[list[Tensor], ...]


def plain(columns: Columns, has_complex: bool) -> Columns:
    """Return views of the columns, real and local; most often the columns themselves.

    Args:
        columns: lists of tensors, the first of parameters; the others are empty or as long.
        has_complex: whether some parameter is complex.
    """
    params = columns[0]
    if any(hasattr(p, "to_local") for p in params):
        columns = tuple([_local(x, p) for x, p in zip(column, params, strict=False)] for column in columns)
    if has_complex:
        columns = tuple([torch.view_as_real(x) if x.is_complex() else x for x in column] for column in columns)
    return columns


def _local(tensor: Any, param: Any) -> Tensor:
    """Return the shard here; a gradient laid out otherwise than its parameter is laid out anew first."""
    if hasattr(tensor, "to_local") and tensor.placements != param.placements:
        tensor = tensor.redistribute(param.device_mesh, param.placements)
    local: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return local
