"""Reference path: one tensor at a time, in blocks where its memory is contiguous."""

from collections.abc import Sequence

from torch import Tensor

from thermolion._batch import Batch
from thermolion._equations import put_back, update
from thermolion._paths.precision import rounded, storable

BLOCK = 1 << 16  # elements; a multiple of the noise's group, and all buffers of a block fit a core's cache


def step(batch: Batch) -> None:
    """Steps every tensor; beyond its own tensors this needs no more memory than a block."""
    sigmas = batch.noise_scales().to(batch.compute_dtype).unbind() if batch.warm else None
    for i, tensors in enumerate(zip(batch.thetas, batch.grads, batch.ms, batch.vs, strict=True)):
        sigma, numel = sigmas[i] if sigmas else None, tensors[0].numel()
        whole = batch.sharded or batch.from_global_stream  # whose random numbers are drawn at once
        if numel > BLOCK and not whole and all(tensor.is_contiguous() for tensor in tensors):
            flat = [tensor.view(-1) for tensor in tensors]
            for start in range(0, numel, BLOCK):
                _step_block(batch, i, [tensor[start : start + BLOCK] for tensor in flat], sigma, start)
        elif numel:
            _step_block(batch, i, tensors, sigma, 0)


def _step_block(batch: Batch, i: int, tensors: Sequence[Tensor], sigma: Tensor | None, start: int) -> None:
    theta, g, m, v = tensors
    dtype = batch.compute_dtype
    g = g.to(dtype)
    if batch.group["maximize"]:
        g = -g
    wide = [tensor.to(dtype) for tensor in (theta, m, v)]
    stored = (theta, m, v)
    before = [tensor.clone() for tensor in stored] if batch.group["skip_zero_grad"] else None
    noise = None if sigma is None else batch.noise(i, wide[0], start) * sigma
    update(wide[0], g, wide[1], wide[2], noise, batch.coefficients)
    if theta.dtype != dtype:
        theta.copy_(rounded(wide[0], theta.dtype, batch.rounding_bits(i, wide[0], start)))
    for tensor, computed in ((m, wide[1]), (v, wide[2])):
        if tensor.dtype != dtype:
            tensor.copy_(storable(computed, tensor.dtype) if tensor is v else computed)
    if before is not None:
        put_back(stored, before, g == 0)
