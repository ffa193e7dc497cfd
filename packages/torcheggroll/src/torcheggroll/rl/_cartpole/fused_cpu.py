"""A step of many cart-poles on the CPU: one C++ kernel, equal to `reference` to the bit."""

import ctypes
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..._ops.native import library
from .reference import Moved

SOURCE = Path(__file__).with_name("fused_cpu.cpp")


@lru_cache(maxsize=1)
def kernel() -> Any:
    """Returns the compiled kernel, or None where there is no compiler."""
    made = library(SOURCE)
    if made is None:
        return None
    function = made.torcheggroll_cartpole
    function.argtypes = (*[ctypes.c_int64] * 3, *[ctypes.c_void_p] * 10)
    function.restype = None
    return function


def fits(state: Tensor) -> bool:
    """Returns whether the kernel moves this state."""
    return state.device.type == "cpu" and state.dtype == torch.float32 and kernel() is not None


def step(state: Tensor, action: Tensor, episodes: Tensor, end: Tensor, now: int, max_steps: int) -> Moved:
    """Moves every world on; the arguments are those of `reference.step`."""
    state, action, count = state.contiguous(), action.contiguous(), state.shape[1]
    sin, cos = state[2].sin(), state[2].cos()
    after, seen = torch.empty_like(state), torch.empty(count, 4)
    terminated, truncated = (torch.empty(count, dtype=torch.bool) for _ in range(2))
    tensors = (action, sin, cos, state, after, episodes, end, seen, terminated, truncated)
    kernel()(count, now, max_steps, *[t.data_ptr() for t in tensors])
    return Moved(after, seen, terminated, truncated)
