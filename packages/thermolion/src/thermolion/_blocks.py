"""Default path on the CPU: blocks that stay in the cache, a slice of a big tensor or many tiny tensors packed together.

It needs no compiler. The equations are the reference's with fewer passes over memory, in `update_block`; the noise is
the same to the bit.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors as flatten
from torch._utils import _unflatten_dense_tensors as unflatten

from thermolion._draws import Draws, keys_for
from thermolion._equations import follow_mean, noise_scale, update_block
from thermolion._noise import GROUP, HALF, Scratch, counters_from, pairs, signed
from thermolion._reference import step_reference
from thermolion._work import Work

BLOCK = 1 << 16  # elements
CPU = torch.device("cpu")


def fits(work: Work) -> bool:
    """Say whether the path takes this work: float32 throughout, on the CPU, whole tensors, noise of our own."""
    plain = not (work.capturable or (work.warm and (work.sharded or work.group["noise"] == "global")))
    return plain and work.device == CPU and work.thetas[0].dtype == torch.float32 and work.in_place


def step_blocks(work: Work) -> None:
    """Step every tensor: tiny ones together, big ones a block at a time, scattered ones on the reference path."""
    tiny, big, rest = _sort(work)
    for start in range(0, len(tiny), HALF):
        _step_packed(work.part(tiny[start : start + HALF]))
    if big:
        _step_big(work.part(big))
    if rest:
        part = work.part(rest)
        step_reference(part, Draws(part))


def _sort(work: Work) -> tuple[list[int], list[int], list[int]]:
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


def _step_big(work: Work) -> None:
    largest = min(BLOCK, -(-max(theta.numel() for theta in work.thetas) // GROUP) * GROUP)
    buffers = [torch.empty(largest) for _ in range(5)]
    scratch = Scratch(largest // 2, CPU) if work.warm else None
    keys = keys_for(work, work.group["seed"]) if work.warm else None
    c, sign = work.coefficients, -1 if work.group["maximize"] else 1
    for place, tensors in enumerate(zip(work.thetas, work.grads, work.ms, work.vs, strict=True)):
        theta, g, m, v = (tensor.view(-1) for tensor in tensors)
        numel = theta.numel()
        sigma = _carry_big(work, place, g, buffers) if work.warm else None
        for start in range(0, numel, BLOCK):
            n = min(BLOCK, numel - start)
            noise = None
            if sigma is not None and scratch is not None and keys is not None:
                noise = _noise_of_block(buffers[4], start, n, keys[place], sigma, scratch)
            block = slice(start, start + n)
            spare = buffers[:4] if n == largest else [buffer[:n] for buffer in buffers[:4]]
            update_block(theta[block], g[block], m[block], v[block], noise, c, sign, spare)


def _carry_big(work: Work, place: int, g: Tensor, buffers: Sequence[Tensor]) -> Tensor:
    """Carry v̄ of one tensor on, and return its σ."""
    sums: list[Tensor] = []
    for block in torch.split(g, BLOCK):
        square = buffers[0][: len(block)]
        torch.mul(block, block, out=square)
        sums.append(torch.nan_to_num_(square, nan=0.0, posinf=0.0).sum())
    total = torch.stack(sums).sum() if len(sums) > 1 else sums[0]
    follow_mean(work.v_means[place], total / g.numel(), work.coefficients.beta2)
    return noise_scale(work.v_means[place], work.temperatures[place])


@lru_cache(maxsize=1)
def _block_counters() -> Tensor:
    return counters_from(0, BLOCK // 2, CPU)


def _noise_of_block(buffer: Tensor, start: int, count: int, keys: Tensor, sigma: Tensor, scratch: Scratch) -> Tensor:
    """Write σ ξ of ``count`` elements from number ``start``, a multiple of 2048, into ``buffer``."""
    groups = -(-count // GROUP)
    k0, k1, k2, k3 = keys.unbind()
    k0 = k0 + signed(start // 2 * 0x9E3779B9 % (1 << 32), 32)
    a, b = pairs(_block_counters()[: groups * HALF], (k0, k1, k2, k3), scratch)
    both = buffer[: groups * GROUP].view(groups, 2, HALF)
    torch.mul(a.view(groups, HALF), sigma, out=both[:, 0])
    torch.mul(b.view(groups, HALF), sigma, out=both[:, 1])
    return buffer[:count]


@lru_cache(maxsize=16)
def _layout(sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return, for tensors of these sizes in a row, the place of each element's tensor and its own counter."""
    places = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    counters = counters_from(0, HALF, CPU)
    return places, torch.cat([counters[:size] for size in sizes])


def _step_packed(work: Work) -> None:
    theta, g, m, v = (
        flatten(tensors)  # type: ignore[no-untyped-call]
        for tensors in (work.thetas, work.grads, work.ms, work.vs)
    )
    noise = _noise_of_pack(work, g) if work.warm else None
    spare = [torch.empty_like(theta) for _ in range(4)]
    update_block(theta, g, m, v, noise, work.coefficients, -1 if work.group["maximize"] else 1, spare)
    for tensors, flat in ((work.thetas, theta), (work.ms, m), (work.vs, v)):
        torch._foreach_copy_(tensors, unflatten(flat, tensors))  # type: ignore[no-untyped-call]


def _noise_of_pack(work: Work, g: Tensor) -> Tensor:
    """Carry every v̄ on, and return σ ξ of all elements in a row."""
    places, counters = _layout(tuple(theta.numel() for theta in work.thetas))
    squares = torch.nan_to_num_(g * g, nan=0.0, posinf=0.0)
    sums = torch.zeros(len(work.thetas)).index_add_(0, places, squares)
    v_means = torch.stack(work.v_means)
    follow_mean(v_means, sums / torch.tensor(work.numels()), work.coefficients.beta2)
    torch._foreach_copy_(work.v_means, v_means.unbind())
    sigmas = noise_scale(v_means, torch.tensor(work.temperatures))
    keys = keys_for(work, work.group["seed"]).t()
    a, _ = pairs(counters, [key.index_select(0, places) for key in keys.unbind()], Scratch(len(g), CPU))
    return a.mul_(sigmas.index_select(0, places))
