"""Fast path on lists: the reference's operations in the reference's order, each on all tensors at once."""

from collections.abc import Sequence

# torch's operations on lists are private by name only.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false
import torch
from torch import Tensor

from thermolion._batch import Batch
from thermolion._equations import put_back, update_lists
from thermolion._paths.precision import rounded, storable


def step(batch: Batch) -> None:
    """Steps all tensors together; needs memory for temporaries of all of them."""
    dtype = batch.compute_dtype
    stored = list(zip(batch.thetas, batch.ms, batch.vs, strict=True))
    before = [[tensor.clone() for tensor in tensors] for tensors in stored] if batch.group["skip_zero_grad"] else None
    thetas, grads, ms, vs = ([t.to(dtype) for t in ts] for ts in (batch.thetas, batch.grads, batch.ms, batch.vs))
    if batch.group["maximize"]:
        grads = list(torch._foreach_neg(grads))
    noises: list[Tensor] | None = None
    if batch.warm:
        sigmas = batch.noise_scales().to(dtype).unbind()
        noises = [batch.noise(i, theta) * sigmas[i] for i, theta in enumerate(thetas)]
    update_lists(thetas, grads, ms, vs, noises, batch.coefficients)
    for i, theta in enumerate(thetas):
        narrow = batch.thetas[i].dtype
        if narrow != dtype:
            batch.thetas[i].copy_(rounded(theta, narrow, batch.rounding_bits(i, theta)))
    _store(batch.ms, ms)
    _store(batch.vs, [storable(v, narrow.dtype) for v, narrow in zip(vs, batch.vs, strict=True)])
    if before is not None:
        for tensors, old, g in zip(stored, before, grads, strict=True):
            put_back(tensors, old, g == 0)


def _store(stored: Sequence[Tensor], computed: Sequence[Tensor]) -> None:
    for to, value in zip(stored, computed, strict=True):
        if to is not value:
            to.copy_(value)
