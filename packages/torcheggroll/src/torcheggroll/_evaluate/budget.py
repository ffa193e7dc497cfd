"""The default memory of a chunk of members, and its reuse between chunks."""

from functools import lru_cache

import torch

_CACHE = 24 << 20  # enough rows for a large product, and little enough for the system's allocator to keep
_KEPT = 31 << 20  # glibc learns from blocks of less than 32 MB
_SHARE = 0.5  # of a device's free memory: estimates are rough, and others use the device too


def memory_for_a_chunk(device: torch.device) -> int:
    """Returns a budget: on CUDA half of what is free, torch's unused reserve included; elsewhere a core's cache."""
    if device.type != "cuda":
        return _CACHE
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(_SHARE * (free + unused))


@lru_cache(maxsize=1)
def keep_freed_memory() -> None:
    """Lets the C library keep what a chunk gives back, up to 64 MB, for the next one.

    glibc returns a large block to the system when it is freed, and each page of the next block faults: a seventh of a
    step's time. It stops doing so for blocks of a size that it has once seen freed; this one is never touched.
    """
    torch.empty(_KEPT, dtype=torch.uint8)
