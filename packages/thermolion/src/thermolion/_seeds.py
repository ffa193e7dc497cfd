"""Where a run's seed comes from, and when."""

from typing import Any

import torch
import torch.distributed as dist

from thermolion._sharding import common_seed


def settle_seeds(groups: list[dict[str, Any]], *, alone: bool = False) -> None:
    """Give a seed to every group that has none: torch's initial one, rank 0's in a process group.

    Args:
        groups: the optimizer's.
        alone: the other ranks may not be here: among several, leave everything as it is.
    """
    if all(group["seed"] is not None for group in groups):
        return
    if alone and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        return
    seed = common_seed(torch.initial_seed() % (1 << 64), groups[0]["params"][0].device)
    for group in groups:
        if group["seed"] is None:
            group["seed"] = seed
