"""Ranks of `torch.distributed` that decide alike: one loss, one seed, one state for all of them."""

# tolist() is not typed.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import secrets
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pulseopt._maths.sums import plain_mean


def together() -> bool:
    """Return whether this process is one of several."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def read_loss(loss: float | Tensor, average: bool, group: Any = None) -> float:
    """Return a loss as a float, with one read of the device.

    Args:
        loss: one number.
        average: take the mean over the ranks; every rank then gets the same bits.
        group: the process group; None is the default one.

    Raises:
        TypeError: ``loss`` is no number.
        ValueError: ``loss`` holds several.
    """
    check_loss(loss)
    if not (average and together()):
        return float(loss.item()) if isinstance(loss, Tensor) else float(loss)
    mine = loss.detach().reshape(()) if isinstance(loss, Tensor) else torch.tensor(float(loss), dtype=torch.float64)
    if dist.get_backend(group) == "nccl" and mine.device.type != "cuda":
        mine = mine.to("cuda")
    if mine.device.type != "mps":
        mine = mine.double()
    parts = [torch.empty_like(mine) for _ in range(dist.get_world_size(group))]
    dist.all_gather(parts, mine, group=group)
    values: Any = torch.stack(parts).tolist()
    return plain_mean(values)  # in the order of the ranks: the same roundings everywhere


def check_loss(loss: object) -> None:
    """Refuse what is not one number.

    Raises:
        TypeError: ``loss`` is no number.
        ValueError: ``loss`` holds several.
    """
    if isinstance(loss, Tensor):
        if loss.numel() != 1:
            raise ValueError(f"loss must be one number, got a tensor of shape {tuple(loss.shape)}; pass its mean")
        if loss.is_complex():
            raise TypeError("loss must be a real number, got a complex tensor")
    elif not hasattr(loss, "__float__"):
        raise TypeError(f"loss must be a number or a tensor with one element, got {type(loss).__name__}")


def from_first_rank(value: Any, group: Any = None) -> Any:
    """Return the first rank's value on every rank."""
    box = [value]
    dist.broadcast_object_list(box, src=dist.get_global_rank(group, 0) if group is not None else 0, group=group)
    return box[0]


def fresh_seed() -> int:
    """Return a seed from the system's entropy."""
    return secrets.randbits(62)
