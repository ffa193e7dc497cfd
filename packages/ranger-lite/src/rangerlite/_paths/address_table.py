"""The table through which a kernel on the GPU finds the tensors of a batch.

It is copied to the device once, and again only when a tensor has moved. A CUDA graph that captured a launch reads the
table at every replay, so the table and the host memory it is copied from are never freed.
"""

from collections.abc import Sequence
from itertools import chain
from operator import is_

import torch
from torch import Tensor

from .._batch import Batch

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


class AddressTable:
    """The table of one batch, on the batch's device.

    Attributes:
        taken: indices of the parameters in the table.
        left: indices of the others, whose tensors one index cannot walk alike.
        words: for each parameter taken its length, its number of programs, and one address per column; int64.
        blocks: for each program its parameter and its block within the parameter; int32.
        arrived: how many programs of a parameter have arrived; int32, zero between launches.
        vector: how many elements 16 bytes hold, where all addresses and lengths are multiples of that; else 1.
    """

    def __init__(self, batch: Batch, block: int, capturable: bool) -> None:
        """Makes the table of ``batch``, for programs of ``block`` elements; inside a CUDA graph it cannot be made.

        Raises:
            RuntimeError: the current stream is being captured.
        """
        self._device = batch.theta[0].device
        if is_capturing(self._device):
            raise RuntimeError(
                "RangerLite must take a step outside a CUDA graph before one is captured, and again after parameters, "
                "state or layouts have changed; call step() once before the capture"
            )
        self.taken = [i for i in range(len(batch.theta)) if _is_uniform(batch, i)]
        self.left = sorted({*range(len(batch.theta))} - {*self.taken})
        self._layouts, self._state = _layouts(batch), _state(batch)
        self._lengths = [batch.theta[i].numel() for i in self.taken]
        self._programs = [max(1, -(-length // block)) for length in self._lengths]
        counts = torch.tensor(self._programs, dtype=torch.int64)
        owners = torch.repeat_interleave(torch.arange(len(counts)), counts)
        within = torch.arange(len(owners)) - (counts.cumsum(0) - counts)[owners]
        self.blocks = self._host(2 * len(owners), torch.int32).copy_(torch.stack((owners, within), 1).view(-1))
        self.blocks = self.blocks.to(self._device, non_blocking=True)
        self.arrived = torch.zeros(len(counts), dtype=torch.int32, device=self._device)
        self._spares: list[Tensor] = []
        self._spares_wanted = 2 if capturable else 0
        self._addresses: list[int] = []
        self.update(batch)

    def update(self, batch: Batch) -> bool:
        """Sends the addresses of ``batch`` where they have changed; returns False where the table does not fit it."""
        if _layouts(batch) != self._layouts or not all(map(is_, _state(batch), self._state)):
            return False
        addresses = [x.data_ptr() for column in batch for x in column]
        if addresses != self._addresses:
            self._addresses = addresses
            self._send(batch)
        while len(self._spares) < self._spares_wanted and not is_capturing(self._device):
            self._spares.append(self._host(len(self._source), torch.int64))
        return True

    def keep(self) -> list[Tensor]:
        """Returns the memory that a graph captured now reads at every replay."""
        return [self.words, self.blocks, self.arrived, self._source]

    def _send(self, batch: Batch) -> None:
        words: list[int] = []
        for i, length, programs in zip(self.taken, self._lengths, self._programs, strict=True):
            words += [length, programs, *(column[i].data_ptr() if column else 0 for column in batch)]
        self._source = self._host(len(words), torch.int64)
        self._source.copy_(torch.tensor(words, dtype=torch.int64))
        self.words = self._source.to(self._device, non_blocking=True)
        size = batch.theta[0].element_size()
        step_at = 2 + Batch._fields.index("step")  # one element, read alone
        row = 2 + len(batch)
        even = all(word % 16 == 0 for at, word in enumerate(words) if at % row > 1 and at % row != step_at)
        self.vector = 16 // size if even and all(length % (16 // size) == 0 for length in self._lengths) else 1

    def _host(self, length: int, dtype: torch.dtype) -> Tensor:
        """Returns host memory that the device can read on its own; inside a graph, memory that was kept ready."""
        if is_capturing(self._device) and self._spares:
            return self._spares.pop()
        return torch.empty(length, dtype=dtype, pin_memory=self._device.type == "cuda")


class AddressTables:
    """The tables of an optimizer's batches."""

    def __init__(self) -> None:
        self._tables: dict[Tensor, AddressTable] = {}
        self._captured: list[Tensor] = []

    def find(self, batch: Batch, block: int, capturable: bool) -> AddressTable:
        """Returns the table of ``batch``, made or brought up to date where it has to be."""
        table = self._tables.get(batch.step[0])
        if table is None or not table.update(batch):
            table = self._tables[batch.step[0]] = AddressTable(batch, block, capturable)
        if is_capturing(batch.theta[0].device):
            self._captured += table.keep()
        return table


def is_capturing(device: torch.device) -> bool:
    """Returns whether what is launched on ``device`` now is captured by a CUDA graph."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def _layouts(batch: Batch) -> list[tuple[tuple[int, ...], torch.dtype]]:
    return [(x.stride(), x.dtype) for x in (*batch.theta, *batch.grad)]


def _state(batch: Batch) -> list[Tensor]:
    return list(chain(batch.m, batch.v, batch.step, batch.phi, batch.mu))


def _is_uniform(batch: Batch, i: int) -> bool:
    """Returns whether one index walks all tensors of a parameter alike, without gaps."""
    theta = batch.theta[i]
    columns: Sequence[list[Tensor]] = (batch.grad, batch.m, batch.v, batch.phi, batch.mu)
    return (
        theta.dtype in DTYPES
        and bool(torch.ops.aten.is_non_overlapping_and_dense(theta))
        and batch.step[i].device == theta.device
        and batch.step[i].dtype in DTYPES
        and all(
            (x.dtype, x.device, x.shape, x.stride()) == (theta.dtype, theta.device, theta.shape, theta.stride())
            for x in (column[i] for column in columns if column)
        )
    )
