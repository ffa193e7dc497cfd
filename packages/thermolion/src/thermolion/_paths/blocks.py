"""Default path on the CPU: rows that stay in the cache, of blocks of big tensors or of tiny tensors packed together.

It needs no compiler. The equations are the reference's with fewer passes over memory, in `move_moments` and
`move_parameters`; the noise is the same up to rounding.
"""

# torch's operations on lists are private by name only.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

from collections.abc import Callable, Generator, Iterable, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch._utils
from torch import Tensor

from thermolion._batch import Batch
from thermolion._equations import move_moments, move_parameters, put_back, read_number, sums_of_squares
from thermolion._noise import GROUP, HALF, Scratch, counters_from, group_owners, keys_by_group, lanes_on, pairs
from thermolion._paths import reference

BLOCK = 1 << 18  # elements in a row: few enough for the cache, enough to hide what torch's calls cost
SQUARED = 15 * GROUP  # elements of a gradient that are squared and added at once: by one thread, whatever their number
Block = Sequence[Tensor]  # θ, g, m and v
CPU = torch.device("cpu")
_utils: Any = torch._utils
flatten: Callable[[Sequence[Tensor]], Tensor] = _utils._flatten_dense_tensors
unflatten: Callable[[Tensor, Sequence[Tensor]], tuple[Tensor, ...]] = _utils._unflatten_dense_tensors


def fits(batch: Batch) -> bool:
    """Returns whether the path takes this batch: float32 throughout, on the CPU, whole tensors, noise of our own."""
    plain = not (batch.capturable or batch.from_global_stream or (batch.warm and batch.sharded))
    return plain and batch.device == CPU and batch.thetas[0].dtype == torch.float32 and batch.in_place


def step(batch: Batch) -> None:
    """Steps every tensor: tiny ones together, big ones a block at a time, scattered ones on the reference path."""
    tiny, big, rest = _sort(batch)
    for start in range(0, len(tiny), HALF):
        _step_packed(batch.part(tiny[start : start + HALF]))
    if big:
        _step_big(batch.part(big))
    if rest:
        reference.step(batch.part(rest))


def _sort(batch: Batch) -> tuple[list[int], list[int], list[int]]:
    """Returns the positions of tiny, of big and of all other tensors."""
    tiny: list[int] = []
    big: list[int] = []
    rest: list[int] = []
    for i, (theta, g) in enumerate(zip(batch.thetas, batch.grads, strict=True)):
        numel = theta.numel()
        if numel <= HALF:
            if numel:
                tiny.append(i)
            continue
        in_order = theta.is_contiguous() and g.is_contiguous() and batch.ms[i].is_contiguous()
        (big if in_order and batch.vs[i].is_contiguous() else rest).append(i)
    if len(tiny) < 4:  # packing costs more than it saves
        rest += tiny
        tiny = []
    return tiny, big, rest


def _step_big(batch: Batch) -> None:
    """Steps big tensors, blocks in a row at a time, each block in whole groups of 2048 elements."""
    groups = tuple(-(-theta.numel() // GROUP) for theta in batch.thetas)
    longest = min(BLOCK // GROUP, sum(groups))
    memory = torch.zeros(4, longest * GROUP)  # what lies between blocks stays finite
    noise = _Noise(batch, groups, longest) if batch.warm else None
    update = _update_of(batch)
    for blocks in _rows(_blocks(batch)):
        count = sum(-(-len(block[0]) // GROUP) for block in blocks)
        update(blocks, memory[:, : count * GROUP].unbind(), noise.next(count) if noise else None)


def _blocks(batch: Batch) -> Generator[Block]:
    """Yields θ, g, m and v of every block of every tensor in order."""
    for tensors in zip(batch.thetas, batch.grads, batch.ms, batch.vs, strict=True):
        flat = [tensor if tensor.dim() == 1 else tensor.view(-1) for tensor in tensors]
        length = _even(len(flat[0]))
        if len(flat[0]) <= length:
            yield flat
        else:
            yield from zip(*(torch.split(tensor, length) for tensor in flat), strict=True)


def _rows(blocks: Iterable[Block]) -> Generator[list[Block]]:
    """Yields as many blocks at a time as BLOCK elements hold."""
    row: list[Block] = []
    room = BLOCK
    for block in blocks:
        length = -(-len(block[0]) // GROUP) * GROUP
        if length > room:
            yield row
            row, room = [], BLOCK
        row.append(block)
        room -= length
    yield row


class _Noise:
    """The noise of big tensors, drawn for one row after the other."""

    def __init__(self, batch: Batch, groups: tuple[int, ...], longest: int) -> None:
        """Carries every v̄ of the batch to this step.

        Args:
            batch: the tensors.
            groups: how many groups each consists of.
            longest: how many groups a row has at most.
        """
        sigmas = batch.carried(sums_of_squares(batch.grads, SQUARED) / torch.tensor(batch.numels))
        scales = sigmas.square_().mul_(-2 / 1.5**2)[group_owners(groups, CPU)[0]].unsqueeze(-1)
        self._columns = (scales, *keys_by_group(batch.noise_keys, groups, CPU))
        self._memory = torch.empty(6, longest, HALF)
        self._first = 0

    def next(self, count: int) -> tuple[Tensor, Tensor]:
        """Returns two factors whose product is σ ξ / 1.5 for the next ``count`` groups."""
        scale, *keys = (column[self._first : self._first + count] for column in self._columns)
        self._first += count
        z, y, spare = self._memory.view(torch.int32)[:3, :count].unbind()
        waves = self._memory[4:].view(-1, 2, HALF)[:count]
        radius, waves = pairs(lanes_on(CPU), keys, Scratch(z, y, spare, self._memory[3, :count], waves), scale)
        return waves, radius.unsqueeze(1)


def _update_of(
    batch: Batch,
) -> Callable[[Sequence[Block], Sequence[Tensor], tuple[Tensor, Tensor] | None], None]:
    """Returns what steps blocks in a row, given four rows to overwrite and the two factors of their noise."""
    c, sign, skip = batch.coefficients, -1 if batch.group["maximize"] else 1, batch.group["skip_zero_grad"]
    c = c._replace(lr=read_number(c.lr) if isinstance(c.lr, Tensor) else c.lr)

    cuts: dict[tuple[int, ...], list[list[Tensor]]] = {}  # of the rows, which begin where they began before

    def update(blocks: Sequence[Block], rows: Sequence[Tensor], noise: tuple[Tensor, Tensor] | None) -> None:
        thetas, grads, ms, vs = (list(tensors) for tensors in zip(*blocks, strict=True))
        before = [[tensor.clone() for tensor in (theta, m, v)] for theta, _, m, v in blocks] if skip else []
        a, s, w, agree = rows
        lengths = tuple(len(theta) for theta in thetas)
        if lengths not in cuts:
            cuts[lengths] = _parts((a, s, agree), lengths)
        parts = cuts[lengths]
        a.zero_()
        move_moments(parts[0], grads, ms, vs, c, sign)
        for m, g, its_sign, product in zip(ms, grads, parts[1], parts[2], strict=True):
            torch.mul(g, torch.sign(m, out=its_sign), out=product)
        move_parameters(thetas, (parts[0], parts[1]), (a, s, agree), noise, c, sign, w)
        for (theta, g, m, v), old in zip(blocks, before, strict=skip):
            put_back((theta, m, v), old, g == 0)

    return update


def _parts(rows: Sequence[Tensor], lengths: Sequence[int]) -> list[list[Tensor]]:
    """Returns, of each row, the views of blocks of these lengths, each of which begins at a whole group."""
    if len(rows[0]) == lengths[0]:
        return [[row] for row in rows]
    cuts = [n for length in lengths for n in (length, -length % GROUP)]
    return [list(torch.split(row, cuts)[::2]) for row in rows]


def _even(numel: int) -> int:
    """Returns the length of blocks that are about equal, of whole groups and no longer than BLOCK."""
    blocks = -(-numel // BLOCK)
    return min(BLOCK, -(-numel // (blocks * GROUP)) * GROUP)


@lru_cache(maxsize=16)
def _layout(sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Returns, for tensors of these sizes in a row, the position of each element's tensor and its own counter."""
    positions = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    counters = counters_from(0, HALF, CPU)
    return positions, torch.cat([counters[:size] for size in sizes])


def _step_packed(batch: Batch) -> None:
    theta, g, m, v = (flatten(tensors) for tensors in (batch.thetas, batch.grads, batch.ms, batch.vs))
    noise = _noise_of_pack(batch, g) if batch.warm else None
    _update_of(batch)([(theta, g, m, v)], torch.empty(4, len(theta)).unbind(), noise)
    for tensors, flat in ((batch.thetas, theta), (batch.ms, m), (batch.vs, v)):
        torch._foreach_copy_(tensors, unflatten(flat, tensors))


def _noise_of_pack(batch: Batch, g: Tensor) -> tuple[Tensor, Tensor]:
    """Carries every v̄ to this step, and returns ξ and σ / 1.5 of all elements in a row."""
    positions, counters = _layout(tuple(theta.numel() for theta in batch.thetas))
    squares = torch.nan_to_num_(g * g, nan=0.0, posinf=0.0)
    sums = torch.zeros(len(batch.thetas)).index_add_(0, positions, squares)
    sigmas = batch.carried(sums / torch.tensor(batch.numels))
    keys = [key.index_select(0, positions) for key in batch.noise_keys.t().unbind()]
    radius, waves = pairs(counters, keys, Scratch.of(len(g), CPU))
    return waves[0].mul_(radius), sigmas.div_(1.5).index_select(0, positions)
