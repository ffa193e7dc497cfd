"""A batch: the tensors of one parameter group that are stepped together, named as in the equations.

Every operation of the method is elementwise, so a complex number counts as two real ones, and shards are stepped
separately.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key", bound=Hashable)


class Batch(NamedTuple):
    """One list of tensors per symbol; the same index in each belongs to the same parameter."""

    theta: list[Tensor]  # the parameters θ
    grad: list[Tensor]
    m: list[Tensor]  # first moments
    v: list[Tensor]  # second moments
    step: list[Tensor]  # step counts
    phi: list[Tensor]  # slow weights φ; empty where no pullback is due
    mu: list[Tensor]  # slow first moments μ; empty unless the momentum is pulled back

    @classmethod
    def empty(cls) -> "Batch":
        """Returns a batch without tensors, to be filled."""
        return cls([], [], [], [], [], [], [])

    def select(self, indices: Sequence[int]) -> "Batch":
        """Returns the batch of the parameters at ``indices``."""
        return Batch(*([column[i] for i in indices] if column else [] for column in self))

    def split(self, keys: Iterable[Key]) -> "dict[Key, Batch]":
        """Returns one batch per distinct key; ``keys`` holds one for each parameter."""
        indices: dict[Key, list[int]] = {}
        for i, key in enumerate(keys):
            indices.setdefault(key, []).append(i)
        if len(indices) == 1:
            return dict.fromkeys(indices, self)
        return {key: self.select(found) for key, found in indices.items()}


def as_real_local(batch: Batch, has_complex: bool) -> Batch:
    """Returns views of the tensors that are real and local; most often the tensors themselves.

    Args:
        batch: tensors that may be complex, or sharded as DTensors.
        has_complex: whether some parameter is complex.
    """
    theta = batch.theta
    if any(hasattr(p, "to_local") for p in theta):
        batch = Batch(*([_local(x, p) for x, p in zip(column, theta, strict=False)] for column in batch))
    if has_complex:
        batch = Batch(*([torch.view_as_real(x) if x.is_complex() else x for x in column] for column in batch))
    return batch


def _local(tensor: Any, param: Any) -> Tensor:
    """Returns this rank's shard; a gradient with other placements than its parameter is redistributed first."""
    if hasattr(tensor, "to_local") and tensor.placements != param.placements:
        tensor = tensor.redistribute(param.device_mesh, param.placements)
    local: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return local
