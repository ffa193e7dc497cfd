"""The choice of a path for a batch."""

from collections.abc import Callable

from torch import Tensor

from thermolion._batch import Batch
from thermolion._paths import blocks, foreach, fused_cpu, fused_cuda, reference

FUSED_DEVICES = ("cpu", "cuda")


def choose_path(batch: Batch) -> Callable[[Batch], None]:
    """Returns the path that the group's flags ask for, or else the one that measured fastest."""
    group, on_cuda = batch.group, batch.device.type == "cuda"
    free = group["foreach"] is None and group["fused"] is None
    if group["fused"]:
        fused = fused_cuda if on_cuda else fused_cpu
        return fused.step if fused.fits(batch) else reference.step
    if free and blocks.fits(batch):
        return blocks.step
    return foreach.step if group["foreach"] or (free and on_cuda) else reference.step


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
