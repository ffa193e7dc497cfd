"""Hands a batch to the Triton kernel: one launch for all tensors.

The kernel finds its tensors through a table of addresses on the device. The table is sent again only when an address or
a number has changed, so that a CUDA graph can capture the launch once a step outside the graph has sent it.
"""

# Triton has no types.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import math
import struct
from typing import Any

import torch
from torch import Tensor

from .._batch import Batch
from .._lookahead import MOMENTA, LookaheadConfig
from .._radam import RAdamConfig
from .._settings import GradScaling
from .fused_cuda_kernel import step_kernel

BLOCK = 1024  # elements of one program
COLUMNS = len(Batch._fields)
NUMBERS = 8
NAMES = {torch.float64: "fp64", torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}

_tables: dict[tuple[torch.device, torch.dtype, int], tuple[list[int], Tensor, Tensor]] = {}


def step_on_cuda(batch: Batch, radam: RAdamConfig, lookahead: LookaheadConfig, scaling: GradScaling) -> list[int]:
    """Steps every parameter that the kernel can take, and returns the indices of the others, left untouched.

    Args:
        batch: tensors of one dtype on one GPU; ``phi`` is needed at every step.
        radam: RAdam's settings.
        lookahead: Lookahead's settings.
        scaling: the scale is taken out of the gradients; a non-finite one makes the call change nothing.
    """
    columns = [column for column in (batch.grad, batch.m, batch.v, batch.phi, batch.mu) if column]
    left = [i for i, theta in enumerate(batch.theta) if not all(_alike(theta, column[i]) for column in columns)]
    if left:
        batch = batch.select([i for i in range(len(batch.theta)) if i not in left])
    if batch.theta:
        _launch(batch, radam, lookahead, scaling)
    return left


def _alike(theta: Tensor, other: Tensor) -> bool:
    """Says whether one index walks both tensors alike, without gaps."""
    return (
        theta.dtype in NAMES
        and torch.ops.aten.is_non_overlapping_and_dense(theta)
        and (theta.dtype, theta.device, theta.shape, theta.stride())
        == (other.dtype, other.device, other.shape, other.stride())
    )


def _launch(batch: Batch, radam: RAdamConfig, lookahead: LookaheadConfig, scaling: GradScaling) -> None:
    theta, steps = batch.theta[0], batch.step
    device = theta.device
    torch._foreach_add_(steps, 1)
    table, blocks = _table(batch, radam, lookahead)
    eta, scale, found = (
        one.to(device, non_blocking=True) if isinstance(one, Tensor) else None for one in (radam.eta, *scaling)
    )
    programs = blocks.numel() // 2
    kernel: Any = step_kernel
    if programs:
        kernel[(programs,)](
            table, table.view(torch.float64), blocks, eta, scale, found, lookahead.k,
            NUMBERS=NUMBERS, COLUMNS=COLUMNS, BLOCK=BLOCK, MOMENTUM=MOMENTA.index(lookahead.momentum),
            MAXIMIZE=radam.maximize, DECOUPLED=radam.decoupled, DTYPE=NAMES[theta.dtype],
            STEP_DTYPE=NAMES[steps[0].dtype],
        )  # fmt: skip
    if found is not None:
        torch._foreach_sub_(steps, [found] * len(steps))


def _table(batch: Batch, radam: RAdamConfig, lookahead: LookaheadConfig) -> tuple[Tensor, Tensor]:
    """Returns the table on the device, numbers, lengths and addresses, and each program's index and start."""
    eta = 0.0 if isinstance(radam.eta, Tensor) else radam.eta
    logs = [math.log(beta) if beta else -math.inf for beta in (radam.beta1, radam.beta2)]
    numbers = (float(eta), radam.beta1, radam.beta2, radam.epsilon, radam.weight_decay, lookahead.alpha, *logs)
    words = [struct.unpack("<q", struct.pack("<d", number))[0] for number in numbers]
    for i, theta in enumerate(batch.theta):
        words += [theta.numel(), *(column[i].data_ptr() if column else 0 for column in batch)]
    device = batch.theta[0].device
    key = (device, batch.theta[0].dtype, len(batch.theta))
    known = _tables.get(key)
    if known is not None and known[0] == words:
        return known[1], known[2]
    starts = [n for i, theta in enumerate(batch.theta) for start in range(0, theta.numel(), BLOCK) for n in (i, start)]
    table, blocks = _send(words, device), _send(starts, device)
    _tables[key] = (words, table, blocks)
    return table, blocks


def _send(words: list[int], device: torch.device) -> Tensor:
    host = torch.tensor(words, dtype=torch.int64)
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host
