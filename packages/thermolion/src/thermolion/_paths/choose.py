"""Which path a piece of work takes."""

from collections.abc import Callable

from torch import Tensor

from thermolion._batch import Batch
from thermolion._draws import Draws
from thermolion._paths.blocks import fits, step_blocks
from thermolion._paths.foreach import step_foreach
from thermolion._paths.fused_cpu import step_fused_cpu
from thermolion._paths.fused_cuda import refuse_without_triton, step_fused_cuda
from thermolion._paths.reference import step_reference

FUSED_DEVICES = ("cpu", "cuda")


def take_path(work: Batch) -> None:
    """Step ``work`` on the path that its group's flags ask for, or on the one that measured fastest."""
    group = work.group
    if group["fused"]:
        step_fused = step_fused_cuda if work.device.type == "cuda" else step_fused_cpu
        step_fused(work)
        return
    if group["foreach"] is None and group["fused"] is None and fits(work):
        step_blocks(work)
        return
    lists = group["foreach"] or (group["foreach"] is None and group["fused"] is None and work.device.type == "cuda")
    path: Callable[[Batch, Draws], None] = step_foreach if lists else step_reference
    path(work, Draws(work))


def refuse_fused(param: Tensor) -> None:
    """Refuse a parameter that no fused kernel takes.

    Raises:
        RuntimeError: the parameter is neither on the CPU or CUDA nor real or complex floating point, or it is on CUDA
            and there is no Triton.
    """
    if param.device.type not in FUSED_DEVICES or not (param.is_floating_point() or param.is_complex()):
        raise RuntimeError(
            "`fused=True` requires all the params to be floating point Tensors of supported devices: "
            f"{list(FUSED_DEVICES)}, got one of {param.dtype} on {param.device}; pass fused=None"
        )
    if param.device.type == "cuda":
        refuse_without_triton()
