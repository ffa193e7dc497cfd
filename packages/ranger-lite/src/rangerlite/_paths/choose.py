"""Steps a batch on the path that its settings and tensors require."""

import warnings
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import torch

from .._batch import Batch
from .._counts import StepCounts
from .._lookahead import LookaheadConfig
from .._radam import RAdamConfig
from .._settings import GradScaling, lookahead_config, radam_config
from .address_table import DTYPES, AddressTables
from .eager import step_by_chunks, step_by_reference, step_in_graph, step_on_lists
from .fused_cpu import step_on_cpu

Path = Callable[[Batch, int, RAdamConfig, LookaheadConfig], None]


def is_fused(group: dict[str, Any], device: torch.device, dtype: torch.dtype) -> bool:
    """Says whether a kernel steps the tensors of ``group`` on ``device``: where asked for, and by default on CUDA."""
    if group["fused"] is not None or group["foreach"] is not None or group["differentiable"]:
        return bool(group["fused"])
    return device.type == "cuda" and dtype in DTYPES and not missing_for_triton(device)


@lru_cache
def missing_for_triton(device: torch.device) -> str:
    """Returns what a step by default would need for the Triton kernel and does not find here, or nothing."""
    if find_spec("triton") is None:
        return "Triton is not installed"
    if torch.version.hip is None and torch.cuda.get_device_capability(device) < (8, 0):
        return f"{torch.cuda.get_device_name(device)} is older than the kernel supports by default"
    try:
        from .fused_cuda import try_out

        try_out(device)
    except Exception as error:  # the default must work whatever stops a compiler
        return f"Triton fails here, {type(error).__name__}: {error}"
    return ""


@lru_cache
def warn_of_lists(device: torch.device, missing: str) -> None:
    """Warns once that a step takes several times longer than it could."""
    warnings.warn(
        f"RangerLite steps the tensors on {device} several times slower than its Triton kernel would: {missing}. "
        "Mend that, or pass foreach=True to keep this path without a warning",
        stacklevel=2,
    )


class Stepper:
    """Steps batches, and remembers what its paths must not ask the device for: step counts and addresses."""

    def __init__(self) -> None:
        self.counts = StepCounts()
        self.tables = AddressTables()

    def step(self, batch: Batch, group: dict[str, Any], scaling: GradScaling) -> None:
        """Takes one step of every parameter of a batch.

        Args:
            batch: tensors of one parameter group, real and local.
            group: the group's settings.
            scaling: what a GradScaler leaves to a fused step.
        """
        radam, lookahead = radam_config(group), lookahead_config(group)
        if torch.compiler.is_compiling():
            step_in_graph(batch, radam, lookahead)
            return
        for (device, dtype), alike in batch.split((theta.device, theta.dtype) for theta in batch.theta).items():
            if is_fused(group, device, dtype):
                alike = self._step_fused(alike, group, radam, lookahead, scaling)
            if alike.theta:
                self._step_eagerly(alike, group, radam, lookahead)

    def _step_fused(
        self, batch: Batch, group: dict[str, Any], radam: RAdamConfig, lookahead: LookaheadConfig, scaling: GradScaling
    ) -> Batch:
        """Steps in one kernel what it can take, and returns the rest, gradients unscaled."""
        if batch.theta[0].is_cuda:
            from .fused_cuda import step_on_cuda  # needs Triton

            left = step_on_cuda(batch, radam, lookahead, scaling, self.tables, group["capturable"])
        else:
            left = step_on_cpu(batch, radam, lookahead, scaling)
        rest = batch.select(left)
        if scaling.found_inf is not None and rest.theta and scaling.found_inf.item():
            return Batch.empty()
        return rest if scaling.scale is None else rest._replace(grad=[g / scaling.scale for g in rest.grad])

    def _step_eagerly(
        self, batch: Batch, group: dict[str, Any], radam: RAdamConfig, lookahead: LookaheadConfig
    ) -> None:
        device = batch.theta[0].device
        if device.type == "cuda" and group["fused"] is group["foreach"] is None and not group["differentiable"]:
            warn_of_lists(device, missing_for_triton(device) or "some tensors have another layout than their parameter")
        if group["capturable"]:
            step_in_graph(batch, radam, lookahead)
            return
        path = _eager_path(group, device)
        for t, same in batch.split(self.counts.advance(batch.step)).items():
            path(same if t % lookahead.k == 0 else same._replace(phi=[], mu=[]), t, radam, lookahead)


def _eager_path(group: dict[str, Any], device: torch.device) -> Path:
    if group["differentiable"] or group["foreach"] is False:
        return step_by_reference
    return step_on_lists if group["foreach"] or device.type != "cpu" else step_by_chunks
