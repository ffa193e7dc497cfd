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
from thermolion._draws import Draws, keys_for
from thermolion._equations import follow_mean, noise_scale, update_block
from thermolion._noise import GROUP, HALF, Scratch, counters_from, pairs, signed
from thermolion._paths.reference import step_reference

BLOCK = 1 << 16  # elements
CPU = torch.device("cpu")
_utils: Any = torch._utils
flatten: Callable[[Sequence[Tensor]], Tensor] = _utils._flatten_dense_tensors
unflatten: Callable[[Tensor, Sequence[Tensor]], tuple[Tensor, ...]] = _utils._unflatten_dense_tensors
FLOOR = torch.tensor(1e-10)  # below σ²


def fits(work: Batch) -> bool:
    """Say whether the path takes this work: float32 throughout, on the CPU, whole tensors, noise of our own."""
    plain = not (work.capturable or (work.warm and (work.sharded or work.group["noise"] == "global")))
    return plain and work.device == CPU and work.thetas[0].dtype == torch.float32 and work.in_place


def step_blocks(work: Batch) -> None:
    """Step every tensor: tiny ones together, big ones a block at a time, scattered ones on the reference path."""
    tiny, big, rest = _sort(work)
    for start in range(0, len(tiny), HALF):
        _step_packed(work.part(tiny[start : start + HALF]))
    if big:
        _step_big(work.part(big))
    if rest:
        part = work.part(rest)
        step_reference(part, Draws(part))


def _sort(work: Batch) -> tuple[list[int], list[int], list[int]]:
    tiny: list[int] = []
    big: list[int] = []
    rest: list[int] = []
    for place, (theta, g) in enumerate(zip(work.thetas, work.grads, strict=True)):
        numel = theta.numel()
        if numel <= HALF:
            if numel:
                tiny.append(place)
            continue
        in_order = theta.is_contiguous() and g.is_contiguous() and work.ms[place].is_contiguous()
        (big if in_order and work.vs[place].is_contiguous() else rest).append(place)
    if len(tiny) < 4:  # packing costs more than it saves
        rest += tiny
        tiny = []
    return tiny, big, rest


class _Room:
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
        """Return ξ of the block that begins at element ``start``, a multiple of 2048."""
        k0, k1, k2, k3 = keys
        if start:
            k0 = k0 + signed(start // 2 * 0x9E3779B9 % (1 << 32), 32)
        pairs(self.counters, (k0, k1, k2, k3), self.scratch)
        radius, cosine, sine = self.reals
        torch.mul(radius, cosine, out=self.halves[0])
        torch.mul(radius, sine, out=self.halves[1])
        return self.xi


def _step_big(work: Batch) -> None:
    largest = min(BLOCK, -(-max(theta.numel() for theta in work.thetas) // GROUP) * GROUP)
    buffers = [torch.empty(largest) for _ in range(5 if work.warm else 4)]
    scratch = Scratch.of(largest // 2, CPU) if work.warm else None
    keys = [row.unbind() for row in keys_for(work, work.group["seed"]).unbind()] if work.warm else []
    heat = _heat_of(work.temperatures) if work.warm else ()
    c, sign = work.coefficients, -1 if work.group["maximize"] else 1
    rooms: dict[int, _Room] = {}
    for place, tensors in enumerate(zip(work.thetas, work.grads, work.ms, work.vs, strict=True)):
        numel = tensors[0].numel()
        length = _even(numel)
        flat = [tensor.view(-1) for tensor in tensors]
        sigma = _carry_big(work, place, flat[1], buffers[0], heat[place]) if work.warm else None
        cut = [flat] if length >= numel else zip(*(torch.split(tensor, length) for tensor in flat), strict=True)
        for start, (theta, g, m, v) in zip(range(0, numel, length), cut, strict=True):
            n = len(theta)
            room = rooms.get(n)
            if room is None:
                room = rooms[n] = _Room(n, buffers, scratch)
            noise = None if sigma is None else (room.noise(start, keys[place]), sigma)
            update_block(theta, g, m, v, noise, c, sign, room.spare)


def _even(numel: int) -> int:
    """Return the length of blocks that are about equal, of whole groups and no longer than BLOCK."""
    blocks = -(-numel // BLOCK)
    return min(BLOCK, -(-numel // (blocks * GROUP)) * GROUP)


def _carry_big(work: Batch, place: int, g: Tensor, spare: Tensor, heat: Tensor) -> Tensor:
    """Carry v̄ of one tensor on, and return its σ."""
    sums: list[Tensor] = []
    for block in torch.split(g, BLOCK) if len(g) > BLOCK else (g,):
        square = spare[: len(block)]
        torch.mul(block, block, out=square)
        sums.append(torch.nan_to_num_(square, nan=0.0, posinf=0.0).sum())
    total = torch.stack(sums).sum() if len(sums) > 1 else sums[0]
    v_mean = work.v_means[place]
    follow_mean(v_mean, total.div_(g.numel()), work.coefficients.beta2)
    return torch.addcmul(FLOOR, v_mean, heat).sqrt_()  # (8)


def _heat_of(temperatures: Sequence[float]) -> tuple[Tensor, ...]:
    """Return every temperature as a tensor of one element."""
    tensors: tuple[Tensor, ...] = torch.tensor(temperatures).unbind()
    return tensors


@lru_cache(maxsize=1)
def _block_counters() -> Tensor:
    return counters_from(0, BLOCK // 2, CPU)


@lru_cache(maxsize=16)
def _layout(sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return, for tensors of these sizes in a row, the place of each element's tensor and its own counter."""
    places = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    counters = counters_from(0, HALF, CPU)
    return places, torch.cat([counters[:size] for size in sizes])


def _step_packed(work: Batch) -> None:
    theta, g, m, v = (flatten(tensors) for tensors in (work.thetas, work.grads, work.ms, work.vs))
    noise = _noise_of_pack(work, g) if work.warm else None
    spare = [torch.empty_like(theta) for _ in range(4)]
    update_block(theta, g, m, v, noise, work.coefficients, -1 if work.group["maximize"] else 1, spare)
    for tensors, flat in ((work.thetas, theta), (work.ms, m), (work.vs, v)):
        torch._foreach_copy_(tensors, unflatten(flat, tensors))


def _noise_of_pack(work: Batch, g: Tensor) -> tuple[Tensor, Tensor]:
    """Carry every v̄ on, and return ξ and σ of all elements in a row."""
    places, counters = _layout(tuple(theta.numel() for theta in work.thetas))
    squares = torch.nan_to_num_(g * g, nan=0.0, posinf=0.0)
    sums = torch.zeros(len(work.thetas)).index_add_(0, places, squares)
    v_means = torch.stack(work.v_means)
    follow_mean(v_means, sums / torch.tensor(work.numels()), work.coefficients.beta2)
    torch._foreach_copy_(work.v_means, v_means.unbind())
    sigmas = noise_scale(v_means, torch.tensor(work.temperatures))
    keys = keys_for(work, work.group["seed"]).t()
    spread = [key.index_select(0, places) for key in keys.unbind()]
    radius, cosine, _ = pairs(counters, spread, Scratch.of(len(g), CPU))
    return cosine.mul_(radius), sigmas.index_select(0, places)
