"""Default path on the CPU: blocks that stay in the cache, a slice of a big tensor or many tiny tensors packed together.

It needs no compiler. The equations are the reference's with fewer passes over memory, in `move_moments` and
`move_parameters`; the noise is the same to the bit.
"""

# torch's operations on lists are private by name only.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch._utils
from torch import Tensor

from thermolion._batch import Batch, read_number
from thermolion._equations import move_moments, move_parameters, put_back
from thermolion._noise import GROUP, HALF, Scratch, counters_from, pairs, signed
from thermolion._paths import reference

BLOCK = 1 << 16  # elements
CPU = torch.device("cpu")
_utils: Any = torch._utils
flatten: Callable[[Sequence[Tensor]], Tensor] = _utils._flatten_dense_tensors
unflatten: Callable[[Tensor, Sequence[Tensor]], tuple[Tensor, ...]] = _utils._unflatten_dense_tensors


def fits(batch: Batch) -> bool:
    """Says whether the path takes this batch: float32 throughout, on the CPU, whole tensors, noise of our own."""
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


class _Workspace:
    """Buffers for blocks of one length, cut once for all of them; noise is drawn in what the step overwrites."""

    def __init__(self, numel: int, buffers: Sequence[Tensor]) -> None:
        groups = -(-numel // GROUP)
        halves = [half[: groups * HALF] for buffer in buffers[:2] for half in buffer.chunk(2)]
        self.spare = [buffer[:numel] for buffer in buffers[:4]]
        if len(buffers) > 4:
            self.counters = _block_counters()[: groups * HALF]
            z, y, spare = (half.view(torch.int32) for half in halves[:3])
            waves = buffers[2][: groups * GROUP].view(2, -1)
            self.scratch = Scratch(z, y, spare, halves[3], waves)
            self.xi = buffers[4][: groups * GROUP]
            self.places = self.xi.view(groups, 2, HALF).transpose(0, 1)
            self.numel = numel

    def noise(self, start: int, keys: Sequence[Tensor]) -> Tensor:
        """Returns ξ of the block that begins at element ``start``, a multiple of 2048."""
        k0, k1, k2, k3 = keys
        if start:
            k0 = k0 + signed(start // 2 * 0x9E3779B9 % (1 << 32), 32)
        radius, waves = pairs(self.counters, (k0, k1, k2, k3), self.scratch)
        torch.mul(radius.view(-1, HALF), waves.view(2, -1, HALF), out=self.places)
        return self.xi[: self.numel]


def _step_big(batch: Batch) -> None:
    largest = min(BLOCK, -(-max(theta.numel() for theta in batch.thetas) // GROUP) * GROUP)
    buffers = [torch.empty(largest) for _ in range(5 if batch.warm else 4)]
    keys: list[tuple[Tensor, ...]] = []
    scales: tuple[Tensor, ...] = ()
    if batch.warm:
        keys = [row.unbind() for row in batch.noise_keys.unbind()]
        scales = batch.noise_scales(BLOCK, rounded_once=True).div_(1.5).unbind()
    workspaces: dict[int, _Workspace] = {}
    update = _update_of(batch)
    for i, tensors in enumerate(zip(batch.thetas, batch.grads, batch.ms, batch.vs, strict=True)):
        numel = tensors[0].numel()
        length = _even(numel)
        flat = [tensor.view(-1) for tensor in tensors]
        cuts = [flat] if numel <= length else zip(*(torch.split(tensor, length) for tensor in flat), strict=True)
        for start, block in zip(range(0, numel, length), cuts, strict=True):
            n = min(length, numel - start)
            workspace = workspaces.get(n)
            if workspace is None:
                workspace = workspaces[n] = _Workspace(n, buffers)
            noise = (workspace.noise(start, keys[i]), scales[i]) if batch.warm else None
            update(block, noise, workspace.spare)


def _update_of(batch: Batch) -> Callable[[Sequence[Tensor], tuple[Tensor, Tensor] | None, Sequence[Tensor]], None]:
    """Returns what steps one block: θ, g, m and v; ξ and σ / 1.5 while warm; four tensors to overwrite."""
    c, sign, skip = batch.coefficients, -1 if batch.group["maximize"] else 1, batch.group["skip_zero_grad"]
    c = c._replace(lr=read_number(c.lr) if isinstance(c.lr, Tensor) else c.lr)

    def update(tensors: Sequence[Tensor], noise: tuple[Tensor, Tensor] | None, spare: Sequence[Tensor]) -> None:
        theta, g, m, v = tensors
        before = [tensor.clone() for tensor in (theta, m, v)] if skip else None
        a, s, *others = spare
        move_moments([a.zero_()], [g], [m], [v], c, sign)
        torch.sign(m, out=s)
        move_parameters([theta], ([a], [s]), (a, s, g), noise, c, sign, (others[0], others[1]))
        if before is not None:
            put_back((theta, m, v), before, g == 0)

    return update


def _even(numel: int) -> int:
    """Returns the length of blocks that are about equal, of whole groups and no longer than BLOCK."""
    blocks = -(-numel // BLOCK)
    return min(BLOCK, -(-numel // (blocks * GROUP)) * GROUP)


@lru_cache(maxsize=1)
def _block_counters() -> Tensor:
    return counters_from(0, BLOCK // 2, CPU)


@lru_cache(maxsize=16)
def _layout(sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Returns, for tensors of these sizes in a row, the position of each element's tensor and its own counter."""
    positions = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    counters = counters_from(0, HALF, CPU)
    return positions, torch.cat([counters[:size] for size in sizes])


def _step_packed(batch: Batch) -> None:
    theta, g, m, v = (flatten(tensors) for tensors in (batch.thetas, batch.grads, batch.ms, batch.vs))
    noise = _noise_of_pack(batch, g) if batch.warm else None
    spare = [torch.empty_like(theta) for _ in range(4)]
    _update_of(batch)((theta, g, m, v), noise, spare)
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
