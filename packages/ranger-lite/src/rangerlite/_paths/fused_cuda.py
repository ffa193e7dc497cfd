"""Hands a batch to the Triton kernel: one launch for all tensors."""

# Triton has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import math
import struct
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from .._batch import Batch
from .._lookahead import MOMENTA, LookaheadConfig
from .._radam import RAdamConfig
from .._settings import GradScaling
from .address_table import AddressTables
from .fused_cuda_kernel import step_kernel

BLOCK = 1024  # elements of one program
NAMES = {torch.float64: "fp64", torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


def step_on_cuda(
    batch: Batch,
    radam: RAdamConfig,
    lookahead: LookaheadConfig,
    scaling: GradScaling,
    tables: AddressTables,
    capturable: bool,
) -> list[int]:
    """Steps every parameter that the kernel can take, and returns the indices of the others, left untouched.

    Args:
        batch: tensors of one dtype on one GPU, step counts too; ``phi`` is needed at every step.
        radam: RAdam's settings.
        lookahead: Lookahead's settings.
        scaling: the scale is taken out of the gradients; a non-finite one makes the call change nothing.
        tables: the tables that tell the kernel where the tensors are.
        capturable: whether a CUDA graph may capture the step.
    """
    table = tables.find(batch, BLOCK, capturable)
    if not table.taken:
        return table.left
    device = batch.theta[0].device
    eta = radam.eta
    if isinstance(eta, Tensor) and eta.device != device and eta.is_cpu:
        eta = float(eta)  # nothing waits for the device
    on_device = [one.to(device, non_blocking=True) if isinstance(one, Tensor) else None for one in (eta, *scaling)]
    logs = [math.log(beta) if beta else -math.inf for beta in (radam.beta1, radam.beta2)]
    numbers = (
        0.0 if isinstance(eta, Tensor) else eta, radam.beta1, radam.beta2, radam.epsilon, radam.weight_decay,
        lookahead.alpha, *logs,
    )  # fmt: skip
    bits = struct.unpack("<8q", struct.pack("<8d", *numbers))
    kernel: Any = step_kernel
    kernel[(len(table.blocks) // 2,)](
        table.words, table.blocks, table.arrived, *on_device, lookahead.k, *bits,
        BLOCK=BLOCK, VECTOR=table.vector, MOMENTUM=MOMENTA.index(lookahead.momentum), MAXIMIZE=radam.maximize,
        DECOUPLED=radam.decoupled, DTYPE=NAMES[batch.theta[0].dtype], STEP_DTYPE=NAMES[batch.step[0].dtype],
    )  # fmt: skip
    for column in (batch.theta, batch.m, batch.v, batch.step, batch.phi, batch.mu):
        _announce(column if not table.left else [column[i] for i in table.taken if column])
    return table.left


def _announce(written: list[Tensor]) -> None:
    """Tells autograd, and whoever compares versions, that the kernel has written to these tensors."""
    if torch.__version__ >= "2.6":
        increment_version(written)
        return
    for tensor in written:
        increment_version(tensor)


def try_out(device: torch.device) -> None:
    """Steps one small private tensor, so that any error of the kernel on this machine is raised here."""
    batch = Batch(*([torch.ones(4, device=device)] for _ in Batch._fields))
    batch = batch._replace(step=[torch.zeros((), device=device)], mu=[])
    radam, lookahead = RAdamConfig(1e-3, 0.95, 0.999, 1e-5, 0.0), LookaheadConfig(6, 0.5, "keep")
    step_on_cuda(batch, radam, lookahead, GradScaling(None, None), AddressTables(), capturable=False)
