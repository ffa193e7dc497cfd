"""Takes a batch one step ahead, on the path that its settings and its tensors ask for."""

from collections.abc import Callable
from typing import Any

import torch

from .._batch import Batch
from .._counts import StepCounts
from .._lookahead import LookaheadConfig
from .._radam import RAdamConfig
from .._settings import GradScaling, lookahead_config, radam_config
from .eager import step_by_chunks, step_by_reference, step_in_graph, step_on_lists
from .fused_cpu import step_on_cpu

Path = Callable[[Batch, int, RAdamConfig, LookaheadConfig], None]


def step_batch(batch: Batch, group: dict[str, Any], counts: StepCounts, scaling: GradScaling) -> None:
    """Takes one step of every parameter of a batch.

    Args:
        batch: tensors of one parameter group, real and local.
        group: the group's settings.
        counts: the step counts, for the paths that decide in Python.
        scaling: what a GradScaler leaves to a fused step.
    """
    radam, lookahead = radam_config(group), lookahead_config(group)
    if torch.compiler.is_compiling():
        step_in_graph(batch, radam, lookahead)
        return
    for (device, _), alike in batch.split((theta.device, theta.dtype) for theta in batch.theta).items():
        if group["fused"]:
            alike = _step_fused(alike, radam, lookahead, scaling)
        if not alike.theta:
            continue
        if group["capturable"]:
            step_in_graph(alike, radam, lookahead)
            continue
        path = _eager_path(group, device)
        for t, same in alike.split(counts.advance(alike.step)).items():
            path(same if t % lookahead.k == 0 else same._replace(phi=[], mu=[]), t, radam, lookahead)


def _step_fused(batch: Batch, radam: RAdamConfig, lookahead: LookaheadConfig, scaling: GradScaling) -> Batch:
    """Steps in one kernel what it can take, and returns the rest, gradients unscaled."""
    if batch.theta[0].is_cuda:
        from .fused_cuda import step_on_cuda  # needs Triton

        rest = batch.select(step_on_cuda(batch, radam, lookahead, scaling))
    else:
        rest = batch.select(step_on_cpu(batch, radam, lookahead, scaling))
    if scaling.found_inf is not None and rest.theta and scaling.found_inf.item():
        return Batch.empty()
    return rest if scaling.scale is None else rest._replace(grad=[g / scaling.scale for g in rest.grad])


def _eager_path(group: dict[str, Any], device: torch.device) -> Path:
    if group["differentiable"] or group["foreach"] is False:
        return step_by_reference
    return step_on_lists if group["foreach"] or device.type != "cpu" else step_by_chunks
