"""The processes that share a population, found through torch.distributed."""

import os
import warnings
from typing import TYPE_CHECKING, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .checksum import checksum, digest
from .ranks import Ranks
from .state import SharedState, settings_digest

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def join(process_group: "ProcessGroup | Literal[False] | None", device: torch.device) -> Ranks:
    """Takes this process's place in a group.

    Args:
        process_group: None for the default group where there is one, False for none.
        device: of the model; the exchange happens there where the backend knows no CPU tensors.

    Returns:
        The place, alone where there is nobody to share with.

    Raises:
        TypeError: no group.
        ValueError: this process is not in the group.
    """
    if process_group is False:
        return Ranks()
    if not dist.is_available() or (process_group is None and not dist.is_initialized()):
        _warn_under_torchrun()
        return Ranks()
    if process_group is not None and not isinstance(process_group, dist.ProcessGroup):
        if process_group == dist.GroupMember.NON_GROUP_MEMBER:
            raise ValueError(
                "process_group must be one that this process belongs to, got the mark of a process outside; build "
                "TorchEggrollES on the group's ranks only, or pass process_group=False here"
            )
        raise TypeError(f"process_group must be a torch.distributed.ProcessGroup, False or None, got {process_group!r}")
    rank, world = dist.get_rank(process_group), dist.get_world_size(process_group)
    if rank < 0:
        raise ValueError("process_group must be one that this process belongs to; pass process_group=False here")
    if world == 1:
        return Ranks()
    backend = str(dist.get_backend(process_group))
    where = torch.device("cpu") if "gloo" in backend or "mpi" in backend else device

    def gather(row: Tensor) -> Tensor:
        own = row.to(where)
        rows = [torch.empty_like(own) for _ in range(world)]
        dist.all_gather(rows, own, group=process_group)
        return torch.stack(rows).cpu()

    return Ranks(rank, world, gather)


def begin(ranks: Ranks, state: SharedState, chosen: int | None, model: nn.Module, evolved: str) -> int:
    """Refuses ranks that begin differently.

    Args:
        ranks: of the group.
        state: of this rank.
        chosen: the seed that the user gave.
        model: its weights and buffers must be equal on all ranks.
        evolved: names, shapes and dtypes of the evolved parameters.

    Returns:
        The seed that the user gave, or what rank 0 would use where no rank was given one.
    """
    if ranks.alone:
        return state.seed
    words = {
        "the choice to give a seed": int(chosen is None),
        "the seed": chosen or 0,
        "names or shapes of the evolved parameters": digest(evolved),
        "settings": settings_digest(state.settings, state.optimizer),
        "weights and buffers": checksum([*model.parameters(), *model.buffers()]),
    }
    agreed = ranks.compare(words, state.epoch, state.seed)
    return agreed if chosen is None else chosen


def _warn_under_torchrun() -> None:
    if "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        warnings.warn(
            "torchrun started several processes, but torch.distributed is not initialised: each evaluates the whole "
            "population; call torch.distributed.init_process_group() first, or pass process_group=False",
            stacklevel=4,
        )
