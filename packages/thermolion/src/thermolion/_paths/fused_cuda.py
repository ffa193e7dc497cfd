"""Fused path on CUDA: Triton kernels over all tensors at once, one launch while cold and three while warm.

The kernels find their tensors through a table of addresses on the device. It is sent again only when an address or a
number has changed, so that a CUDA graph can capture the launches once a step outside the graph has sent it.
"""

# Triton has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import struct
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from thermolion._batch import Batch
from thermolion._noise import GROUP

NAMES = {torch.float32: "fp32", torch.float64: "fp64", torch.bfloat16: "bf16", torch.float16: "fp16"}

_tables: dict[tuple[torch.device, torch.dtype, int], tuple[list[int], Tensor]] = {}


def refuse_without_triton() -> None:
    """Refuses a machine without Triton.

    Raises:
        RuntimeError: Triton is not installed.
    """
    if find_spec("triton") is None:
        raise RuntimeError(
            "fused=True on CUDA needs Triton, which is not installed here; install it (torch's CUDA wheels for Linux "
            "bring it along), or leave fused=None"
        )


def fits(batch: Batch) -> bool:
    """Says whether the kernels take this batch: whole tensors, noise of our own, float64 with float64 alone."""
    same = (batch.thetas[0].dtype == torch.float64) == (batch.ms[0].dtype == torch.float64)
    return same and not (batch.group["noise"] == "global" or (batch.sharded and batch.warm))


def step(batch: Batch) -> None:
    """Steps all tensors in one launch while cold and in three while warm."""
    with batch.rows() as rows:
        _launch(batch, rows)


def _launch(batch: Batch, rows: list[tuple[Tensor, ...]]) -> None:
    from thermolion._paths import fused_cuda_kernel as kernels

    sum_kernel: Any = kernels.sum_kernel
    carry_kernel: Any = kernels.carry_kernel
    step_kernel: Any = kernels.step_kernel
    table, blocks = _table(batch, rows)
    programs = blocks.numel() // 2
    if not programs:
        return
    group, device, dtype = batch.group, batch.device, batch.thetas[0].dtype
    numbers, name = table.view(torch.float64), NAMES[dtype]
    keys = sigmas = rounding = None
    if batch.warm:
        sigmas = torch.empty(len(rows), dtype=batch.compute_dtype, device=device)
        partials = torch.empty(programs, dtype=batch.compute_dtype, device=device)
        keys = batch.noise_keys
        sum_kernel[(programs,)](table, blocks, partials, DTYPE=name)
        carry_kernel[(len(rows),)](table, numbers, partials, _temperatures(batch), sigmas, DTYPE=name)
    stochastic = group["stochastic_rounding"] and dtype == torch.bfloat16
    if stochastic:
        rounding = batch.rounding_keys
    lr = batch.coefficients.lr
    eta = lr.to(device, non_blocking=True) if isinstance(lr, Tensor) else None
    step_kernel[(programs,)](
        table, numbers, blocks, keys, rounding, sigmas, eta, WARM=batch.warm, MAXIMIZE=group["maximize"],
        STOCHASTIC=stochastic, DTYPE=name, STATE=NAMES[batch.ms[0].dtype],
    )  # fmt: skip


def _temperatures(batch: Batch) -> Tensor:
    """Returns every tensor's temperature on the device, float64."""
    if batch.capturable:
        return torch.stack(batch.temperatures)
    return _send(torch.tensor(batch.temperatures, dtype=torch.float64), batch.device)


def _table(batch: Batch, rows: list[tuple[Tensor, ...]]) -> tuple[Tensor, Tensor]:
    """Returns the table on the device, numbers, lengths and addresses, and for each program its row and its start."""
    c = batch.coefficients
    lr = 0.0 if isinstance(c.lr, Tensor) else c.lr
    numbers = (float(lr), float(c.beta1), float(c.beta2), float(c.weight_decay), float(c.eps))
    words: list[int] = [struct.unpack("<q", struct.pack("<d", number))[0] for number in numbers]
    first = 0
    for row in rows:
        programs = -(-row[0].numel() // GROUP)
        words += (row[0].numel(), *(tensor.data_ptr() for tensor in row), first, programs)
        first += programs
    blocks = _blocks(tuple(row[0].numel() for row in rows), batch.device)
    key = (batch.device, batch.thetas[0].dtype, len(rows))
    known = _tables.get(key)
    if known is None or known[0] != words:
        known = _tables[key] = (words, _send(torch.tensor(words, dtype=torch.int64), batch.device))
    return known[1], blocks


@lru_cache(maxsize=16)
def _blocks(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """Returns for each program its row and its first element."""
    counts = torch.tensor([-(-size // GROUP) for size in sizes])
    places = torch.repeat_interleave(torch.arange(len(sizes)), counts)
    starts = (torch.arange(len(places)) - (counts.cumsum(0) - counts)[places]) * GROUP
    return _send(torch.stack((places, starts), dim=1).view(-1), device)


def _send(host: Tensor, device: torch.device) -> Tensor:
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host
