"""The choice of a path for a batch."""

import warnings
from collections.abc import Callable
from functools import lru_cache

from torch import Tensor

from thermolion._batch import Batch
from thermolion._paths import blocks, foreach, fused_cpu, fused_cuda, reference

FUSED_DEVICES = ("cpu", "cuda")


def step_batch(batch: Batch) -> None:
    """Steps a batch on the path of `choose_path`."""
    path = choose_path(batch)
    if batch.capturable and path is not fused_cuda.step:  # whose kernel counts the step itself
        batch.advance()
    path(batch)


def choose_path(batch: Batch) -> Callable[[Batch], None]:
    """Returns the path that the group's flags ask for, or else the fastest that gives the right result here."""
    group, on_cuda = batch.group, batch.device.type == "cuda"
    if group["fused"]:
        fused = fused_cuda if on_cuda else fused_cpu
        return fused.step if fused.fits(batch) else reference.step
    if group["foreach"] is not None or group["fused"] is not None:
        return foreach.step if group["foreach"] else reference.step
    if on_cuda:
        reason = fused_cuda.why_not(batch)
        if not reason:
            return fused_cuda.step
        _warn_once(f"ThermoLion steps parameters on CUDA on lists, which is slower than its Triton kernels: {reason}")
        return foreach.step
    return blocks.step if blocks.fits(batch) else reference.step


@lru_cache(maxsize=16)
def _warn_once(message: str) -> None:
    warnings.warn(message, stacklevel=2)


def refuse_fused(param: Tensor) -> None:
    """Refuses a parameter that no fused kernel takes.

    Raises:
        RuntimeError: the parameter is neither on the CPU or CUDA nor real or complex floating point; it is on CUDA
            and there is no Triton; or it is on the CPU and the kernel cannot be compiled.
    """
    if param.device.type not in FUSED_DEVICES or not (param.is_floating_point() or param.is_complex()):
        raise RuntimeError(
            "`fused=True` requires all the params to be floating point Tensors of supported devices: "
            f"{list(FUSED_DEVICES)}, got one of {param.dtype} on {param.device}; pass fused=None"
        )
    if param.device.type == "cuda":
        fused_cuda.refuse_without_triton()
    else:
        fused_cpu.kernel()
