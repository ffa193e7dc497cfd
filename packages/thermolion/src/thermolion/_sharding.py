"""Replicas and shards: one seed for all ranks, means over whole tensors, and the indices of a shard's elements."""

from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
import torch.distributed as dist
from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


@lru_cache(maxsize=1)
def _tensor_class() -> tuple[type, ...]:
    """Returns the class of sharded tensors, or nothing in a build without it."""
    if not dist.is_available():
        return ()
    try:
        package: Any = import_module("torch.distributed.tensor")
        return (package.DTensor,)
    except (ImportError, AttributeError):  # torch 2.4 keeps it in a private place
        package = import_module("torch.distributed._tensor")
        return (package.DTensor,)


def is_sharded(tensor: Tensor) -> "TypeGuard[DTensor]":
    """Returns whether this is a DTensor, of which a process holds a shard."""
    return type(tensor) is not torch.nn.Parameter and isinstance(tensor, _tensor_class())


def local(tensor: Tensor) -> Tensor:
    """Returns the shard that this process holds, sharing memory; a plain tensor is its own."""
    return tensor.to_local() if is_sharded(tensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """Returns the whole of a tensor, gathered from the processes where it is sharded."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def common_seed(seed: int, device: torch.device) -> int:
    """Returns rank 0's seed, broadcast once as a tensor on ``device``; without a process group, this one."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return seed
    halves = torch.tensor([seed >> 32, seed & 0xFFFFFFFF], dtype=torch.int64, device=device)
    dist.broadcast(halves, src=0)
    high, low = (int(half) for half in halves.unbind())
    return high << 32 | low


def elements_of(tensor: "DTensor") -> Tensor | None:
    """Returns the logical numbers, in the whole tensor, of this process's elements; None where it holds all of them.

    Complex elements count as two, the real part first.
    """
    shape, offset = _extent_of(tensor)
    full = tuple(tensor.shape)
    if tensor.is_complex():
        shape, offset, full = (*shape, 2), (*offset, 0), (*full, 2)
    if shape == full:
        return None
    numbers = torch.zeros((), dtype=torch.int64, device=tensor.device)
    for extent, first, size in zip(shape, offset, full, strict=True):
        numbers = (numbers * size).unsqueeze(-1) + torch.arange(first, first + extent, device=tensor.device)
    return numbers


def _extent_of(tensor: "DTensor") -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the shape of this process's shard, and where it begins in the whole tensor."""
    try:
        utils: Any = import_module("torch.distributed.tensor._utils")
    except ImportError:  # torch 2.4
        utils = import_module("torch.distributed._tensor._utils")
    shape, offset = utils.compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return tuple(shape), tuple(offset)


def add_shards(sums: Sequence[Tensor], tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """Returns every local sum added over the processes that hold the other shards: one message per mesh dimension."""
    groups: dict[Any, list[int]] = {}
    for i, tensor in enumerate(tensors):
        if is_sharded(tensor):
            mesh: Any = tensor.device_mesh
            placements: Sequence[Any] = tensor.placements
            for dim, placement in enumerate(placements):
                if placement.is_shard():
                    groups.setdefault(mesh.get_group(dim), []).append(i)
    added = list(sums)
    for group, members in groups.items():
        message = torch.stack([added[i] for i in members])
        dist.all_reduce(message, group=group)
        for i, value in zip(members, message.unbind(), strict=True):
            added[i] = value
    return added
