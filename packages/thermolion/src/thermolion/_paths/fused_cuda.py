"""Fused path on CUDA: Triton kernels over all tensors at once, one launch while cold and three while warm.

The kernels find their tensors through a table of addresses on the device, which is sent again only when an address has
changed, and read the group's coefficients from a row of numbers, which is sent when one of them has changed. A CUDA
graph can capture a step once a step outside the graph has been taken.
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
from thermolion._noise import GROUP, signed

NAMES = {torch.float32: "fp32", torch.float64: "fp64", torch.bfloat16: "bf16", torch.float16: "fp16"}
WARPS = 8


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
    """Returns whether the kernels take this batch: whole tensors, noise of our own, float64 with float64 alone."""
    same = (batch.thetas[0].dtype == torch.float64) == (batch.ms[0].dtype == torch.float64)
    return same and not (batch.group["noise"] == "global" or (batch.sharded and batch.warm))


def why_not(batch: Batch) -> str:
    """Returns why the default must not take the kernels, or nothing if it may."""
    if not fits(batch):
        return 'they take neither noise="global", nor shards while warm, nor float64 beside a narrower state_dtype'
    return _why_broken(batch.device)


@lru_cache(maxsize=16)
def _why_broken(device: torch.device) -> str:
    """Returns why Triton does not work on this device, found out by one launch, or nothing if it does."""
    try:
        refuse_without_triton()
        tensor = torch.zeros(1, dtype=torch.float64, device=device)
        _kernels().probe_kernel[(1,)](tensor)
    except Exception as error:  # of whatever kind a compiler or a driver raises
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""


def _kernels() -> Any:
    from thermolion._paths import fused_cuda_kernel

    return fused_cuda_kernel


_captured: list[Tensor] = []  # what CUDA graphs have captured stays in memory, for their replays read it


class Sent:
    """Words on a device, sent again when they have changed."""

    def __init__(self) -> None:
        self._words: list[int] = []
        self._host = self._spare = self._device = torch.empty(0, dtype=torch.int64)

    def send(self, words: list[int], device: torch.device) -> Tensor:
        """Returns ``words`` as int64 on the device."""
        capturing = device.type == "cuda" and torch.cuda.is_current_stream_capturing()
        if words is not self._words and words != self._words:
            self._words, self._host = words, torch.tensor(words, dtype=torch.int64)
            if capturing and len(self._spare) == len(words):  # a capture may not pin memory
                self._host, self._spare = self._spare.copy_(self._host), self._spare[:0]
            elif device.type == "cuda":
                self._host = self._host.pin_memory()
                if len(self._spare) != len(words):
                    self._spare = torch.empty_like(self._host, pin_memory=True)
            self._device = self._host.to(device, non_blocking=True)
        if capturing:
            _captured.extend((self._device, self._host))
        return self._device


class Tables:
    """Data of a batch that the kernels need besides its tensors, kept on the device between steps."""

    def __init__(self) -> None:
        self._addresses: list[int] = []
        self._words: list[int] = []
        self._rows, self._numbers, self._blocks = Sent(), Sent(), torch.empty(0)
        self.programs, self.aligned = 0, False

    def rows(self, batch: Batch, rows: list[tuple[Tensor, ...]]) -> tuple[Tensor, Tensor]:
        """Returns a row for each tensor, and for each program its row and its first element.

        A row holds the number of elements; the addresses of θ, g, m, v, v̄; the tensor's first program and their
        number; its index; and the addresses of its step and temperature where they lie on the device.
        """
        addresses = [tensor.data_ptr() for row in rows for tensor in row]
        sizes = [row[0].numel() for row in rows]
        addresses += sizes
        if addresses != self._addresses:
            self._addresses, self._words, self.programs = addresses, [], 0
            clocks = [(0, 0)] * len(rows)
            if batch.capturable:
                pairs = zip(batch.steps, batch.temperatures, strict=True)
                clocks = [(step.data_ptr(), temperature.data_ptr()) for step, temperature in pairs]
            for numel, row, index, clock in zip(sizes, rows, batch.indices, clocks, strict=True):
                programs = -(-numel // GROUP)
                pointers = [tensor.data_ptr() for tensor in row]
                self._words += (numel, *pointers, self.programs, programs, index, *clock)
                self.programs += programs
            self.aligned = all(tensor.data_ptr() % 16 == 0 for row in rows for tensor in row[:4])
            self._blocks = _blocks(tuple(sizes), batch.device)
        return self._rows.send(self._words, batch.device), self._blocks

    def numbers(self, batch: Batch) -> Tensor:
        """Returns η, β1, β2, λ, ε, τ, the two seeds and, where the host counts, every step and temperature."""
        c, group, seed = batch.coefficients, batch.group, batch.group["seed"]
        lr = 0.0 if isinstance(c.lr, Tensor) else c.lr
        words = [*_words(lr, c.beta1, c.beta2, c.weight_decay, c.eps, group["temp_decay"])]
        words += (0, 0) if seed is None else (signed(seed, 64), signed(batch.rounding_seed, 64))
        if not batch.capturable and (batch.warm or group["stochastic_rounding"]):
            words += [*batch.steps, *_words(*batch.temperatures)]
        return self._numbers.send(words, batch.device)


@lru_cache(maxsize=64)
def _blocks(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """Returns for each program its row and its first element."""
    counts = torch.tensor([-(-size // GROUP) for size in sizes])
    rows = torch.repeat_interleave(torch.arange(len(sizes)), counts)
    starts = (torch.arange(len(rows)) - (counts.cumsum(0) - counts)[rows]) * GROUP
    return torch.stack((rows, starts), dim=1).view(-1).to(device)


def _words(*numbers: float) -> tuple[int, ...]:
    """Returns the bits of float64 numbers as words."""
    return struct.unpack(f"<{len(numbers)}q", struct.pack(f"<{len(numbers)}d", *numbers))


def step(batch: Batch) -> None:
    """Steps all tensors in one launch while cold and in three while warm."""
    kernels, tables, group = _kernels(), batch.memory.setdefault("tables", Tables()), batch.group
    with batch.rows() as rows:
        table, blocks = tables.rows(batch, rows)
        if not tables.programs:
            return
        words = tables.numbers(batch)
        numbers, grid, name = words.view(torch.float64), (tables.programs,), NAMES[batch.thetas[0].dtype]
        lr = batch.coefficients.lr
        common = {"DTYPE": name, "CAPTURABLE": batch.capturable, "num_warps": WARPS}
        keys = sigmas = None
        if batch.warm:
            partials, sigmas = (batch.empty(n) for n in (tables.programs, len(rows)))
            keys = torch.empty(4 * len(rows), dtype=torch.int32, device=batch.device)
            kernels.sum_kernel[grid](table, blocks, partials, ALIGNED=tables.aligned, **common)
            kernels.carry_kernel[len(rows),](table, words, numbers, partials, sigmas, keys, len(rows), **common)
        kernels.step_kernel[grid](
            table, words, numbers, blocks, keys, sigmas, lr if isinstance(lr, Tensor) else None, WARM=batch.warm,
            MAXIMIZE=group["maximize"], SKIP=group["skip_zero_grad"],
            STOCHASTIC=group["stochastic_rounding"] and name == "bf16",
            STATE=NAMES[batch.ms[0].dtype], ALIGNED=tables.aligned, **common,
        )  # fmt: skip
