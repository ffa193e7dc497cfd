"""Hand a group's tensors to the Triton kernel: one launch for all tensors of a dtype.

The kernel finds its tensors through a table of addresses on the device. The table is sent again only when an address or
a number has changed, so that a CUDA graph can capture the launch once a step outside the graph has sent it.
"""

# Triton has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import math
import struct
from typing import Any

import torch
from torch import Tensor

from .._batch import Columns
from .._lookahead import MOMENTA, Lookahead
from .._radam import Settings
from .fused_cuda_kernel import step_kernel

BLOCK = 1024  # elements of one program
COLUMNS = 7

_tables: dict[tuple[torch.device, torch.dtype, int], tuple[list[int], Tensor, Tensor]] = {}


def step_on_cuda(columns: Columns, s: Settings, look: Lookahead, scale: Tensor | None, found: Tensor | None) -> None:
    """Step every row.

    Args:
        columns: θ, g, m, v, step, φ, and μ, empty where the momentum is not pulled back; all on one or more GPUs.
        s: RAdam's settings.
        look: Lookahead's settings.
        scale: what the gradients were multiplied by, one element, or None.
        found: one element, not 0 if some gradient is not finite, which makes the call change nothing; or None.
    """
    groups: dict[tuple[torch.device, torch.dtype], list[tuple[Tensor, ...]]] = {}
    for row in zip(*(column for column in columns if column), strict=True):
        groups.setdefault((row[0].device, row[0].dtype), []).append(row)
    for (device, dtype), rows in groups.items():
        steps = [row[4] for row in rows]
        torch._foreach_add_(steps, 1)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
        dense = [_dense(row) for row in rows]
        _launch(dense, dtype, device, s, look, _there(scale, device), _there(found, device))
        for row, used in zip(rows, dense, strict=True):
            for kept, worked in zip(row, used, strict=True):
                if worked is not kept and kept is not row[1]:
                    kept.copy_(worked)
        if found is not None:
            back = found.to(device, non_blocking=True)
            torch._foreach_sub_(steps, [back] * len(steps))  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]


def _there(one: Tensor | None, device: torch.device) -> Tensor | None:
    return None if one is None else one.to(device, non_blocking=True)


def _dense(row: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return the row so that one index walks all its tensors, in copies where it must."""
    theta = row[0]
    like = theta if theta.is_contiguous() or _fills_its_memory(theta) else theta.contiguous()
    strides = like.stride()
    return tuple(
        tensor if place == 4 or tensor.stride() == strides else torch.empty_like(like).copy_(tensor)
        for place, tensor in enumerate((like, *row[1:]))
    )


def _fills_its_memory(tensor: Tensor) -> bool:
    dims = sorted((stride, size) for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1)
    expected = 1
    for stride, size in dims:
        if stride != expected:
            return False
        expected *= size
    return True


def _launch(
    rows: list[tuple[Tensor, ...]],
    dtype: torch.dtype,
    device: torch.device,
    s: Settings,
    look: Lookahead,
    scale: Tensor | None,
    found: Tensor | None,
) -> None:
    table, blocks = _table(rows, dtype, device, s, look)
    programs = blocks.numel() // 2
    if not programs:
        return
    eta = s.eta.to(device, non_blocking=True) if isinstance(s.eta, Tensor) else None
    kernel: Any = step_kernel
    kernel[(programs,)](
        table, table.view(torch.float64), blocks, eta, scale, found, look.k,
        NUMBERS=_NUMBERS, COLUMNS=COLUMNS, BLOCK=BLOCK, MOMENTUM=MOMENTA.index(look.momentum),
        MAXIMIZE=s.maximize, DECOUPLED=s.decoupled, DTYPE=_name(dtype), STEP_DTYPE=_name(rows[0][4].dtype),
    )  # fmt: skip


_NUMBERS = 8


def _name(dtype: torch.dtype) -> str:
    return {torch.float64: "fp64", torch.bfloat16: "bf16", torch.float16: "fp16"}.get(dtype, "fp32")


def _table(
    rows: list[tuple[Tensor, ...]], dtype: torch.dtype, device: torch.device, s: Settings, look: Lookahead
) -> tuple[Tensor, Tensor]:
    """Return the table on the device, numbers, lengths and addresses, and for each program its row and its start."""
    eta = 0.0 if isinstance(s.eta, Tensor) else s.eta
    logs = [math.log(beta) if beta else -math.inf for beta in (s.beta1, s.beta2)]
    numbers = (float(eta), s.beta1, s.beta2, s.epsilon, s.weight_decay, look.alpha, *logs)
    words = [struct.unpack("<q", struct.pack("<d", number))[0] for number in numbers]
    for row in rows:
        words.append(row[0].numel())
        words += [tensor.data_ptr() for tensor in row] + [0] * (COLUMNS - len(row))
    key = (device, dtype, len(rows))
    known = _tables.get(key)
    if known is not None and known[0] == words:
        return known[1], known[2]
    starts = [word for i, row in enumerate(rows) for start in range(0, row[0].numel(), BLOCK) for word in (i, start)]
    table, blocks = _send(words, device), _send(starts, device)
    _tables[key] = (words, table, blocks)
    return table, blocks


def _send(words: list[int], device: torch.device) -> Tensor:
    host = torch.tensor(words, dtype=torch.int64)
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host
