"""Reference path: one tensor at a time, a block of it at a time where its memory lies in one piece."""

from collections.abc import Sequence

from torch import Tensor

from thermolion._batch import Batch
from thermolion._draws import Draws
from thermolion._equations import update
from thermolion._paths.precision import rounded, storable

BLOCK = 1 << 16  # elements; a multiple of the noise's group, and all buffers of a block fit a core's cache


def step_reference(work: Batch, draws: Draws) -> None:
    """Step every tensor of ``work``; beyond its own tensors this needs no more memory than a block."""
    for place, tensors in enumerate(zip(work.thetas, work.grads, work.ms, work.vs, strict=True)):
        numel = tensors[0].numel()
        if numel > BLOCK and all(tensor.is_contiguous() for tensor in tensors) and not work.sharded:
            flat = [tensor.view(-1) for tensor in tensors]
            for start in range(0, numel, BLOCK):
                _step_block(work, draws, place, [tensor[start : start + BLOCK] for tensor in flat], start)
        elif numel:
            _step_block(work, draws, place, tensors, 0)


def _step_block(work: Batch, draws: Draws, place: int, tensors: Sequence[Tensor], start: int) -> None:
    theta, g, m, v = tensors
    dtype = work.compute_dtype
    g = g.to(dtype)
    if work.group["maximize"]:
        g = -g
    wide = [tensor.to(dtype) for tensor in (theta, m, v)]
    noise = draws.scaled(place, wide[0], start)
    update(wide[0], g, wide[1], wide[2], noise, work.coefficients)
    if theta.dtype != dtype:
        theta.copy_(rounded(wide[0], theta.dtype, draws.rounding_bits(place, wide[0], start)))
    for kept, computed in ((m, wide[1]), (v, wide[2])):
        if kept.dtype != dtype:
            kept.copy_(storable(computed, kept.dtype) if kept is v else computed)
