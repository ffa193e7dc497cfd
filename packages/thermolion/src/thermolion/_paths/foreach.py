"""Fast path on lists: the reference's operations in the reference's order, each on all tensors at once."""

from collections.abc import Sequence

# torch's operations on lists are private by name only.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false
import torch
from torch import Tensor

from thermolion._batch import Batch
from thermolion._equations import update_lists
from thermolion._paths.precision import rounded, storable


def step(batch: Batch) -> None:
    """Steps all tensors together; needs memory for temporaries of all of them."""
    dtype = batch.compute_dtype
    thetas, grads, ms, vs = ([t.to(dtype) for t in ts] for ts in (batch.thetas, batch.grads, batch.ms, batch.vs))
    if batch.group["maximize"]:
        grads = list(torch._foreach_neg(grads))
    noises: list[Tensor] | None = None
    if batch.warm:
        sigmas = batch.noise_scales().to(dtype).unbind()
        noises = [batch.noise(i, theta) * sigmas[i] for i, theta in enumerate(thetas)]
    update_lists(thetas, grads, ms, vs, noises, batch.coefficients)
    for i, theta in enumerate(thetas):
        stored = batch.thetas[i]
        if stored.dtype != dtype:
            stored.copy_(rounded(theta, stored.dtype, batch.rounding_bits(i, theta)))
    _store(batch.ms, ms)
    _store(batch.vs, [storable(v, stored.dtype) for v, stored in zip(vs, batch.vs, strict=True)])


def _store(stored: Sequence[Tensor], computed: Sequence[Tensor]) -> None:
    for to, value in zip(stored, computed, strict=True):
        if to is not value:
            to.copy_(value)
