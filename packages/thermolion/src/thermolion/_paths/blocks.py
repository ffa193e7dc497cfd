"""Default path on the CPU: blocks that stay in the cache, a slice of a big tensor or many tiny tensors packed together.

It needs no compiler. The equations are the reference's with fewer passes over memory, in `update_block`; the noise is
the same to the bit.
"""

# torch's operations on lists are private by name only.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch._utils
from torch import Tensor

from thermolion._batch import Batch
from thermolion._equations import put_back, update_block
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
    """Buffers for blocks of one length, cut once for all of them."""

    def __init__(self, numel: int, buffers: Sequence[Tensor], scratch: Scratch | None) -> None:
        self.spare = [buffer[:numel] for buffer in buffers[:4]]
        if scratch is not None:
            groups = -(-numel // GROUP)
            self.counters = _block_counters()[: groups * HALF]
            self.scratch = scratch.first(groups * HALF)
            self.reals = [real.view(groups, HALF) for real in self.scratch.reals]
            self.halves = buffers[4][: groups * GROUP].view(groups, 2, HALF).unbind(1)
            self.xi = buffers[4][:numel]

    def noise(self, start: int, keys: Sequence[Tensor]) -> Tensor:
        """Returns ξ of the block that begins at element ``start``, a multiple of 2048."""
        k0, k1, k2, k3 = keys
        if start:
            k0 = k0 + signed(start // 2 * 0x9E3779B9 % (1 << 32), 32)
        pairs(self.counters, (k0, k1, k2, k3), self.scratch)
        radius, cosine, sine = self.reals
        torch.mul(radius, cosine, out=self.halves[0])
        torch.mul(radius, sine, out=self.halves[1])
        return self.xi


def _step_big(batch: Batch) -> None:
    largest = min(BLOCK, -(-max(theta.numel() for theta in batch.thetas) // GROUP) * GROUP)
    buffers = [torch.empty(largest) for _ in range(5 if batch.warm else 4)]
    scratch: Scratch | None = None
    keys: list[tuple[Tensor, ...]] = []
    sigmas: tuple[Tensor, ...] = ()
    if batch.warm:
        scratch = Scratch.of(largest // 2, CPU)
        keys = [row.unbind() for row in batch.noise_keys.unbind()]
        sigmas = batch.noise_scales(BLOCK, rounded_once=True).unbind()
    workspaces: dict[int, _Workspace] = {}
    for i, tensors in enumerate(zip(batch.thetas, batch.grads, batch.ms, batch.vs, strict=True)):
        numel = tensors[0].numel()
        length = _even(numel)
        cuts = [torch.split(tensor.view(-1), length) for tensor in tensors]
        for start, (theta, g, m, v) in zip(range(0, numel, length), zip(*cuts, strict=True), strict=True):
            n = len(theta)
            workspace = workspaces.get(n)
            if workspace is None:
                workspace = workspaces[n] = _Workspace(n, buffers, scratch)
            noise = (workspace.noise(start, keys[i]), sigmas[i]) if batch.warm else None
            _update(batch, (theta, g, m, v), noise, workspace.spare)


def _update(
    batch: Batch, tensors: tuple[Tensor, ...], noise: tuple[Tensor, Tensor] | None, spare: Sequence[Tensor]
) -> None:
    """Steps one block, of θ, g, m and v."""
    theta, g, m, v = tensors
    before = [tensor.clone() for tensor in (theta, m, v)] if batch.group["skip_zero_grad"] else None
    update_block(theta, g, m, v, noise, batch.coefficients, -1 if batch.group["maximize"] else 1, spare)
    if before is not None:
        put_back((theta, m, v), before, g == 0)


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
    _update(batch, (theta, g, m, v), noise, spare)
    for tensors, flat in ((batch.thetas, theta), (batch.ms, m), (batch.vs, v)):
        torch._foreach_copy_(tensors, unflatten(flat, tensors))


def _noise_of_pack(batch: Batch, g: Tensor) -> tuple[Tensor, Tensor]:
    """Carries every v̄ to this step, and returns ξ and σ of all elements in a row."""
    positions, counters = _layout(tuple(theta.numel() for theta in batch.thetas))
    squares = torch.nan_to_num_(g * g, nan=0.0, posinf=0.0)
    sums = torch.zeros(len(batch.thetas)).index_add_(0, positions, squares)
    sigmas = batch.carried(sums / torch.tensor(batch.numels))
    keys = [key.index_select(0, positions) for key in batch.noise_keys.t().unbind()]
    radius, cosine, _ = pairs(counters, keys, Scratch.of(len(g), CPU))
    return cosine.mul_(radius), sigmas.index_select(0, positions)
