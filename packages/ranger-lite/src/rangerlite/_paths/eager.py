"""Steps in torch operations: tensor by tensor, in chunks, on lists, and inside a graph.

All run the same equations. The first three take tensors of one dtype, device and step count t; their ``phi`` is empty
where no pullback is due.
"""

# torch's operations on lists are private by name only.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

import torch

from .._batch import Batch
from .._lookahead import LookaheadConfig, pull_back
from .._radam import RAdamConfig, correction, rectified_adam, rectified_adam_fast
from .chunks import chunks


def step_by_reference(batch: Batch, t: int, radam: RAdamConfig, lookahead: LookaheadConfig) -> None:
    """Takes the reference path: one tensor after the other."""
    c = correction(t, radam.beta1, radam.beta2)
    for theta, g, m, v in zip(batch.theta, batch.grad, batch.m, batch.v, strict=True):
        rectified_adam(theta, g, m, v, c, radam)
    if batch.phi:
        pull_back(batch, lookahead)


def step_by_chunks(batch: Batch, t: int, radam: RAdamConfig, lookahead: LookaheadConfig) -> None:
    """Takes the reference path on chunks that stay in the cache: the default on the CPU."""
    for chunk in chunks(batch):
        step_by_reference(chunk, t, radam, lookahead)


def step_on_lists(batch: Batch, t: int, radam: RAdamConfig, lookahead: LookaheadConfig) -> None:
    """Takes the fast path: each operation on all tensors at once."""
    rectified_adam_fast(batch.theta, batch.grad, batch.m, batch.v, correction(t, radam.beta1, radam.beta2), radam)
    if batch.phi:
        pull_back(batch, lookahead)


def step_in_graph(batch: Batch, radam: RAdamConfig, lookahead: LookaheadConfig) -> None:
    """Takes the capturable path: counts and decisions stay on the device; ``phi`` is needed at every step."""
    torch._foreach_add_(batch.step, 1)
    for i, step in enumerate(batch.step):
        c = correction(step, radam.beta1, radam.beta2)
        rectified_adam(batch.theta[i], batch.grad[i], batch.m[i], batch.v[i], c, radam)
        pull_back(batch.select([i]), lookahead, due=torch.remainder(step, lookahead.k) == 0)
