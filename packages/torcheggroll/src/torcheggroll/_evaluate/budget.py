"""How many bytes a chunk of members may take, where the user does not say."""

import torch

_CACHE = 24 << 20  # enough rows for a large product, and little enough for the system's allocator to keep
_SHARE = 0.5  # of a device's free memory: estimates are rough, and others use the device too


def memory_for_a_chunk(device: torch.device) -> int:
    """Returns a budget: on CUDA half of what is free, torch's unused reserve included; elsewhere a core's cache."""
    if device.type != "cuda":
        return _CACHE
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(_SHARE * (free + unused))
