"""Replicas and shards: one seed for all, the mean over whole tensors, and the numbers of a shard's elements."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


@lru_cache(maxsize=1)
def _tensor_class() -> tuple[type, ...]:
    """Return the class of sharded tensors, or nothing in a build without it."""
    if not dist.is_available():
        return ()
    try:
        from torch.distributed.tensor import DTensor
    except ImportError:  # torch 2.4 keeps it in a private place
        from torch.distributed._tensor import DTensor  # type: ignore[attr-defined]
    return (DTensor,)


def is_sharded(tensor: Tensor) -> bool:
    """Say whether this is a DTensor, of which a process holds a shard."""
    return type(tensor) is not torch.nn.Parameter and isinstance(tensor, _tensor_class())


def local(tensor: Tensor) -> Tensor:
    """Return the shard that this process holds, sharing memory; a plain tensor is its own."""
    return tensor.to_local() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def common_seed(seed: int) -> int:
    """Return rank 0's seed, broadcast once; without a process group, this one."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return seed
    seeds: list[Any] = [seed]
    dist.broadcast_object_list(seeds, src=0)
    return int(seeds[0])


def elements_of(tensor: "DTensor") -> Tensor | None:
    """Return the logical numbers, in the whole tensor, of this process's elements; None where it holds all of them.

    Complex elements count as two, the real part first.
    """
    try:
        from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
    except ImportError:
        from torch.distributed._tensor._utils import (  # type: ignore[import-not-found, no-redef]
            compute_local_shape_and_global_offset,
        )
    shape, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    whole = list(tensor.shape)
    if tensor.is_complex():
        shape, offset, whole = (*shape, 2), (*offset, 0), [*whole, 2]
    if list(shape) == whole:
        return None
    numbers = torch.zeros((), dtype=torch.int64, device=tensor.device)
    for extent, first, full in zip(shape, offset, whole, strict=True):
        numbers = (numbers * full).unsqueeze(-1) + torch.arange(first, first + extent, device=tensor.device)
    return numbers


def add_shards(sums: Sequence[Tensor], tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return every local sum added over the processes that hold the other shards: one message per mesh dimension."""
    groups: dict[Any, list[int]] = {}
    for place, tensor in enumerate(tensors):
        if is_sharded(tensor):
            mesh: Any = tensor.device_mesh  # type: ignore[attr-defined]
            for dim, placement in enumerate(tensor.placements):  # type: ignore[attr-defined]
                if placement.is_shard():
                    groups.setdefault(mesh.get_group(dim), []).append(place)
    added = list(sums)
    for group, places in groups.items():
        message = torch.stack([added[place] for place in places])
        dist.all_reduce(message, group=group)
        for place, value in zip(places, message.unbind(), strict=True):
            added[place] = value
    return added
