"""Triton kernels: whether they can run, and how they are launched."""

from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast

import torch
from torch import Tensor

from .graphs import capturing

REAL = (torch.float32, torch.bfloat16, torch.float16)


@lru_cache(maxsize=1)
def _installed() -> bool:
    return find_spec("triton") is not None


@lru_cache(maxsize=1)
def _describes_tensors() -> bool:
    """Returns whether this Triton reads and writes tiles through descriptors, made on the host."""
    try:
        return find_spec("triton.tools.tensor_descriptor") is not None
    except ModuleNotFoundError:
        return False


def usable(tensor: Tensor) -> bool:
    """Returns whether the kernels run on this tensor's device."""
    return tensor.device.type == "cuda" and _installed()


@lru_cache(maxsize=8)
def has_descriptors(device: torch.device) -> bool:
    """Returns whether the device (Hopper or later) and Triton support tensor descriptors."""
    return _describes_tensors() and torch.cuda.get_device_capability(device) >= (9, 0)


@lru_cache(maxsize=8)
def processors(device: torch.device) -> int:
    """Counts the streaming multiprocessors of a device."""
    cuda: Any = torch.cuda
    return int(cuda.get_device_properties(device).multi_processor_count) if device.type == "cuda" else 4


def send(host: Tensor, device: torch.device) -> Tensor:
    """Copies a small tensor to the device without waiting for it.

    Raises:
        RuntimeError: a graph is being captured, which would read the host's memory when it is replayed.
    """
    if device.type == "cuda" and capturing():
        raise RuntimeError("a captured function must not read the host; give it this tensor among its inputs")
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host.to(device)


def described(tensor: Tensor, block: list[int]) -> Any:
    """Describes a contiguous matrix by the tiles in which a kernel takes it."""
    descriptors: Any = import_module("triton.tools.tensor_descriptor")
    return descriptors.TensorDescriptor.from_tensor(tensor, block)


def launch(kernel: Any, programs: int, on: Tensor, *arguments: Any, **constants: Any) -> None:
    """Launches a kernel on the device of ``on``; every launch of the package passes here.

    Args:
        kernel: of `triton.jit`.
        programs: how many; nothing is launched for none.
        on: a tensor of the device.
        arguments: of the kernel; a pair of a tensor and a tile becomes a descriptor.
        constants: of the kernel and of its compilation.
    """
    if not programs:
        return
    given = [described(*cast("tuple[Tensor, list[int]]", a)) if isinstance(a, tuple) else a for a in arguments]
    if on.device.type == "cuda":
        with torch.cuda.device(on.device):
            kernel[(programs,)](*given, **constants)
    else:
        kernel[(programs,)](*given, **constants)
