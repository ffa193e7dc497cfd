"""See through DTensor: every operation of the method is elementwise, so a shard can be stepped alone."""

from typing import Any

from torch import Tensor


def plain(row: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return the local shards of a row of DTensors, and other rows as they are.

    A gradient laid out otherwise than its parameter is laid out anew first.
    """
    if not hasattr(row[0], "to_local"):
        return row
    theta: Any = row[0]
    return tuple(_local(tensor, theta) for tensor in row)


def _local(tensor: Any, theta: Any) -> Tensor:
    if tensor.placements != theta.placements:
        tensor = tensor.redistribute(theta.device_mesh, theta.placements)
    local: Tensor = tensor.to_local()
    return local
