"""Fast path on lists: all tensors of a batch in a row of memory, so that a step takes as many operations as for one.

In the row every tensor begins at a whole group of 2048 elements, as its noise does. What belongs to a tensor alone (its
keys, its σ) lies in a column beside the row, one number for each group.
"""

# torch's operations on lists are private by name only.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

from collections.abc import Generator, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from thermolion._batch import Batch
from thermolion._equations import COLD, FLOOR, move_moments, move_parameters, put_back
from thermolion._noise import GROUP, HALF, Scratch, group_owners, keys_by_group, lanes_on, pairs
from thermolion._paths.precision import rounded, storable
from thermolion._sharding import add_shards

CPU = torch.device("cpu")
BLOCK = 1 << 24  # elements in a row, so that temporaries stay bounded; a larger tensor has a row of its own


def step(batch: Batch) -> None:
    """Steps all tensors, a row at a time; needs memory for six rows, and for four more where dtypes differ."""
    for positions in _rows([theta.numel() for theta in batch.thetas]):
        _step_row(batch.part(positions))


def _rows(sizes: Sequence[int]) -> Generator[list[int]]:
    """Yields the positions of tensors that share a row; empty tensors are left out."""
    row: list[int] = []
    filled = 0
    for i, size in enumerate(sizes):
        if row and filled + size > BLOCK:
            yield row
            row, filled = [], 0
        if size:
            row.append(i)
            filled += -(-size // GROUP) * GROUP
    if row:
        yield row


class _Row:
    """Memory for the tensors of a batch in a row, and for temporaries of the same length."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.sizes = [theta.numel() for theta in batch.thetas]
        self.groups = [-(-size // GROUP) for size in self.sizes]
        self.count = sum(self.groups)
        self.lengths = [n for i, size in enumerate(self.sizes) for n in (size, self.groups[i] * GROUP - size)]

    def empty(self) -> Tensor:
        """Returns a row of the compute dtype, whatever it holds."""
        return self.batch.empty(self.count * GROUP)

    def parts(self, row: Tensor) -> list[Tensor]:
        """Returns the view of each tensor's place in ``row``."""
        return list(torch.split(row, self.lengths)[::2])

    def column(self, values: Sequence[Tensor]) -> Tensor:
        """Returns ``(groups, 1, 1)`` from one number for each tensor."""
        column = torch.cat([value.expand(n) for value, n in zip(values, self.groups, strict=True)])
        return column.view(-1, 1, 1)

    def temperatures(self) -> Tensor:
        """Returns the column of temperatures."""
        batch = self.batch
        if batch.capturable:
            return self.column(batch.temperatures).to(batch.compute_dtype)
        column = torch.tensor(batch.temperatures, dtype=batch.compute_dtype)[group_owners(tuple(self.groups), CPU)[0]]
        return column.view(-1, 1, 1).to(batch.device, non_blocking=True)

    def keys(self) -> list[Tensor]:
        """Returns the columns ``(groups, 1)`` of the four keys; the first takes in each group's first counter."""
        keys = self.batch.keys_where_counted(self.batch.group["seed"])
        return keys_by_group(keys, tuple(self.groups), self.batch.device)

    def wide(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Returns one-dimensional tensors of the compute dtype, themselves where they have it."""
        flat = [tensor.view(-1) for tensor in tensors]
        if all(tensor.dtype == self.batch.compute_dtype for tensor in flat):
            return flat
        parts = self.parts(self.empty())
        torch._foreach_copy_(parts, flat)
        return parts


def _step_row(batch: Batch) -> None:
    group, row = batch.group, _Row(batch)
    sign, c = -1 if group["maximize"] else 1, batch.coefficients
    with batch.rows() as tensors:
        columns: list[list[Tensor]] = [list(column) for column in zip(*(t[:4] for t in tensors), strict=True)]
        thetas, grads, ms, vs = (row.wide(column) for column in columns)
        stored = list(zip(columns[0], columns[2], columns[3], strict=True))
        before = [[tensor.clone() for tensor in three] for three in stored] if group["skip_zero_grad"] else None
        a, s, g, w = (row.empty() for _ in range(4))
        twice, signs, gs = (row.parts(buffer) for buffer in (a.zero_(), s, g))
        move_moments(twice, grads, ms, vs, c, sign)
        torch._foreach_copy_(signs + gs, ms + grads)
        s.sign_()
        noise = _noise(row, g, w) if batch.warm else None
        move_parameters(thetas, (twice, signs), (a, s, g.mul_(s)), noise, c, sign, w)
        _store(batch, columns, (thetas, ms, vs))
        if before is not None:
            for three, old, grad in zip(stored, before, columns[1], strict=True):
                put_back(three, old, grad == 0)


def _store(batch: Batch, columns: Sequence[Sequence[Tensor]], computed: Sequence[list[Tensor]]) -> None:
    """Writes what was computed in a wider dtype to the tensors that are kept."""
    thetas, _, ms, vs = columns
    for kept, wide in zip((thetas, ms, vs), computed, strict=True):
        for i, (to, value) in enumerate(zip(kept, wide, strict=True)):
            if to.dtype == value.dtype:
                continue
            if kept is thetas:
                to.copy_(rounded(value, to.dtype, batch.rounding_bits(i, value)).view(to.shape))
            else:
                to.copy_((storable(value, to.dtype) if kept is vs else value).view(to.shape))


def _noise(row: _Row, g: Tensor, spare: Tensor) -> tuple[Tensor, Tensor]:
    """Carries every v̄ to this step, and returns two factors whose product is σ ξ / 1.5 for all elements of the row."""
    batch, dtype = row.batch, row.batch.compute_dtype
    xi = torch.mul(g, g)
    torch.nan_to_num_(xi, nan=0.0, posinf=0.0)
    sums = list(add_shards(torch._foreach_norm(row.parts(xi), 1), batch.params))
    beta2, numels = batch.coefficients.beta2, _scalars_on(batch.device, tuple(batch.numels), dtype)
    torch._foreach_mul_(batch.v_means, beta2)  # (3)
    torch._foreach_addcdiv_(batch.v_means, sums, numels, value=1 - beta2)  # (3)
    whole = not (batch.sharded or batch.from_global_stream)
    at_once = whole and dtype == torch.float32  # σ and r are multiplied under one root
    temperature = row.temperatures()
    factor = (-2.0 if at_once else 1.0) / 1.5**2
    floor = _scalars_on(batch.device, (factor * FLOOR,), dtype)[0]
    variance = torch.addcmul(floor, row.column(batch.v_means), temperature, value=factor)  # of (8)
    if batch.capturable:
        variance.masked_fill_(temperature <= COLD, 0.0)
    if not whole:
        for i, part in enumerate(row.parts(xi)):
            part.copy_(batch.noise(i, batch.thetas[i]).view(-1))
        return xi, variance.sqrt_().expand(-1, GROUP, 1).reshape(-1)
    z, y = spare.view(torch.int32)[: row.count * GROUP].view(2, row.count, HALF)
    more = torch.empty((2, row.count, HALF), dtype=torch.int32, device=batch.device)
    waves = xi.view(torch.float32)[: row.count * GROUP].view(row.count, 2, HALF)
    scratch = Scratch(z, y, more[0], more[1].view(torch.float32), waves)
    scale = variance.squeeze(-1) if at_once else None
    radius, waves = pairs(lanes_on(batch.device), row.keys(), scratch, scale)
    if at_once:
        return waves, radius.unsqueeze(1)
    return waves.mul_(radius.unsqueeze(1)).to(dtype), variance.sqrt_()


@lru_cache(maxsize=64)
def _scalars_on(device: torch.device, values: tuple[float, ...], dtype: torch.dtype) -> list[Tensor]:
    """Returns each number as a tensor without dimensions on the device; cached, so that it is sent once."""
    with torch.inference_mode(False):
        return list(torch.tensor(values, dtype=dtype).to(device).unbind())
