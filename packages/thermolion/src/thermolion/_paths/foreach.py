"""Fast path on lists: the reference's operations in the reference's order, each on all tensors at once."""

# torch's operations on lists are private by name only.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

from collections.abc import Sequence

import torch
from torch import Tensor

from thermolion._batch import Batch
from thermolion._draws import Draws
from thermolion._equations import update_lists
from thermolion._paths.precision import rounded, storable


def step_foreach(work: Batch, draws: Draws) -> None:
    """Step all tensors of ``work`` together; needs memory for temporaries of all of them."""
    dtype = work.compute_dtype
    thetas, grads, ms, vs = ([t.to(dtype) for t in ts] for ts in (work.thetas, work.grads, work.ms, work.vs))
    if work.group["maximize"]:
        grads = list(torch._foreach_neg(grads))
    noises = [draws.noise(place, theta) for place, theta in enumerate(thetas)] if work.warm else None
    update_lists(thetas, grads, ms, vs, noises, work.coefficients)
    for place, theta in enumerate(thetas):
        if work.thetas[place].dtype != dtype:
            bits = draws.rounding_bits(place, theta)
            work.thetas[place].copy_(rounded(theta, work.thetas[place].dtype, bits))
    _keep(work.ms, ms)
    _keep(work.vs, [storable(v, kept.dtype) for v, kept in zip(vs, work.vs, strict=True)])


def _keep(kept: Sequence[Tensor], computed: Sequence[Tensor]) -> None:
    for to, value in zip(kept, computed, strict=True):
        if to is not value:
            to.copy_(value)
