"""One decision on all ranks of `torch.distributed`: one loss, one seed, one state."""

# tolist() is not typed.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import secrets
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pulseopt._maths.sums import plain_mean


def is_distributed() -> bool:
    """Returns whether this process is one of several."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def read_losses(losses: Sequence[float | Tensor], average: bool, group: Any = None) -> list[float]:
    """Returns losses as floats, with one read of the device.

    Args:
        losses: numbers, each known to be one.
        average: take the means over the ranks; every rank then gets the same bits.
        group: the process group; None is the default one.
    """
    if not (average and is_distributed()):
        return read_numbers(losses)
    local = torch.stack([_as_tensor(loss) for loss in losses])
    if dist.get_backend(group) == "nccl" and local.device.type != "cuda":
        local = local.to("cuda")
    parts = [torch.empty_like(local) for _ in range(dist.get_world_size(group))]
    dist.all_gather(parts, local, group=group)
    columns: Any = torch.stack(parts, 1).tolist()
    return [plain_mean(column) for column in columns]  # in the order of the ranks: the same roundings everywhere


def read_numbers(numbers: Sequence[float | Tensor]) -> list[float]:
    """Returns numbers as floats, with one read for all that are tensors."""
    if len(numbers) == 1:  # the loss of each step
        return [float(number.item() if isinstance(number, Tensor) else number) for number in numbers]
    tensors = [_as_tensor(number) for number in numbers if isinstance(number, Tensor)]
    read: list[float] = torch.stack(tensors).tolist() if tensors else []
    values = iter(read)
    return [float(next(values)) if isinstance(number, Tensor) else float(number) for number in numbers]


def _as_tensor(number: float | Tensor) -> Tensor:
    if not isinstance(number, Tensor):
        return torch.tensor(float(number), dtype=torch.float64)
    number = number.detach().reshape(())
    return number if number.device.type == "mps" else number.double()


def check_loss(loss: object) -> None:
    """Rejects what is not one number.

    Raises:
        TypeError: ``loss`` is not a number.
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
    """Returns the first rank's value on every rank."""
    box = [value]
    dist.broadcast_object_list(box, src=dist.get_global_rank(group, 0) if group is not None else 0, group=group)
    return box[0]


def fresh_seed() -> int:
    """Returns a seed from the system's entropy."""
    return secrets.randbits(62)
